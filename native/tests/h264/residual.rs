//! Residual of a macroblock from its levels (H.264 8.5).

use ovbits::{
    h264::syntax::block_kind::{CHROMA_AC, CHROMA_DC, LUMA, LUMA_8X8, LUMA_AC, LUMA_DC},
    picture::{flags, Block},
};

use super::{
    geometry::{is_field, is_intra},
    intra_modes::cell,
    recorder::{Macroblock, ResidualBlock, Slice},
    scaling::{chroma_qp, position_4x4, position_8x8, LevelScale},
    transform::{inverse_4x4, inverse_8x8, inverse_chroma_dc, inverse_luma_dc},
};

/// Differences to the prediction, row by row.
pub struct Residual {
    pub luma: Vec<i32>,
    /// Cb and Cr of 4:2:0.
    pub chroma: [Vec<i32>; 2],
}

/// Everything that the levels of a macroblock are scaled with.
pub struct Scaler<'a> {
    slice: &'a Slice,
    block: &'a Block,
    /// Field scans.
    field: bool,
    /// TransformBypassModeFlag
    pub bypass: bool,
    qp: i32,
}

impl<'a> Scaler<'a> {
    pub fn new(slice: &'a Slice, block: &'a Block) -> Self {
        let qp = i32::from(block.qp) + i32::from(slice.sps.qp_bd_offset_luma());
        let field = is_field(block) || slice.header.structure.is_field();
        let bypass = slice.sps.qpprime_y_zero_transform_bypass_flag && qp == 0;
        Self { slice, block, field, bypass, qp }
    }

    /// The blocks in the order of residual() (7.3.5.3).
    pub fn residual(&self, heard: &Macroblock) -> Residual {
        let mut blocks = heard.blocks.iter();
        let luma = if self.block.flags & flags::INTRA_16X16 != 0 {
            self.intra_16x16(&mut blocks)
        } else {
            self.luma(&mut blocks)
        };
        let mut chroma = [vec![0; 64], vec![0; 64]];
        if self.slice.sps.chroma_array_type() == 1 && self.block.cbp >> 4 != 0 {
            self.chroma(&mut blocks, &mut chroma);
            assert!(blocks.next().is_none());
        }
        Residual { luma, chroma }
    }

    fn list_4x4(&self, plane: usize) -> LevelScale {
        let list = plane + if is_intra(self.block) { 0 } else { 3 };
        LevelScale::of_4x4(&self.slice.pps.scaling_list_4x4[list])
    }

    /// A 4x4 block in raster order, without transform.
    fn levels_4x4(&self, block: &ResidualBlock) -> Vec<i32> {
        let mut levels = vec![0; 16];
        for &(index, level) in &block.levels {
            levels[position_4x4(index, self.field)] = level;
        }
        levels
    }

    /// A 4x4 block with all its coefficients, or with a DC that is scaled already.
    fn residual_4x4(&self, mut levels: Vec<i32>, dc: Option<i32>, scale: &LevelScale, qp: i32) -> Vec<i32> {
        if !self.bypass {
            for (position, level) in levels.iter_mut().enumerate() {
                *level = scale.coefficient(*level, qp, position);
            }
        }
        if let Some(dc) = dc {
            levels[0] = dc;
        }
        if self.bypass {
            levels
        } else {
            inverse_4x4(&levels)
        }
    }

    /// Levels of the 4x4 luma blocks by raster cell, without scaling.
    pub fn luma_levels(&self, heard: &Macroblock) -> Vec<Vec<i32>> {
        let mut blocks = heard.blocks.iter();
        let mut levels = vec![vec![0; 16]; 16];
        for index in (0..16).filter(|index| self.block.cbp >> (index / 4) & 1 != 0) {
            let (column, row) = cell(index);
            levels[4 * row + column] = self.levels_4x4(next(&mut blocks, LUMA));
        }
        levels
    }

