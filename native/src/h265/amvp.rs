//! Motion vector prediction (H.265 8.5.3.2.6, 8.5.3.2.7).

use super::{
    coding_unit::Unit,
    motion::{scale, Motion, Mv, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::picture::RefEntry;

impl<K: Sink> SliceParser<'_, K> {
    /// mvpLX: the predictor of one list.
    // H.265 8.5.3.2.6
    pub(super) fn predict_mv(
        &self,
        unit: &Unit,
        block: &PredictionBlock,
        list: usize,
        ref_idx: i8,
        second: bool,
    ) -> Mv {
        let Some(target) = self.reference(list, ref_idx) else { return [0; 2] };
        let (left, top) = (block.x as i32 - 1, block.y as i32 - 1);
        let (right, bottom) = ((block.x + block.width) as i32, (block.y + block.height) as i32);
        let beside =
            [self.neighbour(unit, block, left, bottom), self.neighbour(unit, block, left, bottom - 1)];
        // isScaledFlagLX
        let has_left = beside.iter().any(Option::is_some);
        let mut a = self.same_picture(&beside, list, target).or_else(|| self.scaled(&beside, list, target));
        if let (Some(mv), false) = (a, second) {
            return mv;
        }
        let above = [
            self.neighbour(unit, block, right, top),
            self.neighbour(unit, block, right - 1, top),
            self.neighbour(unit, block, left, top),
        ];
        let mut b = self.same_picture(&above, list, target);
        if !has_left {
            // B takes the place of A, and is looked for once more.
            a = b;
            b = self.scaled(&above, list, target);
        }
        if !second {
            if let Some(mv) = a.or(b) {
                return mv;
            }
        }
        let mut candidates = [[0; 2]; 3];
        let mut count = 0;
        let mut push = |mv: Option<Mv>| {
            if let Some(mv) = mv {
                candidates[count] = mv;
                count += 1;
            }
        };
        push(a);
        push(b.filter(|_| a != b));
        if !(a.is_some() && b.is_some() && a != b) && self.header.slice_temporal_mvp_enabled_flag {
            push(self.temporal_candidate(block, list, ref_idx));
        }
        candidates[usize::from(second)]
    }

    /// The first neighbour that points into the wanted picture, by its list X before its list Y.
    fn same_picture(&self, around: &[Option<Motion>], list: usize, target: RefEntry) -> Option<Mv> {
        around.iter().flatten().find_map(|motion| {
            [list, 1 - list].into_iter().find_map(|other| {
                let entry = self.reference(other, motion.ref_idx[other])?;
                (entry.poc == target.poc).then_some(motion.mv[other])
            })
        })
    }

    /// The first neighbour that points into a picture of the same kind, scaled to the distance of the wanted one.
    fn scaled(&self, around: &[Option<Motion>], list: usize, target: RefEntry) -> Option<Mv> {
        around.iter().flatten().find_map(|motion| {
            [list, 1 - list].into_iter().find_map(|other| {
                let entry = self.reference(other, motion.ref_idx[other])?;
                if entry.long_term != target.long_term {
                    return None;
                }
                let mv = motion.mv[other];
                if entry.long_term {
                    return Some(mv);
                }
                let poc = self.input.poc;
                Some(scale(mv, poc.wrapping_sub(target.poc), poc.wrapping_sub(entry.poc)))
            })
        })
    }
}
