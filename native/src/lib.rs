//! `ovbits`: what a compressed picture says about itself, read without decoding a pixel.

pub mod abi;
pub mod bits;
mod encoder;
pub mod error;
pub mod h264;
pub mod h265;
pub mod nal;
pub mod picture;
pub mod unit;
pub mod vectors;
pub mod vp8;
