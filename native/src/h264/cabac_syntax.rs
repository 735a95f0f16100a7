//! Syntax elements in CABAC: binarisation and context selection (H.264 9.3.2, 9.3.3.1).

use super::{
    cabac::{Contexts, Engine},
    mb_types::{B_INTRA, I_PCM, P_INTRA},
    neighbours::{is_skipped, uses_8x8_transform, AbsMvd, Around},
    sink::Sink,
    syntax::{Residual, Syntax},
};
use crate::{
    picture::{Block, BlockClass},
    unit::SliceType,
};

/// Absolute motion vector differences below this are unary, the rest follows as an Exp-Golomb suffix.
const MVD_PREFIX: i32 = 9;

/// Reads the slice data of one slice.
pub struct CabacReader<'a, K> {
    pub(super) engine: Engine<'a>,
    pub(super) contexts: Contexts,
    /// Bits of the slice data with rbsp_stop_one_bit.
    pub(super) end: u64,
    /// Field macroblocks have own contexts for the positions of levels.
    pub(super) field: bool,
    failure: Option<&'static str>,
    /// mb_qp_delta of the previous macroblock was not 0.
    qp_delta_before: bool,
    pub(super) sink: K,
}

impl<'a, K: Sink> CabacReader<'a, K> {
    /// Starts at byte `start` with its `contexts`; rbsp_stop_one_bit is the last of `end` bits.
    pub fn new(data: &'a [u8], start: usize, end: u64, contexts: Contexts, field: bool, sink: K) -> Self {
        let engine = Engine::new(data, start);
        Self { engine, contexts, end, field, failure: None, qp_delta_before: false, sink }
    }

    #[inline(always)]
    fn decision(&mut self, context: usize) -> bool {
        self.engine.decision(&mut self.contexts, context)
    }

    /// Like [`Self::decision`], as a number for sums.
    #[inline(always)]
    fn bin(&mut self, context: usize) -> u32 {
        u32::from(self.decision(context))
    }

    /// The value of an element, or a violation and 0.
    pub(super) fn checked(&mut self, value: Option<i32>, element: &'static str) -> i32 {
        value.unwrap_or_else(|| {
            self.fail(element);
            0
        })
    }

    /// mb_type of intra macroblocks, from I_NxN on; the contexts of the first bin and of the others.
    fn intra_mb_type(&mut self, first: usize, rest: usize, in_intra_slice: bool) -> u8 {
        if !self.decision(first) {
            return 0;
        }
        if self.engine.terminate() {
            return I_PCM;
        }
        let step = usize::from(in_intra_slice);
        let mut mb_type = 1 + 12 * self.bin(rest);
        if self.decision(rest + 1) {
            mb_type += 4 + 4 * self.bin(rest + 1 + step);
        }
        mb_type += 2 * self.bin(rest + 2 + step);
        mb_type += self.bin(rest + 2 + 2 * step);
        mb_type as u8
    }

    fn p_mb_type(&mut self) -> u8 {
        if self.decision(14) {
            return self.intra_mb_type(17, 18, false) + P_INTRA;
        }
        if self.decision(15) {
            2 - self.bin(17) as u8
        } else {
            3 * self.bin(16) as u8
        }
    }

    fn b_mb_type(&mut self, around: &Around) -> u8 {
        let is_direct = |block: &Block| block.mb_type == 0 && block.class == BlockClass::Inter as u8;
        let inc = around.count(1, |block| !is_skipped(block) && !is_direct(block));
        if !self.decision(27 + inc) {
            return 0;
        }
        if !self.decision(27 + 3) {
            return 1 + self.bin(27 + 5) as u8;
        }
        let mut bits = self.bin(27 + 4);
        for _ in 0..3 {
            bits = bits << 1 | self.bin(27 + 5);
        }
        match bits {
            0..=7 => bits as u8 + 3,
            13 => self.intra_mb_type(32, 33, false) + B_INTRA,
            14 => 11,
            15 => 22,
            _ => (bits << 1 | self.bin(27 + 5)) as u8 - 4,
        }
    }

    /// One component of a motion vector difference.
    #[inline(always)]
    fn mvd_component(&mut self, base: usize, sum: u8) -> i32 {
        let inc = usize::from(sum > 2) + usize::from(sum > 32);
        if !self.decision(base + inc) {
            return 0;
        }
        let mut value = 1;
        let mut context = 3;
        while value < MVD_PREFIX && self.decision(base + context) {
            value += 1;
            context = (context + 1).min(6);
        }
        if value >= MVD_PREFIX {
            let (engine, suffix) = self.engine.exp_golomb_suffix(3);
            self.engine = engine;
            value += self.checked(suffix, "mvd");
        }
        if self.engine.bypass() {
            -value
        } else {
            value
        }
    }
}

