//! Intra prediction of whole macroblocks (H.264 8.3).

use ovbits::picture::{flags, Block, BlockClass};

use super::{
    geometry::Neighbourhood,
    intra::{dc, plane, predict_nxn, Edges},
    intra_modes::cell,
    macroblock::PictureBuilder,
    recorder::Macroblock,
    residual::{accumulate, Residual, Scaler},
    switching,
};

impl PictureBuilder<'_> {
    /// A sample at a place relative to a macroblock that intra prediction may use.
    fn sample(&self, address: usize, plane: usize, x: i32, y: i32) -> Option<i32> {
        let size = if plane == 0 { 16 } else { 8 };
        let picture = &self.coded.picture;
        let (other, x, y) = Neighbourhood { picture }.at(address, x, y, size, size)?;
        let block = &picture.blocks[other];
        let is_inter = block.class == BlockClass::Inter as u8 || block.class == BlockClass::Skip as u8;
        if is_inter && self.slice(&picture.blocks[address]).pps.constrained_intra_pred_flag {
            return None;
        }
        let (left, lines) = self.position(other, plane);
        Some(self.planes[plane].get(lines, left + x, y))
    }

    pub fn intra(
        &mut self,
        address: usize,
        block: &Block,
        heard: &Macroblock,
        residual: &mut Residual,
        scaler: &Scaler<'_>,
    ) {
        let slice = &self.coded.slices[&block.slice];
        let (max, bypass) = (self.max(slice), scaler.bypass);
        if block.flags & flags::INTRA_16X16 != 0 {
            self.intra_16x16(address, block, residual, bypass);
        } else {
            let constrained = slice.pps.constrained_intra_pred_flag;
            let modes = self.modes.derive(self.coded, address, constrained);
            let switching = !self.plain && switching::applies(slice, heard);
            let levels = switching.then(|| scaler.luma_levels(heard));
            self.intra_nxn(address, block, &modes, residual, bypass, levels.as_deref());
        }
        if slice.sps.chroma_array_type() != 1 {
            return;
        }
        for index in 1..3 {
            let edges = Edges::new(8, |x, y| self.sample(address, index, x, y));
            let predicted = chroma(&edges, heard.intra_chroma_mode, max[1]);
            let residual = &mut residual.chroma[index - 1];
            if bypass && matches!(heard.intra_chroma_mode, 1 | 2) {
                accumulate(residual, 8, (0, 0), 8, heard.intra_chroma_mode == 2);
            }
            self.put(address, index, (0, 0), 8, &predicted, residual, max[1]);
        }
    }

    // H.264 8.3.1, 8.3.2
    #[allow(clippy::too_many_arguments)] // what, where, and how
    fn intra_nxn(
        &mut self,
        address: usize,
        block: &Block,
        modes: &[u8; 16],
        residual: &mut Residual,
        bypass: bool,
        switching: Option<&[Vec<i32>]>,
    ) {
        let max = self.max(self.slice(block))[0];
        let is_8x8 = block.flags & flags::TRANSFORM_8X8 != 0;
        let size = if is_8x8 { 8 } else { 4 };
        for index in 0..if is_8x8 { 4 } else { 16 } {
            let (column, row) = cell(if is_8x8 { 4 * index } else { index });
            let (left, top) = (4 * column, 4 * row);
            let mode = modes[4 * row + column];
            let edges = Edges::new(size, |x, y| {
                let (x, y) = (left as i32 + x, top as i32 + y);
                let inside = (0..16).contains(&x) && (0..16).contains(&y);
                let cells = size as i32 / 4;
                // Blocks of the same macroblock come in order.
                let before = |other: usize| cell(other * (cells * cells) as usize);
                let known = !inside
                    || (0..index).any(|other| {
                        let (column, row) = before(other);
                        (x / size as i32, y / size as i32) == (column as i32 / cells, row as i32 / cells)
                    });
                self.sample(address, 0, x, y).filter(|_| known)
            });
            let edges = edges.extended();
            let edges = if is_8x8 { edges.filtered() } else { edges };
            let predicted = predict_nxn(&edges, mode, (max + 1) / 2);
            if bypass && mode < 2 {
                accumulate(&mut residual.luma, 16, (left, top), size, mode == 0);
            }
            if let Some(levels) = switching {
                let samples = switching::samples(self.slice(block), &predicted, &levels[4 * row + column]);
                self.put(address, 0, (left, top), size, &samples, &[0; 256], max);
                continue;
            }
            self.put(address, 0, (left, top), size, &predicted, &residual.luma, max);
        }
    }

    // H.264 8.3.3
    fn intra_16x16(&mut self, address: usize, block: &Block, residual: &mut Residual, bypass: bool) {
        let max = self.max(self.slice(block))[0];
        let first = match self.slice(block).header.lists() {
            0 => 1,
            1 => 6,
            _ => 24,
        };
        let mode = (block.mb_type - first) % 4;
        let edges = Edges::new(16, |x, y| self.sample(address, 0, x, y));
        let predicted = match mode {
            0 => edges.above().expect("samples above").repeat(16),
            1 => edges.left().expect("samples to the left").iter().flat_map(|&value| [value; 16]).collect(),
            2 => vec![dc(&edges, (max + 1) / 2); 256],
            _ => plane(&edges, max),
        };
        if bypass && mode < 2 {
            accumulate(&mut residual.luma, 16, (0, 0), 16, mode == 0);
        }
        self.put(address, 0, (0, 0), 16, &predicted, &residual.luma, max);
    }
}

/// Chroma of 4:2:0 by intra_chroma_pred_mode.
// H.264 8.3.4
fn chroma(edges: &Edges, mode: u8, max: i32) -> Vec<i32> {
    match mode {
        1 => edges.left().expect("samples to the left").iter().flat_map(|&value| [value; 8]).collect(),
        2 => edges.above().expect("samples above").repeat(8),
        3 => plane(edges, max),
        _ => (0..64).map(|place| chroma_dc(edges, place % 8 / 4, place / 32, max)).collect(),
    }
}

// H.264 8.3.4.1 to 8.3.4.3
fn chroma_dc(edges: &Edges, column: usize, row: usize, max: i32) -> i32 {
    let four = |edge: Option<Vec<i32>>, part: usize| -> Option<i32> {
        edge.map(|edge| edge[4 * part..4 * part + 4].iter().sum())
    };
    let (left, above) = (edges.half_left(row), four(edges.above(), column));
    match (column, row, left, above) {
        (0, 0, Some(left), Some(above)) | (1, 1, Some(left), Some(above)) => (left + above + 4) >> 3,
        (1, 0, _, Some(above)) => (above + 2) >> 2,
        (0, 1, Some(left), _) => (left + 2) >> 2,
        (_, _, Some(one), _) | (_, _, None, Some(one)) => (one + 2) >> 2,
        (_, _, None, None) => (max + 1) / 2,
    }
}
