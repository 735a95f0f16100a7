//! Neighbours of macroblocks in pairs (MBAFF): each pair is two frame macroblocks one above the other, or one of each
//! field (H.264 6.4.12.2).

use std::sync::Arc;

use super::{
    direct::Direct,
    energy::EnergyWeights,
    macroblock::SliceParser,
    mv_prediction::{motion_at, Candidate, Surroundings, MISSING},
    neighbours::{is_available, is_skipped, AbsMvd, Around, Coded, CodedChroma, LOWER_LEFT, MVD_CAP},
    syntax::Syntax,
};
use crate::picture::{flags, Block, BlockClass, Split};

/// Lines of a macroblock in luma, and in chroma of 4:2:2 and 4:4:4.
const TALL: usize = 16;
/// Lines of a macroblock in chroma of 4:2:0.
const SHORT: usize = 8;

/// The current macroblock of a pair, and what kind the pairs around it are.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairPlace {
    /// Column.
    pub x: usize,
    /// Raster address of the upper cell.
    pub top: usize,
    /// Width of the picture in macroblocks.
    pub columns: usize,
    /// The lower frame macroblock, or that of the bottom field.
    pub bottom: bool,
    /// mb_field_decoding_flag
    pub field: bool,
    /// Left pair, when it is in the slice: whether it is a field pair.
    pub a: Option<bool>,
    /// Pair above.
    pub b: Option<bool>,
    /// Pair above right.
    pub c: Option<bool>,
    /// Pair above left.
    pub d: Option<bool>,
}

impl PairPlace {
    /// Raster address of the current macroblock.
    #[inline(always)]
    pub fn address(&self) -> usize {
        self.top + if self.bottom { self.columns } else { 0 }
    }

    /// Address of the macroblock left of line `y` (of `height`) and the line there.
    fn left(&self, y: usize, height: usize) -> Option<(usize, usize)> {
        let (bottom, y) = match (self.field, self.a?) {
            (false, true) => (y % 2 == 1, (y + if self.bottom { height } else { 0 }) / 2),
            (true, false) => {
                let line = 2 * y + usize::from(self.bottom);
                (line >= height, line % height)
            }
            _ => (self.bottom, y),
        };
        Some((self.top - 1 + if bottom { self.columns } else { 0 }, y))
    }

    /// Address of the macroblock whose last line is in the pair above that of the other one: `kind` is that of the pair
    /// and `offset` its distance in columns.
    fn in_row_above(&self, kind: Option<bool>, offset: isize) -> Option<usize> {
        let pair_is_field = kind?;
        let lower = (self.top - self.columns).checked_add_signed(offset)?;
        Some(if self.field && !self.bottom && pair_is_field { lower - self.columns } else { lower })
    }

    /// Address of the macroblock above.
    fn above(&self) -> Option<usize> {
        if self.bottom && !self.field {
            return Some(self.top);
        }
        self.in_row_above(self.b, 0)
    }

    fn above_right(&self) -> Option<usize> {
        if self.bottom && !self.field {
            return None;
        }
        self.in_row_above(self.c, 1)
    }

    /// Address of the macroblock above left and its 4x4 row.
    fn above_left(&self) -> Option<(usize, usize)> {
        if self.bottom && !self.field {
            // Line 15 of the left pair: in its bottom field that is line 7.
            let is_field = self.a?;
            let left = self.top - 1;
            return Some(if is_field { (left + self.columns, 1) } else { (left, 3) });
        }
        Some((self.in_row_above(self.d, -1)?, 3))
    }
}

/// What a slice of macroblock pairs needs beside what every slice needs.
#[derive(Default)]
pub struct Pairs<'a> {
    /// Current macroblock.
    pub place: PairPlace,
    /// Direct prediction of the macroblocks of each field.
    pub direct: Option<Box<[Direct<'a>; 2]>>,
    /// Weights of the kind of macroblocks, frame or field, that is not current.
    pub other_weights: Option<&'a mut EnergyWeights>,
    /// The current weights are those of field macroblocks.
    pub field_weights: bool,
    /// Slice group of every pair, where there are several: then neighbours tell which slice they are from.
    pub groups: Option<Arc<[u8]>>,
}

