//! Inter prediction (RFC 6386 18).

use super::plane::Plane;

const SIX_TAP: [[i32; 6]; 8] = [
    [0, 0, 128, 0, 0, 0],
    [0, -6, 123, 12, -1, 0],
    [2, -11, 108, 36, -8, 1],
    [0, -9, 93, 50, -6, 0],
    [3, -16, 77, 77, -16, 3],
    [0, -6, 50, 93, -9, 0],
    [1, -8, 36, 108, -11, 2],
    [0, -1, 12, 123, -6, 0],
];

/// A square to predict.
#[derive(Clone, Copy)]
pub struct Square {
    pub x: usize,
    pub y: usize,
    pub size: usize,
}

fn taps(eighth: i32, bilinear: bool) -> [i32; 6] {
    if bilinear {
        [0, 0, 128 - 16 * eighth, 16 * eighth, 0, 0]
    } else {
        SIX_TAP[eighth as usize]
    }
}

/// Copies a square from `reference`, moved by (x, y) in eighths of a sample.
pub fn predict(plane: &mut Plane, reference: &Plane, to: Square, mv: [i32; 2], bilinear: bool) {
    let (left, top) = (to.x as i32 + (mv[0] >> 3), to.y as i32 + (mv[1] >> 3));
    let size = to.size;
    // Rows from two above to three below, each filtered from columns two before to three behind.
    let rows: Vec<i32> = (-2..size as i32 + 3)
        .flat_map(|j| {
            let row: Vec<i32> = (-2..size as i32 + 3).map(|i| reference.clamped(left + i, top + j)).collect();
            filter(&row, mv[0] & 7, bilinear)
        })
        .collect();
    for (i, x) in (to.x..to.x + size).enumerate() {
        let column: Vec<i32> = rows.iter().skip(i).step_by(size).copied().collect();
        for (y, value) in (to.y..).zip(filter(&column, mv[1] & 7, bilinear)) {
            plane.set(x, y, value as u8);
        }
    }
}

/// All outputs of a line of samples: five fewer.
fn filter(line: &[i32], eighth: i32, bilinear: bool) -> Vec<i32> {
    if eighth == 0 {
        return line[2..line.len() - 3].to_vec();
    }
    let taps = taps(eighth, bilinear);
    let output = |around: &[i32]| {
        let sum: i32 = around.iter().zip(&taps).map(|(sample, tap)| sample * tap).sum();
        ((sum + 64) >> 7).clamp(0, 255)
    };
    line.windows(6).map(output).collect()
}
