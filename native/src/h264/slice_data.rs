//! slice_data() (H.264 7.3.4): drives the macroblock layer over one slice.

use super::{pps::Pps, slice_header::SliceHeader, sps::Sps};
use crate::{error::Result, picture::{Picture, SliceRefs}};

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
