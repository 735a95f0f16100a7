//! prediction_unit() and mvd_coding() (H.265 7.3.8.6, 7.3.8.9).

use super::{
    coding_unit::Unit,
    contexts::at,
    motion::{Motion, Mv, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::{error::Result, unit::SliceType};

impl<K: Sink> SliceParser<'_, K> {
    /// Reads one prediction unit and derives its motion; returns merge_flag.
    // H.265 7.3.8.6
    pub(super) fn prediction_unit(
        &mut self,
        unit: &Unit,
        block: &PredictionBlock,
        depth: u32,
    ) -> Result<bool> {
        if self.decision(at::MERGE_FLAG) {
            let merge_idx = self.merge_idx();
            let motion = self.merge_motion(unit, block, merge_idx);
            self.set_motion(block, motion);
            return Ok(true);
        }
        let uses = self.inter_pred_idc(block, depth);
        let mut ref_idx = [-1; 2];
        let mut mvd = [[0; 2]; 2];
        let mut mvp_flag = [false; 2];
        for list in (0..2).filter(|&list| uses[list]) {
            ref_idx[list] = self.ref_idx(self.header.num_ref_idx_active[list]);
            if !(list == 1 && self.header.mvd_l1_zero_flag && uses[0]) {
                mvd[list] = self.mvd_coding()?;
            }
            mvp_flag[list] = self.decision(at::MVP_FLAG);
        }
        let mut motion = Motion { mv: [[0; 2]; 2], ref_idx };
        for list in (0..2).filter(|&list| uses[list]) {
            let mvp = self.predict_mv(unit, block, list, ref_idx[list], mvp_flag[list]);
            let add = |axis: usize| mvp[axis].wrapping_add(mvd[list][axis]);
            motion.mv[list] = [add(0), add(1)];
        }
        self.set_motion(block, motion);
        Ok(false)
    }

    /// merge_idx: the first bin has a context, the others are bypassed.
    pub(super) fn merge_idx(&mut self) -> usize {
        let last = self.header.max_num_merge_cand as usize - 1;
        if last == 0 || !self.decision(at::MERGE_IDX) {
            return 0;
        }
        let mut merge_idx = 1;
        while merge_idx < last && self.engine.bypass() {
            merge_idx += 1;
        }
        merge_idx
    }

    /// Which lists a block uses.
    // H.265 9.3.4.2.2, Table 9-47
    fn inter_pred_idc(&mut self, block: &PredictionBlock, depth: u32) -> [bool; 2] {
        if self.header.slice_type != SliceType::B {
            return [true, false];
        }
        let may_use_both = block.width + block.height != 12;
        if may_use_both && self.decision(at::INTER_PRED_IDC + depth.min(3) as usize) {
            return [true; 2];
        }
        let second = self.decision(at::INTER_PRED_IDC + 4);
        [!second, second]
    }

    /// ref_idx_l0 or ref_idx_l1: two bins with contexts, the others bypassed.
    fn ref_idx(&mut self, active: u32) -> i8 {
        let last = active as i8 - 1;
        let mut index = 0;
        while index < last {
            let more = match index {
                0 | 1 => self.decision(at::REF_IDX + index as usize),
                _ => self.engine.bypass(),
            };
            if !more {
                break;
            }
            index += 1;
        }
        index
    }

    // H.265 7.3.8.9
    fn mvd_coding(&mut self) -> Result<Mv> {
        let greater0 = [self.decision(at::ABS_MVD_GREATER0), self.decision(at::ABS_MVD_GREATER0)];
        let mut greater1 = [false; 2];
        for axis in 0..2 {
            greater1[axis] = greater0[axis] && self.decision(at::ABS_MVD_GREATER1);
        }
        let mut mvd = [0; 2];
        for axis in (0..2).filter(|&axis| greater0[axis]) {
            let magnitude = if greater1[axis] { self.abs_mvd_minus2()? + 2 } else { 1 };
            let negative = self.engine.bypass();
            // -2^15 to 2^15 - 1; a value of 2^15 wraps like the sum does.
            mvd[axis] = if negative { -magnitude } else { magnitude } as i16;
        }
        Ok(mvd)
    }

    fn abs_mvd_minus2(&mut self) -> Result<i32> {
        let (engine, value) = self.engine.exp_golomb_suffix(1);
        self.engine = engine;
        value.filter(|&value| value < 1 << 15).ok_or_else(|| self.invalid("abs_mvd_minus2"))
    }
}
