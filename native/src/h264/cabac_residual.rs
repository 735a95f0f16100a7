//! residual_block_cabac() (H.264 7.3.5.3.3, 9.3.3.1.3).

use super::{
    cabac::{Contexts, Engine},
    cabac_syntax::CabacReader,
    cabac_tables::{LAST_8X8, SIGNIFICANT_8X8, SIGNIFICANT_8X8_FIELD},
    sink::Sink,
    syntax::{
        block_kind::{self, CHROMA_DC, CHROMA_DC_422, KINDS},
        Residual, Syntax,
    },
};

/// coded_block_flag contexts by kind of block.
const CODED_BLOCK_FLAG: [usize; KINDS] =
    [85, 89, 93, 97, 101, 1012, 460, 464, 468, 1016, 472, 476, 480, 1020, 97];
/// significant_coeff_flag contexts of frame macroblocks by kind of block.
const SIGNIFICANT: [usize; KINDS] =
    [105, 120, 134, 149, 152, 402, 484, 499, 513, 660, 528, 543, 557, 718, 149];
/// last_significant_coeff_flag contexts of frame macroblocks by kind of block.
const LAST: [usize; KINDS] = [166, 181, 195, 210, 213, 417, 572, 587, 601, 690, 616, 631, 645, 748, 210];
/// From those contexts to the ones of field macroblocks: significant_coeff_flag, last_significant_coeff_flag.
const FIELD: [[usize; 2]; KINDS] = [
    [172, 172],
    [172, 172],
    [172, 172],
    [172, 172],
    [172, 172],
    [34, 34],
    [292, 292],
    [292, 292],
    [292, 292],
    [15, 9],
    [292, 292],
    [292, 292],
    [292, 292],
    [15, 9],
    [172, 172],
];
/// coeff_abs_level_minus1 contexts by kind of block.
const ABS_LEVEL: [usize; KINDS] =
    [227, 237, 247, 257, 266, 426, 952, 962, 972, 708, 982, 992, 1002, 766, 257];

/// coeff_abs_level_minus1 up to here is unary.
const LEVEL_PREFIX: i32 = 15;

/// How many levels were seen, as far as contexts care: 0..=3 levels of 1 (3: or more), then 4..=7 for one to
/// four levels above 1. Context increment of the first bin by that state.
const FIRST_BIN: [u8; 8] = [1, 2, 3, 4, 0, 0, 0, 0];
/// Context increment of the other bins.
const OTHER_BINS: [u8; 8] = [5, 5, 5, 5, 6, 7, 8, 9];
/// The same for chroma DC, which has one context less.
const OTHER_BINS_CHROMA_DC: [u8; 8] = [5, 5, 5, 5, 6, 7, 8, 8];
/// State after a level of 1.
const AFTER_ONE: [u8; 8] = [1, 2, 3, 3, 4, 5, 6, 7];
/// State after a level above 1.
const AFTER_MORE: [u8; 8] = [4, 4, 4, 4, 5, 6, 7, 7];

impl<'a, K: Sink> CabacReader<'a, K> {
    /// coded_block_flag and, when it is set, the block.
    #[inline(always)]
    pub(super) fn residual_block<const KIND: usize>(
        &mut self,
        inc: usize,
        weights: &[f32; 16],
        sums: &mut Residual,
    ) -> bool {
        if !self.engine.decision(&mut self.contexts, CODED_BLOCK_FLAG[KIND] + inc) {
            return false;
        }
        self.coefficients::<KIND>(weights, sums);
        true
    }

    #[inline(never)]
    fn coefficients<const KIND: usize>(&mut self, weights: &[f32; 16], sums: &mut Residual) {
        let mut engine = self.engine;
        let contexts = &mut self.contexts;
        let [significant_field, last_field] = if self.field { FIELD[KIND] } else { [0, 0] };
        let last = block_kind::coefficients(KIND) - 1;
        let mut positions = [0_u8; 16];
        let mut count = 0_usize;
        let mut index = 0_usize;
        loop {
            if index >= last {
                positions[count & 15] = last as u8;
                count = count.wrapping_add(1);
                break;
            }
            let inc = if KIND == CHROMA_DC_422 { (index / 2).min(2) } else { index };
            if engine.decision(contexts, SIGNIFICANT[KIND] + significant_field + inc) {
                positions[count & 15] = index as u8;
                count = count.wrapping_add(1);
                if engine.decision(contexts, LAST[KIND] + last_field + inc) {
                    break;
                }
            }
            index = index.wrapping_add(1);
        }
        self.levels::<KIND, 16>(engine, &positions, count, weights, sums);
    }

