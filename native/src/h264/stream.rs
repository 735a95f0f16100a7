//! One H.264 stream: access units in, pictures out, reference state in between.

use std::sync::Arc;

use super::{
    dpb::Dpb,
    param_sets::ParameterSets,
    poc::{OrderCounts, PocState},
    ref_lists, sei,
    slice_data::{parse_slice_data, FieldRefs, Scratch, SliceInput},
    slice_header::{pair_address, ParsedSlice, SliceHeader},
    sps::Sps,
};
use crate::{
    error::{Error, ErrorKind, Result},
    nal::{self, Framing},
    picture::{flags, Block, BlockClass, Picture, PictureId, RefEntry, SliceRefs, Split, Structure},
    unit::{Depth, Options, ParsedPicture, Sampler, SliceType, UnitError},
};

/// Reference list entries kept per picture, over all slices: bounds the memory that a picture of one-macroblock
/// slices takes; 8160 slices with 8 references each still fit.
const MAX_REF_ENTRIES: usize = 1 << 16;

/// The parser of one stream.
#[derive(Debug)]
pub struct Parser {
    sets: ParameterSets,
    active_sps: Option<Arc<Sps>>,
    dpb: Dpb,
    poc: PocState,
    next_id: PictureId,
    /// The field that the next one may complete.
    first_field: Option<FirstField>,
    /// Access units have brought both fields of a frame.
    has_paired_fields: bool,
    /// Build of the encoder, when it is x264 and says so.
    x264_build: Option<u32>,
    sampler: Sampler,
    /// Every picture that may still be in use; those held by nobody else are taken again.
    pictures: Vec<Arc<Picture>>,
    scratch: Scratch,
    rbsp: Vec<u8>,
}

/// The first field of a frame whose second did not come yet.
#[derive(Debug)]
struct FirstField {
    header: SliceHeader,
}

/// The access unit being parsed.
struct Unit {
    options: Options,
    depth: Depth,
    current: Option<Current>,
    /// Pictures before the current one: at most a first field.
    closed: Vec<(Current, Arc<Picture>)>,
    recovery_point: bool,
    slice_bits: u64,
    errors: u32,
    first_error: Option<UnitError>,
}

impl Unit {
    /// One field without the other. Where that is the rule, pictures would not match the frames of a decoder; where
    /// it is not, the other one was lost.
    fn field_alone(&self) -> Option<Error> {
        let structure = self.current.as_ref().map(|current| current.first.structure);
        let element = match structure.filter(|_| self.closed.is_empty())? {
            Structure::Frame => return None,
            Structure::Top => "field_pic_flag (interlaced, top field alone in its access unit)",
            Structure::Bottom => "field_pic_flag (interlaced, bottom field alone in its access unit)",
        };
        Some(Error::unsupported(element, 0))
    }
}

/// The picture being parsed.
struct Current {
    picture: Picture,
    sps: Arc<Sps>,
    /// Header of the first slice.
    first: SliceHeader,
    /// The second field of a frame whose first is known.
    is_second_field: bool,
    counts: OrderCounts,
    sequence_changed: bool,
    slice_type: SliceType,
    ref_entries: usize,
    missing_references: u32,
    /// No vector was inferred from a picture that is missing, damaged or unread.
    motion_exact: bool,
    /// Macroblocks that are known.
    covered: u32,
    /// First macroblock and content of the I slices that are not read.
    unread_intra: Vec<(usize, Block)>,
}

impl Parser {
    /// A parser that has seen nothing; pictures of more than `max_pixels` luma samples will be unsupported.
    pub fn new(max_pixels: u64) -> Self {
        Self {
            sets: ParameterSets::new(max_pixels),
            active_sps: None,
            dpb: Dpb::default(),
            poc: PocState::default(),
            next_id: 0,
            first_field: None,
            has_paired_fields: false,
            x264_build: None,
            sampler: Sampler::default(),
            pictures: Vec::new(),
            scratch: Scratch::default(),
            rbsp: Vec::new(),
        }
    }

