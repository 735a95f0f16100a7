//! Macroblocks of one picture: prediction and residual (H.264 8.3, 8.4).

use std::collections::HashMap;

use ovbits::picture::{flags, Block, BlockClass, RefEntry, Structure};

use super::{
    decoder::Frame,
    geometry::{is_field, place},
    intra_modes::IntraModes,
    plane::{Lines, Plane},
    recorder::{Coded, Macroblock, Slice},
    residual::{Residual, Scaler},
};

/// One frame or field in the making.
pub struct PictureBuilder<'a> {
    pub coded: &'a Coded,
    /// Frames to refer to, by identity.
    pub frames: &'a HashMap<u32, Frame>,
    /// Samples of the frame that the picture is, or is a field of.
    pub planes: &'a mut [Plane; 3],
    /// The lines of the frame that belong to the picture.
    pub lines: Lines,
    pub modes: IntraModes,
    /// SP and SI are read as P and I, as FFmpeg does.
    pub plain: bool,
}

/// Motion of a 4x4 block in a list.
pub fn motion(coded: &Coded, block: &Block, list: usize, cell: usize) -> (i32, [i32; 2]) {
    let (ref_idx, mv) = if block.flags & flags::SPLIT != 0 {
        let split = &coded.picture.splits[block.split as usize];
        (split.ref_idx[list][cell / 8 * 2 + cell % 4 / 2], split.mv[list][cell])
    } else {
        (block.ref_idx[list], block.mv[list])
    };
    (ref_idx.into(), mv.map(i32::from))
}

/// The picture that a reference index of a macroblock means.
pub fn reference(coded: &Coded, address: usize, list: usize, ref_idx: i32) -> RefEntry {
    let block = &coded.picture.blocks[address];
    let entries = &coded.picture.slice_refs[usize::from(block.slice)].lists[list];
    let index = ref_idx as usize;
    if !(coded.picture.mbaff && is_field(block)) {
        return entries[index];
    }
    // H.264 8.4.2.1: fields by turns, that of the same parity first.
    let own = [Structure::Top, Structure::Bottom][address / coded.picture.mb_cols % 2];
    let structure = if index % 2 == 0 { own } else { own.opposite() };
    RefEntry { structure, ..entries[index / 2] }
}

impl PictureBuilder<'_> {
    pub fn slice(&self, block: &Block) -> &Slice {
        &self.coded.slices[&block.slice]
    }

    pub fn max(&self, slice: &Slice) -> [i32; 2] {
        [slice.sps.bit_depth_luma_minus8, slice.sps.bit_depth_chroma_minus8].map(|more| (256 << more) - 1)
    }

    /// Where the samples of a macroblock lie in a plane of the frame.
    pub fn position(&self, address: usize, plane: usize) -> (usize, Lines) {
        let (x, lines) = place(&self.coded.picture, address, if plane == 0 { 16 } else { 8 });
        (x, self.lines.among(lines))
    }

    /// Rebuilds one macroblock; false when a picture that it refers to never came.
    pub fn build(&mut self, address: usize) -> bool {
        let block = self.coded.picture.blocks[address];
        let coded = self.coded;
        let heard = coded.macroblocks.get(&address);
        if block.class == BlockClass::Pcm as u8 {
            self.pcm(address, &block, &heard.expect("samples").pcm);
            return true;
        }
        let blank = Macroblock::default();
        let heard = heard.filter(|_| block.class != BlockClass::Skip as u8).unwrap_or(&blank);
        let slice = &coded.slices[&block.slice];
        let scaler = Scaler::new(slice, &block);
        let residual = (!heard.blocks.is_empty()).then(|| scaler.residual(heard));
        let mut residual =
            residual.unwrap_or_else(|| Residual { luma: vec![0; 256], chroma: [vec![0; 64], vec![0; 64]] });
        if block.class == BlockClass::Intra as u8 {
            self.intra(address, &block, heard, &mut residual, &scaler);
            return true;
        }
        self.inter(address, &block, &residual)
    }

    fn pcm(&mut self, address: usize, block: &Block, bytes: &[u8]) {
        let sps = &self.slice(block).sps;
        let depths = [8 + sps.bit_depth_luma_minus8, 8 + sps.bit_depth_chroma_minus8].map(usize::from);
        let planes = if sps.chroma_array_type() == 1 { 3 } else { 1 };
        let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| i32::from(byte >> bit & 1)));
        for index in 0..planes {
            let size = if index == 0 { 16 } else { 8 };
            let (x, lines) = self.position(address, index);
            for place in 0..size * size {
                let depth = depths[usize::from(index > 0)];
                let value = bits.by_ref().take(depth).fold(0, |value, bit| value << 1 | bit);
                self.planes[index].set(lines, x + place % size, place / size, value);
            }
        }
    }

    /// Writes a square of prediction and residual; the residual is that of the whole macroblock.
    #[allow(clippy::too_many_arguments)] // what, where, and its bound
    pub fn put(
        &mut self,
        address: usize,
        plane: usize,
        (left, top): (usize, usize),
        size: usize,
        predicted: &[i32],
        residual: &[i32],
        max: i32,
    ) {
        let (x, lines) = self.position(address, plane);
        let width = if plane == 0 { 16 } else { 8 };
        for (place, value) in predicted.iter().enumerate() {
            let (column, row) = (left + place % size, top + place / size);
            let value = (value + residual[row * width + column]).clamp(0, max);
            self.planes[plane].set(lines, x + column, row, value);
        }
    }
}
