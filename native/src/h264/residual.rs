//! residual() of a macroblock (H.264 7.3.5.3).

use super::{
    energy::QpWeights,
    neighbours::{
        is_available, uses_8x8_transform, Around, Coded, Grid, Levels, CHROMA_CELL, LOWER_LEFT, LUMA_CELL,
    },
    syntax::{
        block_kind::{
            CB, CB_8X8, CB_AC, CB_DC, CHROMA_AC, CHROMA_DC, CHROMA_DC_422, CR, CR_8X8, CR_AC, CR_DC, LUMA,
            LUMA_8X8, LUMA_AC, LUMA_DC,
        },
        PlaneWeights, Residual, Syntax,
    },
};
use crate::picture::{Block, BlockClass};

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

/// What residual() depends on beyond its macroblock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Format {
    /// ChromaArrayType: 0 no chroma (4:0:0, separate planes), 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_array_type: u8,
    /// x264 before build 151 took neighbours without 8x8 transform for missing ones in 8x8 blocks of 4:4:4.
    pub old_x264: bool,
}

/// Reads the residual; what neighbours will need goes to `coded`, and to `grids` of Cb and Cr in 4:2:2 and 4:4:4.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // one call, inlined
pub fn residual<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    format: Format,
    around: &Around,
    weights: PlaneWeights<'_>,
    grids: &mut [Grid; 2],
    coded: &mut Coded,
) -> Residual {
    let mut sums = Residual::default();
    let mut levels = Levels::new(around, S::unavailable_level(pattern.intra));
    plane::<S, 0>(syntax, pattern, format, around, weights[0], &mut levels.luma, coded, &mut sums);
    match format.chroma_array_type {
        1 if pattern.cbp >> 4 != 0 => chroma(syntax, pattern, around, weights, &mut levels, coded, &mut sums),
        2 if pattern.cbp >> 4 != 0 => chroma_422(syntax, pattern, around, weights, grids, coded, &mut sums),
        3 => chroma_444(syntax, pattern, format, around, weights, grids, coded, &mut sums),
        _ => {}
    }
    levels.store(coded);
    sums
}

/// Luma, or a plane that is coded like luma.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // one call per plane, inlined
fn plane<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    pattern: Pattern,
    format: Format,
    around: &Around,
    weights: &QpWeights,
    levels: &mut Grid,
    coded: &mut Coded,
    sums: &mut Residual,
) {
    if pattern.intra_16x16 {
        plane_16x16::<S, PLANE>(syntax, pattern, around, weights, levels, coded, sums);
    } else if pattern.transform_8x8 {
        if S::CABAC && format.chroma_array_type == 3 {
            flagged_8x8::<S, PLANE>(syntax, pattern, format, around, weights, levels, sums);
        } else {
            plane_8x8::<S, PLANE>(syntax, pattern, weights, levels, sums);
        }
    } else {
        plane_4x4::<S, PLANE>(syntax, pattern, weights, levels, sums);
    }
}

/// Intra_16x16: one DC block, then sixteen AC blocks.
fn plane_16x16<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    pattern: Pattern,
    around: &Around,
    weights: &QpWeights,
    levels: &mut Grid,
    coded: &mut Coded,
    sums: &mut Residual,
) {
    let (a, b) = if S::CABAC {
        (dc_flag(&around.a, &around.left, PLANE, true), dc_flag(&around.b, &around.above, PLANE, true))
    } else {
        (levels[FIRST - 1], levels[FIRST - 5])
    };
    let dc = match PLANE {
        0 => syntax.block::<LUMA_DC>(a, b, &weights.luma_dc[0], sums),
        1 => syntax.block::<CB_DC>(a, b, &weights.luma_dc[1], sums),
        _ => syntax.block::<CR_DC>(a, b, &weights.luma_dc[2], sums),
    };
    coded.dc |= u8::from(dc != 0) << PLANE;
    if pattern.cbp & 15 == 0 {
        return;
    }
    let weights = &weights.block_4x4[PLANE];
    for cell in LUMA_CELL {
        let (a, b) = (levels[cell - 1], levels[cell - 5]);
        levels[cell] = match PLANE {
            0 => syntax.block::<LUMA_AC>(a, b, weights, sums),
            1 => syntax.block::<CB_AC>(a, b, weights, sums),
            _ => syntax.block::<CR_AC>(a, b, weights, sums),
        };
    }
}

/// Quadrants with a residual, of which only the number surprises the processor.
#[inline(always)]
fn coded_quadrants(cbp: u8) -> impl Iterator<Item = usize> {
    let mut rest = cbp & 15;
    std::iter::from_fn(move || {
        let quadrant = (rest != 0).then_some(rest.trailing_zeros() as usize & 3);
        rest &= rest.wrapping_sub(1);
        quadrant
    })
}

/// A 4x4 block of a plane.
#[inline(always)]
fn block_4x4<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    cell: usize,
    weights: &[f32; 16],
    levels: &mut Grid,
    sums: &mut Residual,
) {
    let (a, b) = (levels[cell - 1], levels[cell - 5]);
    levels[cell] = match PLANE {
        0 => syntax.block::<LUMA>(a, b, weights, sums),
        1 => syntax.block::<CB>(a, b, weights, sums),
        _ => syntax.block::<CR>(a, b, weights, sums),
    };
}

fn plane_4x4<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    pattern: Pattern,
    weights: &QpWeights,
    levels: &mut Grid,
    sums: &mut Residual,
) {
    let weights = &weights.block_4x4[if pattern.intra { PLANE } else { 3 + PLANE }];
    for quadrant in coded_quadrants(pattern.cbp) {
        for block in 0..4 {
            block_4x4::<S, PLANE>(syntax, LUMA_CELL[4 * quadrant + block], weights, levels, sums);
        }
    }
}

