//! ITU-T H.264: parameter sets, slice headers, reference lists and slice data.

pub mod dpb;
pub mod param_sets;
pub mod poc;
pub mod pps;
pub mod ref_lists;
pub mod scaling;
pub mod sei;
pub mod slice_data;
pub mod slice_header;
pub mod sps;
pub mod stream;
pub mod vui;
