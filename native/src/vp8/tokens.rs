//! DCT tokens (RFC 6386 13).

use super::{
    bool_decoder::BoolDecoder,
    energy::{Factors, SquaredLevels},
    entropy::CoefficientProbabilities,
    modes::MbMode,
    sink::Sink,
};
use crate::picture::{Block, BlockClass};

/// coeff_bands: band by position; the last entry is only looked up, never read from.
const BANDS: [u8; 17] = [0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 0];

/// Token probabilities of one block type by position instead of band, context and tree node.
type PositionProbabilities = [[[u8; 11]; 3]; 17];

/// Extra bits of dct_cat3 to dct_cat6 (13.2).
const EXTRA_BITS: [&[u8]; 4] = [
    &[173, 148, 140],
    &[176, 155, 140, 135],
    &[180, 157, 141, 134, 130],
    &[254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129],
];

/// Block types of the token probabilities (13.3).
const Y_AFTER_Y2: usize = 0;
const Y2: usize = 1;
const UV: usize = 2;
const Y_WITH_DC: usize = 3;

/// Number of the Y2 block.
const Y2_BLOCK: usize = 24;

/// "Has tokens" of the neighbouring blocks, one bit each: 4 of Y, 2 of U, 2 of V, 1 of Y2.
type Edge = [u8; 9];

/// Where the kinds of blocks stand in an [`Edge`].
const EDGE_UV: [usize; 2] = [4, 6];
const EDGE_Y2: usize = 8;

/// Memory that outlives a frame.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenContext {
    above: Vec<Edge>,
    probabilities: [PositionProbabilities; 4],
}

impl TokenContext {
    pub fn reset(&mut self, mb_cols: usize, coefficients: &CoefficientProbabilities) {
        self.above.clear();
        self.above.resize(mb_cols, Edge::default());
        for (by_position, by_band) in self.probabilities.iter_mut().zip(coefficients) {
            for (position, band) in by_position.iter_mut().zip(BANDS) {
                *position = by_band[usize::from(band)];
            }
        }
    }
}

/// What the tokens of one macroblock amount to.
#[derive(Default)]
struct Residual {
    squares: SquaredLevels,
    /// Levels that are not zero.
    coefficients: u16,
    /// Blocks of Y that have tokens.
    y_blocks: u16,
    /// Any block has tokens.
    any: bool,
    /// As in [`Block::cbp`].
    cbp_chroma: u16,
}

/// Levels of one block.
#[derive(Default)]
struct Levels {
    has_tokens: bool,
    coefficients: u16,
    dc_squared: u32,
    ac_squared: u32,
}

/// Reads the tokens of one row of macroblocks.
pub(super) struct TokenRow<'a> {
    pub context: &'a mut TokenContext,
    /// By segment.
    pub factors: &'a [(u8, Factors)],
    pub mb_y: usize,
    pub mb_cols: usize,
}

impl TokenRow<'_> {
    /// Adds the residual to the first blocks of a row, of which `skips` says mb_skip_coeff.
    ///
    /// Returns false when the partition is cut off: macroblocks from there on have no residual.
    pub fn read<S: Sink>(
        &mut self,
        bits: &mut BoolDecoder,
        blocks: &mut [Block],
        skips: &[bool],
        sink: &mut S,
    ) -> bool {
        // A copy that no one else can reach stays in registers.
        let mut local = *bits;
        let mut left = Edge::default();
        let first = self.mb_y * self.mb_cols;
        for (mb_x, (block, &skip)) in blocks.iter_mut().zip(skips).enumerate() {
            let above = &mut self.context.above[mb_x];
            let has_y2 = MbMode::has_y2(block.mb_type);
            if skip {
                clear(above, has_y2);
                clear(&mut left, has_y2);
                continue;
            }
            let begin = local.position_bits();
            let probabilities = &self.context.probabilities;
            let mut listener = Listener { sink, mb: first + mb_x };
            let residual =
                read_macroblock(&mut local, probabilities, has_y2, above, &mut left, &mut listener);
            if local.is_overrun() {
                return false;
            }
            let bit_cost = local.position_bits().wrapping_sub(begin) as u32;
            block.bit_cost = block.bit_cost.wrapping_add(bit_cost);
            let factors = self.factors.iter().find(|(quantizer, _)| *quantizer == block.qp as u8);
            residual.put(block, factors.map_or(&Factors::default(), |(_, factors)| factors));
        }
        *bits = local;
        true
    }
}

impl Residual {
    fn put(&self, block: &mut Block, factors: &Factors) {
        if !self.any {
            // Without mb_skip_coeff the tokens alone say that there is no residual.
            if block.class == BlockClass::Inter as u8 {
                block.class = BlockClass::Skip as u8;
            }
            return;
        }
        const QUADRANTS: [u16; 4] = [0x0033, 0x00cc, 0x3300, 0xcc00];
        let luma =
            QUADRANTS.iter().rev().fold(0, |cbp, mask| cbp << 1 | u16::from(self.y_blocks & mask != 0));
        block.cbp = luma | self.cbp_chroma << 4;
        block.coefficients = self.coefficients;
        block.residual_energy = self.squares.energy(factors);
    }
}

/// A macroblock without tokens; Y2 keeps its context where there is no Y2.
fn clear(edge: &mut Edge, has_y2: bool) {
    let y2 = if has_y2 { 0 } else { edge[EDGE_Y2] };
    *edge = Edge::default();
    edge[EDGE_Y2] = y2;
}

/// A sink that knows the macroblock.
struct Listener<'a, S> {
    sink: &'a mut S,
    mb: usize,
}

