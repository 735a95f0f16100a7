//! residual_coding() (H.265 7.3.8.11, 9.3.4.2.3 to 9.3.4.2.7).

use super::{
    cells::Sums,
    contexts::{at, Contexts},
    scaling::ScalingFactors,
    scan::{scan_idx, GROUPS, INDEX_IN_GROUP, INDEX_OF_GROUP, IN_GROUP},
    sink::{CodedBlock, Sink},
    slice_data::SliceParser,
};
use crate::{error::Result, h264::cabac::Engine};

/// What residual_coding() needs to know of its block.
#[derive(Clone, Copy)]
pub(super) struct ResidualBlock {
    /// log2TrafoSize
    pub log2_size: u32,
    /// cIdx
    pub plane: usize,
    /// scanIdx
    pub scan: usize,
    /// CuPredMode is MODE_INTRA.
    pub is_intra: bool,
    /// cu_transquant_bypass_flag
    pub bypass: bool,
    /// predModeIntra is exactly horizontal or vertical.
    pub is_straight: bool,
}

/// ctxIdxMap of 4x4 blocks (9.3.4.2.5).
const CTX_IDX_MAP: [u8; 16] = [0, 1, 4, 5, 2, 3, 4, 5, 6, 6, 8, 8, 7, 7, 8, 8];

/// Kinds of groups: prevCsbf 0 to 3, and a whole 4x4 block.
const WHOLE_4X4: usize = 4;

/// sigCtx inside a group before the offset of size and plane, by scanIdx, kind of group and index in the scan.
static SIG_CTX: [[[u8; 16]; 5]; 3] = sig_ctx();

const fn sig_ctx() -> [[[u8; 16]; 5]; 3] {
    let mut table = [[[0; 16]; 5]; 3];
    let mut scan = 0;
    while scan < 3 {
        let mut index = 0;
        while index < 16 {
            let position = IN_GROUP[scan][index];
            let (x, y) = (position & 3, position >> 2);
            table[scan][0][index] = if x + y == 0 {
                2
            } else if x + y < 3 {
                1
            } else {
                0
            };
            table[scan][1][index] = near(y);
            table[scan][2][index] = near(x);
            table[scan][3][index] = 2;
            table[scan][WHOLE_4X4][index] = CTX_IDX_MAP[position as usize];
            index += 1;
        }
        scan += 1;
    }
    table
}

const fn near(distance: u8) -> u8 {
    match distance {
        0 => 2,
        1 => 1,
        _ => 0,
    }
}

/// Positions of groups by scanIdx, log2 of the groups in a row and index.
static GROUP_POSITIONS: [[[u8; 64]; 4]; 3] = GROUPS;
/// Positions inside a group by scanIdx and index.
static POSITIONS: [[u8; 16]; 3] = IN_GROUP;

/// coeff_abs_level_greater1_flag of a group at most (7.3.8.11).
const MAX_GREATER1: usize = 8;
/// Longest prefix of coeff_abs_level_remaining (9.3.3.11).
const MAX_PREFIX: u32 = 32;
/// Largest absolute level.
const MAX_LEVEL: u32 = 1 << 15;

/// Constants of a block while its groups are read.
struct Setup {
    scan: usize,
    log2_size: u32,
    chroma: usize,
    /// sig_coeff_flag: first context of the first group and of the others.
    sig: [usize; 2],
    /// One context for all, with transform_skip_context_enabled_flag.
    sig_single: Option<usize>,
    hides_signs: bool,
    /// Which of StatCoeff, with persistent_rice_adaptation_enabled_flag.
    rice_slot: Option<usize>,
}

/// What squared levels are worth.
struct Weights<'a> {
    /// With a scaling factor of 16.
    per_level: f32,
    /// Scaling factors and matrixId, when they are not all 16.
    factors: Option<(&'a ScalingFactors, usize)>,
}