/// Motion around a macroblock of a pair.
#[derive(Clone, Copy)]
pub struct PairField<'a> {
    /// All macroblocks so far.
    pub blocks: &'a [Block],
    /// Their split records.
    pub splits: &'a [Split],
    /// Current macroblock.
    pub place: PairPlace,
}

impl PairField<'_> {
    /// Motion at a 4x4 block, in lines and reference indices of the current macroblock (8.4.1.3.2).
    fn at(&self, place: Option<(usize, usize)>, list: usize) -> Candidate {
        let Some((block, cell)) = place.and_then(|(address, cell)| Some((self.blocks.get(address)?, cell)))
        else {
            return MISSING;
        };
        let Candidate { ref_idx, mv: [x, y] } = motion_at(block, self.splits, list, cell);
        match (self.place.field, is_field(block)) {
            _ if ref_idx < 0 => Candidate { ref_idx, mv: [0, 0] },
            (true, false) => Candidate { ref_idx: ref_idx.wrapping_mul(2), mv: [x, y / 2] },
            (false, true) => Candidate { ref_idx: ref_idx >> 1, mv: [x, y.wrapping_mul(2)] },
            _ => Candidate { ref_idx, mv: [x, y] },
        }
    }

    fn at_left(&self, list: usize, y: usize) -> Candidate {
        self.at(self.place.left(y, TALL).map(|(address, y)| (address, y / 4 * 4 + 3)), list)
    }
}

impl Surroundings for PairField<'_> {
    fn left(&self, list: usize, row: usize) -> Candidate {
        self.at_left(list, 4 * row)
    }

    fn left_above(&self, list: usize, row: usize) -> Candidate {
        self.at_left(list, 4 * row - 1)
    }

    fn above(&self, list: usize, column: usize) -> Candidate {
        self.at(self.place.above().map(|address| (address, 12 + column)), list)
    }

    fn above_right(&self, list: usize) -> Candidate {
        self.at(self.place.above_right().map(|address| (address, 12)), list)
    }

    fn above_left(&self, list: usize) -> Candidate {
        self.at(self.place.above_left().map(|(address, row)| (address, 4 * row + 3)), list)
    }
}

/// A field macroblock.
pub fn is_field(block: &Block) -> bool {
    block.flags & flags::FIELD != 0
}

