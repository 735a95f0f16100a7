//! A decoder on top of the parser: whatever it shows is proof of what the parser read.

use std::collections::HashMap;

use ovbits::{
    h265::{
        coding_unit::{Unit, UnitKind},
        param_sets::ActiveSets,
        sink::CodedBlock,
        slice_header::SliceHeader,
        stream::Parser,
    },
    nal::Framing,
    picture::{flags, Block, BlockClass, Picture, MODES_DIFFER},
    unit::{Options, ParsedPicture},
};

use super::{
    inter::{self, Weights},
    intra::{Around, Setting},
    plane::{Lines, Plane},
    recorder::{Coded, Event, Recorder},
    transform,
};

/// A frame with its place in the order of display.
pub struct Frame {
    pub luma: Plane,
    /// Number of the sequence and order count in it.
    pub order: (u32, i32),
    /// Visible part: left, top, width, height.
    pub window: [usize; 4],
    /// More than eight bits.
    pub deep: bool,
    pub shown: bool,
}

impl Frame {
    /// Bytes of the visible samples.
    pub fn bytes(&self) -> Vec<u8> {
        let [left, top, width, height] = self.window;
        let samples = self.luma.window(left, top, width, height);
        if self.deep {
            return samples.flat_map(u16::to_le_bytes).collect();
        }
        samples.map(|sample| sample as u8).collect()
    }
}

/// The modes that the records keep are those that make the samples.
fn check_intra_modes(coded: &Coded) -> Result<(), String> {
    let mut modes = HashMap::new();
    for event in &coded.events {
        let Event::Unit(unit) = event else { continue };
        let size = 1 << unit.log2_size;
        for (y, x) in
            (0..size).step_by(4).flat_map(|y| (0..size).step_by(4).map(move |x| (unit.y + y, unit.x + x)))
        {
            let mode = unit.luma_modes[unit.part_at(x, y)] + 1;
            let known = unit.is_intra() && !unit.pcm;
            modes.insert((x as usize / 4, y as usize / 4), if known { mode } else { 0 });
        }
    }
    let picture = &coded.picture;
    for (cell, block) in picture.blocks.iter().enumerate() {
        if block.class != BlockClass::Intra as u8 || block.flags & flags::SPLIT != 0 {
            continue;
        }
        for (quadrant, kept) in block.split.to_le_bytes().into_iter().enumerate() {
            let x = 4 * (cell % picture.mb_cols) + 2 * (quadrant & 1);
            let y = 4 * (cell / picture.mb_cols) + (quadrant & 2);
            let found = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)].map(|at| modes.get(&at).copied());
            let expected = match found {
                [first, ..] if found == [first; 4] => first.unwrap_or(kept),
                _ => MODES_DIFFER,
            };
            if kept != expected {
                return Err(format!(
                    "cell {cell}: intra modes {:08x}, quadrant {quadrant} {found:?}",
                    block.split
                ));
            }
        }
    }
    Ok(())
}