impl<S: Sink> Listener<'_, S> {
    #[inline(always)]
    fn block(&mut self, block: usize) {
        self.sink.block(self.mb, block);
    }

    #[inline(always)]
    fn level(&mut self, block: usize, position: usize, level: i16) {
        self.sink.level(self.mb, block, position, level);
    }
}

// RFC 6386 13.1: Y2, then Y, U, V
#[inline(always)]
fn read_macroblock<S: Sink>(
    bits: &mut BoolDecoder,
    probabilities: &[PositionProbabilities; 4],
    has_y2: bool,
    above: &mut Edge,
    left: &mut Edge,
    listener: &mut Listener<S>,
) -> Residual {
    let mut residual = Residual::default();
    let (mut first, mut y_type) = (0, Y_WITH_DC);
    if has_y2 {
        let context = above[EDGE_Y2] + left[EDGE_Y2];
        let levels = read_block(bits, &probabilities[Y2], 0, context, Y2_BLOCK, listener);
        above[EDGE_Y2] = u8::from(levels.has_tokens);
        left[EDGE_Y2] = u8::from(levels.has_tokens);
        residual.add(&levels);
        residual.squares.y2 = (levels.dc_squared, levels.ac_squared);
        (first, y_type) = (1, Y_AFTER_Y2);
    }
    for block in 0..16 {
        let (a, l) = (&mut above[block & 3], &mut left[block >> 2]);
        let levels = read_block(bits, &probabilities[y_type], first, *a + *l, block, listener);
        (*a, *l) = (u8::from(levels.has_tokens), u8::from(levels.has_tokens));
        residual.y_blocks |= u16::from(levels.has_tokens) << block;
        residual.add(&levels);
        add(&mut residual.squares.y, &levels);
    }
    for plane in 0..2 {
        for block in 0..4 {
            let (a, l) = (&mut above[EDGE_UV[plane] + (block & 1)], &mut left[EDGE_UV[plane] + (block >> 1)]);
            let levels = read_block(bits, &probabilities[UV], 0, *a + *l, 16 + 4 * plane + block, listener);
            (*a, *l) = (u8::from(levels.has_tokens), u8::from(levels.has_tokens));
            let cbp = if levels.ac_squared != 0 { 2 } else { u16::from(levels.dc_squared != 0) };
            residual.cbp_chroma = residual.cbp_chroma.max(cbp);
            residual.add(&levels);
            add(&mut residual.squares.uv, &levels);
        }
    }
    residual
}

impl Residual {
    #[inline(always)]
    fn add(&mut self, levels: &Levels) {
        self.any |= levels.has_tokens;
        self.coefficients = self.coefficients.wrapping_add(levels.coefficients);
    }
}

#[inline(always)]
fn add(sums: &mut (u32, u32), levels: &Levels) {
    sums.0 = sums.0.wrapping_add(levels.dc_squared);
    sums.1 = sums.1.wrapping_add(levels.ac_squared);
}

// RFC 6386 13.2, 13.3: the tokens of one block
#[inline(always)]
fn read_block<S: Sink>(
    bits: &mut BoolDecoder,
    probabilities: &PositionProbabilities,
    first: usize,
    context: u8,
    block: usize,
    listener: &mut Listener<S>,
) -> Levels {
    let mut levels = Levels::default();
    let mut position = first;
    let mut node = &probabilities[position][usize::from(context)];
    if !bits.read_open_bool(node[0]) {
        return levels;
    }
    levels.has_tokens = true;
    listener.block(block);
    loop {
        // After a zero, the end of the block cannot follow.
        while !bits.read_open_bool(node[1]) {
            position += 1;
            if position == 16 {
                return levels;
            }
            node = &probabilities[position][0];
        }
        let (magnitude, context) =
            if bits.read_open_bool(node[2]) { (read_large(bits, node), 2) } else { (1, 1) };
        let level = if bits.read_flag() { -magnitude } else { magnitude };
        listener.level(block, position, level as i16);
        levels.coefficients = levels.coefficients.wrapping_add(1);
        let squared = (magnitude as u32).wrapping_mul(magnitude as u32);
        if position == 0 {
            levels.dc_squared = squared;
        } else {
            levels.ac_squared = levels.ac_squared.wrapping_add(squared);
        }
        position += 1;
        node = &probabilities[position][context];
        if position == 16 || !bits.read_open_bool(node[0]) {
            return levels;
        }
    }
}

/// A magnitude of 2 to 2114.
// RFC 6386 13.2: coeff_tree from DCT_2 on
#[inline(always)]
fn read_large(bits: &mut BoolDecoder, node: &[u8; 11]) -> i32 {
    if !bits.read_open_bool(node[3]) {
        if !bits.read_open_bool(node[4]) {
            return 2;
        }
        return 3 + i32::from(bits.read_open_bool(node[5]));
    }
    if !bits.read_open_bool(node[6]) {
        if !bits.read_open_bool(node[7]) {
            return 5 + i32::from(bits.read_open_bool(159));
        }
        return 7 + 2 * i32::from(bits.read_open_bool(165)) + i32::from(bits.read_open_bool(145));
    }
    read_category(bits, node)
}

#[inline(always)]
fn read_category(bits: &mut BoolDecoder, node: &[u8; 11]) -> i32 {
    let category = if bits.read_open_bool(node[8]) {
        2 + usize::from(bits.read_open_bool(node[10]))
    } else {
        usize::from(bits.read_open_bool(node[9]))
    };
    let extra =
        EXTRA_BITS[category].iter().fold(0, |value, &bit| value << 1 | i32::from(bits.read_open_bool(bit)));
    3 + (8 << category) + extra
}
