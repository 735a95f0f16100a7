//! Syntax elements in CAVLC (H.264 7.3.5, 9.1).

use super::{
    cavlc_tables::{CBP_INTER, CBP_INTER_LUMA, CBP_INTRA, CBP_INTRA_LUMA},
    mb_types::{B_INTRA, I_PCM, P_INTRA},
    neighbours::{AbsMvd, Around},
    sink::Sink,
    syntax::{Residual, Syntax},
};
use crate::unit::SliceType;

/// Level of missing neighbours: two bits above every TotalCoeff, which drop out of the sum.
pub(super) const UNAVAILABLE: u8 = 64;

/// What slice data in CAVLC has between macroblocks.
pub trait SkipRuns: Syntax {
    /// mb_skip_run
    fn mb_skip_run(&mut self) -> u32;
    /// H.264 7.2
    fn more_rbsp_data(&self) -> bool;
    /// mb_field_decoding_flag
    fn mb_field_decoding_flag(&mut self) -> bool;
}

/// Reads the slice data of one slice.
pub struct CavlcReader<'a, K> {
    data: &'a [u8],
    /// Byte after those in the window (behind the end, zeros are read).
    next: usize,
    /// The next bits, first bit on top.
    pub(super) window: u64,
    /// Valid bits in the window.
    valid: u32,
    /// Bits before rbsp_stop_one_bit.
    payload_bits: u64,
    failure: Option<&'static str>,
    pub(super) sink: K,
}

impl<'a, K: Sink> CavlcReader<'a, K> {
    /// Starts at bit `start`; slice data ends at bit `payload_bits`, where rbsp_stop_one_bit is.
    pub fn new(data: &'a [u8], start: usize, payload_bits: u64, sink: K) -> Self {
        let mut reader =
            Self { data, next: start / 8, window: 0, valid: 0, payload_bits, failure: None, sink };
        reader.refill();
        reader.consume(start as u32 & 7);
        reader
    }

    /// Brings the window to at least 56 valid bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        match self.data.get(self.next..self.next.wrapping_add(8)).map(<[u8; 8]>::try_from) {
            Some(Ok(bytes)) => {
                self.window |= u64::from_be_bytes(bytes).wrapping_shr(self.valid);
                self.next = self.next.wrapping_add((63_u32.wrapping_sub(self.valid) >> 3) as usize);
                self.valid |= 56;
            }
            _ => self.refill_at_end(),
        }
    }

    #[cold]
    fn refill_at_end(&mut self) {
        while self.valid < 56 {
            let byte = self.data.get(self.next).copied().unwrap_or(0);
            self.window |= u64::from(byte) << (56 - self.valid);
            self.valid += 8;
            self.next = self.next.saturating_add(1);
        }
    }

    /// Makes sure of `bits` (at most 56) valid bits.
    #[inline(always)]
    pub(super) fn require(&mut self, bits: u32) {
        if self.valid < bits {
            self.refill();
        }
    }

    /// The next `bits` (1 to 48) bits of the window.
    #[inline(always)]
    pub(super) fn peek(&self, bits: u32) -> u32 {
        self.window.wrapping_shr(64_u32.wrapping_sub(bits)) as u32
    }

    /// The next `bits` bits as an index.
    #[inline(always)]
    pub(super) fn index(&self, bits: u32) -> usize {
        self.peek(bits) as usize
    }

    /// Drops `bits` (below 64) valid bits.
    #[inline(always)]
    pub(super) fn consume(&mut self, bits: u32) {
        self.window = self.window.wrapping_shl(bits);
        self.valid = self.valid.wrapping_sub(bits);
    }

    #[inline(always)]
    fn flag(&mut self) -> bool {
        self.require(1);
        let bit = self.peek(1) != 0;
        self.consume(1);
        bit
    }

    /// H.264 9.1: ue(v) below 2^21; longer codes are a violation of every element that is read here.
    #[inline(always)]
    fn ue(&mut self) -> u32 {
        self.require(48);
        // The last bit makes no code shorter, and spares a look whether there is any.
        let zeros = (self.window | 1).leading_zeros();
        if zeros > 20 {
            self.fail("Exp-Golomb code");
            return 0;
        }
        let bits = zeros.wrapping_mul(2).wrapping_add(1);
        let value = self.peek(bits);
        self.consume(bits);
        value.wrapping_sub(1)
    }

    #[inline(always)]
    fn se(&mut self) -> i32 {
        let code = self.ue();
        let magnitude = (code.wrapping_add(1) >> 1) as i32;
        if code & 1 == 1 {
            magnitude
        } else {
            magnitude.wrapping_neg()
        }
    }

    /// ue(v) that must not exceed `max`.
    #[inline(always)]
    fn ue_max(&mut self, max: u32, element: &'static str) -> u32 {
        let value = self.ue();
        if value > max {
            self.fail(element);
            return 0;
        }
        value
    }
}