/// One stream.
pub struct Decoder {
    parser: Parser,
    recorder: Recorder,
    /// By identity.
    pub frames: HashMap<u32, Frame>,
    sequence: u32,
    /// 16x16 cells rebuilt.
    pub cells: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self {
            parser: Parser::new(1 << 26),
            recorder: Recorder::default(),
            frames: HashMap::new(),
            sequence: 0,
            cells: 0,
        }
    }

    /// Parses an access unit and rebuilds its picture.
    ///
    /// # Errors
    /// What keeps samples from being rebuilt.
    pub fn decode(&mut self, unit: &[u8]) -> Result<(), String> {
        let parsed = self.parser.parse_with(unit, Framing::AnnexB, Options::FULL, &self.recorder);
        let parsed = parsed.map_err(|error| format!("{error:?}"))?;
        if let Some(error) = &parsed.first_error {
            return Err(format!("{error:?}"));
        }
        for coded in self.recorder.take() {
            self.rebuild(&coded, &parsed)?;
        }
        Ok(())
    }

    fn rebuild(&mut self, coded: &Coded, parsed: &ParsedPicture) -> Result<(), String> {
        let Some(Event::Slice { sets, .. }) = coded.events.first() else { return Err("no slice".into()) };
        if parsed.sequence_changed || parsed.picture.poc == 0 && parsed.keyframe {
            self.sequence += 1;
        }
        let sps = &sets.sps;
        let (width, height) =
            (sps.pic_width_in_luma_samples as usize, sps.pic_height_in_luma_samples as usize);
        let mut builder = Builder {
            picture: &coded.picture,
            frames: &self.frames,
            luma: Plane::new(width, height),
            decoded: vec![None; width / 4 * height / 4],
            slice: None,
        };
        builder.run(&coded.events)?;
        check_intra_modes(coded)?;
        self.cells += coded.picture.blocks.len();
        let [left, _, top, _] = sps.conf_win_offsets.map(|offset| offset as usize);
        let (unit_x, unit_y) = match sps.chroma_array_type() {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (visible_width, visible_height) = sps.cropped_size().ok_or("no size")?;
        let frame = Frame {
            luma: builder.luma,
            order: (self.sequence, coded.picture.poc),
            window: [unit_x * left, unit_y * top, visible_width as usize, visible_height as usize],
            deep: sps.bit_depth[0] > 8,
            shown: parsed.shown,
        };
        self.frames.insert(coded.picture.id, frame);
        Ok(())
    }
}

/// The slice that is being rebuilt.
struct Slice<'a> {
    index: u16,
    header: &'a SliceHeader,
    sets: &'a ActiveSets,
}

/// One picture in the making.
struct Builder<'a> {
    picture: &'a Picture,
    frames: &'a HashMap<u32, Frame>,
    luma: Plane,
    /// Of each 4x4 block that is there already: address of its slice, its tile, and whether it is intra.
    decoded: Vec<Option<(u32, u16, bool)>>,
    slice: Option<Slice<'a>>,
}

impl<'a> Builder<'a> {
    fn run(&mut self, events: &'a [Event]) -> Result<(), String> {
        let mut unit: Option<&Unit> = None;
        let mut leaf = (0, 0, 0);
        for event in events {
            match event {
                Event::Slice { index, header, sets } => {
                    self.slice = Some(Slice { index: *index, header, sets });
                }
                Event::Unit(next) => {
                    unit = Some(next);
                    if !next.is_intra() {
                        self.inter(next)?;
                    }
                }
                Event::Pcm(samples) => self.pcm(unit.ok_or("no unit")?, samples),
                Event::Leaf { x, y, log2_size } => {
                    leaf = (*x, *y, *log2_size);
                    let unit = unit.ok_or("no unit")?;
                    if unit.is_intra() {
                        self.intra(unit, leaf);
                    }
                }
                Event::Block { block, qp, levels } if block.plane == 0 => {
                    self.residual(unit.ok_or("no unit")?, leaf, block, *qp, levels)?;
                }
                Event::Block { .. } => {}
            }
        }
        match self.decoded.iter().position(Option::is_none) {
            Some(place) => Err(format!("4x4 block {place} was not rebuilt")),
            None => Ok(()),
        }
    }

