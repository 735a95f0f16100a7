//! Units of any size on the grid of 16x16 cells.

use std::ops::Range;

use super::{
    coding_unit::{part_mode, Unit, UnitKind},
    motion::{Motion, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::picture::{flags, Block, BlockClass, Split, MODES_DIFFER};

/// A cell that several prediction blocks share.
#[derive(Clone, Copy, Debug)]
struct SharedCell {
    /// By 4x4 block in raster order.
    motion: [Motion; 16],
    /// 4x4 blocks that are inside the picture.
    covered: u16,
    /// 8x8 units by kind; all zero when the unit is larger than the cell.
    skipped: u8,
    inter: u8,
    intra: u8,
    pcm: u8,
}

impl SharedCell {
    const EMPTY: Self =
        Self { motion: [Motion::NONE; 16], covered: 0, skipped: 0, inter: 0, intra: 0, pcm: 0 };

    /// Skip when all of it is, PCM or intra when at least half of it is, else inter.
    fn class(&self) -> BlockClass {
        let units = self.skipped + self.inter + self.intra + self.pcm;
        if self.pcm == units {
            BlockClass::Pcm
        } else if 2 * (self.intra + self.pcm) >= units {
            BlockClass::Intra
        } else if self.skipped == units {
            BlockClass::Skip
        } else {
            BlockClass::Inter
        }
    }

    fn has_small_units(&self) -> bool {
        self.skipped + self.inter + self.intra + self.pcm > 0
    }
}

/// Shared cells of the current coding tree block.
#[derive(Clone, Debug)]
pub struct Cells {
    shared: [SharedCell; 16],
    /// Which of them are in use.
    used: u16,
}

impl Default for Cells {
    fn default() -> Self {
        Self { shared: [SharedCell::EMPTY; 16], used: 0 }
    }
}

impl Cells {
    /// Forgets the tree block in which a damaged segment broke off.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    fn cell(&mut self, index: usize) -> &mut SharedCell {
        let index = index & 15;
        if self.used >> index & 1 == 0 {
            self.used |= 1 << index;
            self.shared[index] = SharedCell::EMPTY;
        }
        &mut self.shared[index]
    }
}

impl<K: Sink> SliceParser<'_, K> {
    /// Cells along the side of a square, and the index of the first: clipped to the picture.
    #[inline(always)]
    fn cells_of(&self, x: u32, y: u32, log2_size: u32) -> (usize, usize, usize) {
        let first = (y >> 4) as usize * self.cell_cols + (x >> 4) as usize;
        if log2_size <= 4 {
            return (first, 1, 1);
        }
        let side = 1 << (log2_size - 4);
        let columns = side.min(self.cell_cols - (x >> 4) as usize);
        let rows = side.min(self.blocks.len() / self.cell_cols - (y >> 4) as usize);
        (first, columns, rows)
    }

    #[inline(always)]
    fn for_cells(&mut self, x: u32, y: u32, log2_size: u32, mut f: impl FnMut(&mut Block)) {
        if log2_size <= 4 {
            let cell = (y >> 4) as usize * self.cell_cols + (x >> 4) as usize;
            self.blocks.get_mut(cell).into_iter().for_each(f);
            return;
        }
        let (first, columns, rows) = self.cells_of(x, y, log2_size);
        for row in 0..rows {
            let start = first + row * self.cell_cols;
            self.blocks[start..start + columns].iter_mut().for_each(&mut f);
        }
    }

    /// Begins a unit: whatever is counted from now on belongs to its cells.
    pub(super) fn begin_cells(&mut self, unit: &Unit) {
        if unit.log2_size == 3 && (unit.x | unit.y) & 8 != 0 {
            return;
        }
        let fresh = Block { ref_idx: [-1; 2], slice: self.input.slice_index, ..Block::default() };
        self.for_cells(unit.x, unit.y, unit.log2_size, |block| *block = fresh);
    }

    /// Ends a unit.
    pub(super) fn end_cells(&mut self, unit: &Unit) {
        let class = match unit.kind {
            UnitKind::Skip => BlockClass::Skip,
            UnitKind::Inter => BlockClass::Inter,
            UnitKind::Intra if unit.pcm => BlockClass::Pcm,
            UnitKind::Intra => BlockClass::Intra,
        };
        let qp = self.quantiser.qp as i8;
        let mb_type = (unit.log2_size << 4) as u8 | unit.part_mode;
        if unit.log2_size == 3 {
            let cell = self.state.cells.cell(self.local_cell(unit.x, unit.y));
            match class {
                BlockClass::Skip => cell.skipped += 1,
                BlockClass::Intra => cell.intra += 1,
                BlockClass::Pcm => cell.pcm += 1,
                _ => cell.inter += 1,
            }
            if matches!(unit.kind, UnitKind::Intra) {
                cell.covered |= 0x33 << ((unit.x >> 2 & 3) + (unit.y & 12));
            }
        }
        if class == BlockClass::Intra {
            self.put_intra_modes(unit);
        }
        if unit.log2_size == 3 && (unit.x | unit.y) & 8 != 0 {
            return;
        }
        let class = class as u8;
        self.for_cells(unit.x, unit.y, unit.log2_size, |block| {
            (block.class, block.qp, block.mb_type) = (class, qp, mb_type);
        });
    }

    /// Modes of intra prediction of a unit, by 8x8 quadrants of its cells.
    fn put_intra_modes(&mut self, unit: &Unit) {
        let whole = unit.part_mode != part_mode::NXN;
        let coded = |part: usize| u32::from(unit.luma_modes[part]) + 1;
        if unit.log2_size == 3 {
            let same = whole || unit.luma_modes == [unit.luma_modes[0]; 4];
            let mode = if same { coded(0) } else { MODES_DIFFER.into() };
            let quadrant = (unit.x >> 3 & 1) | (unit.y >> 2 & 2);
            self.for_cells(unit.x, unit.y, 3, |block| block.split |= mode << (8 * quadrant));
        } else if whole {
            self.for_cells(unit.x, unit.y, unit.log2_size, |block| block.split = coded(0) * 0x0101_0101);
        } else if unit.log2_size == 4 {
            let modes = (0..4).fold(0, |modes, part| modes | coded(part) << (8 * part));
            self.for_cells(unit.x, unit.y, 4, |block| block.split = modes);
        } else {
            let half = 1 << (unit.log2_size - 1);
            for part in 0..4 {
                let (x, y) = (unit.x + (part & 1) * half, unit.y + (part >> 1) * half);
                let modes = coded(part as usize) * 0x0101_0101;
                self.for_cells(x, y, unit.log2_size - 1, |block| block.split = modes);
            }
        }
    }

    /// Number of a cell inside the tree block.
    fn local_cell(&self, x: u32, y: u32) -> usize {
        ((y - self.ctb.y) >> 4 << 2 | (x - self.ctb.x) >> 4) as usize
    }

    /// Motion of a prediction block: into whole cells at once, into shared ones by 4x4 blocks.
    pub(super) fn put_cell_motion(&mut self, block: &PredictionBlock, motion: Motion) {
        let PredictionBlock { x, y, width, height, .. } = *block;
        if (x | y | width | height) & 15 == 0 {
            let first = (y >> 4) as usize * self.cell_cols + (x >> 4) as usize;
            for row in 0..(height >> 4) as usize {
                let start = first + row * self.cell_cols;
                for cell in &mut self.blocks[start..start + (width >> 4) as usize] {
                    (cell.mv, cell.ref_idx) = (motion.mv, motion.ref_idx);
                }
            }
            return;
        }
        let (right, bottom) = (x + width, y + height);
        for cell_y in (y >> 4)..=(bottom - 1) >> 4 {
            for cell_x in (x >> 4)..=(right - 1) >> 4 {
                let columns = x.max(cell_x << 4)..right.min((cell_x + 1) << 4);
                let rows = y.max(cell_y << 4)..bottom.min((cell_y + 1) << 4);
                self.put_shared_motion(columns, rows, motion);
            }
        }
    }

    /// Motion of a part of a cell (in luma samples of the picture).
    fn put_shared_motion(&mut self, columns: Range<u32>, rows: Range<u32>, motion: Motion) {
        let shared = self.state.cells.cell(self.local_cell(columns.start, rows.start));
        let (first, count) = ((columns.start >> 2 & 3) as usize, (columns.len() >> 2) & 7);
        // A row of blocks, then the same further down.
        let mask = ((1_u16 << count) - 1) << first;
        for row in (rows.start >> 2 & 3)..(rows.start >> 2 & 3) + (rows.len() as u32 >> 2) {
            let start = 4 * row as usize;
            shared.motion[start + first..start + first + count].fill(motion);
            shared.covered |= mask << start;
        }
    }

    /// Ends a coding tree block: shared cells get their class and their motion.
    pub(super) fn finish_cells(&mut self) {
        let mut left = std::mem::take(&mut self.state.cells.used);
        while left != 0 {
            let local = left.trailing_zeros();
            left &= left - 1;
            let cell = &self.state.cells.shared[local as usize];
            let column = (self.ctb.x >> 4) as usize + (local & 3) as usize;
            let row = (self.ctb.y >> 4) as usize + (local >> 2) as usize;
            let Some(block) = self.blocks.get_mut(row * self.cell_cols + column) else { continue };
            if cell.has_small_units() {
                block.class = cell.class() as u8;
            }
            store_motion(cell, block, self.splits);
        }
    }

    /// Attributes the bits since the last call to a unit of several cells; smaller ones are charged at their end.
    #[inline]
    pub(super) fn charge_part(&mut self, unit: &Unit, x: u32, y: u32, log2_size: u32) {
        if unit.log2_size > 4 {
            self.charge(x, y, log2_size);
        }
    }

    /// Attributes the bits since the last call to the cells of a square.
    pub(super) fn charge(&mut self, x: u32, y: u32, log2_size: u32) {
        let position = self.engine.position();
        let bits = position.wrapping_sub(self.charged) as u32;
        self.charged = position;
        if log2_size <= 4 {
            let cell = (y >> 4) as usize * self.cell_cols + (x >> 4) as usize;
            if let Some(block) = self.blocks.get_mut(cell) {
                block.bit_cost = block.bit_cost.wrapping_add(bits);
            }
            return;
        }
        let (_, columns, rows) = self.cells_of(x, y, log2_size);
        // The first cells take what does not divide.
        let cells = (columns * rows) as u32;
        let (share, mut rest) = (bits / cells, bits % cells);
        self.for_cells(x, y, log2_size, |block| {
            block.bit_cost = block.bit_cost.wrapping_add(share + u32::from(rest > 0));
            rest = rest.saturating_sub(1);
        });
    }

    /// Attributes the residual of a transform unit to its cells.
    pub(super) fn add_residual(&mut self, x: u32, y: u32, log2_size: u32, sums: &Sums) {
        // cbf of luma by quadrant, of chroma for the whole.
        let luma = match log2_size {
            2 | 3 => 1 << ((x >> 3 & 1) | (y >> 2 & 2)),
            _ => 15,
        };
        let cbp = if sums.luma { luma } else { 0 }
            | u16::from(sums.chroma[0]) << 4
            | u16::from(sums.chroma[1]) << 5;
        if log2_size <= 4 {
            let cell = (y >> 4) as usize * self.cell_cols + (x >> 4) as usize;
            if let Some(block) = self.blocks.get_mut(cell) {
                block.residual_energy += sums.energy;
                block.coefficients = block.coefficients.saturating_add(sums.coefficients as u16);
                block.cbp |= cbp;
            }
            return;
        }
        let (_, columns, rows) = self.cells_of(x, y, log2_size);
        let cells = (columns * rows) as u32;
        let energy = sums.energy / cells as f32;
        let (share, mut rest) = (sums.coefficients / cells, sums.coefficients % cells);
        self.for_cells(x, y, log2_size, |block| {
            block.residual_energy += energy;
            block.coefficients = block.coefficients.saturating_add((share + u32::from(rest > 0)) as u16);
            rest = rest.saturating_sub(1);
            block.cbp |= cbp;
        });
    }
}

