//! macroblock_layer() (H.264 7.3.5): everything about a macroblock but its Inter motion.

use super::{
    direct::Direct,
    energy::{chroma_qp, EnergyWeights},
    mb_types::{intra_16x16_cbp, B_INTRA, I_PCM, P_INTRA},
    mv_prediction::{Candidate, MotionField, Surroundings},
    neighbours::{is_available, is_skipped, Around, Coded, CodedChroma, Grid, Place},
    pairs::Pairs,
    residual::{residual, Format, Pattern},
    sink::Sink,
    slice_data::SliceInput,
    syntax::{Residual, Syntax},
};
use crate::{
    error::{Error, Result},
    picture::{flags, Block, BlockClass, Split},
    unit::SliceType,
};

/// coded_block_pattern that stands for I_PCM: everything coded.
const PCM_CBP: u8 = 0x2f;

/// Parses the macroblocks of one slice, in order; `MBAFF` tells whether they come in pairs.
pub struct SliceParser<'a, S, const MBAFF: bool> {
    /// Reader of syntax elements.
    pub syntax: S,
    /// The slice.
    pub input: &'a SliceInput<'a>,
    /// Direct prediction of B slices.
    pub direct: Direct<'a>,
    /// Energy per squared level.
    pub weights: &'a mut EnergyWeights,
    /// Macroblocks of the picture.
    pub blocks: &'a mut [Block],
    /// Split records of the picture.
    pub splits: &'a mut Vec<Split>,
    /// Counts the macroblocks that were read.
    pub macroblocks_read: &'a mut usize,
    /// Per column, the last macroblock that was not skipped; in pairs, two per column.
    pub columns: &'a mut [Coded],
    /// The same for chroma; empty unless 4:2:2 or 4:4:4.
    pub chroma_columns: &'a mut [CodedChroma],
    /// Chroma blocks of the current macroblock in 4:2:2 and 4:4:4.
    pub grids: [Grid; 2],
    /// Address of the first macroblock of the slice, or number of its first pair.
    pub first: usize,
    /// Current macroblock.
    pub place: Place,
    /// The pair around it.
    pub pairs: Pairs<'a>,
    /// Motion of the current macroblock while its partitions are read.
    pub motion: Split,
    /// Addresses of macroblocks whose residual is lost (data partitioning).
    pub lost: Vec<usize>,
    /// QP'_Y of the last macroblock.
    pub qp: u8,
    /// QpBdOffset_Y.
    pub qp_bd_offset: u8,
    /// Chroma format.
    pub format: Format,
    /// Size of the samples of I_PCM.
    pub pcm_bytes: usize,
    /// QP'_C of Cb and Cr that go with `qp`.
    pub chroma_qp: [u8; 2],
    /// A skipped macroblock without its motion and cost.
    pub skipped: Block,
    /// Bits read up to the end of the last macroblock.
    pub position: u64,
}