    /// Parses one access unit: one coded picture with whatever parameter sets and messages come with it.
    ///
    /// A damaged slice leaves its cells unknown and is counted; the picture and the stream go on.
    ///
    /// # Errors
    /// `Unsupported` as soon as the stream needs what the parser does not have; `Invalid` when there is no
    /// readable picture at all, or more than one. The next access unit may be parsed in any case.
    pub fn parse(
        &mut self,
        access_unit: &[u8],
        framing: Framing,
        options: Options,
    ) -> std::result::Result<ParsedPicture, UnitError> {
        let mut unit = Unit {
            options,
            depth: Depth::new(options, || slice_bits(access_unit, framing)),
            current: None,
            closed: Vec::new(),
            recovery_point: false,
            slice_bits: 0,
            errors: 0,
            first_error: None,
        };
        for (nal_index, nal) in nal::split(access_unit, framing).enumerate() {
            let nal_index = nal_index as u32;
            match self.parse_nal(nal, &mut unit) {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Invalid && error.element != SECOND_PICTURE => {
                    unit.errors += 1;
                    unit.first_error.get_or_insert(UnitError { error, nal_index });
                }
                Err(error) => {
                    if error.kind == ErrorKind::Invalid {
                        self.finish(unit);
                    }
                    return Err(UnitError { error, nal_index });
                }
            }
        }
        let nothing =
            || UnitError { error: Error::invalid("slice_header (no coded picture)", 0), nal_index: 0 };
        let alone = unit.field_alone();
        self.has_paired_fields |= !unit.closed.is_empty();
        match unit.current {
            Some(_) => {
                let parsed = self.finish(unit).ok_or_else(nothing)?;
                match alone.filter(|_| !self.has_paired_fields) {
                    Some(error) => Err(UnitError { error, nal_index: 0 }),
                    None => Ok(parsed),
                }
            }
            None => Err(unit.first_error.unwrap_or_else(nothing)),
        }
    }

    // H.264 7.4.1, Table 7-1
    fn parse_nal(&mut self, nal: &[u8], unit: &mut Unit) -> Result<()> {
        let header = nal[0];
        if header & 0x80 != 0 {
            return Err(Error::invalid("forbidden_zero_bit", 0));
        }
        let nal_unit_type = header & 0x1f;
        if !matches!(nal_unit_type, 1..=8) {
            // Delimiters, filler, auxiliary pictures, other layers and views: the base picture needs none.
            return Ok(());
        }
        let mut rbsp = std::mem::take(&mut self.rbsp);
        nal::unescape(nal, &mut rbsp);
        let result = match nal_unit_type {
            1 | 5 => {
                unit.slice_bits += nal.len() as u64 * 8;
                self.parse_slice(header, &rbsp, unit)
            }
            6 => {
                let messages = sei::read(&rbsp);
                unit.recovery_point |= messages.recovery_point;
                self.x264_build = messages.x264_build.or(self.x264_build);
                Ok(())
            }
            7 => self.sets.put_sps(&rbsp),
            8 => self.sets.put_pps(&rbsp),
            _ if self.sets.has_extended_profile() => {
                Err(Error::unsupported("nal_unit_type 2 to 4 (data partitioning)", 0))
            }
            _ => Err(Error::invalid("nal_unit_type", 0)),
        };
        self.rbsp = rbsp;
        result
    }