impl<S: Syntax, const MBAFF: bool> SliceParser<'_, S, MBAFF> {
    /// Motion of the macroblocks around the current one of a pair.
    pub fn pair_field(&self) -> PairField<'_> {
        PairField { blocks: self.blocks, splits: self.splits, place: self.pairs.place }
    }

    /// Neighbours of the current macroblock, put together so that they look like two whole macroblocks.
    pub fn around_in_pair(&self) -> Around {
        let mut around = Around::default();
        let place = &self.pairs.place;
        if let Some(above) = place.above() {
            around.b = self.block_at(above);
            around.above = self.coded_at(above, place.x);
        }
        let Some((first, _)) = place.left(0, TALL) else { return around };
        around.a = self.block_at(first);
        around.left = self.coded_at(first, place.x - 1);
        for i in 0..4 {
            let Some((address, y)) = place.left(4 * i, TALL) else { continue };
            let coded = self.coded_at(address, place.x - 1);
            around.left.right[i] = coded.right[y / 4];
            for list in 0..2 {
                around.left.mvd_right[list][i] = coded.mvd_right[list][y / 4];
            }
        }
        for i in 0..2 {
            let Some((address, y)) = place.left(4 * i, SHORT) else { continue };
            let coded = self.coded_at(address, place.x - 1);
            around.left.right[4 + i] = coded.right[4 + y / 4];
            around.left.right[6 + i] = coded.right[6 + y / 4];
        }
        self.left_quadrants(&mut around);
        around
    }

    /// What the left macroblocks say by quadrant: coded_block_pattern, ref_idx, transform size.
    fn left_quadrants(&self, around: &mut Around) {
        let place = &self.pairs.place;
        let (mut cbp, mut positive) = (around.a.cbp & !0b1010, 0);
        for i in 0..2 {
            let Some((address, y)) = place.left(8 * i, TALL) else { continue };
            let (block, coded) = (self.block_at(address), self.coded_at(address, place.x - 1));
            let (from, to) = (1 + y / 8 * 2, 1 + 2 * i);
            cbp |= (block.cbp >> from & 1) << to;
            positive |= (coded.ref_idx_positive >> from & 0b1_0001) << to;
            if i == 1 {
                around.a.flags |= LOWER_LEFT;
                around.a.split = u32::from(block.class) | u32::from(block.flags & !LOWER_LEFT) << 8;
            }
        }
        around.a.cbp = cbp;
        around.left.ref_idx_positive = positive;
    }

    /// What is kept of the macroblock at `address` in column `x`, as the current one sees it.
    fn coded_at(&self, address: usize, x: usize) -> Coded {
        let block = self.block_at(address);
        if !is_available(&block) || is_skipped(&block) {
            return Coded::default();
        }
        let bottom = address / self.pairs.place.columns % 2;
        let coded = self.columns.get(2 * x + bottom).copied().unwrap_or_default();
        match (self.pairs.place.field, is_field(&block)) {
            (false, true) => Coded { ref_idx_positive: coded.ref_idx_above_one, ..scaled(coded, |y| y * 2) },
            (true, false) => scaled(coded, |y| y / 2),
            _ => coded,
        }
    }

    /// Chroma blocks of 4:2:2 and 4:4:4 around the current macroblock: that of the left ones, that above.
    pub fn chroma_in_pair(&self) -> (CodedChroma, CodedChroma) {
        let place = &self.pairs.place;
        let mut left = CodedChroma::default();
        if place.a.is_some() {
            for i in 0..4 {
                let Some((address, y)) = place.left(4 * i, TALL) else { continue };
                left.set_right(i, &self.chroma_at(address, place.x - 1), y / 4);
            }
        }
        let above = place.above().map(|address| self.chroma_at(address, place.x));
        (left, above.unwrap_or_default())
    }

    fn chroma_at(&self, address: usize, x: usize) -> CodedChroma {
        if is_skipped(&self.block_at(address)) {
            return CodedChroma::default();
        }
        let bottom = address / self.pairs.place.columns % 2;
        self.chroma_columns.get(2 * x + bottom).copied().unwrap_or_default()
    }
}

impl<S: Syntax> SliceParser<'_, S, true> {
    /// Goes to pair number `pair`, which is a field pair for the time being when its neighbours are (7.4.4).
    pub fn go_to_pair(&mut self, pair: usize) {
        let columns = self.columns.len() / 2;
        let x = pair % columns;
        let top = pair / columns * 2 * columns + x;
        let (first, grouped) = (self.first, self.pairs.groups.is_some());
        let kind = |inside: bool, pair: Option<usize>, address: usize| {
            let block = self.block_at(address);
            let other_slice = grouped && (!is_available(&block) || block.slice != self.skipped.slice);
            (inside && pair.is_some_and(|pair| pair >= first) && !other_slice).then(|| is_field(&block))
        };
        let above = top.wrapping_sub(2 * columns);
        let place = PairPlace {
            x,
            top,
            columns,
            bottom: false,
            field: false,
            a: kind(x > 0, pair.checked_sub(1), top.wrapping_sub(1)),
            b: kind(true, pair.checked_sub(columns), above),
            c: kind(x + 1 < columns, (pair + 1).checked_sub(columns), above.wrapping_add(1)),
            d: kind(x > 0, pair.checked_sub(columns + 1), above.wrapping_sub(1)),
        };
        self.pairs.place = PairPlace { field: place.a.or(place.b).unwrap_or(false), ..place };
    }

    /// Number of the pair that follows in the slice.
    pub fn next_pair(&self, pair: usize) -> usize {
        let Some(groups) = &self.pairs.groups else { return pair + 1 };
        let mut later = groups.iter().enumerate().skip(pair + 1);
        later.find(|(_, group)| groups.get(pair) == Some(group)).map_or(groups.len(), |(next, _)| next)
    }

    /// Makes the upper or lower macroblock of the pair, whose kind is known now, the current one.
    pub fn select(&mut self, bottom: bool) {
        let place = &mut self.pairs.place;
        place.bottom = bottom;
        (self.place.x, self.place.address) = (place.x, place.address());
        let field = place.field;
        if field != self.pairs.field_weights {
            self.pairs.field_weights = field;
            self.syntax.set_field(field);
            if let Some(other) = &mut self.pairs.other_weights {
                std::mem::swap(&mut self.weights, other);
            }
            self.set_qp(self.qp);
        }
    }

    /// Number of available neighbours (A, B) that were not skipped: the context of mb_skip_flag.
    pub fn unskipped_in_pair(&self, bottom: bool, top_skipped: bool) -> usize {
        let place = PairPlace { bottom, ..self.pairs.place };
        let unskipped = |address: usize| self.block_at(address).class != BlockClass::Skip as u8;
        let left = place.left(0, TALL).is_some_and(|(address, _)| unskipped(address));
        let above = if bottom && !place.field { !top_skipped } else { place.above().is_some_and(unskipped) };
        usize::from(left) + usize::from(above)
    }

    /// Number of neighbouring field pairs (A, B): the context of mb_field_decoding_flag.
    pub fn field_pairs_around(&self) -> usize {
        let count = |kind: Option<bool>| usize::from(kind.unwrap_or(false));
        count(self.pairs.place.a) + count(self.pairs.place.b)
    }
}

