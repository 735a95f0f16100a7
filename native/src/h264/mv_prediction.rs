//! Motion vector prediction from neighbouring partitions (H.264 8.4.1.1, 8.4.1.3).

use super::neighbours::Place;
use crate::picture::{flags, Block, Split};

/// Motion vector (x, y) in quarter luma samples.
pub type Mv = [i16; 2];

/// ref_idx of a neighbour that is not available; -1 means available, but without this list.
pub const UNAVAILABLE: i8 = -2;

/// Motion of a neighbouring partition in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Reference index, -1 or [`UNAVAILABLE`].
    pub ref_idx: i8,
    /// Zero unless `ref_idx` is a reference.
    pub mv: Mv,
}

/// Motion of a whole macroblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform {
    /// Per list.
    pub ref_idx: [i8; 2],
    /// Per list.
    pub mv: [Mv; 2],
}

impl Uniform {
    /// The same motion as a split record.
    pub fn expand(&self) -> Split {
        Split { mv: self.mv.map(|mv| [mv; 16]), ref_idx: self.ref_idx.map(|ref_idx| [ref_idx; 4]) }
    }
}

/// Where no macroblock is.
pub const MISSING: Candidate = Candidate { ref_idx: UNAVAILABLE, mv: [0, 0] };

/// Motion of one list at 4x4 block `cell` (raster order) of a macroblock.
#[inline(always)]
pub fn motion_at(block: &Block, splits: &[Split], list: usize, cell: usize) -> Candidate {
    if block.flags & flags::SPLIT == 0 {
        return Candidate { ref_idx: block.ref_idx[list], mv: block.mv[list] };
    }
    split_motion(splits, block.split, list, cell)
}

#[inline(never)]
fn split_motion(splits: &[Split], index: u32, list: usize, cell: usize) -> Candidate {
    splits.get(index as usize).map_or(MISSING, |split| split_candidate(split, list, cell))
}

#[inline(always)]
fn split_candidate(split: &Split, list: usize, cell: usize) -> Candidate {
    Candidate { ref_idx: split.ref_idx[list][quadrant(cell)], mv: split.mv[list][cell & 15] }
}

/// 8x8 quadrant of a 4x4 block (raster order).
#[inline(always)]
pub fn quadrant(cell: usize) -> usize {
    (cell >> 1 & 1) | (cell >> 2 & 2)
}

/// Decoding order of a 4x4 block at column `x`, row `y`.
const fn decoding_order(x: usize, y: usize) -> usize {
    (x & 1) | (y & 1) << 1 | (x & 2) << 1 | (y & 2) << 2
}

/// Bit x + 4 * y by width - 1: inside the macroblock, the block above right of a partition of that width at
/// (x, y) is decoded before it. Only widths 1 and 2 have such blocks.
const ABOVE_RIGHT_DECODED: [u16; 2] = [above_right_decoded(1), above_right_decoded(2)];

const fn above_right_decoded(width: usize) -> u16 {
    let mut mask = 0;
    let mut cell = 4;
    while cell < 16 {
        let (x, y) = (cell % 4, cell / 4);
        if x + width < 4 && decoding_order(x + width, y - 1) < decoding_order(x, y) {
            mask |= 1 << cell;
        }
        cell += 1;
    }
    mask
}

/// Motion around one macroblock.
#[derive(Clone, Copy)]
pub struct MotionField<'a> {
    /// All macroblocks so far.
    pub blocks: &'a [Block],
    /// Their split records.
    pub splits: &'a [Split],
    /// Current macroblock.
    pub place: Place,
    /// Width of the picture in macroblocks.
    pub columns: usize,
}

/// Motion next to a macroblock, as the macroblock sees it.
pub trait Surroundings {
    /// Left, at 4x4 row `row`.
    fn left(&self, list: usize, row: usize) -> Candidate;
    /// Left, one line above 4x4 row `row` (1 to 3).
    fn left_above(&self, list: usize, row: usize) -> Candidate;
    /// Above, at 4x4 column `column`.
    fn above(&self, list: usize, column: usize) -> Candidate;
    /// Above right.
    fn above_right(&self, list: usize) -> Candidate;
    /// Above left.
    fn above_left(&self, list: usize) -> Candidate;

