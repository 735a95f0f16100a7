//! Merge mode (H.265 8.5.3.2.2 to 8.5.3.2.5).

use super::{
    coding_unit::{part_mode, Unit},
    motion::{Motion, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::unit::SliceType;

/// l0CandIdx and l1CandIdx by combIdx (Table 8-7).
const COMBINATIONS: [(usize, usize); 12] =
    [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0), (1, 3), (3, 1), (2, 3), (3, 2)];

/// Candidates so far; the list is complete as soon as it holds the wanted one.
struct Candidates {
    list: [Motion; 5],
    count: usize,
}

impl Candidates {
    fn push(&mut self, motion: Motion) {
        if let Some(slot) = self.list.get_mut(self.count) {
            *slot = motion;
            self.count += 1;
        }
    }
}

impl<K: Sink> SliceParser<'_, K> {
    /// Motion of a prediction block in merge mode.
    // H.265 8.5.3.2.2
    pub(super) fn merge_motion(&self, unit: &Unit, block: &PredictionBlock, merge_idx: usize) -> Motion {
        let size = 1 << unit.log2_size;
        let whole = PredictionBlock { x: unit.x, y: unit.y, width: size, height: size, part_idx: 0 };
        // singleMCLFlag: all blocks of a small unit share the candidates of the unit.
        let shared = self.pps.log2_parallel_merge_level > 2 && unit.log2_size == 3;
        let place = if shared { &whole } else { block };
        let part_mode = if shared { part_mode::PART_2NX2N } else { unit.part_mode };
        let mut motion = self.merge_candidate(unit, place, part_mode, merge_idx);
        // 8x4 and 4x8 blocks have one list.
        if motion.ref_idx[0] >= 0 && motion.ref_idx[1] >= 0 && block.width + block.height == 12 {
            motion.ref_idx[1] = -1;
            motion.mv[1] = [0; 2];
        }
        motion
    }

    fn merge_candidate(
        &self,
        unit: &Unit,
        block: &PredictionBlock,
        part_mode: u8,
        merge_idx: usize,
    ) -> Motion {
        let mut found = Candidates { list: [Motion::NONE; 5], count: 0 };
        self.spatial_candidates(unit, block, part_mode, merge_idx, &mut found);
        if found.count > merge_idx {
            return found.list[merge_idx];
        }
        let is_b = self.header.slice_type == SliceType::B;
        if self.header.slice_temporal_mvp_enabled_flag {
            let mut motion = Motion::NONE;
            for list in 0..if is_b { 2 } else { 1 } {
                if let Some(mv) = self.temporal_candidate(block, list, 0) {
                    motion.mv[list] = mv;
                    motion.ref_idx[list] = 0;
                }
            }
            if motion.ref_idx != [-1; 2] {
                found.push(motion);
            }
        }
        if is_b && found.count <= merge_idx {
            self.combined_candidates(&mut found);
        }
        match found.count > merge_idx {
            true => found.list[merge_idx],
            false => self.zero_candidate(merge_idx - found.count),
        }
    }

    // H.265 8.5.3.2.3
    fn spatial_candidates(
        &self,
        unit: &Unit,
        block: &PredictionBlock,
        part_mode: u8,
        merge_idx: usize,
        found: &mut Candidates,
    ) {
        let level = self.pps.log2_parallel_merge_level;
        let (left, top) = (block.x as i32 - 1, block.y as i32 - 1);
        let (right, bottom) = ((block.x + block.width) as i32, (block.y + block.height) as i32);
        let get = |x: i32, y: i32| {
            // Blocks of one merge estimation region do not see each other.
            let same_region = x >> level == block.x as i32 >> level && y >> level == block.y as i32 >> level;
            if same_region {
                None
            } else {
                self.neighbour(unit, block, x, y)
            }
        };
        let second = block.part_idx == 1;
        let a1 = match part_mode {
            part_mode::NX2N | part_mode::NLX2N | part_mode::NRX2N if second => None,
            _ => get(left, bottom - 1),
        };
        if let Some(motion) = a1 {
            found.push(motion);
            if merge_idx == 0 {
                return;
            }
        }
        let b1 = match part_mode {
            part_mode::PART_2NXN | part_mode::PART_2NXNU | part_mode::PART_2NXND if second => None,
            _ => get(right - 1, top),
        };
        let is_new = |motion: &Motion, others: &[Option<Motion>]| !others.contains(&Some(*motion));
        let b1_new = b1.filter(|motion| is_new(motion, &[a1]));
        b1_new.into_iter().for_each(|motion| found.push(motion));
        let b0 = get(right, top).filter(|motion| is_new(motion, &[b1]));
        b0.into_iter().for_each(|motion| found.push(motion));
        let a0 = get(left, bottom).filter(|motion| is_new(motion, &[a1]));
        a0.into_iter().for_each(|motion| found.push(motion));
        if found.count < 4 {
            let b2 = get(left, top).filter(|motion| is_new(motion, &[a1, b1]));
            b2.into_iter().for_each(|motion| found.push(motion));
        }
    }

    // H.265 8.5.3.2.4
    fn combined_candidates(&self, found: &mut Candidates) {
        let original = found.count;
        if original < 2 {
            return;
        }
        let most = self.header.max_num_merge_cand as usize;
        for &(first, second) in COMBINATIONS.iter().take(original * (original - 1)) {
            if found.count >= most {
                return;
            }
            let (a, b) = (found.list[first], found.list[second]);
            if !a.uses(0) || !b.uses(1) {
                continue;
            }
            let poc = |list: usize, index: i8| self.reference(list, index).map(|entry| entry.poc);
            if poc(0, a.ref_idx[0]) != poc(1, b.ref_idx[1]) || a.mv[0] != b.mv[1] {
                found.push(Motion { mv: [a.mv[0], b.mv[1]], ref_idx: [a.ref_idx[0], b.ref_idx[1]] });
            }
        }
    }

    // H.265 8.5.3.2.5
    fn zero_candidate(&self, zero_idx: usize) -> Motion {
        let [first, second] = self.header.num_ref_idx_active.map(|count| count as usize);
        let is_b = self.header.slice_type == SliceType::B;
        let references = if is_b { first.min(second) } else { first };
        let ref_idx = if zero_idx < references { zero_idx as i8 } else { 0 };
        Motion { mv: [[0; 2]; 2], ref_idx: [ref_idx, if is_b { ref_idx } else { -1 }] }
    }
}
