//! Syntax elements of the macroblock layer, independent of the entropy coder (H.264 7.3.5).

use super::{
    energy::QpWeights,
    neighbours::{AbsMvd, Around},
    sink::Sink,
};
use crate::unit::SliceType;

/// ctxBlockCat: kind of a residual block (Table 9-42).
pub mod block_kind {
    /// Intra16x16DCLevel.
    pub const LUMA_DC: usize = 0;
    /// Intra16x16ACLevel.
    pub const LUMA_AC: usize = 1;
    /// LumaLevel4x4.
    pub const LUMA: usize = 2;
    /// ChromaDCLevel.
    pub const CHROMA_DC: usize = 3;
    /// ChromaACLevel.
    pub const CHROMA_AC: usize = 4;
    /// LumaLevel8x8.
    pub const LUMA_8X8: usize = 5;
    /// The kinds of luma blocks for Cb of 4:4:4.
    pub const CB_DC: usize = 6;
    /// AC of Intra_16x16, Cb of 4:4:4.
    pub const CB_AC: usize = 7;
    /// 4x4, Cb of 4:4:4.
    pub const CB: usize = 8;
    /// 8x8, Cb of 4:4:4.
    pub const CB_8X8: usize = 9;
    /// The kinds of luma blocks for Cr of 4:4:4.
    pub const CR_DC: usize = 10;
    /// AC of Intra_16x16, Cr of 4:4:4.
    pub const CR_AC: usize = 11;
    /// 4x4, Cr of 4:4:4.
    pub const CR: usize = 12;
    /// 8x8, Cr of 4:4:4.
    pub const CR_8X8: usize = 13;
    /// ChromaDCLevel of 4:2:2: contexts of [`CHROMA_DC`] (no ctxBlockCat of its own).
    pub const CHROMA_DC_422: usize = 14;
    /// Number of kinds.
    pub const KINDS: usize = 15;

    /// maxNumCoeff of a kind.
    pub const fn coefficients(kind: usize) -> usize {
        match kind {
            LUMA_AC | CHROMA_AC | CB_AC | CR_AC => 15,
            CHROMA_DC => 4,
            CHROMA_DC_422 => 8,
            LUMA_8X8 | CB_8X8 | CR_8X8 => 64,
            _ => 16,
        }
    }

    /// Zig-zag index of the first coefficient of a kind.
    pub const fn first(kind: usize) -> usize {
        match kind {
            LUMA_AC | CHROMA_AC | CB_AC | CR_AC => 1,
            _ => 0,
        }
    }
}

/// Sums over the residual of a macroblock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Residual {
    /// Squared sample units.
    pub energy: f32,
    /// Non-zero levels.
    pub coefficients: u32,
}

impl Residual {
    /// Adds one level.
    #[inline(always)]
    pub fn add(&mut self, level: i32, weight: f32) {
        let level = level as f32;
        self.energy += level * level * weight;
    }
}

/// Reader of syntax elements. After a violation it delivers harmless values and remembers the element: whoever
/// drives it asks [`Syntax::failure`] once per macroblock, which keeps error handling out of the inner loops.
pub trait Syntax {
    /// Who listens.
    type Sink: Sink;
    /// CABAC rather than CAVLC.
    const CABAC: bool;
    /// Residual blocks come from partitions of their own.
    const PARTITIONED: bool = false;
    /// Stands for I_PCM in [`super::neighbours::Grid`].
    const PCM_LEVEL: u8;

    /// Who listens.
    fn sink(&self) -> Self::Sink;
    /// Stands for 4x4 blocks of missing neighbours in [`super::neighbours::Grid`].
    fn unavailable_level(intra: bool) -> u8;
    /// The element that broke the specification so far.
    fn failure(&self) -> Option<&'static str>;
    /// Remembers the first element that broke the specification.
    fn fail(&mut self, element: &'static str);
    /// Whether bits behind the end of the slice data were read.
    fn is_exhausted(&self) -> bool;
    /// Bits read so far.
    fn position(&self) -> u64;

    /// Told before the residual (or the samples of I_PCM) with [`Self::PARTITIONED`]; tells whether Inter neighbours count
    /// as blank.
    fn begin_residual(&mut self, _intra: bool) -> bool {
        false
    }
    /// Told after it; tells whether it is lost.
    fn end_residual(&mut self) -> bool {
        false
    }
    /// From here on macroblocks are field macroblocks, or frame macroblocks (MBAFF).
    fn set_field(&mut self, field: bool);
    /// mb_type as numbered for the slice type.
    fn mb_type(&mut self, slice_type: SliceType, around: &Around) -> u8;
    /// mb_type of SI slices: 0 for SI and I_NxN, else as in I slices.
    fn si_mb_type(&mut self) -> u8;
    /// transform_size_8x8_flag
    fn transform_size_8x8_flag(&mut self, around: &Around) -> bool;
    /// coded_block_pattern; `chroma` tells whether it has a chroma part (4:2:0 and 4:2:2).
    fn coded_block_pattern(&mut self, intra: bool, chroma: bool, around: &Around) -> u8;
    /// mb_qp_delta; there are `qps` (52 and more) quantisers.
    fn mb_qp_delta(&mut self, qps: u8) -> i32;
    /// Told when a macroblock carries no mb_qp_delta.
    fn no_mb_qp_delta(&mut self);
    /// prev_intraNxN_pred_mode_flag and rem_intraNxN_pred_mode of `blocks` blocks: for the sink alone.
    fn skip_intra_pred_modes(&mut self, blocks: u32);
    /// intra_chroma_pred_mode
    fn intra_chroma_pred_mode(&mut self, around: &Around) -> u8;
    /// sub_mb_type of P or B macroblocks.
    fn sub_mb_type(&mut self, bidirectional: bool) -> u8;
    /// ref_idx_l0 or ref_idx_l1, at most `max` (1..=31). `inc`: context increment by the neighbours.
    fn ref_idx(&mut self, max: u8, inc: usize) -> u8;
    /// mvd_l0 or mvd_l1, both components. `sum`: absolute differences of the neighbours, added.
    fn mvd(&mut self, sum: AbsMvd) -> [i16; 2];
    /// Skips the samples of I_PCM.
    fn pcm_samples(&mut self, bytes: usize);

    /// Reads a block with up to 16 coefficients; `a` and `b` are the levels of its neighbours. Returns its own.
    fn block<const KIND: usize>(&mut self, a: u8, b: u8, weights: &[f32; 16], sums: &mut Residual) -> u8;
    /// Reads an 8x8 block (CABAC). With `neighbours` (4:4:4) its coded_block_flag comes first. Returns the flag.
    fn block_8x8<const KIND: usize>(
        &mut self,
        neighbours: Option<(u8, u8)>,
        weights: &[f32; 64],
        sums: &mut Residual,
    ) -> u8;
}

/// Weights of the planes of a macroblock, or none.
pub type PlaneWeights<'a> = [&'a QpWeights; 3];
