//! transform_tree() and transform_unit() (H.265 7.3.8.8, 7.3.8.10).

use super::{
    cells::Sums,
    coding_unit::{part_mode, Unit, UnitKind},
    contexts::at,
    intra::is_straight,
    residual::ResidualBlock,
    scan::scan_idx,
    sink::Sink,
    slice_data::SliceParser,
};
use crate::error::Result;

/// A node of the transform tree.
#[derive(Clone, Copy)]
struct Node {
    x: u32,
    y: u32,
    log2_size: u32,
    depth: u32,
    blk_idx: u32,
    /// xBase, yBase: where chroma of four 4x4 luma blocks lies.
    base: (u32, u32),
    /// cbf_cb, cbf_cr of the node above; bit 1 is the second block of 4:2:2.
    cbf_chroma: [u8; 2],
}

impl<K: Sink> SliceParser<'_, K> {
    /// The transform tree of a unit.
    pub(super) fn transform_tree_of(&mut self, unit: &Unit) -> Result<()> {
        let Unit { x, y, log2_size, .. } = *unit;
        let root = Node { x, y, log2_size, depth: 0, blk_idx: 0, base: (x, y), cbf_chroma: [1; 2] };
        self.transform_tree(unit, root)
    }

    // H.265 7.3.8.8
    fn transform_tree(&mut self, unit: &Unit, node: Node) -> Result<()> {
        let Node { x, y, log2_size, depth, .. } = node;
        let parted_intra = unit.is_intra() && unit.part_mode == part_mode::NXN && depth == 0;
        let may_split = log2_size <= self.sps.log2_max_tb
            && log2_size > self.sps.log2_min_tb
            && depth < unit.max_depth
            && !parted_intra;
        let split = if may_split {
            self.decision(at::SPLIT_TRANSFORM + 5 - log2_size as usize)
        } else {
            let inter_split = unit.max_depth == 0
                && unit.kind == UnitKind::Inter
                && unit.part_mode != part_mode::PART_2NX2N
                && depth == 0;
            log2_size > self.sps.log2_max_tb || parted_intra || inter_split
        };
        let cbf_chroma = self.cbf_chroma(&node, split);
        if split {
            let half = 1 << (log2_size - 1);
            for (blk_idx, (x, y)) in
                [(x, y), (x + half, y), (x, y + half), (x + half, y + half)].into_iter().enumerate()
            {
                let child = Node {
                    x,
                    y,
                    log2_size: log2_size - 1,
                    depth: depth + 1,
                    blk_idx: blk_idx as u32,
                    base: (node.x, node.y),
                    cbf_chroma,
                };
                self.transform_tree(unit, child)?;
            }
            return Ok(());
        }
        self.sink.transform_unit(x, y, log2_size);
        let has_chroma = cbf_chroma != [0; 2];
        let cbf_luma = if unit.is_intra() || depth != 0 || has_chroma {
            self.decision(at::CBF_LUMA + usize::from(depth == 0))
        } else {
            true
        };
        if cbf_luma || has_chroma {
            self.transform_unit(unit, &node, cbf_luma, cbf_chroma)?;
        }
        Ok(())
    }

    /// cbf_cb and cbf_cr of a node.
    fn cbf_chroma(&mut self, node: &Node, split: bool) -> [u8; 2] {
        let format = self.chroma_array_type;
        if format == 0 {
            return [0; 2];
        }
        if node.log2_size == 2 && format != 3 {
            return node.cbf_chroma;
        }
        let two = format == 2 && (!split || node.log2_size == 3);
        node.cbf_chroma.map(|above| {
            if above == 0 {
                return 0;
            }
            let context = at::CBF_CHROMA + node.depth.min(4) as usize;
            let first = self.decision(context);
            let second = two && self.decision(context);
            u8::from(first) | u8::from(second) << 1
        })
    }

    // H.265 7.3.8.10
    fn transform_unit(
        &mut self,
        unit: &Unit,
        node: &Node,
        cbf_luma: bool,
        cbf_chroma: [u8; 2],
    ) -> Result<()> {
        let has_chroma = cbf_chroma != [0; 2];
        if self.quantiser.log2_group.is_some() && !self.quantiser.delta_coded {
            self.cu_qp_delta()?;
        }
        let offsets_due = self.quantiser.log2_chroma_group.is_some() && !self.quantiser.chroma_offset_coded;
        if offsets_due && has_chroma && !unit.bypass {
            self.cu_chroma_qp_offset();
        }
        let part = unit.part_at(node.x, node.y);
        let mut sums = Sums { luma: cbf_luma, ..Sums::default() };
        if cbf_luma {
            self.residual(unit, node.log2_size, 0, unit.luma_modes[part], &mut sums)?;
        }
        let whole = node.log2_size > 2 || self.chroma_array_type == 3;
        if whole {
            let cross = self.pps.cross_component_prediction_enabled_flag
                && cbf_luma
                && (!unit.is_intra() || unit.chroma_as_luma[part]);
            let log2_size = if self.chroma_array_type == 3 { node.log2_size } else { node.log2_size - 1 };
            let mode = unit.chroma_modes[if self.chroma_array_type == 3 { part } else { 0 }];
            for (plane, &cbf) in cbf_chroma.iter().enumerate() {
                if cross {
                    self.cross_comp_pred(plane);
                }
                self.chroma_residual(unit, log2_size, plane, cbf, mode, &mut sums)?;
            }
        } else if node.blk_idx == 3 {
            for (plane, &cbf) in cbf_chroma.iter().enumerate() {
                self.chroma_residual(unit, 2, plane, cbf, unit.chroma_modes[0], &mut sums)?;
            }
        }
        let (x, y, log2_size) = if sums.chroma != [false; 2] && !whole {
            (node.base.0, node.base.1, 3)
        } else {
            (node.x, node.y, node.log2_size)
        };
        self.add_residual(x, y, log2_size, &sums);
        self.charge_part(unit, node.x, node.y, node.log2_size);
        Ok(())
    }

    fn chroma_residual(
        &mut self,
        unit: &Unit,
        log2_size: u32,
        plane: usize,
        cbf: u8,
        mode: u8,
        sums: &mut Sums,
    ) -> Result<()> {
        for block in 0..2 {
            if cbf >> block & 1 != 0 {
                sums.chroma[plane] = true;
                self.residual(unit, log2_size, plane + 1, mode, sums)?;
            }
        }
        Ok(())
    }

    fn residual(
        &mut self,
        unit: &Unit,
        log2_size: u32,
        plane: usize,
        mode: u8,
        sums: &mut Sums,
    ) -> Result<()> {
        // 7.4.9.11: small intra blocks are scanned across their prediction direction.
        let directed = unit.is_intra()
            && (log2_size == 2 || (log2_size == 3 && (plane == 0 || self.chroma_array_type == 3)));
        let scan = match mode {
            6..=14 if directed => scan_idx::VERTICAL,
            22..=30 if directed => scan_idx::HORIZONTAL,
            _ => scan_idx::DIAGONAL,
        };
        let block = ResidualBlock {
            log2_size,
            plane,
            scan,
            is_intra: unit.is_intra(),
            bypass: unit.bypass,
            is_straight: is_straight(mode),
        };
        self.residual_coding(&block, sums)
    }

    /// cu_qp_delta_abs and cu_qp_delta_sign_flag (7.3.8.14, 9.3.3.10).
    fn cu_qp_delta(&mut self) -> Result<()> {
        const PREFIX: i32 = 5;
        let mut value = 0;
        while value < PREFIX && self.decision(at::CU_QP_DELTA_ABS + usize::from(value > 0)) {
            value += 1;
        }
        if value == PREFIX {
            let (engine, suffix) = self.engine.exp_golomb_suffix(0);
            self.engine = engine;
            value += suffix.unwrap_or(1 << 20);
        }
        if value > 0 && self.engine.bypass() {
            value = -value;
        }
        if !self.quantiser.is_delta_in_range(value) {
            return Err(self.invalid("cu_qp_delta_abs"));
        }
        self.quantiser.add_delta(value);
        Ok(())
    }

    /// cu_chroma_qp_offset_flag and cu_chroma_qp_offset_idx (7.3.8.14).
    fn cu_chroma_qp_offset(&mut self) {
        let Some((_, list)) = &self.pps.chroma_qp_offset_list else { return };
        let mut offsets = [0; 2];
        if self.decision(at::CU_CHROMA_QP_OFFSET_FLAG) {
            let mut index = 0;
            while index + 1 < list.len() && self.decision(at::CU_CHROMA_QP_OFFSET_IDX) {
                index += 1;
            }
            offsets = list.get(index).copied().unwrap_or_default();
        }
        self.quantiser.cu_chroma_offsets = offsets;
        self.quantiser.chroma_offset_coded = true;
    }

    /// cross_comp_pred() (7.3.8.12): the prediction changes samples only.
    fn cross_comp_pred(&mut self, plane: usize) {
        let mut log2_res_scale_abs_plus1 = 0;
        while log2_res_scale_abs_plus1 < 4
            && self.decision(at::LOG2_RES_SCALE_ABS + 4 * plane + log2_res_scale_abs_plus1)
        {
            log2_res_scale_abs_plus1 += 1;
        }
        if log2_res_scale_abs_plus1 > 0 {
            self.decision(at::RES_SCALE_SIGN + plane);
        }
    }
}
