//! A decoder of H.265 luma without loop filters on top of the parser, written from the clauses that it names; for tests
//! alone.

pub mod decoder;
mod inter;
mod intra;
#[allow(dead_code)] // fields
#[path = "../h264/plane.rs"]
mod plane;
mod recorder;
mod transform;