    fn parse_slice(&mut self, nal_header: u8, rbsp: &[u8], unit: &mut Unit) -> Result<()> {
        let slice = SliceHeader::parse(nal_header, rbsp, &mut self.sets)?;
        // Redundant slices repeat what came; of separate colour planes luma counts.
        if slice.header.redundant_pic_cnt > 0 || slice.header.colour_plane_id > 0 {
            return Ok(());
        }
        if unit.current.as_ref().is_some_and(|current| current.is_first_of(&slice)) {
            self.close(unit);
        }
        let current = match &mut unit.current {
            Some(current) => {
                current.check_next(&slice)?;
                current
            }
            None => unit.current.insert(self.begin(&slice)),
        };
        let slice_index = current.picture.slice_refs.len();
        current.slice_type = current.slice_type.richer(slice.header.slice_type);
        let refs = ref_lists::build(&self.dpb, &slice.sps, &slice.header, current.counts.frame());
        current.ref_entries += refs.lists.iter().map(Vec::len).sum::<usize>();
        if current.ref_entries > MAX_REF_ENTRIES || slice_index > usize::from(u16::MAX) {
            return Err(Error::unsupported("slice_header (too many slices)", 0));
        }
        let missing = refs.lists.iter().flatten().filter(|entry| entry.id.is_none()).count();
        current.missing_references += missing as u32;
        current.picture.slice_refs.push(refs.clone());
        let pixels = 256 * (slice.sps.mb_cols() * slice.sps.mb_rows()) as u64;
        if unit.depth.leaves(&mut self.sampler, slice.header.slice_type, pixels, false) {
            if slice.header.slice_type == SliceType::I {
                current.unread_intra.push(unread_intra(&slice, slice_index as u16));
            }
            return Ok(());
        }
        let poc = current.counts.frame();
        let colocated = refs.lists[1].first().and_then(|entry| self.dpb.motion(entry, poc));
        if slice.header.slice_type == SliceType::B {
            current.motion_exact &= colocated.is_some_and(|picture| picture.motion_known);
        }
        let fields = field_refs(&self.dpb, &slice.header, &refs, current.counts);
        let input = SliceInput {
            rbsp,
            sps: &slice.sps,
            pps: &slice.pps,
            header: &slice.header,
            slice_index: slice_index as u16,
            refs: &refs,
            colocated: colocated.map(Arc::as_ref),
            fields: fields.as_ref(),
            old_x264: self.x264_build.is_some_and(|build| build < 151),
            want_energy: unit.options.want_energy,
        };
        parse_slice_data(&input, &mut self.scratch, &mut current.picture).map(|_| ())
    }

    /// Opens the picture of its first slice.
    fn begin(&mut self, slice: &ParsedSlice) -> Current {
        let sequence_changed = self.active_sps.as_ref() != Some(&slice.sps);
        if sequence_changed {
            self.active_sps = Some(Arc::clone(&slice.sps));
            self.dpb.clear();
            self.poc = PocState::default();
        }
        let first_field = self
            .first_field
            .take()
            .filter(|first| !sequence_changed && first.header.is_first_of(&slice.header));
        if first_field.is_none() {
            self.next_id = self.next_id.wrapping_add(1);
            self.dpb.fill_gap(&slice.sps, &slice.header, &mut self.poc);
        }
        if slice.header.idr_pic_flag {
            self.sampler.restart();
        }
        let counts = self.poc.next(&slice.sps, &slice.header);
        let mut picture = self.spare_picture();
        let rows = slice.sps.mb_rows() >> u32::from(slice.header.structure.is_field());
        picture.reset(self.next_id, slice.sps.mb_cols(), rows, counts.frame());
        picture.structure = slice.header.structure;
        picture.mbaff = slice.header.mbaff_frame_flag;
        Current {
            picture,
            sps: Arc::clone(&slice.sps),
            first: slice.header.clone(),
            is_second_field: first_field.is_some(),
            counts,
            sequence_changed,
            slice_type: SliceType::I,
            ref_entries: 0,
            missing_references: 0,
            motion_exact: true,
            covered: 0,
            unread_intra: Vec::new(),
        }
    }

    fn spare_picture(&mut self) -> Picture {
        let unused = self.pictures.iter().position(|picture| Arc::strong_count(picture) == 1);
        unused.and_then(|index| Arc::try_unwrap(self.pictures.swap_remove(index)).ok()).unwrap_or_default()
    }

    /// Closes the picture, if one is open, and makes it a reference.
    fn close(&mut self, unit: &mut Unit) {
        let Some(mut current) = unit.current.take() else { return };
        current.fill_unread();
        current.covered = current.picture.covered() as u32;
        current.picture.motion_known =
            current.motion_exact && current.covered as usize == current.picture.blocks.len();
        let picture = Arc::new(std::mem::take(&mut current.picture));
        self.pictures.push(Arc::clone(&picture));
        let second = current.is_second_field;
        self.dpb.mark(&current.sps, &current.first, &picture, current.counts, &mut self.poc, second);
        if picture.structure.is_field() && !second {
            self.first_field = Some(FirstField { header: current.first.clone() });
        }
        unit.closed.push((current, picture));
    }

