//! mb_pred() and sub_mb_pred() of Inter macroblocks (H.264 7.3.5.1, 7.3.5.2).

use super::{
    macroblock::SliceParser,
    mb_types::{Lists, Shape, SubType, B_8X8, B_SUB_TYPES, B_TYPES, P_8X8_REF0, P_SUB_TYPES, P_TYPES},
    motion::Motion,
    mv_prediction::{median, two_columns, two_rows, Mv, Uniform},
    neighbours::{AbsMvd, Around, Coded, MVD_CAP},
    syntax::Syntax,
};
use crate::{
    picture::{flags, Block, Split},
    unit::SliceType,
};

/// No list is used anywhere.
const NO_MOTION: Split = Split { mv: [[[0; 2]; 16]; 2], ref_idx: [[-1; 4]; 2] };

/// Absolute motion vector differences of the current macroblock and its neighbours, per list five by five 4x4
/// blocks; row 0 and column 0 belong to neighbours.
struct MvdGrid([[AbsMvd; 25]; 2]);

impl MvdGrid {
    fn new(around: &Around) -> Self {
        let mut grid = [[[0; 2]; 25]; 2];
        for (list, cells) in grid.iter_mut().enumerate() {
            for i in 0..4 {
                cells[1 + i] = around.above.mvd_bottom[list][i];
                cells[5 + 5 * i] = around.left.mvd_right[list][i];
            }
        }
        Self(grid)
    }

    fn store(&self, coded: &mut Coded) {
        for (list, cells) in self.0.iter().enumerate() {
            coded.mvd_right[list] = [cells[9], cells[14], cells[19], cells[24]];
            coded.mvd_bottom[list] = [cells[21], cells[22], cells[23], cells[24]];
        }
    }
}