/// With other vertical motion vector differences.
fn scaled(coded: Coded, scale: impl Fn(u8) -> u8) -> Coded {
    let scaled = |lists: [[AbsMvd; 4]; 2]| {
        lists.map(|cells| cells.map(|[x, y]: AbsMvd| [x, scale(y).min(MVD_CAP as u8)]))
    };
    Coded { mvd_right: scaled(coded.mvd_right), mvd_bottom: scaled(coded.mvd_bottom), ..coded }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 4;

    /// Pair (1, 1) of a picture four macroblocks wide: its cells are 9 and 13.
    fn place(bottom: bool, field: bool, others: bool) -> PairPlace {
        let kind = Some(others);
        PairPlace { x: 1, top: 9, columns: COLUMNS, bottom, field, a: kind, b: kind, c: kind, d: kind }
    }

    fn rows(place: PairPlace, height: usize) -> Vec<(usize, usize)> {
        (0..height).step_by(4).map(|y| place.left(y, height).unwrap()).collect()
    }

    #[test]
    fn left_of_frame_macroblocks_are_the_lines_of_both_fields() {
        assert_eq!(rows(place(false, false, false), TALL), [(8, 0), (8, 4), (8, 8), (8, 12)]);
        assert_eq!(rows(place(true, false, true), TALL), [(8, 8), (8, 10), (8, 12), (8, 14)]);
        assert_eq!(place(false, false, true).left(7, TALL), Some((12, 3)));
        assert_eq!(rows(place(true, false, true), SHORT), [(8, 4), (8, 6)]);
    }

    #[test]
    fn left_of_field_macroblocks_are_every_second_line_of_the_frame() {
        assert_eq!(rows(place(false, true, false), TALL), [(8, 0), (8, 8), (12, 0), (12, 8)]);
        assert_eq!(rows(place(true, true, false), TALL), [(8, 1), (8, 9), (12, 1), (12, 9)]);
        assert_eq!(rows(place(true, true, true), SHORT), [(12, 0), (12, 4)]);
    }

    #[test]
    fn above_lies_what_is_displayed_above() {
        let all = |bottom, field, others| {
            let place = place(bottom, field, others);
            (place.above(), place.above_right(), place.above_left())
        };
        assert_eq!(all(false, false, true), (Some(5), Some(6), Some((4, 3))));
        assert_eq!(all(true, false, false), (Some(9), None, Some((8, 3))));
        assert_eq!(all(true, false, true), (Some(9), None, Some((12, 1))));
        assert_eq!(all(false, true, true), (Some(1), Some(2), Some((0, 3))));
        assert_eq!(all(false, true, false), (Some(5), Some(6), Some((4, 3))));
        assert_eq!(all(true, true, true), (Some(5), Some(6), Some((4, 3))));
        assert_eq!(PairPlace::default().above(), None);
    }
}
