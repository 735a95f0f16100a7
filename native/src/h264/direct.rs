//! Direct prediction of B macroblocks (H.264 8.4.1.2).

use super::mv_prediction::{median, motion_at, quadrant, Candidate, MotionField, Uniform};
use crate::picture::{flags, Block, BlockClass, Picture, RefEntry, SliceRefs, Split, Structure};

/// 4x4 block in the outer corner of each quadrant, which stands for it with direct_8x8_inference_flag.
const CORNERS: [usize; 4] = [0, 3, 12, 15];

/// Motion of the co-located block: the list 0 motion, or else that of list 1.
struct Colocated {
    list: usize,
    motion: Candidate,
}

/// What direct prediction needs to know of a slice.
pub struct Direct<'a> {
    spatial: bool,
    inference_8x8: bool,
    picture: Option<&'a Picture>,
    /// The current picture.
    structure: Structure,
    columns: usize,
    /// RefPicList1[0] is a short-term reference.
    short_term: bool,
    list0: &'a [RefEntry],
    /// DistScaleFactor by refIdxL0; `None` copies the motion vector.
    scale: Vec<Option<i32>>,
}

impl<'a> Direct<'a> {
    /// `colocated` is RefPicList1\[0\]; when one of it and the current picture is a frame and the other a field, the
    /// frame has twice as many macroblocks, otherwise both have as many.
    pub fn new(
        spatial: bool,
        inference_8x8: bool,
        colocated: Option<&'a Picture>,
        refs: &'a SliceRefs,
        current: &Picture,
    ) -> Self {
        let poc = current.poc;
        let list0 = &refs.lists[0][..];
        let first = refs.lists[1].first();
        let scale = match first {
            Some(second) if !spatial => {
                list0.iter().map(|entry| dist_scale_factor(entry, second, poc)).collect()
            }
            _ => Vec::new(),
        };
        let short_term = first.is_some_and(|entry| !entry.long_term);
        Self {
            spatial,
            inference_8x8,
            picture: colocated,
            structure: current.structure,
            columns: current.mb_cols,
            short_term,
            list0,
            scale,
        }
    }

    /// Reference indices of a direct macroblock that stands still because everything around does: by far the most
    /// frequent case. `None` calls for [`Self::infer`].
    #[inline(always)]
    pub fn infer_still(&self, field: &MotionField<'_>) -> Option<[i8; 2]> {
        if self.spatial {
            field.shared_still().map(or_zero)
        } else {
            None
        }
    }

    /// Motion of a direct macroblock: uniform, or written to `split`.
    pub fn infer(&self, field: &MotionField<'_>, split: &mut Split) -> Option<Uniform> {
        if self.spatial {
            self.infer_spatial(field, split)
        } else {
            self.infer_temporal(field.place.address, split)
        }
    }

    /// 8.4.1.2.2
    fn infer_spatial(&self, field: &MotionField<'_>, split: &mut Split) -> Option<Uniform> {
        let Uniform { ref_idx, mv } = predict(field);
        let predicted = Uniform { ref_idx: or_zero(ref_idx), mv };
        let stopped = [0, 1].map(|list| if ref_idx[list] == 0 { [0, 0] } else { mv[list] });
        if stopped == mv {
            return Some(predicted);
        }
        match self.still_cells(field.place.address) {
            0 => Some(predicted),
            0xffff => Some(Uniform { ref_idx, mv: stopped }),
            still => {
                *split = predicted.expand();
                for cell in (0..16).filter(|cell| still >> cell & 1 != 0) {
                    split.mv[0][cell] = stopped[0];
                    split.mv[1][cell] = stopped[1];
                }
                None
            }
        }
    }

    /// colZeroFlag of every 4x4 block, as bits in raster order.
    #[inline]
    fn still_cells(&self, address: usize) -> u16 {
        let Some(picture) = self.picture.filter(|_| self.short_term) else { return 0 };
        let is_still = |block: &Block, cell| {
            let motion = colocated_motion(picture, block, cell).motion;
            motion.ref_idx == 0 && motion.mv.iter().all(|component| (-1..=1).contains(component))
        };
        if self.structure.is_field() != picture.structure.is_field() {
            return (0..4)
                .filter(|&quadrant| {
                    let (address, cell) = self.across(address, quadrant);
                    picture.blocks.get(address).is_some_and(|block| is_still(block, cell))
                })
                .fold(0, |mask, q| mask | cells_of(q));
        }
        let Some(block) = picture.blocks.get(address) else { return 0 };
        if block.flags & flags::SPLIT == 0 {
            return if is_still(block, 0) { 0xffff } else { 0 };
        }
        if self.inference_8x8 {
            return (0..4)
                .filter(|&quadrant| is_still(block, CORNERS[quadrant]))
                .fold(0, |mask, q| mask | cells_of(q));
        }
        (0..16).filter(|&cell| is_still(block, cell)).fold(0, |mask, cell| mask | 1 << cell)
    }

