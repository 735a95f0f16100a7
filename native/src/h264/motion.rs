//! Motion of whole macroblocks: inferred, and written to the picture.

use super::{
    macroblock::SliceParser,
    mv_prediction::{MotionField, Uniform},
    pairs::PairField,
    syntax::Syntax,
};
use crate::picture::{flags, Block};

/// Motion of a macroblock.
pub enum Motion {
    /// The same everywhere.
    Uniform(Uniform),
    /// In [`SliceParser::motion`].
    Split,
}

impl<S: Syntax, const MBAFF: bool> SliceParser<'_, S, MBAFF> {
    /// Direct motion of the whole macroblock; [`Self::motion`] holds it when it is not uniform.
    pub fn infer_direct(&mut self) -> Motion {
        let address = self.place.address;
        let uniform = if MBAFF {
            let around = PairField { blocks: self.blocks, splits: self.splits, place: self.pairs.place };
            let of_field = self.pairs.direct.as_ref().filter(|_| around.place.field);
            let direct = of_field.map_or(&self.direct, |fields| &fields[usize::from(around.place.bottom)]);
            direct.infer(&around, address, &mut self.motion)
        } else {
            let (place, columns) = (self.place, self.columns.len());
            let around = MotionField { blocks: self.blocks, splits: self.splits, place, columns };
            self.direct.infer(&around, address, &mut self.motion)
        };
        uniform.map_or(Motion::Split, Motion::Uniform)
    }

    /// Gives `block` its motion; [`Self::motion`] counts unless it turns out to be uniform.
    pub fn set_motion(&mut self, block: &mut Block, motion: &Motion) {
        match motion {
            Motion::Uniform(Uniform { ref_idx, mv }) => (block.ref_idx, block.mv) = (*ref_idx, *mv),
            Motion::Split => self.set_split_motion(block),
        }
    }

    fn set_split_motion(&mut self, block: &mut Block) {
        let motion = &self.motion;
        block.ref_idx = motion.ref_idx.map(|quadrants| quadrants[0]);
        block.mv = motion.mv.map(|cells| cells[0]);
        let uniform = motion.ref_idx.iter().all(|quadrants| quadrants.iter().all(|r| *r == quadrants[0]))
            && motion.mv.iter().all(|cells| cells.iter().all(|mv| *mv == cells[0]));
        if !uniform {
            block.flags |= flags::SPLIT;
        }
    }

    /// Writes [`Self::motion`] to the split record of the current macroblock; returns its index.
    ///
    /// A slice that covers the same macroblocks again takes over their records, so that there is never more than
    /// one per macroblock.
    pub fn store_split(&mut self) -> u32 {
        let before = self.block_at(self.place.address);
        if before.flags & flags::SPLIT != 0 {
            if let Some(slot) = self.splits.get_mut(before.split as usize) {
                *slot = self.motion;
                return before.split;
            }
        }
        self.splits.push(self.motion);
        self.splits.len() as u32 - 1
    }
}
