//! Inter prediction of luma (H.265 8.5.3.3).

use super::plane::{Lines, Plane};

/// Luma filter by quarter sample (Table 8-11).
const FILTERS: [[i32; 8]; 4] = [
    [0, 0, 0, 64, 0, 0, 0, 0],
    [-1, 4, -10, 58, 17, -5, 1, 0],
    [-1, 4, -11, 40, 40, -11, 4, -1],
    [0, 1, -5, 17, 58, -10, 4, -1],
];

/// Samples of a 4x4 block at a place moved by quarter samples, in 14 bits.
// H.265 8.5.3.3.3.1
pub fn predict(plane: &Plane, x: usize, y: usize, mv: [i32; 2], bit_depth: u32) -> Vec<i32> {
    let (left, top) = (x as i32 + (mv[0] >> 2), y as i32 + (mv[1] >> 2));
    let (across, down) = (FILTERS[(mv[0] & 3) as usize], FILTERS[(mv[1] & 3) as usize]);
    let shift = bit_depth - 8;
    let whole = |x: i32, y: i32| plane.clamped(Lines::ALL, left + x, top + y);
    let row = |x: i32, y: i32| -> i32 {
        (-3..5).zip(across).map(|(i, tap)| tap * whole(x + i, y)).sum::<i32>() >> shift
    };
    let sample = |place: i32| {
        let (x, y) = (place % 4, place / 4);
        match (mv[0] & 3, mv[1] & 3) {
            (0, 0) => whole(x, y) << (14 - bit_depth),
            (_, 0) => row(x, y),
            (0, _) => (-3..5).zip(down).map(|(i, tap)| tap * whole(x, y + i)).sum::<i32>() >> shift,
            _ => (-3..5).zip(down).map(|(i, tap)| tap * row(x, y + i)).sum::<i32>() >> 6,
        }
    };
    (0..16).map(sample).collect()
}

/// Explicit weights and offsets of one or two predictions, and luma_log2_weight_denom.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    pub weights: [i32; 2],
    /// In steps of the samples.
    pub offsets: [i32; 2],
    pub log2_denom: u32,
}

/// The sample of one or two predictions in 14 bits.
// H.265 8.5.3.3.4
pub fn weighted(predictions: [Option<i32>; 2], weights: Option<Weights>, bit_depth: u32) -> i32 {
    let shift = 14 - bit_depth;
    let value = match (predictions, weights) {
        ([Some(a), Some(b)], None) => (a + b + (1 << shift)) >> (shift + 1),
        ([Some(a), Some(b)], Some(Weights { weights: [v, w], offsets: [o, p], log2_denom })) => {
            let log_wd = log2_denom + shift;
            (a * v + b * w + ((o + p + 1) << log_wd)) >> (log_wd + 1)
        }
        ([first, second], weights) => {
            let list = usize::from(first.is_none());
            let one = first.or(second).expect("a prediction");
            match weights {
                None => (one + (1 << (shift - 1))) >> shift,
                Some(Weights { weights, offsets, log2_denom }) => {
                    let log_wd = log2_denom + shift;
                    ((one * weights[list] + (1 << (log_wd - 1))) >> log_wd) + offsets[list]
                }
            }
        }
    };
    value.clamp(0, (1 << bit_depth) - 1)
}
