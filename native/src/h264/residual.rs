//! residual() of a macroblock in 4:2:0 (H.264 7.3.5.3).

use super::{
    energy::QpWeights,
    neighbours::{is_available, Around, Coded, Levels, CHROMA_CELL, LUMA_CELL},
    syntax::{
        block_kind::{CHROMA_AC, CHROMA_DC, LUMA, LUMA_AC, LUMA_DC},
        PlaneWeights, Residual, Syntax,
    },
};
use crate::picture::Block;

/// First luma block.
const FIRST: usize = LUMA_CELL[0];

/// What residual() depends on.
#[derive(Clone, Copy)]
pub struct Pattern {
    /// Intra_16x16 prediction.
    pub intra_16x16: bool,
    /// Intra of any kind.
    pub intra: bool,
    /// coded_block_pattern
    pub cbp: u8,
    /// transform_size_8x8_flag
    pub transform_8x8: bool,
}

/// Reads the residual; what neighbours will need goes to `coded`.
#[inline(always)]
pub fn residual<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    around: &Around,
    weights: PlaneWeights<'_>,
    coded: &mut Coded,
) -> Residual {
    let mut sums = Residual::default();
    let mut levels = Levels::new(around, S::unavailable_level(pattern.intra));
    if pattern.intra_16x16 {
        luma_16x16(syntax, pattern, around, weights[0], &mut levels, coded, &mut sums);
    } else if pattern.transform_8x8 {
        luma_8x8(syntax, pattern, weights[0], &mut levels, &mut sums);
    } else {
        luma_4x4(syntax, pattern, weights[0], &mut levels, &mut sums);
    }
    if pattern.cbp >> 4 != 0 {
        chroma(syntax, pattern, around, weights, &mut levels, coded, &mut sums);
    }
    levels.store(coded);
    sums
}

/// Intra_16x16: one DC block, then sixteen AC blocks.
fn luma_16x16<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    around: &Around,
    weights: &QpWeights,
    levels: &mut Levels,
    coded: &mut Coded,
    sums: &mut Residual,
) {
    let (a, b) = if S::CABAC {
        (dc_flag(&around.a, &around.left, 0, true), dc_flag(&around.b, &around.above, 0, true))
    } else {
        (levels.luma[FIRST - 1], levels.luma[FIRST - 5])
    };
    coded.dc |= u8::from(syntax.block::<LUMA_DC>(a, b, &weights.luma_dc, sums) != 0);
    if pattern.cbp & 15 == 0 {
        return;
    }
    for cell in LUMA_CELL {
        let (a, b) = (levels.luma[cell - 1], levels.luma[cell - 5]);
        levels.luma[cell] = syntax.block::<LUMA_AC>(a, b, &weights.block_4x4[0], sums);
    }
}

fn luma_4x4<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    weights: &QpWeights,
    levels: &mut Levels,
    sums: &mut Residual,
) {
    let weights = &weights.block_4x4[if pattern.intra { 0 } else { 3 }];
    for quadrant in (0..4).filter(|quadrant| pattern.cbp >> quadrant & 1 != 0) {
        for block in 0..4 {
            let cell = LUMA_CELL[4 * quadrant + block];
            let (a, b) = (levels.luma[cell - 1], levels.luma[cell - 5]);
            levels.luma[cell] = syntax.block::<LUMA>(a, b, weights, sums);
        }
    }
}

/// With CABAC one block of 64 coefficients per quadrant, with CAVLC four interleaved blocks of 16.
fn luma_8x8<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    weights: &QpWeights,
    levels: &mut Levels,
    sums: &mut Residual,
) {
    let list = usize::from(!pattern.intra);
    for quadrant in (0..4).filter(|quadrant| pattern.cbp >> quadrant & 1 != 0) {
        if S::CABAC {
            syntax.block_8x8(&weights.block_8x8[list], sums);
            for block in 0..4 {
                levels.luma[LUMA_CELL[4 * quadrant + block]] = 1;
            }
            continue;
        }
        for block in 0..4 {
            let cell = LUMA_CELL[4 * quadrant + block];
            let (a, b) = (levels.luma[cell - 1], levels.luma[cell - 5]);
            levels.luma[cell] = syntax.block::<LUMA>(a, b, &weights.interleaved[list][block], sums);
        }
    }
}

fn chroma<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    around: &Around,
    weights: PlaneWeights<'_>,
    levels: &mut Levels,
    coded: &mut Coded,
    sums: &mut Residual,
) {
    let list = if pattern.intra { 1 } else { 4 };
    for plane in 0..2 {
        let bit = 1 + plane;
        let a = dc_flag(&around.a, &around.left, bit, pattern.intra);
        let b = dc_flag(&around.b, &around.above, bit, pattern.intra);
        let level = syntax.block::<CHROMA_DC>(a, b, &weights[1 + plane].chroma_dc[list + plane], sums);
        coded.dc |= u8::from(level != 0) << bit;
    }
    if pattern.cbp >> 5 == 0 {
        return;
    }
    for plane in 0..2 {
        let weights = &weights[1 + plane].block_4x4[list + plane];
        let levels = &mut levels.chroma[plane];
        for cell in CHROMA_CELL {
            levels[cell] = syntax.block::<CHROMA_AC>(levels[cell - 1], levels[cell - 3], weights, sums);
        }
    }
}

/// coded_block_flag of a neighbour's DC block, as contexts see it (9.3.3.1.1.9).
fn dc_flag(neighbour: &Block, coded: &Coded, bit: usize, intra: bool) -> u8 {
    if is_available(neighbour) {
        coded.dc >> bit & 1
    } else {
        u8::from(intra)
    }
}