    /// Macroblock and 4x4 block that a quadrant finds in a field when it is in a frame, and the other way round.
    // H.264 8.4.1.2.1, Table 8-6
    fn across(&self, address: usize, quadrant: usize) -> (usize, usize) {
        let (row, column) = (address / self.columns, address % self.columns);
        let (lower, x) = (quadrant >> 1, 3 * (quadrant & 1));
        if self.structure.is_field() {
            (self.columns * (2 * row + lower) + column, 8 * lower + x)
        } else {
            (self.columns * (row / 2) + column, 4 * (2 * (row % 2) + lower) + x)
        }
    }

    /// 8.4.1.2.3
    fn infer_temporal(&self, address: usize, split: &mut Split) -> Option<Uniform> {
        let still = Some(Uniform { ref_idx: [0, 0], mv: [[0, 0]; 2] });
        let Some(picture) = self.picture else { return still };
        let across = self.structure.is_field() != picture.structure.is_field();
        if !across {
            let Some(block) = picture.blocks.get(address) else { return still };
            if block.flags & flags::SPLIT == 0 {
                return Some(self.scaled(picture, block, 0));
            }
        }
        for cell in 0..16 {
            let (address, source) = if across {
                self.across(address, quadrant(cell))
            } else {
                (address, if self.inference_8x8 { CORNERS[quadrant(cell)] } else { cell })
            };
            let Some(block) = picture.blocks.get(address) else { return still };
            let motion = self.scaled(picture, block, source);
            for list in 0..2 {
                split.mv[list][cell] = motion.mv[list];
                split.ref_idx[list][quadrant(cell)] = motion.ref_idx[list];
            }
        }
        None
    }

    /// Temporal motion of one block.
    fn scaled(&self, picture: &Picture, block: &Block, cell: usize) -> Uniform {
        let Colocated { list, mut motion } = colocated_motion(picture, block, cell);
        // Vertical motion in lines of the current picture.
        match (self.structure.is_field(), picture.structure.is_field()) {
            (true, false) => motion.mv[1] /= 2,
            (false, true) => motion.mv[1] = motion.mv[1].wrapping_mul(2),
            _ => {}
        }
        let ref_idx =
            if motion.ref_idx < 0 { 0 } else { self.map_col_to_list0(picture, block, list, motion.ref_idx) };
        let mv = match self.scale.get(usize::from(ref_idx)) {
            Some(&Some(scale)) => {
                let forward = motion.mv.map(|component| ((scale * i32::from(component) + 128) >> 8) as i16);
                let backward = [forward[0].wrapping_sub(motion.mv[0]), forward[1].wrapping_sub(motion.mv[1])];
                [forward, backward]
            }
            _ => [motion.mv, [0, 0]],
        };
        Uniform { ref_idx: [ref_idx as i8, 0], mv }
    }

    /// Index in list 0 of the picture that the co-located block referred to; 0 when it is not there.
    fn map_col_to_list0(&self, picture: &Picture, block: &Block, list: usize, ref_idx: i8) -> u8 {
        let referred = picture
            .slice_refs
            .get(usize::from(block.slice))
            .and_then(|refs| refs.lists[list & 1].get(usize::try_from(ref_idx).ok()?));
        let found = referred.filter(|referred| referred.id.is_some()).and_then(|referred| {
            // A field finds the field that was referred to, or that of its own parity in a frame.
            let structure = match (self.structure, referred.structure) {
                (Structure::Frame, _) => Structure::Frame,
                (own, Structure::Frame) => own,
                (_, referred) => referred,
            };
            self.list0.iter().position(|entry| (entry.id, entry.structure) == (referred.id, structure))
        });
        found.unwrap_or(0).min(31) as u8
    }
}

/// Without any reference around, both lists use reference 0 (8.4.1.2.2).
#[inline(always)]
fn or_zero(ref_idx: [i8; 2]) -> [i8; 2] {
    if ref_idx[0] < 0 && ref_idx[1] < 0 {
        [0, 0]
    } else {
        ref_idx
    }
}

/// Reference indices and motion vectors of spatial direct prediction; -1 in both lists stands for no reference
/// around.
fn predict(field: &MotionField<'_>) -> Uniform {
    let mut motion = Uniform { ref_idx: [-1; 2], mv: [[0, 0]; 2] };
    for list in 0..2 {
        let around = field.around_macroblock(list);
        let [a, b, c] = around.map(|candidate| candidate.ref_idx);
        let ref_idx = min_positive(a, min_positive(b, c));
        if ref_idx >= 0 {
            motion.ref_idx[list] = ref_idx;
            motion.mv[list] = median(around, ref_idx);
        }
    }
    motion
}

