//! VP8 (RFC 6386): frame headers, macroblock headers and tokens.

pub mod bool_decoder;
mod coefficient_tables;
mod coefficient_update_tables;
pub mod energy;
mod entropy;
mod frame;
pub mod frame_header;
mod mode_tables;
pub mod modes;
mod motion;
mod quant_tables;
pub mod sink;
pub mod stream;
mod tokens;
