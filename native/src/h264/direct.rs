//! Direct prediction of B macroblocks (H.264 8.4.1.2).

use super::mv_prediction::{median, motion_at, quadrant, Candidate, MotionField, Surroundings, Uniform};
use crate::picture::{flags, Block, BlockClass, Picture, RefEntry, SliceRefs, Split, Structure};

/// 4x4 block in the outer corner of each quadrant, which stands for it with direct_8x8_inference_flag.
const CORNERS: [usize; 4] = [0, 3, 12, 15];

/// Motion of the co-located block: the list 0 motion, or else that of list 1.
struct Colocated {
    list: usize,
    motion: Candidate,
}

/// Where the co-located motion of a block is, and how its vertical component counts there.
struct Located<'a> {
    block: &'a Block,
    cell: usize,
    vertical: Vertical,
    /// Field that a field macroblock of a frame (MBAFF) belongs to.
    parity: Structure,
}

/// vertMvScale (Table 8-6)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vertical {
    OneToOne,
    FrameToField,
    FieldToFrame,
}

/// What direct prediction depends on.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// direct_spatial_mv_pred_flag
    pub spatial: bool,
    /// direct_8x8_inference_flag
    pub inference_8x8: bool,
    /// RefPicList1\[0\]; when one of it and the current picture is a frame and the other a field, the frame has twice
    /// as many macroblocks, otherwise both have as many.
    pub colocated: Option<&'a Picture>,
    /// Reference lists, of fields for field macroblocks.
    pub refs: &'a SliceRefs,
    /// Of the current picture, or the field that field macroblocks of a frame belong to.
    pub structure: Structure,
    /// PicOrderCnt of `structure`.
    pub poc: i32,
    /// Width of the picture in macroblocks.
    pub columns: usize,
    /// The current picture consists of macroblock pairs (MBAFF).
    pub pairs: bool,
    /// Of RefPicList1\[0\], the bottom field is at least as near as the top field.
    pub bottom_is_nearer: bool,
}

/// Direct prediction in one slice, of frame or field macroblocks.
pub struct Direct<'a> {
    setting: Setting<'a>,
    /// The co-located macroblock has the address of the current one.
    aligned: bool,
    /// RefPicList1[0] is a short-term reference.
    short_term: bool,
    /// DistScaleFactor by refIdxL0; `None` copies the motion vector.
    scale: Vec<Option<i32>>,
}

impl<'a> Direct<'a> {
    /// Prepares what all macroblocks share.
    pub fn new(setting: Setting<'a>) -> Self {
        let first = setting.refs.lists[1].first();
        let scale = match first {
            Some(second) if !setting.spatial => setting.refs.lists[0]
                .iter()
                .map(|entry| dist_scale_factor(entry, second, setting.poc))
                .collect(),
            _ => Vec::new(),
        };
        let short_term = first.is_some_and(|entry| !entry.long_term);
        let aligned = !setting.pairs
            && setting.colocated.map_or(true, |other| {
                !other.mbaff && other.structure.is_field() == setting.structure.is_field()
            });
        Self { setting, aligned, short_term, scale }
    }

    /// Reference indices of a direct macroblock that stands still because everything around does: by far the most
    /// frequent case. `None` calls for [`Self::infer`].
    #[inline(always)]
    pub fn infer_still(&self, field: &MotionField<'_>) -> Option<[i8; 2]> {
        if self.setting.spatial {
            field.shared_still().map(or_zero)
        } else {
            None
        }
    }

    /// Motion of the direct macroblock at `address`: uniform, or written to `split`.
    pub fn infer(&self, around: &impl Surroundings, address: usize, split: &mut Split) -> Option<Uniform> {
        if self.setting.spatial {
            self.infer_spatial(around, address, split)
        } else {
            self.infer_temporal(address, split)
        }
    }