impl<'a, K: Sink> SliceParser<'a, K> {
    // H.265 7.3.8.11
    pub(super) fn residual_coding(&mut self, block: &ResidualBlock, sums: &mut Sums) -> Result<()> {
        let ResidualBlock { log2_size, plane, scan, .. } = *block;
        let chroma = usize::from(plane > 0);
        let skip_allowed = self.pps.transform_skip_enabled_flag
            && !block.bypass
            && log2_size <= self.pps.log2_max_transform_skip_size;
        let transform_skip = skip_allowed && self.decision(at::TRANSFORM_SKIP + chroma);
        let untransformed = transform_skip || block.bypass;
        let mut explicit_rdpcm = None;
        if !block.is_intra && self.sps.range.explicit_rdpcm && untransformed {
            let is_used = self.decision(at::EXPLICIT_RDPCM + chroma);
            explicit_rdpcm = is_used.then(|| self.decision(at::EXPLICIT_RDPCM_DIR + chroma));
        }
        self.sink.block(CodedBlock { plane, log2_size, transform_skip, explicit_rdpcm }, self.quantiser.qp);
        let implicit_rdpcm =
            block.is_intra && self.sps.range.implicit_rdpcm && untransformed && block.is_straight;
        let size_offset = match (chroma, log2_size) {
            (_, 2) => 0,
            (0, 3) if scan == 0 => 9,
            (0, 3) => 15,
            (0, _) => 21,
            (_, 3) => 9,
            _ => 12,
        };
        let first = at::SIG_COEFF + 27 * chroma + size_offset;
        let setup = Setup {
            scan,
            log2_size,
            chroma,
            sig: [first, if plane == 0 { first + 3 } else { first }],
            sig_single: (self.sps.range.transform_skip_context && untransformed)
                .then_some(at::SIG_COEFF + 42 + chroma),
            hides_signs: self.pps.sign_data_hiding_enabled_flag
                && !(block.bypass || implicit_rdpcm || explicit_rdpcm.is_some()),
            rice_slot: (self.sps.range.persistent_rice)
                .then_some(2 * (1 - chroma) + usize::from(untransformed)),
        };
        let per_level = self.energy_per_level(block);
        let weights = Weights { per_level, factors: self.factors(block, transform_skip) };
        let sink = self.sink;
        let read =
            coefficients(&mut self.engine, &mut self.contexts, &mut self.rice, &setup, &weights, sums, sink);
        match read {
            true => Ok(()),
            false => Err(self.invalid("coeff_abs_level_remaining")),
        }
    }

    /// What a squared level is worth.
    fn energy_per_level(&self, block: &ResidualBlock) -> f32 {
        match (self.input.want_energy, block.bypass) {
            (false, _) => 0.0,
            (true, true) => self.quantiser.energy_of_samples(block.plane),
            (true, false) => self.quantiser.energy_per_level(block.plane),
        }
    }

    /// Scaling factors and matrixId of a block, when there are any (8.6.4.2).
    fn factors(&self, block: &ResidualBlock, transform_skip: bool) -> Option<(&'a ScalingFactors, usize)> {
        let flat = block.bypass || (transform_skip && block.log2_size > 2);
        let of_sequence = self.sps.scaling.as_ref().filter(|_| self.input.want_energy && !flat)?;
        let matrix = block.plane + if block.is_intra { 0 } else { 3 };
        Some((self.pps.scaling.as_ref().unwrap_or(of_sequence), matrix))
    }
}

/// last_sig_coeff_x_prefix or last_sig_coeff_y_prefix (9.3.4.2.3).
#[inline(always)]
fn last_prefix(engine: &mut Engine<'_>, contexts: &mut Contexts, setup: &Setup, base: usize) -> u32 {
    let log2 = setup.log2_size;
    let (offset, shift) = match setup.chroma {
        0 => (3 * (log2 - 2) + ((log2 - 1) >> 2), (log2 + 1) >> 2),
        _ => (15, log2 - 2),
    };
    let longest = 2 * log2 - 1;
    let mut prefix = 0;
    let base = base + offset as usize;
    while prefix < longest && engine.decision(contexts, base.wrapping_add((prefix >> (shift & 7)) as usize)) {
        prefix = prefix.wrapping_add(1);
    }
    prefix
}

/// LastSignificantCoeffX or Y from its prefix and, in the stream, its suffix.
#[inline(always)]
fn last_position(engine: &mut Engine<'_>, prefix: u32) -> u32 {
    if prefix <= 3 {
        return prefix;
    }
    let bits = (prefix >> 1) - 1;
    ((2 + (prefix & 1)) << bits) + engine.bypass_bits(bits)
}