/// Sums over the residual of a transform unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Squared sample units.
    pub energy: f32,
    /// Non-zero levels.
    pub coefficients: u32,
    /// cbf_luma
    pub luma: bool,
    /// cbf_cb, cbf_cr
    pub chroma: [bool; 2],
}

fn store_motion(cell: &SharedCell, block: &mut Block, splits: &mut Vec<Split>) {
    let mut motion = cell.motion;
    for (index, one) in motion.iter_mut().enumerate() {
        // Outside of the picture: as the first block, so that a picture border divides no cell.
        if cell.covered >> index & 1 == 0 {
            *one = cell.motion[0];
        }
    }
    let first = motion[0];
    (block.mv, block.ref_idx) = (first.mv, first.ref_idx);
    if motion.iter().all(|one| *one == first) {
        return;
    }
    block.flags |= flags::SPLIT;
    block.split = splits.len() as u32;
    let mut split = Split { mv: [[[0; 2]; 16]; 2], ref_idx: [[-1; 4]; 2] };
    let mut fine = false;
    for (index, one) in motion.iter().enumerate() {
        let quadrant = (index >> 3) << 1 | index >> 1 & 1;
        let corner = (index & 8) | (index & 2);
        for list in 0..2 {
            split.mv[list][index] = one.mv[list];
            split.ref_idx[list][quadrant] = motion[corner].ref_idx[list];
        }
        fine |= one.ref_idx != motion[corner].ref_idx;
    }
    splits.push(split);
    if fine {
        // 8x4, 4x8 and asymmetric blocks: indices differ inside a quadrant.
        block.flags |= flags::FINE_REFERENCES;
        let mut indices = Split { mv: [[[0; 2]; 16]; 2], ref_idx: split.ref_idx };
        for (index, one) in motion.iter().enumerate() {
            for list in 0..2 {
                indices.mv[list][index] = [i16::from(one.ref_idx[list]), 0];
            }
        }
        splits.push(indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(x: i16, ref_idx: i8) -> Motion {
        Motion { mv: [[x, 0], [0; 2]], ref_idx: [ref_idx, -1] }
    }

    #[test]
    fn equal_motion_makes_no_split() {
        let mut cell = SharedCell { motion: [moved(4, 0); 16], covered: 0x00ff, ..SharedCell::EMPTY };
        cell.motion[8..].fill(Motion::NONE);
        let (mut block, mut splits) = (Block::default(), Vec::new());
        store_motion(&cell, &mut block, &mut splits);
        assert_eq!((block.mv[0], block.ref_idx, block.flags, splits.len()), ([4, 0], [0, -1], 0, 0));
    }

    #[test]
    fn indices_that_differ_inside_a_quadrant_have_a_record_of_their_own() {
        let mut cell = SharedCell { motion: [moved(4, 0); 16], covered: 0xffff, ..SharedCell::EMPTY };
        cell.motion[4..8].fill(moved(-4, 2));
        let (mut block, mut splits) = (Block::default(), Vec::new());
        store_motion(&cell, &mut block, &mut splits);
        assert_eq!(block.flags, flags::SPLIT | flags::FINE_REFERENCES);
        assert_eq!((splits[0].ref_idx[0], splits[0].mv[0][5]), ([0; 4], [-4, 0]));
        assert_eq!((splits[1].mv[0][5], splits[1].mv[0][3], splits[1].mv[1][5]), ([2, 0], [0, 0], [-1, 0]));
    }

    #[test]
    fn classes_of_mixed_cells() {
        let class = |skipped, inter, intra, pcm| {
            SharedCell { skipped, inter, intra, pcm, ..SharedCell::EMPTY }.class()
        };
        assert_eq!(class(4, 0, 0, 0), BlockClass::Skip);
        assert_eq!(class(3, 1, 0, 0), BlockClass::Inter);
        assert_eq!(class(3, 0, 1, 0), BlockClass::Inter);
        assert_eq!(class(2, 0, 1, 1), BlockClass::Intra);
        assert_eq!(class(0, 0, 0, 4), BlockClass::Pcm);
    }
}
