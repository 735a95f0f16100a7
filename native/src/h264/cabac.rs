//! CABAC arithmetic decoding engine (H.264 9.3.1.2, 9.3.3.2).
//!
//! codIOffset is kept scaled in a 64-bit window together with bits that were read ahead, so that most bins
//! need no access to the bitstream: a refill brings 48 bits.

use super::cabac_tables::{lps, CONTEXTS, CONTEXT_COPIES, CONTEXT_INIT, LPS, NEXT_LPS, NEXT_MPS};

const REFILL_BYTES: usize = 6;
const REFILL_BITS: i32 = 8 * REFILL_BYTES as i32;

/// 2^34 / codIRange, rounded up, by the low byte of codIRange (256 to 511): exact for dividends below 2^25.
static RECIPROCAL: [u32; 256] = {
    let mut table = [0; 256];
    let mut low = 0;
    while low < 256 {
        table[low] = ((1_u64 << RECIPROCAL_BITS) / (256 + low as u64) + 1) as u32;
        low += 1;
    }
    table
};
const RECIPROCAL_BITS: u32 = 34;

/// The state of a context that has met nothing but 1 for long.
const SURE: u8 = 62 << 1 | 1;

/// By the low byte of codIRange: how many pairs of a bin 1 in the state [`SURE`] and end_of_slice_flag 0 leave it at 256
/// or more, and the low byte of what they leave.
static FREE_PAIRS: [[u8; 2]; 256] = {
    let sure = lps()[SURE as usize];
    let mut table = [[0; 2]; 256];
    let mut low = 0;
    while low < 256 {
        let (mut pairs, mut range) = (0, 256 + low as u64);
        loop {
            let next = range - (sure >> (range >> 3 & 24) & 255) - 2;
            if next < 256 {
                break;
            }
            (pairs, range) = (pairs + 1, next);
        }
        table[low] = [pairs, (range & 255) as u8];
        low += 1;
    }
    table
};

/// Context states, `pStateIdx << 1 | valMPS`; a power of two so that masked indices need no check.
pub type Contexts = [u8; 1024];

/// Decoding engine: a handful of values that inner loops copy into registers.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    data: &'a [u8],
    /// Byte that the next refill reads first; runs past the end, where zeros are read.
    next: usize,
    /// codIOffset << `ahead`, with bits that were read ahead below.
    value: u64,
    /// codIRange, 256..=510 between bins.
    range: u32,
    /// Number of bits read ahead, not negative between bins.
    ahead: i32,
}

impl<'a> Engine<'a> {
    /// H.264 9.3.1.2: starts at byte `start` of `data`.
    pub fn new(data: &'a [u8], start: usize) -> Self {
        let mut engine = Self { data, next: start, value: 0, range: 510, ahead: -9 };
        engine.refill();
        engine
    }

    /// Starts again at another byte of the same data.
    pub fn restarted(&self, start: usize) -> Self {
        Self::new(self.data, start)
    }

