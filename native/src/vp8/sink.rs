//! What a decoder would need beyond the metadata.

use super::frame_header::{Dimensions, FrameTag, LoopFilter, QuantIndices, References, Segmentation};

/// The header of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameInfo {
    /// The first three bytes.
    pub tag: FrameTag,
    /// Of the last key frame.
    pub dimensions: Dimensions,
    /// Segments of this frame.
    pub segmentation: Segmentation,
    /// Loop filter of this frame.
    pub loop_filter: LoopFilter,
    /// Quantiser indices of this frame.
    pub quant_indices: QuantIndices,
    /// What becomes of the reference buffers.
    pub references: References,
}

/// Told of everything that metadata leaves out, so that pixels can be rebuilt on top of the parser; the parser
/// itself keeps nothing for it. `()` listens to nothing and costs nothing.
///
/// Macroblocks are numbered in raster order; `block` is 0 to 15 for Y, 16 to 19 for U, 20 to 23 for V, 24 for Y2.
pub trait Sink {
    /// A frame begins.
    fn frame(&mut self, _frame: &FrameInfo) {}
    /// The segment of a macroblock.
    fn segment(&mut self, _mb: usize, _segment: u8) {}
    /// Chroma mode and 4x4 luma modes of an intra macroblock, as numbered in RFC 6386 8.2 and 11.2.
    fn intra_modes(&mut self, _mb: usize, _uv_mode: u8, _b_modes: &[u8; 16]) {}
    /// A block has tokens, be they all zeros.
    fn block(&mut self, _mb: usize, _block: usize) {}
    /// A level that is not zero, by its position in the zig-zag scan.
    fn level(&mut self, _mb: usize, _block: usize, _position: usize, _level: i16) {}
}

impl Sink for () {}