/// MinPositive (8.4.1.2.2).
#[inline(always)]
fn min_positive(x: i8, y: i8) -> i8 {
    if x >= 0 && y >= 0 {
        x.min(y)
    } else {
        x.max(y)
    }
}

/// The 4x4 blocks of a quadrant as bits.
const fn cells_of(quadrant: usize) -> u16 {
    0x33 << ((quadrant & 1) * 2 + (quadrant >> 1) * 8)
}

#[inline(always)]
fn colocated_motion(picture: &Picture, block: &Block, cell: usize) -> Colocated {
    let none = Colocated { list: 0, motion: Candidate { ref_idx: -1, mv: [0, 0] } };
    if block.class == BlockClass::Unknown as u8 {
        return none;
    }
    for list in 0..2 {
        let motion = motion_at(block, &picture.splits, list, cell);
        if motion.ref_idx >= 0 {
            return Colocated { list, motion };
        }
    }
    none
}

/// DistScaleFactor (8.4.1.2.3), or `None` for long-term references and pictures of the same order count.
fn dist_scale_factor(first: &RefEntry, second: &RefEntry, poc: i32) -> Option<i32> {
    let clipped = |a: i32, b: i32| a.saturating_sub(b).clamp(-128, 127);
    let (tb, td) = (clipped(poc, first.poc), clipped(second.poc, first.poc));
    if first.long_term || td == 0 {
        return None;
    }
    let tx = (16384 + (td / 2).abs()) / td;
    Some(((tb * tx + 32) >> 6).clamp(-1024, 1023))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, poc: i32) -> RefEntry {
        RefEntry { id: Some(id), poc, long_term: false, structure: Structure::Frame }
    }

    #[test]
    fn min_positive_ignores_negative_indices() {
        assert_eq!([min_positive(2, 1), min_positive(-1, 1), min_positive(3, -2)], [1, 1, 3]);
        assert_eq!(min_positive(-1, -2), -1);
    }

    #[test]
    fn a_picture_half_way_gets_half_the_vector() {
        assert_eq!(dist_scale_factor(&entry(0, 0), &entry(1, 8), 4), Some(128));
        assert_eq!(dist_scale_factor(&RefEntry { long_term: true, ..entry(0, 0) }, &entry(1, 8), 4), None);
    }

    #[test]
    fn temporal_direct_follows_the_picture_not_the_index() {
        let block = Block { mv: [[8, -4], [0, 0]], ref_idx: [1, -1], class: 2, ..Block::default() };
        let picture = Picture {
            blocks: vec![block],
            slice_refs: vec![SliceRefs { lists: [vec![entry(7, 2), entry(5, 0)], vec![]] }],
            ..Picture::default()
        };
        let refs = SliceRefs { lists: [vec![entry(7, 2), entry(6, 1), entry(5, 0)], vec![entry(9, 8)]] };
        let direct = Direct::new(
            false,
            true,
            Some(&picture),
            &refs,
            &Picture { poc: 4, mb_cols: 1, ..Picture::default() },
        );
        let motion = direct.infer_temporal(0, &mut Uniform { ref_idx: [0; 2], mv: [[0; 2]; 2] }.expand());
        assert_eq!(motion, Some(Uniform { ref_idx: [2, 0], mv: [[4, -2], [-4, 2]] }));
    }

    #[test]
    fn fields_and_frames_find_each_other() {
        let refs = SliceRefs { lists: [vec![entry(1, 0)], vec![entry(2, 8)]] };
        let current = |structure| Picture { structure, mb_cols: 4, ..Picture::default() };
        let find = |structure, address| {
            let direct = Direct::new(true, true, None, &refs, &current(structure));
            [0, 1, 2, 3].map(|quadrant| direct.across(address, quadrant))
        };
        // Macroblock (1, 2) of a field covers (2, 2) and (3, 2) of the frame.
        assert_eq!(find(Structure::Bottom, 6), [(10, 0), (10, 3), (14, 8), (14, 11)]);
        // Both (2, 2) and (3, 2) of a frame lie in (1, 2) of a field.
        assert_eq!(find(Structure::Frame, 10), [(6, 0), (6, 3), (6, 4), (6, 7)]);
        assert_eq!(find(Structure::Frame, 14), [(6, 8), (6, 11), (6, 12), (6, 15)]);
    }

    #[test]
    fn quadrants_cover_the_macroblock() {
        assert_eq!((0..4).fold(0, |mask, quadrant| mask ^ cells_of(quadrant)), 0xffff);
        assert!((0..4).all(|q| cells_of(q) >> CORNERS[q] & 1 == 1 && quadrant(CORNERS[q]) == q));
    }
}