    /// Closes the last picture and says what the access unit held: a frame, or one or two fields.
    fn finish(&mut self, mut unit: Unit) -> Option<ParsedPicture> {
        self.close(&mut unit);
        let (first, _) = unit.closed.first()?;
        let slice_type =
            unit.closed.iter().fold(SliceType::I, |richest, (current, _)| richest.richer(current.slice_type));
        let intra_only = first.slice_type == SliceType::I;
        let picture = match &unit.closed[..] {
            [(_, frame)] if !frame.structure.is_field() && !frame.mbaff => Arc::clone(frame),
            pictures => {
                let mut frame = self.spare_picture();
                match pictures {
                    [(_, pairs)] if pairs.mbaff => in_frame_lines(pairs, &mut frame),
                    fields => weave(fields.iter().map(|(_, field)| field.as_ref()), &mut frame),
                }
                let frame = Arc::new(frame);
                self.pictures.push(Arc::clone(&frame));
                frame
            }
        };
        Some(ParsedPicture {
            size: first.sps.cropped_size()?,
            slice_type,
            shown: true,
            keyframe: first.first.idr_pic_flag || (intra_only && unit.recovery_point),
            reference: first.first.nal_ref_idc != 0,
            sequence_changed: first.sequence_changed,
            slice_bits: unit.slice_bits,
            covered: unit.closed.iter().map(|(current, _)| current.covered).sum(),
            unread: unit.depth.unread,
            motion_exact: unit.closed.iter().all(|(current, _)| current.motion_exact),
            missing_references: unit.closed.iter().map(|(current, _)| current.missing_references).sum(),
            errors: unit.errors,
            first_error: unit.first_error,
            picture,
        })
    }
}

/// Bits of the slices of an access unit.
fn slice_bits(access_unit: &[u8], framing: Framing) -> u64 {
    let slices = nal::split(access_unit, framing).filter(|nal| matches!(nal[0] & 0x1f, 1..=5));
    slices.map(|nal| nal.len() as u64 * 8).sum()
}

/// Writes fields into a frame: macroblock row r of the top field becomes row 2 r of the frame, that of the bottom field
/// row 2 r + 1; both lie in the same 32 lines. Vertical motion is doubled: it counts in lines of the frame.
fn weave<'a>(fields: impl Iterator<Item = &'a Picture>, frame: &mut Picture) {
    for (index, field) in fields.enumerate() {
        if index == 0 {
            frame.reset(field.id, field.mb_cols, 2 * field.mb_rows, field.poc);
            frame.structure = Structure::Frame;
        }
        frame.poc = frame.poc.min(field.poc);
        let (first_split, first_slice) = (frame.splits.len() as u32, frame.slice_refs.len() as u16);
        frame.slice_refs.extend_from_slice(&field.slice_refs);
        frame.splits.extend(
            field
                .splits
                .iter()
                .map(|split| Split { mv: split.mv.map(|cells| cells.map(to_frame_lines)), ..*split }),
        );
        let parity = usize::from(field.structure == Structure::Bottom);
        let columns = field.mb_cols.max(1);
        let rows = frame.blocks.chunks_mut(columns).skip(parity).step_by(2);
        for (cell, block) in rows.flatten().zip(&field.blocks) {
            if block.class == BlockClass::Unknown as u8 {
                continue;
            }
            let is_split = block.flags & flags::SPLIT != 0;
            *cell = Block {
                mv: block.mv.map(to_frame_lines),
                flags: block.flags | flags::FIELD,
                split: if is_split { block.split + first_split } else { 0 },
                slice: block.slice.wrapping_add(first_slice),
                ..*block
            };
        }
    }
}

/// Copies a frame of macroblock pairs; vertical motion of field macroblocks is doubled.
fn in_frame_lines(pairs: &Picture, frame: &mut Picture) {
    frame.reset(pairs.id, pairs.mb_cols, pairs.mb_rows, pairs.poc);
    frame.mbaff = true;
    frame.blocks.clone_from(&pairs.blocks);
    frame.splits.clone_from(&pairs.splits);
    frame.slice_refs.clone_from(&pairs.slice_refs);
    for block in frame.blocks.iter_mut().filter(|block| block.flags & flags::FIELD != 0) {
        block.mv = block.mv.map(to_frame_lines);
        if let Some(split) =
            frame.splits.get_mut(block.split as usize).filter(|_| block.flags & flags::SPLIT != 0)
        {
            split.mv = split.mv.map(|cells| cells.map(to_frame_lines));
        }
    }
}

