//! What a decoder would need beyond the metadata.

use super::{coding_unit::Unit, slice_data::SliceInput};
use crate::picture::Picture;

/// A block of residual_coding().
#[derive(Clone, Copy, Debug)]
pub struct CodedBlock {
    /// cIdx
    pub plane: usize,
    /// log2TrafoSize
    pub log2_size: u32,
    /// transform_skip_flag
    pub transform_skip: bool,
    /// explicit_rdpcm_flag, with explicit_rdpcm_dir_flag.
    pub explicit_rdpcm: Option<bool>,
}

/// Told of everything that metadata leaves out, so that samples can be rebuilt on top of the parser; the parser itself
/// keeps nothing for it. `()` listens to nothing and costs nothing.
///
/// Calls come in the order of the syntax (7.3.8).
pub trait Sink: Copy {
    /// Whether anybody listens: levels get signs then.
    const LISTENS: bool;

    /// The data of a slice segment begins.
    fn slice(self, _input: &SliceInput<'_>) {}
    /// A coding unit whose prediction is known, before its residual.
    fn unit(self, _unit: &Unit) {}
    /// The samples of a PCM unit: luma, then chroma, from a bit of the slice data on.
    fn pcm(self, _rbsp: &[u8], _bit: u64) {}
    /// A leaf of the transform tree, in luma samples.
    fn transform_unit(self, _x: u32, _y: u32, _log2_size: u32) {}
    /// A block with levels; `qp` is QpY.
    fn block(self, _block: CodedBlock, _qp: i32) {}
    /// A level that is not zero, at its column and row in the block.
    fn level(self, _x: usize, _y: usize, _level: i32) {}
    /// A picture is complete, in coded order.
    fn picture(self, _picture: &Picture) {}
}

impl Sink for () {
    const LISTENS: bool = false;
}