    /// Neighbours A, B, C (or D in place of C) of the whole macroblock.
    #[inline(always)]
    fn around_macroblock(&self, list: usize) -> [Candidate; 3] {
        let mut c = self.above_right(list);
        if c.ref_idx == UNAVAILABLE {
            c = self.above_left(list);
        }
        [self.left(list, 0), self.above(list, 0), c]
    }

    /// Neighbours A, B, C (or D) of a partition at 4x4 column `x`, row `y`, `width` blocks wide, whose
    /// predecessors in the macroblock are in `current`.
    fn around_partition(
        &self,
        current: &Split,
        list: usize,
        x: usize,
        y: usize,
        width: usize,
    ) -> [Candidate; 3] {
        let inside = |x: usize, y: usize| split_candidate(current, list, (4 * y + x) & 15);
        let a = if x > 0 { inside(x - 1, y) } else { self.left(list, y) };
        let b = if y > 0 { inside(x, y - 1) } else { self.above(list, x) };
        let right = x + width;
        let c = if y > 0 {
            let decoded = right < 4 && ABOVE_RIGHT_DECODED[(width - 1) & 1] >> (4 * y + x) & 1 != 0;
            if decoded {
                inside(right, y - 1)
            } else {
                MISSING
            }
        } else if right < 4 {
            self.above(list, right)
        } else {
            self.above_right(list)
        };
        if c.ref_idx != UNAVAILABLE {
            return [a, b, c];
        }
        let d = match (x > 0, y > 0) {
            (true, true) => inside(x - 1, y - 1),
            (true, false) => self.above(list, x - 1),
            (false, true) => self.left_above(list, y),
            (false, false) => self.above_left(list),
        };
        [a, b, d]
    }

    /// Motion vector of P_Skip (8.4.1.1).
    #[inline(always)]
    fn p_skip(&self) -> Mv {
        let around @ [a, b, _] = self.around_macroblock(0);
        let still = Candidate { ref_idx: 0, mv: [0, 0] };
        let missing = a.ref_idx == UNAVAILABLE || b.ref_idx == UNAVAILABLE;
        if missing || a == still || b == still {
            return [0, 0];
        }
        median(around, 0)
    }
}

impl Surroundings for MotionField<'_> {
    #[inline(always)]
    fn left(&self, list: usize, row: usize) -> Candidate {
        self.at(self.place.a, self.place.address.wrapping_sub(1), list, 4 * row + 3)
    }

    #[inline(always)]
    fn left_above(&self, list: usize, row: usize) -> Candidate {
        self.left(list, row - 1)
    }

    #[inline(always)]
    fn above(&self, list: usize, column: usize) -> Candidate {
        self.at(self.place.b, self.place.address.wrapping_sub(self.columns), list, 12 + column)
    }

    #[inline(always)]
    fn above_right(&self, list: usize) -> Candidate {
        self.at(self.place.c, self.place.address.wrapping_sub(self.columns).wrapping_add(1), list, 12)
    }

    #[inline(always)]
    fn above_left(&self, list: usize) -> Candidate {
        self.at(self.place.d, self.place.address.wrapping_sub(self.columns).wrapping_sub(1), list, 15)
    }

    #[inline(always)]
    fn around_macroblock(&self, list: usize) -> [Candidate; 3] {
        let c = if self.place.c { self.above_right(list) } else { self.above_left(list) };
        [self.left(list, 0), self.above(list, 0), c]
    }

    #[inline(always)]
    fn p_skip(&self) -> Mv {
        let still = Candidate { ref_idx: 0, mv: [0, 0] };
        if !self.place.a || !self.place.b {
            return [0, 0];
        }
        let (a, b) = (self.left(0, 0), self.above(0, 0));
        if a == still || b == still {
            return [0, 0];
        }
        let c = if self.place.c { self.above_right(0) } else { self.above_left(0) };
        median([a, b, c], 0)
    }
}