    fn slice(&self) -> &Slice<'a> {
        self.slice.as_ref().expect("a slice comes first")
    }

    fn bit_depth(&self) -> u32 {
        self.slice().sets.sps.bit_depth[0].into()
    }

    /// Slice address and tile of a place.
    fn region(&self, x: u32, y: u32) -> (u32, u16) {
        let Slice { header, sets, .. } = self.slice();
        let (log2, columns) = (sets.sps.log2_ctb, sets.geometry.ctb_cols);
        (header.slice_address, sets.geometry.tile_id[(y >> log2) as usize * columns + (x >> log2) as usize])
    }

    /// Marks a square as there.
    fn finish(&mut self, (x, y, log2_size): (u32, u32, u32), is_intra: bool) {
        let (address, tile) = self.region(x, y);
        let columns = self.luma.width / 4;
        let size = (1 << log2_size) / 4;
        for row in (y / 4) as usize..(y / 4 + size) as usize {
            for column in (x / 4) as usize..(x / 4 + size) as usize {
                self.decoded[row * columns + column] = Some((address, tile, is_intra));
            }
        }
    }

    fn pcm(&mut self, unit: &Unit, samples: &[i32]) {
        let pcm = self.slice().sets.sps.pcm.expect("PCM is on");
        let shift = self.bit_depth() - u32::from(pcm.bit_depth[0]);
        let size = 1 << unit.log2_size;
        for (place, sample) in samples.iter().enumerate() {
            let (x, y) = (unit.x as usize + place % size, unit.y as usize + place / size);
            self.luma.set(Lines::ALL, x, y, sample << shift);
        }
        self.finish((unit.x, unit.y, unit.log2_size), true);
    }

    // H.265 8.4.4.2, 6.4.1
    fn intra(&mut self, unit: &Unit, (x, y, log2_size): (u32, u32, u32)) {
        let bit_depth = self.bit_depth();
        let Slice { sets, .. } = self.slice();
        let setting = Setting {
            bit_depth,
            strong_smoothing: sets.sps.strong_intra_smoothing_enabled_flag,
            plain_edges: sets.sps.range.implicit_rdpcm && unit.bypass,
        };
        let constrained = sets.pps.constrained_intra_pred_flag;
        let region = self.region(x, y);
        let columns = self.luma.width / 4;
        let sample = |dx: i32, dy: i32| {
            let (x, y) = (x as i32 + dx, y as i32 + dy);
            if x < 0 || y < 0 || x >= self.luma.width as i32 || y >= self.luma.height as i32 {
                return None;
            }
            let (x, y) = (x as usize, y as usize);
            let (address, tile, is_intra) = self.decoded[y / 4 * columns + x / 4]?;
            let usable = (address, tile) == region && (is_intra || !constrained);
            usable.then(|| self.luma.get(Lines::ALL, x, y))
        };
        let size = 1 << log2_size;
        let mode = unit.luma_modes[unit.part_at(x, y)];
        let predicted = Around::new(size, bit_depth, sample).predict(mode, &setting);
        for (place, value) in predicted.into_iter().enumerate() {
            self.luma.set(Lines::ALL, x as usize + place % size, y as usize + place / size, value);
        }
        self.finish((x, y, log2_size), true);
    }

    /// Motion of a 4x4 block in both lists: reference index and vector.
    fn motion(&self, x: usize, y: usize) -> [(i8, [i32; 2]); 2] {
        let picture = self.picture;
        let block: &Block = &picture.blocks[y / 16 * picture.mb_cols + x / 16];
        let cell = y % 16 / 4 * 4 + x % 16 / 4;
        [0, 1].map(|list: usize| {
            if block.flags & flags::SPLIT == 0 {
                return (block.ref_idx[list], block.mv[list].map(i32::from));
            }
            let split = &picture.splits[block.split as usize];
            let index = match block.flags & flags::FINE_REFERENCES {
                0 => split.ref_idx[list][cell / 8 * 2 + cell % 4 / 2],
                _ => picture.splits[block.split as usize + 1].mv[list][cell][0] as i8,
            };
            (index, split.mv[list][cell].map(i32::from))
        })
    }

    // H.265 8.5.3.3
    fn inter(&mut self, unit: &Unit) -> Result<(), String> {
        let bit_depth = self.bit_depth();
        let size = 1_usize << unit.log2_size;
        for place in 0..size * size / 16 {
            let x = unit.x as usize + place % (size / 4) * 4;
            let y = unit.y as usize + place / (size / 4) * 4;
            let moved = self.motion(x, y);
            let mut predictions = [None, None];
            for (list, &(ref_idx, mv)) in moved.iter().enumerate().filter(|(_, moved)| moved.0 >= 0) {
                let refs = &self.picture.slice_refs[usize::from(self.slice().index)];
                let entry = refs.lists[list].get(ref_idx as usize);
                let frame = entry.and_then(|entry| self.frames.get(&entry.id?));
                let frame = frame.ok_or_else(|| format!("({x}, {y}) refers to a picture that never came"))?;
                predictions[list] = Some(inter::predict(&frame.luma, x, y, mv, bit_depth));
            }
            let weights = self.weights(moved.map(|(ref_idx, _)| ref_idx));
            for at in 0..16 {
                let both = [0, 1].map(|list: usize| predictions[list].as_ref().map(|samples| samples[at]));
                if both == [None, None] {
                    return Err(format!("({x}, {y}) has no motion"));
                }
                let value = inter::weighted(both, weights, bit_depth);
                self.luma.set(Lines::ALL, x + at % 4, y + at / 4, value);
            }
        }
        self.finish((unit.x, unit.y, unit.log2_size), false);
        Ok(())
    }

    // H.265 8.5.3.3.4.3
    fn weights(&self, ref_idx: [i8; 2]) -> Option<Weights> {
        let Slice { header, sets, .. } = self.slice();
        if header.luma_weights[0].is_empty() {
            return None;
        }
        let of = |list: usize| {
            let index = usize::try_from(ref_idx[list]).ok();
            index.map_or((0, 0), |index| header.luma_weights[list][index])
        };
        let shift = if sets.sps.range.high_precision_offsets { 0 } else { self.bit_depth() - 8 };
        Some(Weights {
            weights: [of(0).0, of(1).0],
            offsets: [of(0).1 << shift, of(1).1 << shift],
            log2_denom: header.luma_log2_weight_denom.into(),
        })
    }

    // H.265 8.6.2
    fn residual(
        &mut self,
        unit: &Unit,
        (x, y, log2_size): (u32, u32, u32),
        block: &CodedBlock,
        qp: i32,
        levels: &[(usize, usize, i32)],
    ) -> Result<(), String> {
        let Slice { sets, .. } = self.slice();
        let (sps, bit_depth) = (&sets.sps, self.bit_depth());
        let range = &sps.range;
        if block.explicit_rdpcm.is_some() || (range.implicit_rdpcm && (unit.bypass || block.transform_skip)) {
            return Err("RDPCM".into());
        }
        let size = 1 << log2_size;
        let mut coefficients = vec![0; size * size];
        let factors =
            sps.scaling.as_ref().map(|of_sequence| sets.pps.scaling.as_ref().unwrap_or(of_sequence));
        let factors = factors.filter(|_| !(block.transform_skip && log2_size > 2));
        let matrix = if unit.kind == UnitKind::Intra { 0 } else { 3 };
        for &(column, row, level) in levels {
            let factor = factors.map_or(16, |all| all.at(log2_size, matrix, column as u32, row as u32));
            coefficients[row * size + column] = match unit.bypass {
                true => level,
                false => transform::scaled(level, factor, qp + sps.qp_bd_offset(false), log2_size, bit_depth),
            };
        }
        let residual = match (unit.bypass, block.transform_skip) {
            (true, _) => coefficients,
            (_, true) => transform::skipped(&coefficients, log2_size, bit_depth),
            _ => transform::inverse(&coefficients, log2_size, unit.is_intra() && log2_size == 2, bit_depth),
        };
        let max = (1 << bit_depth) - 1;
        for (place, difference) in residual.into_iter().enumerate() {
            let (x, y) = (x as usize + place % size, y as usize + place / size);
            let value = (self.luma.get(Lines::ALL, x, y) + difference).clamp(0, max);
            self.luma.set(Lines::ALL, x, y, value);
        }
        Ok(())
    }
}
