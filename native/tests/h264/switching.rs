//! Transform decoding in pictures that a stream switches to (H.264 8.6.2).
//!
//! The prediction is quantised as the levels are, so that the sum gives the same samples whatever it was predicted from.

use super::{
    recorder::{Macroblock, Slice},
    scaling::{class_of, LevelScale},
    transform::{forward_4x4, inverse_4x4},
};

/// LevelScale2 by QS_Y % 6 (8.6.1): both even, both odd, else.
const QUANTISER: [[i32; 3]; 6] = [
    [13107, 5243, 8066],
    [11916, 4660, 7490],
    [10082, 4194, 6554],
    [9362, 3647, 5825],
    [8192, 3355, 5243],
    [7282, 2893, 4559],
];

/// Whether a macroblock of 4x4 intra prediction is of that kind: SI, and Intra_4x4 in SP slices with sp_for_switch_flag,
/// which the standard does not name, but JM writes.
pub fn applies(slice: &Slice, heard: &Macroblock) -> bool {
    heard.switching_intra || slice.header.sp_for_switch_flag
}

/// Samples of a 4x4 block, in raster order as are its prediction and its levels.
pub fn samples(slice: &Slice, predicted: &[i32], levels: &[i32]) -> Vec<i32> {
    let qs = 26 + i32::from(slice.pps.pic_init_qs_minus26) + i32::from(slice.header.slice_qs_delta);
    let (shift, rest) = (15 + qs / 6, qs as usize % 6);
    let flat = LevelScale::of_4x4(&[16; 16]);
    let quantise = |(position, coefficient): (usize, i32)| {
        let size = (coefficient.abs() * QUANTISER[rest][class_of(position)] + (1 << (shift - 1))) >> shift;
        flat.coefficient(levels[position] + size * coefficient.signum(), qs, position)
    };
    let scaled: Vec<i32> = forward_4x4(predicted).into_iter().enumerate().map(quantise).collect();
    inverse_4x4(&scaled)
}