    /// 8.4.1.2.2
    fn infer_spatial(
        &self,
        around: &impl Surroundings,
        address: usize,
        split: &mut Split,
    ) -> Option<Uniform> {
        let Uniform { ref_idx, mv } = predict(around);
        let predicted = Uniform { ref_idx: or_zero(ref_idx), mv };
        let stopped = [0, 1].map(|list| if ref_idx[list] == 0 { [0, 0] } else { mv[list] });
        if stopped == mv {
            return Some(predicted);
        }
        match self.still_cells(address) {
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
        let Some(picture) = self.setting.colocated.filter(|_| self.short_term) else { return 0 };
        let is_still = |block: &Block, cell| {
            let motion = colocated_motion(picture, block, cell).motion;
            motion.ref_idx == 0 && motion.mv.iter().all(|component| (-1..=1).contains(component))
        };
        if !self.aligned {
            return (0..4)
                .filter(|&quadrant| {
                    let located = self.locate(picture, address, quadrant);
                    located.is_some_and(|located| is_still(located.block, located.cell))
                })
                .fold(0, |mask, q| mask | cells_of(q));
        }
        let Some(block) = picture.blocks.get(address) else { return 0 };
        if block.flags & flags::SPLIT == 0 {
            return if is_still(block, 0) { 0xffff } else { 0 };
        }
        if self.setting.inference_8x8 {
            return (0..4)
                .filter(|&quadrant| is_still(block, CORNERS[quadrant]))
                .fold(0, |mask, q| mask | cells_of(q));
        }
        (0..16).filter(|&cell| is_still(block, cell)).fold(0, |mask, cell| mask | 1 << cell)
    }

    /// Co-located motion of a quadrant where fields, frames and macroblock pairs meet.
    // H.264 8.4.1.2.1, Table 8-8
    fn locate<'b>(&self, picture: &'b Picture, address: usize, quadrant: usize) -> Option<Located<'b>> {
        let Setting { columns, structure, pairs, .. } = self.setting;
        let (row, column) = (address / columns, address % columns);
        let (lower, x) = (quadrant >> 1, 3 * (quadrant & 1));
        // Rows of fields and of frames.
        let (field_row, pair) = match structure {
            Structure::Frame => (row / 2, row / 2 * 2),
            _ if pairs => (row / 2, row / 2 * 2),
            _ => (row, row * 2),
        };
        let (frame_row, parity) = (row, usize::from(structure == Structure::Bottom));
        let is_field_pair = picture.mbaff
            && picture.blocks.get(pair * columns + column).is_some_and(|top| top.flags & flags::FIELD != 0);
        let nearer = usize::from(self.setting.bottom_is_nearer);
        let halved = 4 * (2 * (frame_row % 2) + lower) + x;
        let (row, cell, vertical) = match (structure.is_field(), picture.structure.is_field()) {
            (true, true) => (field_row, CORNERS[quadrant], Vertical::OneToOne),
            (true, false) if is_field_pair => (pair + parity, CORNERS[quadrant], Vertical::OneToOne),
            (true, false) => (pair + lower, 8 * lower + x, Vertical::FrameToField),
            (false, true) => (field_row, halved, Vertical::FieldToFrame),
            (false, false) if is_field_pair => (pair + nearer, halved, Vertical::FieldToFrame),
            (false, false) => (frame_row, CORNERS[quadrant], Vertical::OneToOne),
        };
        let block = picture.blocks.get(row * columns + column)?;
        let parity = match is_field_pair {
            false => Structure::Frame,
            true if row % 2 == 0 => Structure::Top,
            true => Structure::Bottom,
        };
        Some(Located { block, cell, vertical, parity })
    }

    /// 8.4.1.2.3
    fn infer_temporal(&self, address: usize, split: &mut Split) -> Option<Uniform> {
        let still = Some(Uniform { ref_idx: [0, 0], mv: [[0, 0]; 2] });
        let Some(picture) = self.setting.colocated else { return still };
        let aligned =
            |block, cell| Located { block, cell, vertical: Vertical::OneToOne, parity: Structure::Frame };
        if self.aligned {
            let Some(block) = picture.blocks.get(address) else { return still };
            if block.flags & flags::SPLIT == 0 {
                return Some(self.scaled(picture, &aligned(block, 0)));
            }
        }
        for cell in 0..16 {
            let located = if self.aligned {
                let source = if self.setting.inference_8x8 { CORNERS[quadrant(cell)] } else { cell };
                picture.blocks.get(address).map(|block| aligned(block, source))
            } else {
                self.locate(picture, address, quadrant(cell))
            };
            let Some(located) = located else { return still };
            let motion = self.scaled(picture, &located);
            for list in 0..2 {
                split.mv[list][cell] = motion.mv[list];
                split.ref_idx[list][quadrant(cell)] = motion.ref_idx[list];
            }
        }
        None
    }

    /// Temporal motion of one block.
    fn scaled(&self, picture: &Picture, located: &Located<'_>) -> Uniform {
        let Colocated { list, mut motion } = colocated_motion(picture, located.block, located.cell);
        // Vertical motion in lines of the current picture.
        match located.vertical {
            Vertical::FrameToField => motion.mv[1] /= 2,
            Vertical::FieldToFrame => motion.mv[1] = motion.mv[1].wrapping_mul(2),
            Vertical::OneToOne => {}
        }
        let ref_idx = if motion.ref_idx < 0 {
            0
        } else {
            self.map_col_to_list0(picture, located, list, motion.ref_idx)
        };
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
    fn map_col_to_list0(&self, picture: &Picture, located: &Located<'_>, list: usize, ref_idx: i8) -> u8 {
        let lists =
            picture.slice_refs.get(usize::from(located.block.slice)).map(|refs| &refs.lists[list & 1]);
        let referred = lists.zip(usize::try_from(ref_idx).ok()).and_then(|(list, index)| {
            if !located.parity.is_field() {
                return list.get(index).copied();
            }
            // Field macroblocks count the fields of the frames in the list, their own parity first.
            let same = index % 2 == 0;
            let structure = if same { located.parity } else { located.parity.opposite() };
            list.get(index / 2).map(|entry| RefEntry { structure, ..*entry })
        });
        let found = referred.filter(|referred| referred.id.is_some()).and_then(|referred| {
            // A field finds the field that was referred to, or that of its own parity in a frame.
            let structure = match (self.setting.structure, referred.structure) {
                (Structure::Frame, _) => Structure::Frame,
                (own, Structure::Frame) => own,
                (_, referred) => referred,
            };
            let list0 = &self.setting.refs.lists[0];
            list0.iter().position(|entry| (entry.id, entry.structure) == (referred.id, structure))
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
fn predict(around: &impl Surroundings) -> Uniform {
    let mut motion = Uniform { ref_idx: [-1; 2], mv: [[0, 0]; 2] };
    for list in 0..2 {
        let around = around.around_macroblock(list);
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

    fn setting(refs: &SliceRefs, structure: Structure) -> Setting<'_> {
        Setting {
            spatial: true,
            inference_8x8: true,
            colocated: None,
            refs,
            structure,
            poc: 0,
            columns: 4,
            pairs: false,
            bottom_is_nearer: true,
        }
    }

    /// Macroblocks whose slice number is their address.
    fn picture(structure: Structure, macroblocks: u16) -> Picture {
        let blocks = (0..macroblocks).map(|slice| Block { slice, ..Block::default() }).collect();
        Picture { structure, mb_cols: 4, blocks, ..Picture::default() }
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
        let direct = Direct::new(Setting {
            spatial: false,
            colocated: Some(&picture),
            poc: 4,
            columns: 1,
            ..setting(&refs, Structure::Frame)
        });
        let motion = direct.infer_temporal(0, &mut Uniform { ref_idx: [0; 2], mv: [[0; 2]; 2] }.expand());
        assert_eq!(motion, Some(Uniform { ref_idx: [2, 0], mv: [[4, -2], [-4, 2]] }));
    }

    #[test]
    fn fields_and_frames_find_each_other() {
        let refs = SliceRefs { lists: [vec![entry(1, 0)], vec![entry(2, 8)]] };
        let find = |structure: Structure, other: &Picture, address| {
            let direct = Direct::new(setting(&refs, structure));
            [0, 1, 2, 3].map(|quadrant| {
                let located = direct.locate(other, address, quadrant).unwrap();
                (usize::from(located.block.slice), located.cell)
            })
        };
        let frame = picture(Structure::Frame, 24);
        let field = picture(Structure::Top, 12);
        // Macroblock (1, 2) of a field covers (2, 2) and (3, 2) of the frame.
        assert_eq!(find(Structure::Bottom, &frame, 6), [(10, 0), (10, 3), (14, 8), (14, 11)]);
        // Both (2, 2) and (3, 2) of a frame lie in (1, 2) of a field.
        assert_eq!(find(Structure::Frame, &field, 10), [(6, 0), (6, 3), (6, 4), (6, 7)]);
        assert_eq!(find(Structure::Frame, &field, 14), [(6, 8), (6, 11), (6, 12), (6, 15)]);
    }

    #[test]
    fn pairs_find_pairs_of_the_other_kind() {
        let refs = SliceRefs { lists: [vec![entry(1, 0)], vec![entry(2, 8)]] };
        let mut pairs = Picture { mbaff: true, ..picture(Structure::Frame, 24) };
        let find = |other: &Picture, structure, address| {
            let direct = Direct::new(Setting { pairs: true, ..setting(&refs, structure) });
            [0, 1, 2, 3].map(|quadrant| {
                let located = direct.locate(other, address, quadrant).unwrap();
                (usize::from(located.block.slice), located.cell)
            })
        };
        // The bottom field macroblock in pair row 1, column 2: frame macroblocks (2, 2) and (3, 2).
        assert_eq!(find(&pairs, Structure::Bottom, 14), [(10, 0), (10, 3), (14, 8), (14, 11)]);
        for address in [10, 14] {
            pairs.blocks[address].flags = flags::FIELD;
        }
        assert_eq!(find(&pairs, Structure::Bottom, 14), [(14, 0), (14, 3), (14, 12), (14, 15)]);
        // The upper frame macroblock: the nearer field, here the bottom one, upper half.
        assert_eq!(find(&pairs, Structure::Frame, 10), [(14, 0), (14, 3), (14, 4), (14, 7)]);
        // A co-located field picture.
        let field = picture(Structure::Bottom, 12);
        assert_eq!(find(&field, Structure::Bottom, 14), [(6, 0), (6, 3), (6, 12), (6, 15)]);
        assert_eq!(find(&field, Structure::Frame, 14), [(6, 8), (6, 11), (6, 12), (6, 15)]);
    }

    #[test]
    fn quadrants_cover_the_macroblock() {
        assert_eq!((0..4).fold(0, |mask, quadrant| mask ^ cells_of(quadrant)), 0xffff);
        assert!((0..4).all(|q| cells_of(q) >> CORNERS[q] & 1 == 1 && quadrant(CORNERS[q]) == q));
    }
}