    /// coded_block_flag of an 8x8 block (4:4:4 only).
    pub(super) fn coded_block_flag_8x8<const KIND: usize>(&mut self, inc: usize) -> bool {
        self.engine.decision(&mut self.contexts, CODED_BLOCK_FLAG[KIND] + inc)
    }

    /// An 8x8 block without its coded_block_flag.
    #[inline(never)]
    pub(super) fn residual_block_8x8<const KIND: usize>(&mut self, weights: &[f32; 64], sums: &mut Residual) {
        let [significant_field, last_field] = if self.field { FIELD[KIND] } else { [0, 0] };
        let incs = if self.field { &SIGNIFICANT_8X8_FIELD } else { &SIGNIFICANT_8X8 };
        let mut engine = self.engine;
        let contexts = &mut self.contexts;
        let mut positions = [0_u8; 64];
        let mut count = 0_usize;
        let mut index = 0_usize;
        loop {
            if index >= 63 {
                positions[count & 63] = 63;
                count = count.wrapping_add(1);
                break;
            }
            if engine.decision(contexts, SIGNIFICANT[KIND] + significant_field + usize::from(incs[index])) {
                positions[count & 63] = index as u8;
                count = count.wrapping_add(1);
                if engine.decision(contexts, LAST[KIND] + last_field + usize::from(LAST_8X8[index])) {
                    break;
                }
            }
            index = index.wrapping_add(1);
        }
        self.levels::<KIND, 64>(engine, &positions, count, weights, sums);
    }

    /// Levels from the highest frequency to the lowest.
    #[inline(always)]
    fn levels<const KIND: usize, const N: usize>(
        &mut self,
        mut engine: Engine<'a>,
        positions: &[u8; N],
        count: usize,
        weights: &[f32; N],
        sums: &mut Residual,
    ) {
        let (contexts, sink) = (&mut self.contexts, self.sink);
        let mut state = 0_usize;
        let mut left = count;
        let mut violated = false;
        let mut added = Residual::default();
        while left > 0 {
            left = left.wrapping_sub(1);
            let position = usize::from(positions[left & (N - 1)]).wrapping_add(block_kind::first(KIND));
            let mut level = prefix::<KIND>(&mut engine, contexts, &mut state);
            if level >= LEVEL_PREFIX {
                let (after, suffix) = engine.exp_golomb_suffix(0);
                engine = after;
                violated |= suffix.is_none();
                level = level.wrapping_add(suffix.unwrap_or(0));
            }
            let is_negative = engine.bypass();
            added.add(level, weights[position & (N - 1)]);
            if K::LISTENS {
                sink.level(position, if is_negative { -level } else { level });
            }
        }
        self.engine = engine;
        sums.energy += added.energy;
        sums.coefficients = sums.coefficients.wrapping_add(count as u32);
        if violated {
            self.fail("coeff_abs_level_minus1");
        }
    }
}

/// Unary part of the absolute value of one level.
#[inline(always)]
fn prefix<const KIND: usize>(engine: &mut Engine<'_>, contexts: &mut Contexts, state: &mut usize) -> i32 {
    let before = *state & 7;
    if !engine.decision(contexts, ABS_LEVEL[KIND] + usize::from(FIRST_BIN[before])) {
        *state = usize::from(AFTER_ONE[before]);
        return 1;
    }
    let bins = if KIND == CHROMA_DC || KIND == CHROMA_DC_422 { &OTHER_BINS_CHROMA_DC } else { &OTHER_BINS };
    let context = ABS_LEVEL[KIND] + usize::from(bins[before]);
    *state = usize::from(AFTER_MORE[before]);
    let mut level = 2_i32;
    while level < LEVEL_PREFIX && engine.decision(contexts, context) {
        level = level.wrapping_add(1);
    }
    level
}
