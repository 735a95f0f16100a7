//! What a decoder would need beyond the metadata.

use super::{poc::OrderCounts, slice_data::SliceInput};
use crate::picture::Picture;

/// Told of everything that metadata leaves out, so that samples can be rebuilt on top of the parser; the parser itself
/// keeps nothing for it. `()` listens to nothing and costs nothing.
///
/// What follows [`Self::macroblock`] belongs to that macroblock, in the order of the syntax (7.3.5).
pub trait Sink: Copy {
    /// Whether anybody listens: levels have signs then.
    const LISTENS: bool;

    /// The data of a slice begins.
    fn slice(self, _slice: &SliceInput<'_>) {}
    /// A macroblock that is not skipped begins at a raster address.
    fn macroblock(self, _address: usize) {}
    /// Its mb_type is SI.
    fn switching_intra(self) {}
    /// rem_intra4x4_pred_mode or rem_intra8x8_pred_mode; `None` where the predicted mode is used.
    fn intra_mode(self, _rem: Option<u8>) {}
    /// intra_chroma_pred_mode
    fn intra_chroma_mode(self, _mode: u8) {}
    /// The samples of I_PCM.
    fn pcm(self, _bytes: &[u8]) {}
    /// A residual block, see [`super::syntax::block_kind`], with or without levels.
    fn block(self, _kind: usize) {}
    /// A level that is not zero, at an index of the scan of its block.
    fn level(self, _index: usize, _level: i32) {}
    /// A frame or field is complete, in coded order.
    fn picture(self, _picture: &Picture, _counts: OrderCounts) {}
}

impl Sink for () {
    const LISTENS: bool = false;
}
