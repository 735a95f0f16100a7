//! Inter prediction of whole macroblocks (H.264 8.4).

use ovbits::picture::{Block, Structure};

use super::{
    geometry::{is_field, place},
    inter::Reference,
    macroblock::{motion, reference, PictureBuilder},
    plane::Lines,
    recorder::Slice,
    residual::Residual,
    weights::Weighting,
};

fn lines_of(structure: Structure) -> Lines {
    match structure {
        Structure::Frame => Lines::ALL,
        Structure::Top => Lines::of_field(0),
        Structure::Bottom => Lines::of_field(1),
    }
}

impl PictureBuilder<'_> {
    // H.264 8.4
    pub fn inter(&mut self, address: usize, block: &Block, residual: &Residual) -> bool {
        let coded = self.coded;
        let slice = &coded.slices[&block.slice];
        let max = self.max(slice);
        let planes = if slice.sps.chroma_array_type() == 1 { 3 } else { 1 };
        let (x, lines) = place(&coded.picture, address, 16);
        let top = lines.first / lines.step;
        for cell in 0..16 {
            let (column, row) = (cell % 4, cell / 4);
            let moved = [0, 1].map(|list| motion(coded, block, list, cell));
            let ref_idx = moved.map(|(ref_idx, _)| ref_idx);
            let mut predictions: [Option<Vec<Vec<i32>>>; 2] = [None, None];
            for list in (0..2).filter(|&list| ref_idx[list] >= 0) {
                let entry = reference(coded, address, list, ref_idx[list]);
                let Some(frame) = entry.id.and_then(|id| self.frames.get(&id)) else { return false };
                let source = Reference { planes: &frame.planes, lines: lines_of(entry.structure), max };
                let mv = moved[list].1;
                let mut parts = vec![source.luma(x + 4 * column, top + 4 * row, mv).to_vec()];
                let mv = [mv[0], mv[1] + self.chroma_offset(address, entry.structure)];
                for plane in 1..planes {
                    let (x, y) = (x / 2 + 2 * column, top / 2 + 2 * row);
                    parts.push(source.chroma(plane, x, y, mv).to_vec());
                }
                predictions[list] = Some(parts);
            }
            for plane in 0..planes {
                let weighting = self.weighting(address, slice, ref_idx, plane);
                let size = if plane == 0 { 4 } else { 2 };
                let of = |place: usize| {
                    [0, 1].map(|list: usize| predictions[list].as_ref().map(|parts| parts[plane][place]))
                };
                let max = max[usize::from(plane > 0)];
                let predicted: Vec<i32> =
                    (0..size * size).map(|place| weighting.sample(of(place), max)).collect();
                let residual = if plane == 0 { &residual.luma } else { &residual.chroma[plane - 1] };
                self.put(address, plane, (size * column, size * row), size, &predicted, residual, max);
            }
        }
        true
    }

    /// Vertical offset of chroma vectors between fields of different parity (Table 8-9).
    fn chroma_offset(&self, address: usize, referred: Structure) -> i32 {
        let picture = &self.coded.picture;
        let current = match picture.structure {
            Structure::Frame => [Structure::Top, Structure::Bottom][address / picture.mb_cols % 2],
            field => field,
        };
        match (referred, current) {
            (Structure::Bottom, Structure::Top) => -2,
            (Structure::Top, Structure::Bottom) => 2,
            _ => 0,
        }
    }

    // H.264 8.4.2.3
    fn weighting(&self, address: usize, slice: &Slice, ref_idx: [i32; 2], plane: usize) -> Weighting {
        let field = self.coded.picture.mbaff && is_field(&self.coded.picture.blocks[address]);
        let explicit = match slice.header.lists() {
            1 => slice.pps.weighted_pred_flag,
            _ => slice.pps.weighted_bipred_idc == 1,
        };
        if explicit {
            let depth = [slice.sps.bit_depth_luma_minus8, slice.sps.bit_depth_chroma_minus8];
            let depth = 8 + u32::from(depth[usize::from(plane > 0)]);
            let ref_idx = ref_idx.map(|index| if field && index >= 0 { index >> 1 } else { index });
            return Weighting::explicit(&slice.header, ref_idx, plane, depth);
        }
        if slice.header.lists() < 2 || slice.pps.weighted_bipred_idc != 2 || ref_idx.contains(&-1) {
            return Weighting::Default;
        }
        let (counts, picture) = (self.coded.counts, &self.coded.picture);
        let parity = address / picture.mb_cols % 2;
        let (poc, refs) = match &slice.field_refs {
            Some(refs) if field => ([counts.top, counts.bottom][parity], &refs[parity]),
            _ => (picture.poc, &picture.slice_refs[usize::from(picture.blocks[address].slice)]),
        };
        let [first, second] = [0, 1].map(|list: usize| &refs.lists[list][ref_idx[list] as usize]);
        Weighting::implicit(poc, first, second)
    }
}
