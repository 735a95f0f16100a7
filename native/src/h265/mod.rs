//! ITU-T H.265: parameter sets, slice headers, reference pictures and slice data.

mod amvp;
mod cells;
pub mod coding_unit;
mod contexts;
pub mod dpb;
pub mod geometry;
mod intra;
mod merge;
mod motion;
pub mod nal_type;
pub mod param_sets;
pub mod pps;
mod prediction_unit;
pub mod profile_tier_level;
mod quantiser;
pub mod ref_pic_set;
mod residual;
pub mod scaling;
mod scan;
pub mod sink;
pub mod slice_data;
pub mod slice_header;
pub mod sps;
pub mod stream;
mod temporal;
mod transform_tree;
pub mod vui;
