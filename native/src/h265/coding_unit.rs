//! coding_quadtree() and coding_unit() (H.265 7.3.8.4, 7.3.8.5).

use super::{
    contexts::at,
    intra,
    motion::{Motion, PredictionBlock},
    sink::Sink,
    slice_data::SliceParser,
};
use crate::{error::Result, unit::SliceType};

/// PartMode (Table 7-10).
pub mod part_mode {
    pub(in crate::h265) const PART_2NX2N: u8 = 0;
    pub(in crate::h265) const PART_2NXN: u8 = 1;
    pub(in crate::h265) const NX2N: u8 = 2;
    pub(in crate::h265) const NXN: u8 = 3;
    pub(in crate::h265) const PART_2NXNU: u8 = 4;
    pub(in crate::h265) const PART_2NXND: u8 = 5;
    pub(in crate::h265) const NLX2N: u8 = 6;
    pub(in crate::h265) const NRX2N: u8 = 7;
}

/// How a unit is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// cu_skip_flag
    Skip,
    /// MODE_INTER
    Inter,
    /// MODE_INTRA
    Intra,
}

/// A coding unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Luma samples in the picture.
    pub x: u32,
    /// Luma samples in the picture.
    pub y: u32,
    /// log2CbSize
    pub log2_size: u32,
    /// How it is predicted.
    pub kind: UnitKind,
    /// See [`part_mode`].
    pub part_mode: u8,
    /// cu_transquant_bypass_flag
    pub bypass: bool,
    /// pcm_flag
    pub pcm: bool,
    /// IntraPredModeY by part.
    pub luma_modes: [u8; 4],
    /// IntraPredModeC by part.
    pub chroma_modes: [u8; 4],
    /// intra_chroma_pred_mode is 4 (as luma), by part.
    pub chroma_as_luma: [bool; 4],
    /// MaxTrafoDepth
    pub max_depth: u32,
}

impl Unit {
    /// Whether it is predicted from its own picture.
    pub fn is_intra(&self) -> bool {
        self.kind == UnitKind::Intra
    }

    /// Parts of a place when the unit is NxN.
    pub fn part_at(&self, x: u32, y: u32) -> usize {
        if self.part_mode != part_mode::NXN {
            return 0;
        }
        let half = self.log2_size - 1;
        ((y - self.y) >> half << 1 | (x - self.x) >> half) as usize & 3
    }
}

/// What contexts of later units depend on, along the edges of a unit (by 8 samples).
#[derive(Clone, Copy, Debug, Default)]
pub struct Edges {
    depth: u8,
    skip: bool,
}