/// What field macroblocks of a slice refer to, if it has any.
fn field_refs<'a>(
    dpb: &'a Dpb,
    header: &SliceHeader,
    refs: &SliceRefs,
    counts: OrderCounts,
) -> Option<FieldRefs<'a>> {
    if !header.mbaff_frame_flag || header.slice_type != SliceType::B {
        return None;
    }
    let parities = [Structure::Top, Structure::Bottom];
    let first = refs.lists[1].first();
    Some(FieldRefs {
        refs: parities.map(|parity| ref_lists::of_field_macroblocks(dpb, refs, parity)),
        colocated: parities.map(|structure| {
            let motion = dpb.motion(&RefEntry { structure, ..*first? }, counts.frame());
            motion.map(Arc::as_ref)
        }),
        pocs: [counts.top, counts.bottom],
        bottom_is_nearer: first
            .and_then(|entry| dpb.frame(entry))
            .is_some_and(|frame| frame.bottom_is_nearer(counts.frame())),
    })
}

fn to_frame_lines([x, y]: [i16; 2]) -> [i16; 2] {
    [x, y.wrapping_mul(2)]
}

/// Two pictures in one access unit are a mistake of whoever cut the stream, not damage.
const SECOND_PICTURE: &str = "slice_header (second primary coded picture in the access unit)";

impl Current {
    /// Whether `slice` begins the second field of the frame whose first is this one.
    fn is_first_of(&self, slice: &ParsedSlice) -> bool {
        !self.is_second_field && slice.sps == self.sps && self.first.is_first_of(&slice.header)
    }

    /// Whether `slice` may follow the slices so far.
    fn check_next(&self, slice: &ParsedSlice) -> Result<()> {
        let first_mb = slice.header.first_address(self.picture.mb_cols);
        let coded =
            self.picture.blocks.get(first_mb).map_or(true, |block| block.class != BlockClass::Unknown as u8);
        let differs = slice.sps != self.sps || slice.header.starts_new_picture(&self.first);
        // Slices are parsed independently of each other: any order will do (ASO), but each macroblock comes once.
        match (differs, coded) {
            (false, false) => Ok(()),
            (false, true) => Err(Error::invalid("first_mb_in_slice (macroblock already coded)", 0)),
            (true, false) => {
                Err(Error::invalid("slice_header (differs from the first slice of the picture)", 0))
            }
            (true, true) => Err(Error::invalid(SECOND_PICTURE, 0)),
        }
    }

    /// An I slice that is not read reaches to the next slice, or to the end of the picture.
    fn fill_unread(&mut self) {
        self.unread_intra.sort_by_key(|&(begin, _)| std::cmp::Reverse(begin));
        for &(begin, block) in &self.unread_intra {
            let picture = &mut self.picture;
            if picture.mbaff {
                let columns = picture.mb_cols;
                for pair in begin..picture.blocks.len() / 2 {
                    let top = pair_address(pair, columns);
                    if picture.blocks[top].class != BlockClass::Unknown as u8 {
                        break;
                    }
                    (picture.blocks[top], picture.blocks[top + columns]) = (block, block);
                }
                continue;
            }
            let rest = picture.blocks.iter_mut().skip(begin);
            rest.take_while(|cell| cell.class == BlockClass::Unknown as u8).for_each(|cell| *cell = block);
        }
    }
}

fn unread_intra(slice: &ParsedSlice, slice_index: u16) -> (usize, Block) {
    let block = Block {
        ref_idx: [-1; 2],
        class: BlockClass::Intra as u8,
        qp: 26 + slice.pps.pic_init_qp_minus26 + slice.header.slice_qp_delta,
        slice: slice_index,
        ..Block::default()
    };
    (slice.header.first_mb_in_slice as usize, block)
}