impl<S: Syntax, const MBAFF: bool> SliceParser<'_, S, MBAFF> {
    /// Number of macroblocks of the picture.
    pub fn mb_count(&self) -> usize {
        self.blocks.len()
    }

    /// Motion of the macroblocks around a place.
    #[inline(always)]
    pub fn field_at(&self, place: Place) -> MotionField<'_> {
        MotionField { blocks: self.blocks, splits: self.splits, place, columns: self.columns.len() }
    }

    /// Motion around the current macroblock: A, B, C (or D).
    #[inline(always)]
    pub fn around_macroblock(&self, list: usize) -> [Candidate; 3] {
        if MBAFF {
            self.pair_field().around_macroblock(list)
        } else {
            self.field_at(self.place).around_macroblock(list)
        }
    }

    /// Motion around a partition of the current macroblock.
    #[inline(always)]
    pub fn around_partition(&self, list: usize, x: usize, y: usize, width: usize) -> [Candidate; 3] {
        if MBAFF {
            self.pair_field().around_partition(&self.motion, list, x, y, width)
        } else {
            self.field_at(self.place).around_partition(&self.motion, list, x, y, width)
        }
    }

    /// Index of the current macroblock in what is kept per column.
    #[inline(always)]
    fn slot(&self) -> usize {
        if MBAFF {
            2 * self.place.x + usize::from(self.pairs.place.bottom)
        } else {
            self.place.x
        }
    }

    /// Neighbours of the current macroblock.
    #[inline(always)]
    fn around(&self) -> Around {
        if MBAFF {
            return self.around_in_pair();
        }
        let mut around = Around::default();
        let Place { address, x, a, b, .. } = self.place;
        if a {
            around.a = self.block_at(address.wrapping_sub(1));
            if !is_skipped(&around.a) {
                around.left = self.columns.get(x.wrapping_sub(1)).copied().unwrap_or_default();
            }
        }
        if b {
            around.b = self.block_at(address.wrapping_sub(self.columns.len()));
            if !is_skipped(&around.b) {
                around.above = self.columns.get(x).copied().unwrap_or_default();
            }
        }
        around
    }

    /// The macroblock at an address; unknown where none is.
    #[inline(always)]
    pub fn block_at(&self, address: usize) -> Block {
        self.blocks.get(address).copied().unwrap_or_default()
    }

    /// Parses the current macroblock, which is not skipped.
    #[inline(never)]
    pub fn macroblock(&mut self) -> Result<()> {
        let around = self.around();
        self.syntax.sink().macroblock(self.place.address);
        let slice_type = self.input.header.slice_type;
        let mb_type = match self.input.header.is_switching && slice_type == SliceType::I {
            false => self.syntax.mb_type(slice_type, &around),
            true => self.syntax.si_mb_type(),
        };
        let inter_types = match slice_type {
            SliceType::I => 0,
            SliceType::P => P_INTRA,
            SliceType::B => B_INTRA,
        };
        let mut coded = Coded::default();
        let mut block = match mb_type.checked_sub(inter_types) {
            None => self.inter(mb_type, &around, &mut coded),
            Some(I_PCM) => self.pcm(&mut coded),
            Some(intra_type) => self.intra(intra_type, &around, &mut coded),
        };
        block.mb_type = mb_type;
        block.slice = self.skipped.slice;
        if MBAFF && self.pairs.place.field {
            block.flags |= flags::FIELD;
        }
        if let Some(element) = self.syntax.failure() {
            return Err(self.invalid(element));
        }
        if self.syntax.is_exhausted() {
            return Err(self.invalid("macroblock_layer"));
        }
        let slot = self.slot();
        if let Some(column) = self.columns.get_mut(slot) {
            *column = coded;
        }
        self.store(block, self.syntax.position());
        Ok(())
    }

    /// The slice breaks the specification at `element`.
    #[cold]
    pub fn invalid(&self, element: &'static str) -> Error {
        Error::invalid(element, self.syntax.position())
    }

    /// Writes the current macroblock, which ends at `position` in the stream, to the picture.
    #[inline(always)]
    pub fn store(&mut self, block: Block, position: u64) {
        let split = if block.flags & flags::SPLIT != 0 { self.store_split() } else { 0 };
        self.store_at(self.place.address, Block { split, ..block }, position);
    }

    #[inline(always)]
    pub fn store_at(&mut self, address: usize, block: Block, position: u64) {
        let bit_cost = position.wrapping_sub(self.position) as u32;
        self.position = position;
        *self.macroblocks_read = self.macroblocks_read.wrapping_add(1);
        if let Some(slot) = self.blocks.get_mut(address) {
            *slot = Block { bit_cost, ..block };
        }
    }

    /// I_PCM. Its QP is that of its deblocking, 0 (8.7.2.2); QP_Y goes on after it.
    fn pcm(&mut self, coded: &mut Coded) -> Block {
        if S::PARTITIONED {
            self.syntax.begin_residual(true);
        }
        self.syntax.pcm_samples(self.pcm_bytes);
        if S::PARTITIONED && self.syntax.end_residual() {
            self.lost.push(self.place.address);
        }
        self.syntax.no_mb_qp_delta();
        coded.right = [S::PCM_LEVEL; 8];
        coded.bottom = [S::PCM_LEVEL; 8];
        self.grids = [[S::PCM_LEVEL; 25]; 2];
        self.end_chroma();
        coded.dc = 7;
        Block { class: BlockClass::Pcm as u8, ref_idx: [-1; 2], cbp: u16::from(PCM_CBP), ..Block::default() }
    }

    /// I_NxN (0) and I_16x16 (1..=24).
    fn intra(&mut self, intra_type: u8, around: &Around, coded: &mut Coded) -> Block {
        let intra_16x16 = intra_type != 0;
        let mut transform_8x8 = false;
        if !intra_16x16 {
            transform_8x8 =
                self.input.pps.transform_8x8_mode_flag && self.syntax.transform_size_8x8_flag(around);
            self.syntax.skip_intra_pred_modes(if transform_8x8 { 4 } else { 16 });
        }
        if self.has_chroma_part() {
            let mode = self.syntax.intra_chroma_pred_mode(around);
            self.syntax.sink().intra_chroma_mode(mode);
            coded.chroma_mode = mode != 0;
        }
        let cbp = if intra_16x16 {
            intra_16x16_cbp(intra_type)
        } else {
            self.syntax.coded_block_pattern(true, self.has_chroma_part(), around)
        };
        let flags = if intra_16x16 { flags::INTRA_16X16 } else { 0 };
        let block = Block { class: BlockClass::Intra as u8, ref_idx: [-1; 2], flags, ..Block::default() };
        self.with_residual(block, Pattern { intra_16x16, intra: true, cbp, transform_8x8 }, around, coded)
    }

    /// P and B macroblocks that are not skipped.
    fn inter(&mut self, mb_type: u8, around: &Around, coded: &mut Coded) -> Block {
        let mut block = Block { class: BlockClass::Inter as u8, ..Block::default() };
        let allows_8x8 = self.inter_motion(mb_type, around, coded, &mut block);
        let cbp = self.syntax.coded_block_pattern(false, self.has_chroma_part(), around);
        let transform_8x8 = cbp & 15 != 0
            && allows_8x8
            && self.input.pps.transform_8x8_mode_flag
            && self.syntax.transform_size_8x8_flag(around);
        let pattern = Pattern { intra_16x16: false, intra: false, cbp, transform_8x8 };
        self.with_residual(block, pattern, around, coded)
    }

    /// mb_qp_delta and residual().
    #[inline(always)]
    fn with_residual(
        &mut self,
        mut block: Block,
        pattern: Pattern,
        around: &Around,
        coded: &mut Coded,
    ) -> Block {
        let mut sums = Residual::default();
        let wide_chroma = self.format.chroma_array_type >= 2;
        if wide_chroma {
            self.begin_chroma(around, S::unavailable_level(pattern.intra));
        }
        if pattern.cbp != 0 || pattern.intra_16x16 {
            let delta = self.syntax.mb_qp_delta(52 + self.qp_bd_offset);
            if delta != 0 {
                self.change_qp(delta);
            }
            let weights = if self.input.want_energy {
                self.weights.of_macroblock(self.qp, self.chroma_qp)
            } else {
                [EnergyWeights::none(); 3]
            };
            let blank;
            let mut around = around;
            if S::PARTITIONED && self.syntax.begin_residual(pattern.intra) {
                blank = around.without_inter();
                around = &blank;
            }
            sums = residual(&mut self.syntax, pattern, self.format, around, weights, &mut self.grids, coded);
            if S::PARTITIONED && self.syntax.end_residual() {
                self.lost.push(self.place.address);
            }
        } else {
            self.syntax.no_mb_qp_delta();
        }
        if wide_chroma {
            self.end_chroma();
        }
        if pattern.transform_8x8 {
            block.flags |= flags::TRANSFORM_8X8;
        }
        block.residual_energy = sums.energy;
        block.coefficients = sums.coefficients as u16;
        block.cbp = u16::from(pattern.cbp);
        block.qp = self.skipped.qp;
        block
    }

    /// Chroma of 4:2:2 and 4:4:4 before the residual is read.
    #[cold]
    fn begin_chroma(&mut self, around: &Around, unavailable: u8) {
        if MBAFF {
            let (left, above) = self.chroma_in_pair();
            let mut around = *around;
            // Those that were skipped are blank already.
            for neighbour in [&mut around.a, &mut around.b] {
                if is_skipped(neighbour) {
                    neighbour.class = BlockClass::Inter as u8;
                }
            }
            self.grids = CodedChroma::grids(Some(&left), Some(&above), &around, unavailable);
            return;
        }
        let left = self.chroma_columns.get(self.place.x.wrapping_sub(1));
        let above = self.chroma_columns.get(self.place.x);
        self.grids = CodedChroma::grids(left, above, around, unavailable);
    }

    /// Keeps what the macroblocks right of and below this one will ask for.
    #[cold]
    fn end_chroma(&mut self) {
        let columns = if self.format.chroma_array_type == 3 { 4 } else { 2 };
        let slot = self.slot();
        if let Some(column) = self.chroma_columns.get_mut(slot) {
            *column = CodedChroma::new(&self.grids, columns);
        }
    }

    /// QP_Y wraps around (7.4.5).
    fn change_qp(&mut self, delta: i32) {
        self.set_qp((i32::from(self.qp) + delta).rem_euclid(52 + i32::from(self.qp_bd_offset)) as u8);
    }

    /// Chroma blocks of their own kind (4:2:0 and 4:2:2).
    #[inline(always)]
    fn has_chroma_part(&self) -> bool {
        matches!(self.format.chroma_array_type, 1 | 2)
    }

    /// Sets QP'_Y (0..=51 + QpBdOffset_Y) and what follows from it.
    pub fn set_qp(&mut self, qp: u8) {
        let luma_qp = qp as i8 - self.qp_bd_offset as i8;
        self.qp = qp;
        self.skipped.qp = luma_qp;
        let (pps, bd_offset) = (self.input.pps, 6 * self.input.sps.bit_depth_chroma_minus8);
        self.chroma_qp = [pps.chroma_qp_index_offset, pps.second_chroma_qp_index_offset]
            .map(|offset| chroma_qp(luma_qp, offset, bd_offset));
        if self.input.want_energy {
            for qp in [qp, self.chroma_qp[0], self.chroma_qp[1]] {
                self.weights.prepare(qp);
            }
        }
    }
}

impl<S: Syntax> SliceParser<'_, S, false> {
    /// Makes `address` in column `x` the current macroblock.
    #[inline(always)]
    pub fn go_to(&mut self, address: usize, x: usize) {
        self.place = self.place_at(address, x);
    }

    #[inline(always)]
    pub fn place_at(&self, address: usize, x: usize) -> Place {
        Place::new(address, x, self.columns.len(), self.first)
    }

    /// Place of a macroblock whose slice is not a run of addresses: neighbours tell which slice they are from.
    pub fn place_in_group(&self, address: usize) -> Place {
        let columns = self.columns.len();
        let x = address % columns;
        let same_slice = |inside: bool, address: usize| {
            let block = self.block_at(address);
            inside && is_available(&block) && block.slice == self.skipped.slice
        };
        let above = address.wrapping_sub(columns);
        let below_edge = address >= columns;
        Place {
            address,
            x,
            a: same_slice(x > 0, address.wrapping_sub(1)),
            b: same_slice(below_edge, above),
            c: same_slice(below_edge && x + 1 < columns, above.wrapping_add(1)),
            d: same_slice(below_edge && x > 0, above.wrapping_sub(1)),
        }
    }
}
