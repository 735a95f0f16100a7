//! Motion vectors of inter macroblocks (RFC 6386 18.3, 16.3, 17).

use super::{
    bool_decoder::BoolDecoder,
    entropy::MvProbabilities,
    mode_tables::{MODE_CONTEXTS, SHORT_MV_TREE, SPLIT_PROBABILITIES, SUB_MV_PROBABILITIES},
    modes::MbMode,
};

/// (x, y) in quarter luma samples.
pub(super) type Mv = [i16; 2];

const ZERO: Mv = [0; 2];

/// What neighbours need to know of a macroblock; the default stands for intra and for outside of the frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Neighbour {
    /// Of the last 4x4 block; 0 in intra macroblocks.
    pub mv: Mv,
    /// Not intra, and inside of the frame.
    pub inter: bool,
    /// sign_bias of its reference frame.
    pub sign_bias: bool,
    /// The mode is SPLITMV.
    pub split: bool,
}

/// The macroblocks above, to the left, and above to the left.
pub(super) struct Neighbours {
    pub above: Neighbour,
    pub left: Neighbour,
    pub above_left: Neighbour,
}

/// A macroblock in its frame; all numbers are below 2^10.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub mb_x: usize,
    pub mb_y: usize,
    pub mb_cols: usize,
    pub mb_rows: usize,
}

/// How far motion vectors may point out of the frame before they are clamped: to one macroblock beyond its edge.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: [i32; 2],
    max: [i32; 2],
}

/// One macroblock in quarter samples.
const MB_QPEL: i32 = 64;

impl Place {
    fn bounds(self) -> Bounds {
        let before = |index: usize| -(index as i32 + 1) * MB_QPEL;
        let after = |index: usize, count: usize| (count as i32 - index as i32) * MB_QPEL;
        Bounds {
            min: [before(self.mb_x), before(self.mb_y)],
            max: [after(self.mb_x, self.mb_cols), after(self.mb_y, self.mb_rows)],
        }
    }
}

impl Bounds {
    fn clamp(&self, mv: Mv) -> Mv {
        [0, 1].map(|axis| i32::from(mv[axis]).clamp(self.min[axis], self.max[axis]) as i16)
    }
}

/// RFC 6386 18.3: candidates around a macroblock, the zero vector first, and how much speaks for each.
struct NearMvs {
    mvs: [Mv; 4],
    weights: [u8; 4],
    /// Index of the last distinct candidate.
    last: usize,
}

const CNT_ZERO: usize = 0;
const CNT_NEAREST: usize = 1;
const CNT_NEAR: usize = 2;

impl NearMvs {
    #[inline(always)]
    fn find(neighbours: &Neighbours, sign_bias: bool) -> Self {
        let mut near = Self { mvs: [ZERO; 4], weights: [0; 4], last: 0 };
        near.add(&neighbours.above, sign_bias, 2);
        near.add(&neighbours.left, sign_bias, 2);
        near.add(&neighbours.above_left, sign_bias, 1);
        near
    }

    #[inline(always)]
    fn add(&mut self, neighbour: &Neighbour, sign_bias: bool, weight: u8) {
        if !neighbour.inter {
            return;
        }
        if neighbour.mv == ZERO {
            self.weights[CNT_ZERO] += weight;
            return;
        }
        let inverted = neighbour.sign_bias != sign_bias;
        let mv = if inverted { neighbour.mv.map(i16::wrapping_neg) } else { neighbour.mv };
        if mv != self.mvs[self.last & 3] {
            self.last += 1;
            self.mvs[self.last & 3] = mv;
        }
        self.weights[self.last & 3] += weight;
    }

    /// Puts the heavier candidate first.
    fn sort(&mut self) {
        if self.last == 3 && self.mvs[3] == self.mvs[CNT_NEAREST] {
            self.weights[CNT_NEAREST] += 1;
        }
        if self.weights[CNT_NEAR] > self.weights[CNT_NEAREST] {
            self.weights.swap(CNT_NEAREST, CNT_NEAR);
            self.mvs.swap(CNT_NEAREST, CNT_NEAR);
        }
    }

    fn best(&self) -> Mv {
        if self.weights[CNT_NEAREST] >= self.weights[CNT_ZERO] {
            self.mvs[CNT_NEAREST]
        } else {
            ZERO
        }
    }
}