impl MotionField<'_> {
    #[inline(always)]
    fn at(&self, available: bool, address: usize, list: usize, cell: usize) -> Candidate {
        match self.blocks.get(address) {
            Some(block) if available => motion_at(block, self.splits, list, cell),
            _ => MISSING,
        }
    }

    /// The reference indices that A, B and C (or D) share, when they are available and all stand still.
    #[inline(always)]
    pub fn shared_still(&self) -> Option<[i8; 2]> {
        let Place { address, a, b, c, d, .. } = self.place;
        if !a || !b || !(c || d) {
            return None;
        }
        let above = address.wrapping_sub(self.columns);
        let a = self.blocks.get(address.wrapping_sub(1))?;
        let b = self.blocks.get(above)?;
        let c = self.blocks.get(if c { above.wrapping_add(1) } else { above.wrapping_sub(1) })?;
        let uniform = (a.flags | b.flags | c.flags) & flags::SPLIT == 0;
        let still = [[0, 0]; 2];
        let all_still = (a.mv == still) & (b.mv == still) & (c.mv == still);
        let same_ref = (a.ref_idx == b.ref_idx) & (b.ref_idx == c.ref_idx);
        (uniform & all_still & same_ref).then_some(a.ref_idx)
    }
}

/// Median prediction (8.4.1.3.1).
#[inline(always)]
pub fn median([a, b, c]: [Candidate; 3], ref_idx: i8) -> Mv {
    let matches = [a, b, c].map(|candidate| candidate.ref_idx == ref_idx);
    match matches {
        [true, false, false] => a.mv,
        [false, true, false] => b.mv,
        [false, false, true] => c.mv,
        _ if b.ref_idx == UNAVAILABLE && c.ref_idx == UNAVAILABLE && a.ref_idx != UNAVAILABLE => a.mv,
        _ => [median_of(a.mv[0], b.mv[0], c.mv[0]), median_of(a.mv[1], b.mv[1], c.mv[1])],
    }
}

#[inline(always)]
fn median_of(a: i16, b: i16, c: i16) -> i16 {
    a.min(b).max(a.max(b).min(c))
}

/// Prediction of the upper and lower partition of 16x8 (8.4.1.3).
pub fn two_rows(around: [Candidate; 3], lower: bool, ref_idx: i8) -> Mv {
    let preferred = around[usize::from(!lower)];
    if preferred.ref_idx == ref_idx {
        preferred.mv
    } else {
        median(around, ref_idx)
    }
}

/// Prediction of the left and right partition of 8x16 (8.4.1.3).
pub fn two_columns(around: [Candidate; 3], right: bool, ref_idx: i8) -> Mv {
    let preferred = around[if right { 2 } else { 0 }];
    if preferred.ref_idx == ref_idx {
        preferred.mv
    } else {
        median(around, ref_idx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(ref_idx: i8, x: i16) -> Candidate {
        Candidate { ref_idx, mv: [x, -x] }
    }

    #[test]
    fn median_prefers_the_only_neighbour_with_the_same_reference() {
        let around = [candidate(0, 5), candidate(1, 7), candidate(0, 9)];
        assert_eq!(median(around, 1), [7, -7]);
        assert_eq!(median(around, 0), [7, -7]);
        assert_eq!(median([candidate(2, 5), candidate(1, 70), candidate(0, 9)], 3), [9, -9]);
    }

    #[test]
    fn left_neighbour_stands_in_for_a_missing_row_above() {
        assert_eq!(median([candidate(1, 5), MISSING, MISSING], 0), [5, -5]);
        assert_eq!(median([MISSING, candidate(1, 5), MISSING], 0), [0, 0]);
    }

    #[test]
    fn directional_prediction_of_two_partitions() {
        let around = [candidate(0, 1), candidate(1, 2), candidate(2, 3)];
        assert_eq!((two_rows(around, false, 1), two_rows(around, true, 0)), ([2, -2], [1, -1]));
        assert_eq!((two_columns(around, false, 0), two_columns(around, true, 2)), ([1, -1], [3, -3]));
    }

    #[test]
    fn above_right_inside_the_macroblock_follows_decoding_order() {
        // 4x4 blocks: only those whose upper right block lies in an earlier quadrant or sub-block.
        assert_eq!(ABOVE_RIGHT_DECODED[0], 0b0101_0111_0101_0000);
        // 8x4 and 8x8 partitions: only the lower left quadrant's first row.
        assert_eq!(ABOVE_RIGHT_DECODED[1] & 0b0101_0101_0101_0101, 1 << 8);
    }
}
