//! A decoder of H.264 on top of the parser, written from the clauses that it names; for tests alone.

pub mod access_units;
pub mod deblock;
pub mod decoder;
pub mod geometry;
pub mod inter;
mod inter_macroblock;
pub mod intra;
mod intra_macroblock;
pub mod intra_modes;
pub mod macroblock;
pub mod plane;
pub mod recorder;
pub mod residual;
pub mod scaling;
pub mod strength;
pub mod switching;
pub mod transform;
pub mod weights;