/// Mode of an inter macroblock with its motion vector; for SPLITMV the one that differences are added to.
// RFC 6386 16.3: mv_ref tree
#[inline(always)]
pub(super) fn read_mode(
    bits: &mut BoolDecoder,
    neighbours: &Neighbours,
    sign_bias: bool,
    place: Place,
    probabilities: &MvProbabilities,
) -> (MbMode, Mv) {
    let mut near = NearMvs::find(neighbours, sign_bias);
    let context = |weight: u8, node: usize| MODE_CONTEXTS[usize::from(weight)][node];
    if !bits.read_bool(context(near.weights[CNT_ZERO], 0)) {
        return (MbMode::ZeroMv, ZERO);
    }
    let bounds = place.bounds();
    near.sort();
    if !bits.read_bool(context(near.weights[CNT_NEAREST], 1)) {
        return (MbMode::NearestMv, bounds.clamp(near.mvs[CNT_NEAREST]));
    }
    if !bits.read_bool(context(near.weights[CNT_NEAR], 2)) {
        return (MbMode::NearMv, bounds.clamp(near.mvs[CNT_NEAR]));
    }
    let best = bounds.clamp(near.best());
    let split = 2 * (u8::from(neighbours.above.split) + u8::from(neighbours.left.split))
        + u8::from(neighbours.above_left.split);
    if bits.read_bool(context(split, 3)) {
        (MbMode::SplitMv, best)
    } else {
        (MbMode::NewMv, bits.apart(|bits| read_mv(bits, best, probabilities)))
    }
}

/// mvpartition: the first block of the part that each 4x4 block belongs to.
const TOP_BOTTOM: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8];
const LEFT_RIGHT: [u8; 16] = [0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2];
const QUARTERS: [u8; 16] = [0, 0, 2, 2, 0, 0, 2, 2, 8, 8, 10, 10, 8, 8, 10, 10];
const SIXTEENTHS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Motion of a SPLITMV macroblock in raster order, from the row of 4x4 blocks above and the column to the left.
// RFC 6386 16.3: split_mv
#[inline(never)]
pub(super) fn read_split(
    bits: &mut BoolDecoder,
    above: &[Mv; 4],
    left: &[Mv; 4],
    best: Mv,
    probabilities: &MvProbabilities,
) -> [Mv; 16] {
    let [not_sixteenths, not_quarters, left_right] = SPLIT_PROBABILITIES;
    let first_of_part = if !bits.read_bool(not_sixteenths) {
        &SIXTEENTHS
    } else if !bits.read_bool(not_quarters) {
        &QUARTERS
    } else if bits.read_bool(left_right) {
        &LEFT_RIGHT
    } else {
        &TOP_BOTTOM
    };
    let mut mvs = [ZERO; 16];
    for (block, &first) in first_of_part.iter().enumerate() {
        let first = usize::from(first);
        mvs[block] = if first < block {
            mvs[first]
        } else {
            let left = if block % 4 == 0 { left[block / 4] } else { mvs[block - 1] };
            let above = if block < 4 { above[block] } else { mvs[block - 4] };
            read_sub_mv(bits, left, above, best, probabilities)
        };
    }
    mvs
}

// RFC 6386 16.3: sub_mv_ref tree
fn read_sub_mv(bits: &mut BoolDecoder, left: Mv, above: Mv, best: Mv, probabilities: &MvProbabilities) -> Mv {
    let context =
        usize::from(above == ZERO) << 2 | usize::from(left == ZERO) << 1 | usize::from(left == above);
    let [not_left, not_above, new] = SUB_MV_PROBABILITIES[context];
    if !bits.read_bool(not_left) {
        left
    } else if !bits.read_bool(not_above) {
        above
    } else if bits.read_bool(new) {
        read_mv(bits, best, probabilities)
    } else {
        ZERO
    }
}

// RFC 6386 17: the row comes before the column
#[inline(never)]
fn read_mv(bits: &mut BoolDecoder, base: Mv, [row, column]: &MvProbabilities) -> Mv {
    let [y, x] = bits.apart(|bits| [row, column].map(|probabilities| read_mv_component(bits, probabilities)));
    [base[0].wrapping_add(x), base[1].wrapping_add(y)]
}

/// Number of bits of a long component.
const LONG_WIDTH: usize = 10;

// RFC 6386 17.2: read_mvcomponent()
#[inline(always)]
fn read_mv_component(bits: &mut BoolDecoder, probabilities: &[u8; 19]) -> i16 {
    let (&[is_short, sign], rest) = (&[probabilities[0], probabilities[1]], &probabilities[2..]);
    let (short, long) = rest.split_at(7);
    let magnitude = if bits.read_bool(is_short) {
        let mut value = 0;
        // Bit 3 comes last: without higher bits it must be set, or the component would be short.
        for bit in (0..3).chain((4..LONG_WIDTH).rev()) {
            value |= i16::from(bits.read_bool(long[bit])) << bit;
        }
        if value < 16 || bits.read_bool(long[3]) {
            value |= 8;
        }
        value
    } else {
        i16::from(bits.read_tree(&SHORT_MV_TREE, short))
    };
    if magnitude != 0 && bits.read_bool(sign) {
        -magnitude
    } else {
        magnitude
    }
}
