//! A VP8 decoder made of the parser's results: for proof, not for use.

pub mod decoder;
mod inter;
mod intra;
pub mod ivf;
mod loop_filter;
mod plane;
mod transform;