/// Everything behind the flags of the block; false when a level is longer than any level.
#[inline(never)]
#[allow(clippy::too_many_arguments)] // parts of the caller
fn coefficients<K: Sink>(
    shared_engine: &mut Engine<'_>,
    contexts: &mut Contexts,
    rice: &mut [u8; 4],
    setup: &Setup,
    weights: &Weights<'_>,
    sums: &mut Sums,
    sink: K,
) -> bool {
    // A copy stays in registers.
    let engine = &mut shared_engine.clone();
    let scan = setup.scan.min(2);
    let prefix_x = last_prefix(engine, contexts, setup, at::LAST_X_PREFIX);
    let prefix_y = last_prefix(engine, contexts, setup, at::LAST_Y_PREFIX);
    let (mut last_x, mut last_y) = (last_position(engine, prefix_x), last_position(engine, prefix_y));
    if scan == scan_idx::VERTICAL {
        (last_x, last_y) = (last_y, last_x);
    }
    let level = (setup.log2_size as usize - 2) & 3;
    let last_group =
        usize::from(INDEX_OF_GROUP[scan][level][((last_y >> 2 << 3 | last_x >> 2) & 63) as usize]);
    let last_index = usize::from(INDEX_IN_GROUP[scan][((last_y & 3) << 2 | last_x & 3) as usize]);
    // coded_sub_block_flag by row, and a row below.
    let mut coded = [0_u16; 9];
    let mut squares = 0_u64;
    let mut weighted = 0_f32;
    let mut after_greater1 = false;
    for group in (0..=last_group).rev() {
        let place = GROUP_POSITIONS[scan][level][group & 63];
        let (x, y) = (usize::from(place & 7), usize::from(place >> 3 & 7));
        let csbf = usize::from(coded[y] >> (x + 1) & 1) | usize::from(coded[y + 1] >> x & 1) << 1;
        let between = group > 0 && group < last_group;
        if between {
            let context = at::CODED_SUB_BLOCK + 2 * setup.chroma + usize::from(csbf != 0);
            if !engine.decision(contexts, context) {
                continue;
            }
        }
        coded[y] |= 1 << x;
        let from = if group == last_group { Some(last_index) } else { None };
        let (positions, count) = significant(engine, contexts, setup, csbf, group, from);
        if count == 0 {
            continue;
        }
        let ctx_set = if group == 0 || setup.chroma != 0 { 0 } else { 2 } + usize::from(after_greater1);
        let (mut levels, first_greater1) = greater_flags(engine, contexts, setup, ctx_set, count);
        after_greater1 = first_greater1 < MAX_GREATER1;
        let hidden = setup.hides_signs && positions[0] - positions[(count - 1) & 15] > 3;
        let signs = engine.bypass_bits(count as u32 - u32::from(hidden)) << u32::from(hidden);
        if !remaining_levels(engine, rice, setup, &mut levels, count, first_greater1) {
            return false;
        }
        if K::LISTENS {
            tell(sink, (x, y), &POSITIONS[scan], (&positions, &levels), count, signs, hidden);
        }
        match weights.factors {
            None => {
                for &level in &levels[..count.min(16)] {
                    squares = squares.wrapping_add(u64::from(level.wrapping_mul(level)));
                }
            }
            Some((factors, matrix)) => {
                for (&level, &index) in levels[..count].iter().zip(&positions) {
                    let position = POSITIONS[scan][usize::from(index & 15)];
                    let (x, y) = (
                        (x as u32) << 2 | u32::from(position & 3),
                        (y as u32) << 2 | u32::from(position >> 2),
                    );
                    let scaled = level as f32 * f32::from(factors.at(setup.log2_size, matrix, x, y)) / 16.0;
                    weighted += scaled * scaled;
                }
            }
        }
        sums.coefficients += count as u32;
    }
    sums.energy += (squares as f32 + weighted) * weights.per_level;
    *shared_engine = *engine;
    true
}

/// Tells of the levels of a group at (x, y), which have their signs from the highest bit of `count` on; a hidden one is
/// in the parity of the sum (7.3.8.11).
fn tell<K: Sink>(
    sink: K,
    (x, y): (usize, usize),
    scan: &[u8; 16],
    (positions, levels): (&[u8; 16], &[u32; 16]),
    count: usize,
    signs: u32,
    hidden: bool,
) {
    let odd = levels[..count].iter().sum::<u32>() % 2 == 1;
    for index in 0..count {
        let position = usize::from(scan[usize::from(positions[index] & 15)]);
        let is_last = index + 1 == count;
        let negative = if is_last && hidden { odd } else { signs >> (count - 1 - index) & 1 != 0 };
        let level = if negative { -(levels[index] as i32) } else { levels[index] as i32 };
        sink.level(4 * x + position % 4, 4 * y + position / 4, level);
    }
}

/// sig_coeff_flag of a group: indices in the scan from the highest, and how many.
#[inline(always)]
fn significant(
    engine: &mut Engine<'_>,
    contexts: &mut Contexts,
    setup: &Setup,
    csbf: usize,
    group: usize,
    last_index: Option<usize>,
) -> ([u8; 16], usize) {
    let kind = if setup.log2_size == 2 { WHOLE_4X4 } else { csbf };
    let table = &SIG_CTX[setup.scan.min(2)][kind];
    let base = setup.sig[usize::from(group > 0)];
    let mut positions = [0; 16];
    let mut count = 0;
    if let Some(index) = last_index {
        positions[0] = index as u8;
        count = 1;
    }
    for index in (1..last_index.unwrap_or(16)).rev() {
        let context = setup.sig_single.unwrap_or(base.wrapping_add(usize::from(table[index & 15])));
        if engine.decision(contexts, context) {
            positions[count & 15] = index as u8;
            count = count.wrapping_add(1);
        }
    }
    if last_index == Some(0) {
        return (positions, count);
    }
    // inferSbDcSigCoeffFlag: a coded group between the first and the last has at least one level.
    let inferred = count == 0 && group > 0;
    let context = setup.sig_single.unwrap_or(match group {
        0 => at::SIG_COEFF + 27 * setup.chroma,
        _ => base + usize::from(table[0]),
    });
    if inferred || engine.decision(contexts, context) {
        positions[count & 15] = 0;
        count += 1;
    }
    (positions, count)
}