impl<K: Sink> SkipRuns for CavlcReader<'_, K> {
    #[inline(always)]
    fn mb_skip_run(&mut self) -> u32 {
        self.ue()
    }

    #[inline(always)]
    fn more_rbsp_data(&self) -> bool {
        self.position() < self.payload_bits
    }

    fn mb_field_decoding_flag(&mut self) -> bool {
        self.flag()
    }
}

impl<K: Sink> Syntax for CavlcReader<'_, K> {
    type Sink = K;
    const CABAC: bool = false;
    const PCM_LEVEL: u8 = 16;

    fn sink(&self) -> K {
        self.sink
    }

    fn unavailable_level(_intra: bool) -> u8 {
        UNAVAILABLE
    }

    fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    #[cold]
    fn fail(&mut self, element: &'static str) {
        self.failure.get_or_insert(element);
    }

    #[inline(always)]
    fn is_exhausted(&self) -> bool {
        self.position() > self.payload_bits
    }

    #[inline(always)]
    fn position(&self) -> u64 {
        (self.next as u64).wrapping_mul(8).wrapping_sub(u64::from(self.valid))
    }

    fn set_field(&mut self, _field: bool) {}

    fn mb_type(&mut self, slice_type: SliceType, _around: &Around) -> u8 {
        let inter_types = match slice_type {
            SliceType::I => 0,
            SliceType::P => P_INTRA,
            SliceType::B => B_INTRA,
        };
        self.ue_max(u32::from(inter_types + I_PCM), "mb_type") as u8
    }

    fn si_mb_type(&mut self) -> u8 {
        let mb_type = self.ue_max(u32::from(I_PCM) + 1, "mb_type") as u8;
        if mb_type == 0 {
            self.sink.switching_intra();
        }
        mb_type.saturating_sub(1)
    }

    fn transform_size_8x8_flag(&mut self, _around: &Around) -> bool {
        self.flag()
    }

    fn coded_block_pattern(&mut self, intra: bool, chroma: bool, _around: &Around) -> u8 {
        let code = self.ue_max(if chroma { 47 } else { 15 }, "coded_block_pattern") as usize;
        match (intra, chroma) {
            (true, true) => CBP_INTRA[code % 48],
            (false, true) => CBP_INTER[code % 48],
            (true, false) => CBP_INTRA_LUMA[code % 16],
            (false, false) => CBP_INTER_LUMA[code % 16],
        }
    }

    fn mb_qp_delta(&mut self, qps: u8) -> i32 {
        let delta = self.se();
        let half = i32::from(qps / 2);
        if !(-half..half).contains(&delta) {
            self.fail("mb_qp_delta");
            return 0;
        }
        delta
    }

    fn no_mb_qp_delta(&mut self) {}

    fn skip_intra_pred_modes(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.require(4);
            let bits = if self.peek(1) != 0 { 1 } else { 4 };
            self.sink.intra_mode((bits == 4).then_some(self.peek(4) as u8));
            self.consume(bits);
        }
    }

    fn intra_chroma_pred_mode(&mut self, _around: &Around) -> u8 {
        self.ue_max(3, "intra_chroma_pred_mode") as u8
    }

    fn sub_mb_type(&mut self, bidirectional: bool) -> u8 {
        self.ue_max(if bidirectional { 12 } else { 3 }, "sub_mb_type") as u8
    }

    fn ref_idx(&mut self, max: u8, _inc: usize) -> u8 {
        if max == 1 {
            u8::from(!self.flag())
        } else {
            self.ue_max(u32::from(max), "ref_idx") as u8
        }
    }

    #[inline(always)]
    fn mvd(&mut self, _sum: AbsMvd) -> [i16; 2] {
        [self.se() as i16, self.se() as i16]
    }

    fn pcm_samples(&mut self, bytes: usize) {
        let first = self.position().div_ceil(8) as usize;
        let start = first.saturating_add(bytes);
        self.sink.pcm(self.data.get(first..start).unwrap_or_default());
        (self.next, self.window, self.valid) = (start, 0, 0);
        self.refill();
    }

    #[inline(always)]
    fn block<const KIND: usize>(&mut self, a: u8, b: u8, weights: &[f32; 16], sums: &mut Residual) -> u8 {
        self.require(32);
        self.sink.block(KIND);
        let entry = self.coeff_token::<KIND>(a, b);
        if entry == 0 {
            self.fail("coeff_token");
            return 0;
        }
        let total = (entry >> 5 & 31) as u8;
        self.coefficients::<KIND>(entry, weights, sums);
        total
    }

    fn block_8x8<const KIND: usize>(
        &mut self,
        _neighbours: Option<(u8, u8)>,
        _weights: &[f32; 64],
        _sums: &mut Residual,
    ) -> u8 {
        self.fail("8x8 block without CABAC");
        0
    }
}