    // H.264 8.5.2
    fn intra_16x16<'b>(&self, blocks: &mut impl Iterator<Item = &'b ResidualBlock>) -> Vec<i32> {
        let scale = self.list_4x4(0);
        let mut dc = self.levels_4x4(next(blocks, LUMA_DC));
        if !self.bypass {
            dc = inverse_luma_dc(&dc).into_iter().map(|value| scale.luma_dc(value, self.qp)).collect();
        }
        let mut luma = vec![0; 256];
        for index in 0..16 {
            let (column, row) = cell(index);
            let levels = match self.block.cbp & 15 {
                0 => vec![0; 16],
                _ => self.levels_4x4(next(blocks, LUMA_AC)),
            };
            let part = self.residual_4x4(levels, Some(dc[4 * row + column]), &scale, self.qp);
            put(&mut luma, 16, (4 * column, 4 * row), &part, 4);
        }
        luma
    }

    // H.264 8.5.1, 8.5.3
    fn luma<'b>(&self, blocks: &mut impl Iterator<Item = &'b ResidualBlock>) -> Vec<i32> {
        let mut luma = vec![0; 256];
        let scale = self.list_4x4(0);
        for quadrant in (0..4).filter(|quadrant| self.block.cbp >> quadrant & 1 != 0) {
            if self.block.flags & flags::TRANSFORM_8X8 != 0 {
                let part = self.residual_8x8(blocks);
                put(&mut luma, 16, (quadrant % 2 * 8, quadrant / 2 * 8), &part, 8);
                continue;
            }
            for index in 4 * quadrant..4 * quadrant + 4 {
                let (column, row) = cell(index);
                let levels = self.levels_4x4(next(blocks, LUMA));
                let part = self.residual_4x4(levels, None, &scale, self.qp);
                put(&mut luma, 16, (4 * column, 4 * row), &part, 4);
            }
        }
        luma
    }

    /// One block of 64 levels, or four interleaved ones with CAVLC (7.3.5.3.2).
    fn residual_8x8<'b>(&self, blocks: &mut impl Iterator<Item = &'b ResidualBlock>) -> Vec<i32> {
        let list = usize::from(!is_intra(self.block));
        let scale = LevelScale::of_8x8(&self.slice.pps.scaling_list_8x8.0[list]);
        let mut levels = vec![0; 64];
        let parts = if self.slice.pps.entropy_coding_mode_flag { 1 } else { 4 };
        for part in 0..parts {
            let kind = if parts == 1 { LUMA_8X8 } else { LUMA };
            for &(index, level) in &next(blocks, kind).levels {
                levels[position_8x8(parts * index + part, self.field)] = level;
            }
        }
        if self.bypass {
            return levels;
        }
        let scaled: Vec<i32> = levels
            .iter()
            .enumerate()
            .map(|(position, &level)| scale.coefficient(level, self.qp, position))
            .collect();
        inverse_8x8(&scaled)
    }

    // H.264 8.5.4
    fn chroma<'b>(&self, blocks: &mut impl Iterator<Item = &'b ResidualBlock>, chroma: &mut [Vec<i32>; 2]) {
        let bd_offset = 6 * i32::from(self.slice.sps.bit_depth_chroma_minus8);
        let qps = [0, 1]
            .map(|plane| chroma_qp(&self.slice.pps, plane, self.block.qp.into(), bd_offset) + bd_offset);
        let mut dcs = [[0; 4]; 2];
        for (plane, dc) in dcs.iter_mut().enumerate() {
            for &(index, level) in &next(blocks, CHROMA_DC).levels {
                dc[index] = level;
            }
            if !self.bypass {
                let scale = self.list_4x4(1 + plane);
                *dc = inverse_chroma_dc(*dc).map(|value| scale.chroma_dc(value, qps[plane]));
            }
        }
        for (plane, samples) in chroma.iter_mut().enumerate() {
            let scale = self.list_4x4(1 + plane);
            for (index, &dc) in dcs[plane].iter().enumerate() {
                let levels = match self.block.cbp >> 5 {
                    0 => vec![0; 16],
                    _ => self.levels_4x4(next(blocks, CHROMA_AC)),
                };
                let part = self.residual_4x4(levels, Some(dc), &scale, qps[plane]);
                put(samples, 8, (index % 2 * 4, index / 2 * 4), &part, 4);
            }
        }
    }
}

fn next<'b>(blocks: &mut impl Iterator<Item = &'b ResidualBlock>, kind: usize) -> &'b ResidualBlock {
    let block = blocks.next().expect("a residual block");
    assert_eq!(block.kind, kind);
    block
}

/// Writes a square of `size` into rows of `width`.
fn put(samples: &mut [i32], width: usize, (x, y): (usize, usize), square: &[i32], size: usize) {
    for (row, values) in square.chunks(size).enumerate() {
        let first = (y + row) * width + x;
        samples[first..first + size].copy_from_slice(values);
    }
}

/// Lossless blocks predicted downwards or to the right: each sample differs from the one before (8.5.15).
pub fn accumulate(samples: &mut [i32], width: usize, (x, y): (usize, usize), size: usize, down: bool) {
    for row in y..y + size {
        for column in x..x + size {
            let before = match (down, row > y, column > x) {
                (true, true, _) => samples[(row - 1) * width + column],
                (false, _, true) => samples[row * width + column - 1],
                _ => 0,
            };
            samples[row * width + column] += before;
        }
    }
}