    /// Some of the data, if it is there.
    pub fn bytes(&self, range: std::ops::Range<usize>) -> &'a [u8] {
        self.data.get(range).unwrap_or_default()
    }

    /// Whether codIOffset is below codIRange, which no encoder violates (9.3.1.2).
    pub fn is_valid(&self) -> bool {
        self.value < u64::from(self.range) << self.ahead
    }

    /// Bits of the data that were shifted into codIOffset so far.
    #[inline(always)]
    pub fn position(&self) -> u64 {
        (self.next as u64).wrapping_mul(8).wrapping_sub(self.ahead as u64)
    }

    /// H.264 9.3.3.2.1 DecodeDecision.
    #[inline(always)]
    pub fn decision<const N: usize>(&mut self, contexts: &mut [u8; N], context: usize) -> bool {
        debug_assert!(N.is_power_of_two());
        self.decide(&mut contexts[context & (N - 1)])
    }

    /// The same with the state of the context itself.
    #[inline(always)]
    pub fn decide(&mut self, context: &mut u8) -> bool {
        let state = *context;
        let lps = LPS[usize::from(state)] >> (self.range >> 3 & 24);
        let lps_range = (lps & 255) as u32;
        let range = self.range.wrapping_sub(lps_range);
        let scaled = u64::from(range).wrapping_shl(self.ahead as u32);
        if self.value < scaled {
            *context = NEXT_MPS[usize::from(state)];
            self.range = range;
            self.renormalize(range >> 8 & 1 ^ 1);
            state & 1 != 0
        } else {
            *context = NEXT_LPS[usize::from(state)];
            self.value = self.value.wrapping_sub(scaled);
            self.range = lps_range;
            self.renormalize((lps >> 32 & 255) as u32);
            state & 1 == 0
        }
    }

    /// H.264 9.3.3.2.3 DecodeBypass.
    #[inline(always)]
    pub fn bypass(&mut self) -> bool {
        self.ahead = self.ahead.wrapping_sub(1);
        if self.ahead < 0 {
            self.refill();
        }
        let scaled = u64::from(self.range).wrapping_shl(self.ahead as u32);
        let one = self.value >= scaled;
        self.value = self.value.wrapping_sub(if one { scaled } else { 0 });
        one
    }

    /// Up to 16 bypass bins at once, without consuming them: the next bin is the highest of 16 bits.
    ///
    /// Bins in bypass mode are the digits of codIOffset divided by codIRange.
    #[inline(always)]
    pub fn peek_bypass(&mut self) -> u32 {
        if self.ahead < 16 {
            self.refill_half();
        }
        let dividend = self.value >> (self.ahead.wrapping_sub(16) as u32 & 63);
        let reciprocal = u64::from(RECIPROCAL[(self.range & 255) as usize]);
        (dividend.wrapping_mul(reciprocal) >> RECIPROCAL_BITS) as u32
    }

    /// Consumes `count` (0 to 16) of the bins that [`Self::peek_bypass`] returned just before.
    #[inline(always)]
    pub fn consume_bypass(&mut self, peeked: u32, count: u32) {
        self.ahead = self.ahead.wrapping_sub(count as i32);
        let taken = u64::from(peeked >> (16_u32.wrapping_sub(count) & 31));
        let scaled = taken.wrapping_mul(u64::from(self.range)).wrapping_shl(self.ahead as u32);
        self.value = self.value.wrapping_sub(scaled);
    }

    /// `count` (0 to 16) bypass bins, the first one highest.
    #[inline(always)]
    pub fn bypass_bits(&mut self, count: u32) -> u32 {
        let peeked = self.peek_bypass();
        self.consume_bypass(peeked, count);
        peeked >> (16_u32.wrapping_sub(count) & 31)
    }

    /// H.264 9.3.3.2.2 DecodeTerminate. When it returns true, the last bit read is the last bit that the encoder
    /// flushed (rbsp_stop_one_bit at the end of a slice).
    #[inline(always)]
    pub fn terminate(&mut self) -> bool {
        self.range = self.range.wrapping_sub(2);
        if self.value >= u64::from(self.range).wrapping_shl(self.ahead as u32) {
            return true;
        }
        self.renormalize(self.range >> 8 & 1 ^ 1);
        false
    }

    /// Reads so many pairs of a bin 1 in the state `context` and end_of_slice_flag 0 as come next without a bit of
    /// the stream, if they are at most `most`; returns how many, or 0.
    ///
    /// Each makes codIRange smaller only. When codIOffset is below what is left of it in the end, it was below at
    /// every step.
    #[inline(always)]
    pub fn free_pairs(&mut self, context: u8, most: usize) -> usize {
        if context != SURE {
            return 0;
        }
        let [pairs, left] = FREE_PAIRS[(self.range & 255) as usize].map(usize::from);
        let range = 256 | left as u32;
        if pairs > most || self.value >= u64::from(range).wrapping_shl(self.ahead as u32) {
            return 0;
        }
        self.range = range;
        pairs
    }

    /// Exp-Golomb suffix of order `order` in bypass bins (9.3.2.3); `None` when it exceeds 24 bits. By value, so
    /// that a caller's engine can stay in registers.
    #[cold]
    pub fn exp_golomb_suffix(mut self, order: u32) -> (Self, Option<i32>) {
        let mut bits = order;
        let mut value = 0_i32;
        while self.bypass() {
            value += 1 << bits;
            bits += 1;
            if bits > 24 {
                return (self, None);
            }
        }
        for shift in (0..bits).rev() {
            value += i32::from(self.bypass()) << shift;
        }
        (self, Some(value))
    }

    #[inline(always)]
    fn renormalize(&mut self, shift: u32) {
        self.range = self.range.wrapping_shl(shift);
        self.ahead = self.ahead.wrapping_sub(shift as i32);
        if self.ahead < 0 {
            self.refill();
        }
    }

    #[inline(always)]
    fn refill(&mut self) {
        self.value = self.value << REFILL_BITS | read_ahead(self.data, self.next);
        self.ahead = self.ahead.wrapping_add(REFILL_BITS);
        self.next = self.next.wrapping_add(REFILL_BYTES);
    }

    /// Brings 32 bits while a few are left.
    #[inline(always)]
    fn refill_half(&mut self) {
        self.value = self.value << 32 | read_ahead(self.data, self.next) >> (REFILL_BITS - 32);
        self.ahead = self.ahead.wrapping_add(32);
        self.next = self.next.wrapping_add(4);
    }
}