impl<K: Sink> SliceParser<'_, K> {
    // H.265 7.3.8.4
    pub(super) fn coding_quadtree(&mut self, x: u32, y: u32, log2_size: u32, depth: u32) -> Result<()> {
        let size = 1 << log2_size;
        let fits = x + size <= self.width && y + size <= self.height;
        let may_split = log2_size > self.sps.log2_min_cb;
        let split = may_split && (!fits || self.split_cu_flag(x, y, depth));
        if self.quantiser.log2_group.is_some_and(|group| log2_size >= group) {
            self.quantiser.begin_group(x - self.ctb.x, y - self.ctb.y);
        }
        if self.quantiser.log2_chroma_group.is_some_and(|group| log2_size >= group) {
            self.quantiser.chroma_offset_coded = false;
        }
        if !split {
            return self.coding_unit(x, y, log2_size, depth);
        }
        let half = size / 2;
        for (x, y) in [(x, y), (x + half, y), (x, y + half), (x + half, y + half)] {
            if x < self.width && y < self.height {
                self.coding_quadtree(x, y, log2_size - 1, depth + 1)?;
            }
        }
        Ok(())
    }

    fn edges(&self, x: u32, y: u32) -> (Edges, Edges) {
        (self.left[(y >> 3 & 7) as usize], self.state.above[(x >> 3) as usize])
    }

    fn split_cu_flag(&mut self, x: u32, y: u32, depth: u32) -> bool {
        let (left, above) = self.edges(x, y);
        let inc = usize::from(u32::from(left.depth) > depth) + usize::from(u32::from(above.depth) > depth);
        self.decision(at::SPLIT_CU + inc)
    }

    fn cu_skip_flag(&mut self, x: u32, y: u32) -> bool {
        let (left, above) = self.edges(x, y);
        self.decision(at::CU_SKIP + usize::from(left.skip) + usize::from(above.skip))
    }

    // H.265 7.3.8.5
    fn coding_unit(&mut self, x: u32, y: u32, log2_size: u32, depth: u32) -> Result<()> {
        let mut unit = Unit {
            x,
            y,
            log2_size,
            kind: UnitKind::Intra,
            part_mode: part_mode::PART_2NX2N,
            bypass: false,
            pcm: false,
            luma_modes: [intra::DC; 4],
            chroma_modes: [intra::DC; 4],
            chroma_as_luma: [false; 4],
            max_depth: 0,
        };
        if self.pps.transquant_bypass_enabled_flag {
            unit.bypass = self.decision(at::CU_TRANSQUANT_BYPASS);
        }
        self.begin_cells(&unit);
        if self.header.slice_type == SliceType::I {
            self.intra_unit(&mut unit)?;
        } else if self.cu_skip_flag(x, y) {
            unit.kind = UnitKind::Skip;
            self.skipped_unit(&unit);
        } else if self.decision(at::PRED_MODE) {
            self.intra_unit(&mut unit)?;
        } else {
            unit.kind = UnitKind::Inter;
            self.inter_unit(&mut unit, depth)?;
        }
        let local = (x - self.ctb.x, y - self.ctb.y);
        self.quantiser.end_unit(local.0, local.1, 1 << log2_size);
        self.end_cells(&unit);
        self.charge(x, y, log2_size);
        let edges = Edges { depth: depth as u8, skip: unit.kind == UnitKind::Skip };
        let eights = 1 << (log2_size - 3);
        let (column, row) = ((x >> 3) as usize, (y >> 3 & 7) as usize);
        self.left[row..row + eights].fill(edges);
        self.state.above[column..column + eights].fill(edges);
        Ok(())
    }

    fn skipped_unit(&mut self, unit: &Unit) {
        let size = 1 << unit.log2_size;
        let block = PredictionBlock { x: unit.x, y: unit.y, width: size, height: size, part_idx: 0 };
        let merge_idx = self.merge_idx();
        let motion = self.merge_motion(unit, &block, merge_idx);
        self.set_motion(&block, motion);
        self.sink.unit(unit);
        self.forget_intra_modes(unit);
    }

    fn inter_unit(&mut self, unit: &mut Unit, depth: u32) -> Result<()> {
        unit.part_mode = self.inter_part_mode(unit.log2_size);
        let mut merged = false;
        let (blocks, count) = prediction_blocks(unit);
        for block in &blocks[..count] {
            merged = self.prediction_unit(unit, block, depth)?;
        }
        self.sink.unit(unit);
        self.forget_intra_modes(unit);
        let implied = unit.part_mode == part_mode::PART_2NX2N && merged;
        if implied || self.decision(at::RQT_ROOT_CBF) {
            unit.max_depth = self.sps.max_transform_hierarchy_depth_inter;
            self.charge_part(unit, unit.x, unit.y, unit.log2_size);
            self.transform_tree_of(unit)?;
        }
        Ok(())
    }

    fn intra_unit(&mut self, unit: &mut Unit) -> Result<()> {
        if unit.log2_size == self.sps.log2_min_cb && !self.decision(at::PART_MODE) {
            unit.part_mode = part_mode::NXN;
        }
        if self.header.slice_type != SliceType::I {
            let size = 1 << unit.log2_size >> 2;
            let (x, y) = ((unit.x - self.ctb.x) as usize >> 2, (unit.y - self.ctb.y) as usize >> 2);
            self.state.grid.put(x, y, size, size, Motion::NONE);
        }
        if let Some(pcm) = self.sps.pcm {
            let sizes = pcm.log2_min_size..=pcm.log2_max_size;
            let may_be = unit.part_mode == part_mode::PART_2NX2N && sizes.contains(&unit.log2_size);
            if may_be && self.engine.terminate() {
                unit.pcm = true;
                self.sink.unit(unit);
                self.forget_intra_modes(unit);
                return self.pcm_sample(unit, pcm.bit_depth);
            }
        }
        self.intra_modes_of(unit);
        self.sink.unit(unit);
        let parted = unit.part_mode == part_mode::NXN;
        unit.max_depth = self.sps.max_transform_hierarchy_depth_intra + u32::from(parted);
        self.charge_part(unit, unit.x, unit.y, unit.log2_size);
        self.transform_tree_of(unit)
    }

    /// part_mode of inter units (Table 9-46).
    fn inter_part_mode(&mut self, log2_size: u32) -> u8 {
        if self.decision(at::PART_MODE) {
            return part_mode::PART_2NX2N;
        }
        let horizontal = self.decision(at::PART_MODE + 1);
        if log2_size == self.sps.log2_min_cb {
            if horizontal {
                return part_mode::PART_2NXN;
            }
            if log2_size == 3 || self.decision(at::PART_MODE + 2) {
                return part_mode::NX2N;
            }
            return part_mode::NXN;
        }
        let halves = !self.sps.amp_enabled_flag || self.decision(at::PART_MODE + 3);
        match (horizontal, halves || self.engine.bypass(), halves) {
            (true, _, true) => part_mode::PART_2NXN,
            (false, _, true) => part_mode::NX2N,
            (true, second, false) => part_mode::PART_2NXNU + u8::from(second),
            (false, second, false) => part_mode::NLX2N + u8::from(second),
        }
    }

    /// pcm_sample() (7.3.8.7) is skipped over.
    fn pcm_sample(&mut self, unit: &Unit, bit_depth: [u8; 2]) -> Result<()> {
        let luma = 1_u64 << (2 * unit.log2_size);
        let chroma = match self.chroma_array_type {
            0 => 0,
            1 => luma / 2,
            2 => luma,
            _ => 2 * luma,
        };
        let bits = luma * u64::from(bit_depth[0]) + chroma * u64::from(bit_depth[1]);
        let start = self.engine.position().div_ceil(8) * 8;
        if start + bits > self.input.rbsp.len() as u64 * 8 {
            return Err(self.invalid("pcm_sample"));
        }
        self.sink.pcm(self.input.rbsp, start);
        self.restart_engine(start + bits)
    }
}

