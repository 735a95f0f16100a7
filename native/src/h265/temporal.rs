//! Temporal motion vector prediction (H.265 8.5.3.2.8, 8.5.3.2.9).

use super::{
    motion::{scale, Mv, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::picture::{BlockClass, RefEntry};

impl<K: Sink> SliceParser<'_, K> {
    /// mvLXCol for a reference: from the block to the lower right, else from the centre.
    // H.265 8.5.3.2.8
    pub(super) fn temporal_candidate(&self, block: &PredictionBlock, list: usize, ref_idx: i8) -> Option<Mv> {
        self.input.colocated?;
        let target = self.reference(list, ref_idx)?;
        let (x, y) = (block.x + block.width, block.y + block.height);
        let same_row = block.y >> self.sps.log2_ctb == y >> self.sps.log2_ctb;
        let corner = if same_row && x < self.width && y < self.height {
            self.colocated_mv(x, y, list, target)
        } else {
            None
        };
        corner.or_else(|| {
            self.colocated_mv(block.x + block.width / 2, block.y + block.height / 2, list, target)
        })
    }

    // H.265 8.5.3.2.9; motion is kept for the first 4x4 block of each 16x16
    fn colocated_mv(&self, x: u32, y: u32, list: usize, target: RefEntry) -> Option<Mv> {
        let picture = self.input.colocated?;
        let cell = picture.blocks.get((y >> 4) as usize * picture.mb_cols + (x >> 4) as usize)?;
        if cell.class == BlockClass::Unknown as u8 {
            return None;
        }
        let from = match (cell.ref_idx[0] >= 0, cell.ref_idx[1] >= 0) {
            (false, false) => return None,
            (false, true) => 1,
            (true, false) => 0,
            // Without pictures that follow, the list asked for; else the one that does not hold the picture.
            (true, true) if self.no_backward => list,
            (true, true) => usize::from(self.header.collocated_from_l0_flag),
        };
        let refs = picture.slice_refs.get(usize::from(cell.slice))?;
        let pointed = refs.lists[from].get(usize::try_from(cell.ref_idx[from]).ok()?)?;
        if pointed.long_term != target.long_term {
            return None;
        }
        let distance = picture.poc.wrapping_sub(pointed.poc);
        let wanted = self.input.poc.wrapping_sub(target.poc);
        let mv = cell.mv[from];
        Some(if target.long_term || distance == wanted { mv } else { scale(mv, wanted, distance) })
    }
}