/// A rectangle of 4x4 blocks inside the macroblock.
#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl<S: Syntax, const MBAFF: bool> SliceParser<'_, S, MBAFF> {
    /// Reads the motion of an Inter macroblock into `block`; tells whether transform_size_8x8_flag is allowed.
    #[inline(always)]
    pub fn inter_motion(
        &mut self,
        mb_type: u8,
        around: &Around,
        coded: &mut Coded,
        block: &mut Block,
    ) -> bool {
        let index = usize::from(mb_type);
        let types: &[(Shape, [Lists; 2])] =
            if self.input.header.slice_type == SliceType::B { &B_TYPES } else { &P_TYPES };
        match types.get(index) {
            Some((_, [0, _])) => {
                block.flags |= flags::DIRECT;
                let motion = self.infer_direct();
                self.set_motion(block, &motion);
                self.input.sps.direct_8x8_inference_flag
            }
            Some((Shape::Whole, [lists, _])) => {
                let motion = Motion::Uniform(self.whole(*lists, around, coded));
                self.set_motion(block, &motion);
                true
            }
            Some((shape, lists)) => {
                self.two_partitions(*shape, *lists, around, coded);
                self.set_motion(block, &Motion::Split);
                true
            }
            None => {
                let allows_8x8 = self.sub_macroblocks(mb_type, around, coded, block);
                self.set_motion(block, &Motion::Split);
                allows_8x8
            }
        }
    }

    /// One 16x16 partition.
    #[inline(always)]
    fn whole(&mut self, lists: Lists, around: &Around, coded: &mut Coded) -> Uniform {
        let mut motion = Uniform { ref_idx: [-1; 2], mv: [[0; 2]; 2] };
        for list in lists_of(lists) {
            motion.ref_idx[list] = self.ref_idx(list, 0, 0b1111, around, coded);
        }
        for list in lists_of(lists) {
            let predicted = median(self.around_macroblock(list), motion.ref_idx[list]);
            let sum = add_mvd(around.left.mvd_right[list][0], around.above.mvd_bottom[list][0]);
            let mvd = self.syntax.mvd(sum);
            motion.mv[list] = add(predicted, mvd);
            if S::CABAC {
                coded.mvd_right[list] = [absolute(mvd); 4];
                coded.mvd_bottom[list] = [absolute(mvd); 4];
            }
        }
        motion
    }

    /// Two partitions of 16x8 or 8x16.
    fn two_partitions(&mut self, shape: Shape, lists: [Lists; 2], around: &Around, coded: &mut Coded) {
        self.motion = NO_MOTION;
        let mut grid = MvdGrid::new(around);
        let rows = shape == Shape::TwoRows;
        for list in 0..2 {
            for part in (0..2).filter(|&part| lists[part] >> list & 1 != 0) {
                let (first, quadrants) =
                    if rows { (2 * part, 0b0011 << (2 * part)) } else { (part, 0b0101 << part) };
                let ref_idx = self.ref_idx(list, first, quadrants, around, coded);
                self.set_ref_idx(list, quadrants, ref_idx);
            }
        }
        for list in 0..2 {
            for part in (0..2).filter(|&part| lists[part] >> list & 1 != 0) {
                let area = if rows {
                    Area { x: 0, y: 2 * part, width: 4, height: 2 }
                } else {
                    Area { x: 2 * part, y: 0, width: 2, height: 4 }
                };
                let ref_idx = self.motion.ref_idx[list][if rows { 2 * part } else { part }];
                let candidates = self.around_partition(list, area.x, area.y, area.width);
                let predicted = if rows {
                    two_rows(candidates, part == 1, ref_idx)
                } else {
                    two_columns(candidates, part == 1, ref_idx)
                };
                self.partition(list, area, predicted, &mut grid);
            }
        }
        grid.store(coded);
    }

    /// Four sub-macroblocks; tells whether transform_size_8x8_flag is allowed.
    fn sub_macroblocks(
        &mut self,
        mb_type: u8,
        around: &Around,
        coded: &mut Coded,
        block: &mut Block,
    ) -> bool {
        let bidirectional = mb_type == B_8X8;
        let sub_types: [SubType; 4] = std::array::from_fn(|_| {
            let sub_mb_type = usize::from(self.syntax.sub_mb_type(bidirectional));
            let known: &[SubType] = if bidirectional { &B_SUB_TYPES } else { &P_SUB_TYPES };
            known.get(sub_mb_type).copied().unwrap_or_default()
        });
        self.motion = NO_MOTION;
        if sub_types.iter().any(|sub| sub.is_direct()) {
            block.flags |= flags::DIRECT;
            self.direct_quadrants(&sub_types);
        }
        for list in 0..2 {
            for quadrant in (0..4).filter(|&quadrant| sub_types[quadrant].lists >> list & 1 != 0) {
                let ref_idx = if mb_type == P_8X8_REF0 && !bidirectional {
                    0
                } else {
                    self.ref_idx(list, quadrant, 1 << quadrant, around, coded)
                };
                self.motion.ref_idx[list][quadrant] = ref_idx;
            }
        }
        let mut grid = MvdGrid::new(around);
        for list in 0..2 {
            for quadrant in (0..4).filter(|&quadrant| sub_types[quadrant].lists >> list & 1 != 0) {
                self.sub_partitions(list, quadrant, sub_types[quadrant], &mut grid);
            }
        }
        grid.store(coded);
        let inference_8x8 = self.input.sps.direct_8x8_inference_flag;
        sub_types.iter().all(|sub| if sub.is_direct() { inference_8x8 } else { sub.is_whole() })
    }

    /// Fills in the quadrants that are predicted directly.
    fn direct_quadrants(&mut self, sub_types: &[SubType; 4]) {
        let inferred = match self.infer_direct() {
            Motion::Uniform(uniform) => uniform.expand(),
            Motion::Split => self.motion,
        };
        self.motion = NO_MOTION;
        for quadrant in (0..4).filter(|&quadrant| sub_types[quadrant].is_direct()) {
            let first = (quadrant & 1) * 2 + (quadrant >> 1) * 8;
            for list in 0..2 {
                self.motion.ref_idx[list][quadrant] = inferred.ref_idx[list][quadrant];
                for cell in [first, first + 1, first + 4, first + 5] {
                    self.motion.mv[list][cell] = inferred.mv[list][cell];
                }
            }
        }
    }

    fn sub_partitions(&mut self, list: usize, quadrant: usize, sub: SubType, grid: &mut MvdGrid) {
        let (width, height) = (usize::from(sub.width), usize::from(sub.height));
        let ref_idx = self.motion.ref_idx[list][quadrant];
        for y in (0..2).step_by(height.max(1)) {
            for x in (0..2).step_by(width.max(1)) {
                let area = Area { x: (quadrant & 1) * 2 + x, y: (quadrant & 2) + y, width, height };
                let candidates = self.around_partition(list, area.x, area.y, width);
                self.partition(list, area, median(candidates, ref_idx), grid);
            }
        }
    }

    /// Reads the motion vector difference of a partition and writes its motion vector.
    #[inline(always)]
    fn partition(&mut self, list: usize, area: Area, predicted: Mv, grid: &mut MvdGrid) {
        let cells = &mut grid.0[list];
        let corner = (6 + 5 * area.y + area.x).min(24);
        let mvd = self.syntax.mvd(add_mvd(cells[corner - 1], cells[corner - 5]));
        let mv = add(predicted, mvd);
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.motion.mv[list][(4 * y + x) & 15] = mv;
                if S::CABAC {
                    cells[(6 + 5 * y + x).min(24)] = absolute(mvd);
                }
            }
        }
    }

    fn set_ref_idx(&mut self, list: usize, quadrants: u8, ref_idx: i8) {
        for (quadrant, slot) in self.motion.ref_idx[list].iter_mut().enumerate() {
            if quadrants >> quadrant & 1 != 0 {
                *slot = ref_idx;
            }
        }
    }

    /// ref_idx of a partition that starts in quadrant `first` and covers `quadrants`.
    #[inline(always)]
    fn ref_idx(
        &mut self,
        list: usize,
        first: usize,
        quadrants: u8,
        around: &Around,
        coded: &mut Coded,
    ) -> i8 {
        let mut max = self.input.header.num_ref_idx_active_minus1[list];
        if MBAFF && self.pairs.place.field {
            max = 2 * max + 1;
        }
        if max == 0 {
            return 0;
        }
        let positive =
            |coded: &Coded, quadrant: usize| usize::from(coded.ref_idx_positive >> (4 * list + quadrant) & 1);
        let left =
            if first & 1 != 0 { positive(coded, first - 1) } else { positive(&around.left, first + 1) };
        let above =
            if first & 2 != 0 { positive(coded, first - 2) } else { positive(&around.above, first + 2) };
        let ref_idx = self.syntax.ref_idx(max.min(31), left + 2 * above);
        if ref_idx > 0 {
            coded.ref_idx_positive |= quadrants << (4 * list);
        }
        if MBAFF && ref_idx > 1 {
            coded.ref_idx_above_one |= quadrants << (4 * list);
        }
        ref_idx as i8
    }
}

/// The lists of a set, in order.
#[inline(always)]
fn lists_of(lists: Lists) -> impl Iterator<Item = usize> {
    (0..2).filter(move |list| lists >> list & 1 != 0)
}

/// Sum of the absolute differences of two neighbours.
#[inline(always)]
fn add_mvd(a: AbsMvd, b: AbsMvd) -> AbsMvd {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

#[inline(always)]
fn add(predicted: Mv, mvd: Mv) -> Mv {
    [predicted[0].wrapping_add(mvd[0]), predicted[1].wrapping_add(mvd[1])]
}

#[inline(always)]
fn absolute(mvd: Mv) -> AbsMvd {
    mvd.map(|component| component.unsigned_abs().min(MVD_CAP) as u8)
}