/// The prediction blocks of an inter unit in decoding order.
fn prediction_blocks(unit: &Unit) -> ([PredictionBlock; 4], usize) {
    let size = 1_u32 << unit.log2_size;
    let (half, quarter) = (size / 2, size / 4);
    let block = |x: u32, y: u32, width: u32, height: u32, part_idx: usize| PredictionBlock {
        x: unit.x + x,
        y: unit.y + y,
        width,
        height,
        part_idx,
    };
    let rows = |first: u32| [block(0, 0, size, first, 0), block(0, first, size, size - first, 1)];
    let columns = |first: u32| [block(0, 0, first, size, 0), block(first, 0, size - first, size, 1)];
    let two = |[first, second]: [PredictionBlock; 2]| ([first, second, second, second], 2);
    match unit.part_mode {
        part_mode::PART_2NX2N => ([block(0, 0, size, size, 0); 4], 1),
        part_mode::PART_2NXN => two(rows(half)),
        part_mode::NX2N => two(columns(half)),
        part_mode::PART_2NXNU => two(rows(quarter)),
        part_mode::PART_2NXND => two(rows(size - quarter)),
        part_mode::NLX2N => two(columns(quarter)),
        part_mode::NRX2N => two(columns(size - quarter)),
        _ => {
            let [a, b] = [block(0, 0, half, half, 0), block(half, 0, half, half, 1)];
            ([a, b, block(0, half, half, half, 2), block(half, half, half, half, 3)], 4)
        }
    }
}
