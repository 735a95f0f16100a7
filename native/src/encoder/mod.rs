//! A vision transformer on the tokens that changed: int8 products against caches that are updated in place.
//!
//! The same computation as the graph of the mode "fast", in a handful of passes instead of three hundred nodes: at a few
//! tokens a small model spends most of its time between the products. Activations are rounded row by row, so a token's
//! numbers do not depend on which others it comes with.
//!
//! ```text
//! patches ─▶ embed ─▶ x      per layer, in blocks of rows:
//!                            norm ─▶ q, k, v ─▶ turned by position ─▶ k and v into the caches of the stream
//!                            q against the caches ─▶ + x ─▶ norm ─▶ MLP ─▶ + x
//! x ─▶ norm ─▶ tokens ─▶ k, v of the pooling head ─▶ its query against them ─▶ scene
//! ```

// Without kernels nothing reads what is packed.
#![cfg_attr(not(all(target_arch = "x86_64", ovbits_avx512)), allow(dead_code))]

pub mod abi;
pub(crate) mod model;
pub(crate) mod run;

#[cfg(all(target_arch = "x86_64", ovbits_avx512))]
mod coarse;
#[cfg(all(target_arch = "x86_64", ovbits_avx512))]
mod kernels;
#[cfg(all(target_arch = "x86_64", ovbits_avx512))]
mod simd;