/// With CABAC one block of 64 coefficients per quadrant, with CAVLC four interleaved blocks of 16.
fn plane_8x8<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    pattern: Pattern,
    weights: &QpWeights,
    levels: &mut Grid,
    sums: &mut Residual,
) {
    let list = 2 * PLANE + usize::from(!pattern.intra);
    for quadrant in coded_quadrants(pattern.cbp) {
        if S::CABAC {
            syntax.block_8x8::<LUMA_8X8>(None, &weights.block_8x8[list], sums);
            for block in 0..4 {
                levels[LUMA_CELL[4 * quadrant + block]] = 1;
            }
            continue;
        }
        for block in 0..4 {
            let weights = &weights.interleaved[list][block];
            block_4x4::<S, PLANE>(syntax, LUMA_CELL[4 * quadrant + block], weights, levels, sums);
        }
    }
}

/// 8x8 blocks of 4:4:4 with CABAC have a coded_block_flag; only neighbours with 8x8 transform count for its context.
// H.264 9.3.3.1.1.9
fn flagged_8x8<S: Syntax, const PLANE: usize>(
    syntax: &mut S,
    pattern: Pattern,
    format: Format,
    around: &Around,
    weights: &QpWeights,
    levels: &mut Grid,
    sums: &mut Residual,
) {
    let replaced = |block: &Block| {
        let counts = !is_available(block) || uses_8x8_transform(block);
        let level = if format.old_x264 { pattern.intra } else { block.class == BlockClass::Pcm as u8 };
        (!counts).then_some(u8::from(level))
    };
    let mut lower = around.a;
    if lower.flags & LOWER_LEFT != 0 {
        (lower.class, lower.flags) = (around.a.split as u8, (around.a.split >> 8) as u8);
    }
    for (block, cells) in [(&around.a, [5, 10]), (&lower, [15, 20])] {
        if let Some(level) = replaced(block) {
            for cell in cells {
                levels[cell] = level;
            }
        }
    }
    if let Some(level) = replaced(&around.b) {
        levels[1..5].fill(level);
    }
    let weights = &weights.block_8x8[2 * PLANE + usize::from(!pattern.intra)];
    for quadrant in coded_quadrants(pattern.cbp) {
        let cell = LUMA_CELL[4 * quadrant];
        let neighbours = Some((levels[cell - 1], levels[cell - 5]));
        let flag = match PLANE {
            0 => syntax.block_8x8::<LUMA_8X8>(neighbours, weights, sums),
            1 => syntax.block_8x8::<CB_8X8>(neighbours, weights, sums),
            _ => syntax.block_8x8::<CR_8X8>(neighbours, weights, sums),
        };
        for offset in [0, 1, 5, 6] {
            levels[cell + offset] = flag;
        }
    }
}

/// Chroma of 4:2:0.
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
        let (a, b) = chroma_dc_flags(pattern, around, plane);
        let level = syntax.block::<CHROMA_DC>(a, b, &weights[1 + plane].chroma_dc[list + plane], sums);
        coded.dc |= u8::from(level != 0) << (1 + plane);
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

/// Chroma of 4:2:2: twice as high, with eight DC levels.
#[cold]
#[inline(never)]
fn chroma_422<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    around: &Around,
    weights: PlaneWeights<'_>,
    grids: &mut [Grid; 2],
    coded: &mut Coded,
    sums: &mut Residual,
) {
    let list = if pattern.intra { 1 } else { 4 };
    for plane in 0..2 {
        let (a, b) = chroma_dc_flags(pattern, around, plane);
        let weights = &weights[1 + plane].chroma_dc_422[list + plane];
        let level = syntax.block::<CHROMA_DC_422>(a, b, weights, sums);
        coded.dc |= u8::from(level != 0) << (1 + plane);
    }
    if pattern.cbp >> 5 == 0 {
        return;
    }
    for (plane, levels) in grids.iter_mut().enumerate() {
        let weights = &weights[1 + plane].block_4x4[list + plane];
        for cell in [6, 7, 11, 12, 16, 17, 21, 22] {
            levels[cell] = syntax.block::<CHROMA_AC>(levels[cell - 1], levels[cell - 5], weights, sums);
        }
    }
}

/// Chroma of 4:4:4: two more planes that are coded like luma.
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments)] // parts of the caller
fn chroma_444<S: Syntax>(
    syntax: &mut S,
    pattern: Pattern,
    format: Format,
    around: &Around,
    weights: PlaneWeights<'_>,
    grids: &mut [Grid; 2],
    coded: &mut Coded,
    sums: &mut Residual,
) {
    let [cb, cr] = grids;
    plane::<S, 1>(syntax, pattern, format, around, weights[1], cb, coded, sums);
    plane::<S, 2>(syntax, pattern, format, around, weights[2], cr, coded, sums);
}

/// coded_block_flag of the neighbours' DC blocks of a chroma plane.
#[inline(always)]
fn chroma_dc_flags(pattern: Pattern, around: &Around, plane: usize) -> (u8, u8) {
    let bit = 1 + plane;
    (
        dc_flag(&around.a, &around.left, bit, pattern.intra),
        dc_flag(&around.b, &around.above, bit, pattern.intra),
    )
}

/// coded_block_flag of a neighbour's DC block, as contexts see it (9.3.3.1.1.9).
fn dc_flag(neighbour: &Block, coded: &Coded, bit: usize, intra: bool) -> u8 {
    if is_available(neighbour) {
        coded.dc >> bit & 1
    } else {
        u8::from(intra)
    }
}
