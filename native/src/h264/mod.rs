//! ITU-T H.264: parameter sets, slice headers, reference lists and slice data.

pub mod pps;
pub mod slice_data;
pub mod slice_header;
pub mod sps;
