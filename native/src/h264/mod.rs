//! ITU-T H.264: parameter sets, slice headers, reference lists and slice data.

mod cabac;
mod cabac_residual;
mod cabac_syntax;
mod cabac_tables;
mod cavlc;
mod cavlc_tables;
mod direct;
pub mod dpb;
mod energy;
mod inter;
mod macroblock;
mod mb_types;
mod mv_prediction;
mod neighbours;
pub mod param_sets;
pub mod poc;
pub mod pps;
pub mod ref_lists;
mod residual;
pub mod scaling;
pub mod sei;
pub mod slice_data;
pub mod slice_header;
pub mod sps;
pub mod stream;
mod syntax;
pub mod vui;