/// coeff_abs_level_greater1_flag and greater2: levels so far, and the first above 1 (or [`MAX_GREATER1`]).
#[inline(always)]
fn greater_flags(
    engine: &mut Engine<'_>,
    contexts: &mut Contexts,
    setup: &Setup,
    ctx_set: usize,
    count: usize,
) -> ([u32; 16], usize) {
    let mut levels = [1; 16];
    let mut first = MAX_GREATER1;
    let mut greater1_ctx = 1;
    let base = at::GREATER1 + 16 * setup.chroma + 4 * ctx_set;
    for (index, level) in levels.iter_mut().enumerate().take(count.min(MAX_GREATER1)) {
        if engine.decision(contexts, base.wrapping_add(greater1_ctx)) {
            *level = 2;
            greater1_ctx = 0;
            first = first.min(index);
        } else if greater1_ctx > 0 && greater1_ctx < 3 {
            greater1_ctx = greater1_ctx.wrapping_add(1);
        }
    }
    if first < MAX_GREATER1 && engine.decision(contexts, at::GREATER2 + 4 * setup.chroma + ctx_set) {
        levels[first] = 3;
    }
    (levels, first)
}

/// coeff_abs_level_remaining of a group; false when one is longer than any level.
#[inline(always)]
fn remaining_levels(
    engine: &mut Engine<'_>,
    rice: &mut [u8; 4],
    setup: &Setup,
    levels: &mut [u32; 16],
    count: usize,
    first_greater1: usize,
) -> bool {
    let mut param = setup.rice_slot.map_or(0, |slot| u32::from(rice[slot & 3]) / 4);
    let mut is_first = true;
    for (index, level) in levels.iter_mut().enumerate().take(count) {
        let threshold = match index {
            MAX_GREATER1.. => 1,
            _ if index == first_greater1 => 3,
            _ => 2,
        };
        if *level < threshold {
            continue;
        }
        let Some(remaining) = level_remaining(engine, param) else { return false };
        *level = (*level + remaining).min(MAX_LEVEL);
        if *level > 3 << param {
            param = if setup.rice_slot.is_some() { param + 1 } else { (param + 1).min(4) };
        }
        if let Some(slot) = setup.rice_slot.filter(|_| is_first) {
            adapt(&mut rice[slot & 3], remaining);
        }
        is_first = false;
    }
    true
}

/// StatCoeff after the first coeff_abs_level_remaining of a group (9.3.4.2.6).
fn adapt(stat: &mut u8, remaining: u32) {
    let order = u32::from(*stat) / 4;
    if remaining >= 3 << order {
        *stat += 1;
    } else if 2 * remaining < 1 << order && *stat > 0 {
        *stat -= 1;
    }
}

/// One coeff_abs_level_remaining (9.3.3.11): most fit into the bins that one look gives.
#[inline(always)]
fn level_remaining(engine: &mut Engine<'_>, param: u32) -> Option<u32> {
    let peeked = engine.peek_bypass();
    let prefix = (!(peeked << 16)).leading_zeros();
    let (base, bits) = if prefix < 4 {
        (prefix << param, param)
    } else {
        (((1_u32 << (prefix - 3)) + 2) << param, prefix - 3 + param)
    };
    let length = prefix + 1 + bits;
    if length > 16 {
        return long_level_remaining(engine, param);
    }
    engine.consume_bypass(peeked, length);
    Some(base + (peeked >> (16 - length) & ((1 << bits) - 1)))
}

#[cold]
fn long_level_remaining(engine: &mut Engine<'_>, param: u32) -> Option<u32> {
    let mut prefix = 0;
    while engine.bypass() {
        prefix += 1;
        if prefix > MAX_PREFIX {
            return None;
        }
    }
    let bits = if prefix < 4 { param } else { prefix - 3 + param };
    if bits > 31 {
        return None;
    }
    let base = if prefix < 4 { u64::from(prefix) << param } else { ((1_u64 << (prefix - 3)) + 2) << param };
    let high = engine.bypass_bits(bits.saturating_sub(16));
    let low = engine.bypass_bits(bits.min(16));
    let value = base + (u64::from(high) << 16 | u64::from(low));
    Some(value.min(u64::from(MAX_LEVEL)) as u32)
}
