//! P_Skip and B_Skip (H.264 8.4.1.1, 8.4.1.2), one by one.

use super::{macroblock::SliceParser, mv_prediction::Surroundings, neighbours::Place, syntax::Syntax};
use crate::{
    picture::{flags, Block},
    unit::SliceType,
};

impl<S: Syntax> SliceParser<'_, S, false> {
    /// P_Skip or B_Skip anywhere.
    pub fn skip_at(&mut self, place: Place, position: u64) {
        if self.input.header.slice_type == SliceType::P {
            let mut block = Block { ref_idx: [0, -1], ..self.skipped };
            block.mv[0] = self.field_at(place).p_skip();
            self.store_at(place.address, block, position);
        } else {
            self.place = place;
            self.moving_b_skip(Block { flags: flags::DIRECT, ..self.skipped }, position);
        }
    }

    /// P_Skip: `position` is where the macroblock ends in the stream.
    ///
    /// `still` tells that the macroblock before it stands still, so that this one does, too (8.4.1.1). Returns whether
    /// it stands still.
    #[inline(always)]
    pub fn p_skip(&mut self, address: usize, x: usize, still: bool, position: u64) -> bool {
        let mv = if still { [0, 0] } else { self.field_at(self.place_at(address, x)).p_skip() };
        let bit_cost = position.wrapping_sub(self.position) as u32;
        self.position = position;
        *self.macroblocks_read = self.macroblocks_read.wrapping_add(1);
        if let Some(slot) = self.blocks.get_mut(address) {
            // Copied as a whole, then amended: a record put together field by field costs three times as much.
            *slot = self.skipped;
            (slot.ref_idx, slot.mv[0], slot.bit_cost) = ([0, -1], mv, bit_cost);
        }
        mv == [0, 0]
    }

    /// Whether the macroblock at `address` uses reference 0 of list 0 without motion.
    #[inline(always)]
    pub fn stands_still(&self, address: usize) -> bool {
        let block = self.block_at(address);
        block.flags & flags::SPLIT == 0 && block.ref_idx[0] == 0 && block.mv[0] == [0, 0]
    }

    /// B_Skip: `position` is where the macroblock ends in the stream.
    #[inline(always)]
    pub fn b_skip(&mut self, address: usize, x: usize, position: u64) {
        let mut block = Block { flags: flags::DIRECT, ..self.skipped };
        let place = self.place_at(address, x);
        if let Some(ref_idx) = self.direct.infer_still(&self.field_at(place)) {
            block.ref_idx = ref_idx;
            self.store_at(address, block, position);
        } else {
            self.place = place;
            self.moving_b_skip(block, position);
        }
    }

    #[inline(never)]
    fn moving_b_skip(&mut self, mut block: Block, position: u64) {
        let motion = self.infer_direct();
        self.set_motion(&mut block, &motion);
        self.store(block, position);
    }
}
