//! slice_data() (H.264 7.3.4): drives the macroblock layer over one slice.

use super::{pps::Pps, slice_header::SliceHeader, sps::Sps};
use crate::{
    error::{Error, Result},
    picture::{Picture, SliceRefs},
};

/// Everything one slice is parsed against.
pub struct SliceInput<'a> {
    /// RBSP: the NAL unit after its header byte, emulation prevention removed.
    pub rbsp: &'a [u8],
    /// Active sequence parameter set.
    pub sps: &'a Sps,
    /// Active picture parameter set.
    pub pps: &'a Pps,
    /// Header of this slice.
    pub header: &'a SliceHeader,
    /// Number of the slice inside the picture, written to every block.
    pub slice_index: u16,
    /// Reference lists after modification (8.2.4).
    pub refs: &'a SliceRefs,
    /// RefPicList1\[0\] for direct prediction (8.4.1.2.1); `None` when it is missing.
    pub colocated: Option<&'a Picture>,
    /// Whether `residual_energy` is wanted (level "full").
    pub want_energy: bool,
}

/// Working memory of the slice parser, reusable over slices, pictures and streams.
#[derive(Debug, Default)]
pub struct Scratch {}

/// Parses one slice into `picture` and returns the number of macroblocks that it held.
///
/// `picture.blocks` has one block per macroblock; `picture.slice_refs` holds the reference lists of every slice so
/// far, including this one.
///
/// # Errors
/// The place and the syntax element where the slice breaks the specification. Macroblocks before it stay parsed.
pub fn parse_slice_data(
    input: &SliceInput<'_>,
    _scratch: &mut Scratch,
    _picture: &mut Picture,
) -> Result<u32> {
    Err(Error::unsupported("slice_data", input.header.slice_data_bit_offset as u64))
}
