//! Samples of reference pictures at fractions of samples (H.264 8.4.2.2).

use super::plane::{Lines, Plane};

/// Which two of [`Parts`] are averaged, by quarter sample y and x (Table 8-12).
const AVERAGED: [[(Part, Part); 4]; 4] = {
    use Part::{Below, Right, B, G, H, J, M, S};
    [
        [(G, G), (G, B), (B, B), (Right, B)],
        [(G, H), (B, H), (B, J), (B, M)],
        [(H, H), (H, J), (J, J), (J, M)],
        [(Below, H), (H, S), (J, S), (M, S)],
    ]
};

/// Whole and half samples around a place, as the standard names them (Figure 8-4).
#[derive(Clone, Copy)]
enum Part {
    G,
    Right,
    Below,
    B,
    H,
    J,
    M,
    S,
}

/// A reference picture or field as prediction sees it.
#[derive(Clone, Copy)]
pub struct Reference<'a> {
    pub planes: &'a [Plane; 3],
    pub lines: Lines,
    /// The largest luma and chroma sample.
    pub max: [i32; 2],
}

fn taps(six: impl Fn(i32) -> i32) -> i32 {
    six(-2) - 5 * six(-1) + 20 * six(0) + 20 * six(1) - 5 * six(2) + six(3)
}

impl Reference<'_> {
    /// A 4x4 luma block at a place moved by quarter samples.
    // H.264 8.4.2.2.1
    pub fn luma(&self, x: usize, y: usize, mv: [i32; 2]) -> [i32; 16] {
        let (left, top) = (x as i32 + (mv[0] >> 2), y as i32 + (mv[1] >> 2));
        let window: [i32; 81] = std::array::from_fn(|place| {
            let (row, column) = (place as i32 / 9 - 2, place as i32 % 9 - 2);
            self.planes[0].clamped(self.lines, left + column, top + row)
        });
        let (first, second) = AVERAGED[(mv[1] & 3) as usize][(mv[0] & 3) as usize];
        std::array::from_fn(|place| {
            let at = |part| self.part(&window, part, place as i32 % 4, place as i32 / 4);
            (at(first) + at(second) + 1) >> 1
        })
    }

    fn part(&self, window: &[i32; 81], part: Part, x: i32, y: i32) -> i32 {
        let whole = |x: i32, y: i32| window[((y + 2) * 9 + x + 2) as usize];
        let across = |y: i32| taps(|i| whole(x + i, y));
        let down = |x: i32| taps(|i| whole(x, y + i));
        let half = |sum: i32| ((sum + 16) >> 5).clamp(0, self.max[0]);
        match part {
            Part::G => whole(x, y),
            Part::Right => whole(x + 1, y),
            Part::Below => whole(x, y + 1),
            Part::B => half(across(y)),
            Part::S => half(across(y + 1)),
            Part::H => half(down(x)),
            Part::M => half(down(x + 1)),
            Part::J => ((taps(|i| across(y + i)) + 512) >> 10).clamp(0, self.max[0]),
        }
    }

    /// A 2x2 block of a 4:2:0 chroma plane at a place moved by eighths of chroma samples.
    // H.264 8.4.2.2.2
    pub fn chroma(&self, plane: usize, x: usize, y: usize, mv: [i32; 2]) -> [i32; 4] {
        let (left, top) = (x as i32 + (mv[0] >> 3), y as i32 + (mv[1] >> 3));
        let (across, down) = (mv[0] & 7, mv[1] & 7);
        std::array::from_fn(|place| {
            let (column, row) = (left + place as i32 % 2, top + place as i32 / 2);
            let at = |x: i32, y: i32| self.planes[plane].clamped(self.lines, column + x, row + y);
            let upper = (8 - across) * at(0, 0) + across * at(1, 0);
            let lower = (8 - across) * at(0, 1) + across * at(1, 1);
            ((8 - down) * upper + down * lower + 32) >> 6
        })
    }
}