/// The next [`REFILL_BYTES`] of the data, zeros behind its end.
#[inline(never)]
fn read_ahead(data: &[u8], next: usize) -> u64 {
    match data.get(next..next.wrapping_add(8)).map(<[u8; 8]>::try_from) {
        Some(Ok(bytes)) => u64::from_be_bytes(bytes) >> 16,
        _ => {
            let rest = data.get(next..).unwrap_or_default();
            (0..REFILL_BYTES).fold(0, |bits, i| bits << 8 | rest.get(i).map_or(0, |&byte| u64::from(byte)))
        }
    }
}

/// H.264 9.3.1.1: initial states of all contexts; those of Cb and Cr blocks only for `three_planes` (4:4:4).
pub fn init_contexts(set: usize, slice_qp: i32, three_planes: bool) -> Contexts {
    let mut contexts = [0; 1024];
    for (context, &(m, n)) in contexts.iter_mut().zip(&CONTEXT_INIT[set & 3][..CONTEXTS]) {
        let state = (((i32::from(m) * slice_qp.clamp(0, 51)) >> 4) + i32::from(n)).clamp(1, 126);
        *context = if state <= 63 { (63 - state) << 1 } else { (state - 64) << 1 | 1 } as u8;
    }
    if three_planes {
        for &(first, luma, count) in &CONTEXT_COPIES {
            contexts.copy_within(luma..luma + count, first);
        }
    }
    contexts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decoder of the specification, bit by bit.
    struct Slow<'a> {
        data: &'a [u8],
        at: usize,
        range: u32,
        offset: u32,
        contexts: Contexts,
    }

    impl<'a> Slow<'a> {
        fn new(data: &'a [u8], set: usize, qp: i32) -> Self {
            let mut slow =
                Self { data, at: 0, range: 510, offset: 0, contexts: init_contexts(set, qp, true) };
            for _ in 0..9 {
                slow.shift();
            }
            slow
        }

        fn shift(&mut self) {
            let byte = self.data.get(self.at / 8).copied().unwrap_or(0);
            self.offset = self.offset << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }

        fn decision(&mut self, context: usize) -> bool {
            let state = self.contexts[context] as usize;
            let lps = (LPS[state] >> (self.range >> 3 & 24) & 255) as u32;
            self.range -= lps;
            let mut bin = state & 1 != 0;
            if self.offset >= self.range {
                self.offset -= self.range;
                self.range = lps;
                bin = !bin;
                self.contexts[context] = NEXT_LPS[state];
            } else {
                self.contexts[context] = NEXT_MPS[state];
            }
            while self.range < 256 {
                self.range <<= 1;
                self.shift();
            }
            bin
        }

        fn bypass(&mut self) -> bool {
            self.shift();
            let one = self.offset >= self.range;
            self.offset -= if one { self.range } else { 0 };
            one
        }

        fn terminate(&mut self) -> bool {
            self.range -= 2;
            if self.offset >= self.range {
                return true;
            }
            while self.range < 256 {
                self.range <<= 1;
                self.shift();
            }
            false
        }
    }

    #[test]
    fn agrees_with_the_bit_by_bit_engine_on_random_bytes() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for round in 0..200 {
            let data: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
            let (set, qp) = (round % 4, random() as i32 % 52);
            let (mut fast, mut slow) = (Engine::new(&data, 0), Slow::new(&data, set, qp));
            let mut contexts = init_contexts(set, qp, true);
            for step in 0..4000 {
                if !fast.is_valid() {
                    // Terminated, or no stream at all.
                    break;
                }
                let context = random() % contexts.len();
                let (a, b) = match random() % 9 {
                    8 => {
                        let count = random() % 17;
                        let slow_bits = (0..count).fold(0, |bits, _| bits << 1 | u32::from(slow.bypass()));
                        assert_eq!(fast.bypass_bits(count as u32), slow_bits, "round {round} step {step}");
                        (false, false)
                    }
                    0..=4 => (fast.decision(&mut contexts, context), slow.decision(context)),
                    5..=6 => (fast.bypass(), slow.bypass()),
                    _ => (fast.terminate(), slow.terminate()),
                };
                assert_eq!((a, fast.position()), (b, slow.at as u64), "round {round} step {step}");
            }
        }
    }
}