impl<K: Sink> Syntax for CabacReader<'_, K> {
    type Sink = K;
    const CABAC: bool = true;
    const PCM_LEVEL: u8 = 1;

    fn sink(&self) -> K {
        self.sink
    }

    fn unavailable_level(intra: bool) -> u8 {
        u8::from(intra)
    }

    fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    fn fail(&mut self, element: &'static str) {
        self.failure.get_or_insert(element);
    }

    #[inline(always)]
    fn is_exhausted(&self) -> bool {
        self.engine.position() > self.end
    }

    #[inline(always)]
    fn position(&self) -> u64 {
        self.engine.position()
    }

    fn set_field(&mut self, field: bool) {
        self.field = field;
    }

    fn mb_type(&mut self, slice_type: SliceType, around: &Around) -> u8 {
        match slice_type {
            SliceType::I => {
                let inc = around.count(1, |block| block.mb_type != 0);
                self.intra_mb_type(3 + inc, 6, true)
            }
            SliceType::P => self.p_mb_type(),
            SliceType::B => self.b_mb_type(around),
        }
    }

    fn si_mb_type(&mut self) -> u8 {
        self.fail("slice_type (SI with CABAC)");
        0
    }

    fn transform_size_8x8_flag(&mut self, around: &Around) -> bool {
        let inc = around.count(1, uses_8x8_transform);
        self.decision(399 + inc)
    }

    fn coded_block_pattern(&mut self, _intra: bool, chroma: bool, around: &Around) -> u8 {
        let (left, above) = around.cbp();
        let zero = |cbp: u16, bit: u32| usize::from(cbp >> bit & 1 == 0);
        let mut cbp = self.decision(73 + zero(left, 1) + 2 * zero(above, 2)) as u16;
        cbp |= (self.bin(73 + zero(cbp, 0) + 2 * zero(above, 3)) << 1) as u16;
        cbp |= (self.bin(73 + zero(left, 3) + 2 * zero(cbp, 0)) << 2) as u16;
        cbp |= (self.bin(73 + zero(cbp, 2) + 2 * zero(cbp, 1)) << 3) as u16;
        let some = |cbp: u16| usize::from(cbp >> 4 != 0);
        if chroma && self.decision(77 + some(left) + 2 * some(above)) {
            let all = |cbp: u16| usize::from(cbp >> 4 == 2);
            cbp |= 16 << self.bin(81 + all(left) + 2 * all(above));
        }
        cbp as u8
    }

    fn mb_qp_delta(&mut self, qps: u8) -> i32 {
        if !self.decision(60 + usize::from(self.qp_delta_before)) {
            self.qp_delta_before = false;
            return 0;
        }
        self.qp_delta_before = true;
        let mut value = 1;
        let mut context = 62;
        while self.decision(context) {
            context = 63;
            value += 1;
            if value > i32::from(qps) {
                self.fail("mb_qp_delta");
                return 0;
            }
        }
        if value & 1 == 1 {
            (value + 1) >> 1
        } else {
            -(value >> 1)
        }
    }

    #[inline(always)]
    fn no_mb_qp_delta(&mut self) {
        self.qp_delta_before = false;
    }

    fn skip_intra_pred_modes(&mut self, blocks: u32) {
        for _ in 0..blocks {
            let is_predicted = self.decision(68);
            let mut rem = 0;
            for bit in 0..if is_predicted { 0 } else { 3 } {
                rem |= (self.bin(69) << bit) as u8;
            }
            self.sink.intra_mode((!is_predicted).then_some(rem));
        }
    }

    fn intra_chroma_pred_mode(&mut self, around: &Around) -> u8 {
        let inc = usize::from(around.left.chroma_mode) + usize::from(around.above.chroma_mode);
        if !self.decision(64 + inc) {
            0
        } else if !self.decision(67) {
            1
        } else {
            2 + self.bin(67) as u8
        }
    }

    fn sub_mb_type(&mut self, bidirectional: bool) -> u8 {
        if !bidirectional {
            return if self.decision(21) {
                0
            } else if !self.decision(22) {
                1
            } else {
                3 - self.bin(23) as u8
            };
        }
        if !self.decision(36) {
            return 0;
        }
        if !self.decision(37) {
            return 1 + self.bin(39) as u8;
        }
        let mut sub_type = 3;
        if self.decision(38) {
            if self.decision(39) {
                return 11 + self.bin(39) as u8;
            }
            sub_type += 4;
        }
        sub_type += 2 * self.bin(39) as u8;
        sub_type + self.bin(39) as u8
    }

    #[inline(always)]
    fn ref_idx(&mut self, max: u8, inc: usize) -> u8 {
        let mut value = 0;
        let mut context = inc;
        while self.decision(54 + context) {
            value += 1;
            context = (context >> 2) + 4;
            if value > max {
                self.fail("ref_idx");
                return 0;
            }
        }
        value
    }

    #[inline(always)]
    fn mvd(&mut self, sum: AbsMvd) -> [i16; 2] {
        let x = self.mvd_component(40, sum[0]);
        let y = self.mvd_component(47, sum[1]);
        [x as i16, y as i16]
    }

    fn pcm_samples(&mut self, bytes: usize) {
        let first = self.engine.position().div_ceil(8) as usize;
        let start = first.wrapping_add(bytes);
        self.sink.pcm(self.engine.bytes(first..start));
        self.engine = self.engine.restarted(start);
    }

    #[inline(always)]
    fn block<const KIND: usize>(&mut self, a: u8, b: u8, weights: &[f32; 16], sums: &mut Residual) -> u8 {
        self.sink.block(KIND);
        u8::from(self.residual_block::<KIND>(usize::from(a & 1) + 2 * usize::from(b & 1), weights, sums))
    }

    #[inline(always)]
    fn block_8x8<const KIND: usize>(
        &mut self,
        neighbours: Option<(u8, u8)>,
        weights: &[f32; 64],
        sums: &mut Residual,
    ) -> u8 {
        self.sink.block(KIND);
        if let Some((a, b)) = neighbours {
            if !self.coded_block_flag_8x8::<KIND>(usize::from(a & 1) + 2 * usize::from(b & 1)) {
                return 0;
            }
        }
        self.residual_block_8x8::<KIND>(weights, sums);
        1
    }
}
