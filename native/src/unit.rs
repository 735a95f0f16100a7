//! What is wanted from an access unit and what it gave: the same for every codec.

use std::sync::Arc;

use crate::{error::Error, picture::Picture};

/// What is wanted from an access unit.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Dequantise coefficients into `residual_energy`.
    pub want_energy: bool,
    /// I slices hold no motion: do not read their macroblocks, call them intra with the QP of the slice.
    pub skip_intra: bool,
    /// Do not read the macroblocks of P and B slices: they stay unknown.
    pub skip_inter: bool,
    /// Read P and B pictures only if their number since the keyframe, from 0, divides by this; 0 and 1: all. H.265
    /// with temporal motion vectors and changes of VP8's segment map are read in any case.
    pub every: u32,
    /// Leave pictures unread whose slices hold more bits per 1000 luma samples; 0: none.
    pub max_bits_per_kilopixel: u32,
}

/// Why the macroblocks of a picture were left unread. Values are part of the ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Unread {
    /// They were read.
    #[default]
    Nothing = 0,
    /// I slices, on request.
    Intra = 1,
    /// P and B slices, on request or by sampling.
    Inter = 2,
    /// All slices: they hold more bits than was allowed.
    Costly = 3,
}

/// Kind of a slice, or the richest kind among the slices of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SliceType {
    /// P or SP
    #[default]
    P,
    /// B
    B,
    /// I or SI
    I,
}

impl SliceType {
    /// B if any is B, else P if any is P, else I.
    pub fn richer(self, other: Self) -> Self {
        match (self, other) {
            (Self::B, _) | (_, Self::B) => Self::B,
            (Self::P, _) | (_, Self::P) => Self::P,
            _ => Self::I,
        }
    }
}

/// An error with the number of its NAL unit in the access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    /// What and where in the NAL unit.
    pub error: Error,
    /// Which NAL unit, from 0 (VP8: which partition).
    pub nal_index: u32,
}

/// What of a frame an access unit held. Values are part of the ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// All of it, coded as frame.
    #[default]
    Frame = 0,
    /// Both fields.
    Fields = 1,
    /// The top field; the rows of the bottom field are unknown.
    TopField = 2,
    /// The bottom field; the rows of the top field are unknown.
    BottomField = 3,
    /// The second field; the first one came in the access unit before and is here again.
    SecondField = 4,
}

/// One parsed picture.
#[derive(Clone, Debug)]
pub struct ParsedPicture {
    /// Blocks and motion.
    pub picture: Arc<Picture>,
    /// Visible size in luma samples.
    pub size: (u32, u32),
    /// The richest kind among the slices.
    pub slice_type: SliceType,
    /// A decoder can start here. H.264: IDR, or an I picture with a recovery point.
    pub keyframe: bool,
    /// Others may refer to it.
    pub reference: bool,
    /// Put out, not only referred to.
    pub shown: bool,
    /// A frame or fields (H.264).
    pub content: Content,
    /// The active SPS (VP8: the size) differs from the one of the picture before.
    pub sequence_changed: bool,
    /// Bits of slice NAL units.
    pub slice_bits: u64,
    /// Macroblocks that are known.
    pub covered: u32,
    /// Why macroblocks were left unread.
    pub unread: Unread,
    /// No vector was inferred from a picture that is missing, damaged or unread.
    pub motion_exact: bool,
    /// Entries of reference lists whose picture never came.
    pub missing_references: u32,
    /// Damaged NAL units.
    pub errors: u32,
    /// The first of them.
    pub first_error: Option<UnitError>,
}

/// Chooses the pictures of a stream that are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampler {
    since_keyframe: u32,
}

impl Sampler {
    /// A keyframe came.
    pub fn restart(&mut self) {
        self.since_keyframe = 0;
    }

    /// Counts a P or B picture; whether it is one of those to be read.
    pub fn takes_next(&mut self, options: &Options) -> bool {
        let number = self.since_keyframe;
        self.since_keyframe = number.wrapping_add(1);
        number % options.every.max(1) == 0
    }
}

/// Which slices of one access unit are read.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    options: Options,
    /// Bits of all slices of the unit; 0 when the options do not ask for them.
    announced_bits: u64,
    /// Whether P and B slices are read; `None` before the first.
    takes_inter: Option<bool>,
    /// Why slices were left unread.
    pub unread: Unread,
}

impl Depth {
    /// Before the first slice; `slice_bits` is called when the options depend on it.
    pub fn new(options: Options, slice_bits: impl FnOnce() -> u64) -> Self {
        let announced_bits = if options.max_bits_per_kilopixel > 0 { slice_bits() } else { 0 };
        Self { options, announced_bits, takes_inter: None, unread: Unread::Nothing }
    }

    /// Whether the next slice of a picture of `pixels` luma samples is left unread; one that is `needed` by others
    /// is not sampled.
    pub fn leaves(
        &mut self,
        sampler: &mut Sampler,
        slice_type: SliceType,
        pixels: u64,
        needed: bool,
    ) -> bool {
        let reason = if self.options.is_costly(self.announced_bits, pixels) {
            Unread::Costly
        } else if slice_type == SliceType::I {
            [Unread::Nothing, Unread::Intra][usize::from(self.options.skip_intra)]
        } else {
            let options = &self.options;
            let takes = *self.takes_inter.get_or_insert_with(|| sampler.takes_next(options)) || needed;
            [Unread::Inter, Unread::Nothing][usize::from(takes && !options.skip_inter)]
        };
        if reason != Unread::Nothing {
            self.unread = reason;
        }
        reason != Unread::Nothing
    }
}

impl Options {
    /// Modes and motion of all pictures.
    pub const MOTION: Self = Self {
        want_energy: false,
        skip_intra: false,
        skip_inter: false,
        every: 1,
        max_bits_per_kilopixel: 0,
    };
    /// Everything.
    pub const FULL: Self = Self { want_energy: true, ..Self::MOTION };

    /// Whether reading so many bits of a picture of so many luma samples is not wanted.
    pub fn is_costly(&self, slice_bits: u64, pixels: u64) -> bool {
        let limit = u64::from(self.max_bits_per_kilopixel);
        limit > 0 && slice_bits.saturating_mul(1000) > limit.saturating_mul(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_picture_since_the_keyframe() {
        let options = Options { every: 3, ..Options::MOTION };
        let mut sampler = Sampler::default();
        let mut taken = |count| (0..count).map(|_| sampler.takes_next(&options)).collect::<Vec<_>>();
        assert_eq!(taken(5), [true, false, false, true, false]);
        sampler.restart();
        assert!(sampler.takes_next(&options));
        assert!((0..5).all(|_| sampler.takes_next(&Options::MOTION)));
    }

    #[test]
    fn cost_is_bits_by_samples() {
        let options = Options { max_bits_per_kilopixel: 500, ..Options::MOTION };
        assert!(!options.is_costly(50_000, 100_000) && options.is_costly(50_001, 100_000));
        assert!(!Options::MOTION.is_costly(u64::MAX, 1));
    }
}
