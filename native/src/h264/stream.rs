//! One H.264 stream: access units in, pictures out, reference state in between.

use std::sync::Arc;

use super::{
    dpb::Dpb,
    fields::{field_refs, in_frame_lines, weave},
    param_sets::ParameterSets,
    partitions::{self, Pending},
    poc::{OrderCounts, PocState},
    ref_lists, sei,
    sink::Sink,
    slice_data::{parse_slice_data, Scratch, SliceInput},
    slice_header::{pair_address, ParsedSlice, SliceHeader},
    sps::Sps,
};
use crate::{
    error::{Error, ErrorKind, Result},
    nal::{self, Framing},
    picture::{Block, BlockClass, Picture, PictureId, Structure},
    unit::{Content, Depth, Options, ParsedPicture, Sampler, SliceType, UnitError},
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
    picture: Arc<Picture>,
    slice_type: SliceType,
    keyframe: bool,
    sequence_changed: bool,
    missing_references: u32,
    covered: u32,
    motion_exact: bool,
}

/// The access unit being parsed.
struct Unit<K> {
    sink: K,
    options: Options,
    depth: Depth,
    current: Option<Current>,
    /// A slice in partitions that may still bring more.
    pending: Option<Pending>,
    /// Number of the current NAL unit, and of the one that began `pending`.
    nal_index: u32,
    pending_index: u32,
    /// Pictures before the current one: at most a first field.
    closed: Vec<(Current, Arc<Picture>)>,
    recovery_point: bool,
    slice_bits: u64,
    errors: u32,
    first_error: Option<UnitError>,
}

/// The picture being parsed.
struct Current {
    picture: Picture,
    sps: Arc<Sps>,
    /// Header of the first slice.
    first: SliceHeader,
    /// The first field of the frame whose second this is.
    first_field: Option<FirstField>,
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
        self.parse_with(access_unit, framing, options, ())
    }

    /// Like `parse`; tells `sink` what else the access unit says.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_with<K: Sink>(
        &mut self,
        access_unit: &[u8],
        framing: Framing,
        options: Options,
        sink: K,
    ) -> std::result::Result<ParsedPicture, UnitError> {
        let mut unit = Unit {
            sink,
            options,
            depth: Depth::new(options, || slice_bits(access_unit, framing)),
            current: None,
            pending: None,
            nal_index: 0,
            pending_index: 0,
            closed: Vec::new(),
            recovery_point: false,
            slice_bits: 0,
            errors: 0,
            first_error: None,
        };
        for (nal_index, nal) in nal::split(access_unit, framing).enumerate() {
            unit.nal_index = nal_index as u32;
            if !matches!(nal[0] & 0x1f, 3 | 4) {
                if let Err(error) = self.parse_pending(&mut unit) {
                    self.note(error, unit.pending_index, &mut unit)?;
                }
            }
            if let Err(error) = self.parse_nal(nal, &mut unit) {
                self.note(error, unit.nal_index, &mut unit)?;
            }
        }
        if let Err(error) = self.parse_pending(&mut unit) {
            self.note(error, unit.pending_index, &mut unit)?;
        }
        let nothing =
            || UnitError { error: Error::invalid("slice_header (no coded picture)", 0), nal_index: 0 };
        match unit.current {
            Some(_) => self.finish(unit).ok_or_else(nothing),
            None => Err(unit.first_error.unwrap_or_else(nothing)),
        }
    }

    /// Counts an error of one NAL unit, or gives up on the access unit.
    fn note<K: Sink>(
        &mut self,
        error: Error,
        nal_index: u32,
        unit: &mut Unit<K>,
    ) -> std::result::Result<(), UnitError> {
        let error = UnitError { error, nal_index };
        if error.error.kind == ErrorKind::Invalid && error.error.element != SECOND_PICTURE {
            unit.errors += 1;
            unit.first_error.get_or_insert(error);
            return Ok(());
        }
        // What was read of the picture may be a reference of others.
        self.close(unit);
        Err(error)
    }

    // H.264 7.4.1, Table 7-1
    fn parse_nal<K: Sink>(&mut self, nal: &[u8], unit: &mut Unit<K>) -> Result<()> {
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
                SliceHeader::parse(header, &rbsp, &mut self.sets)
                    .and_then(|slice| self.parse_slice(&slice, &rbsp, None, unit))
            }
            6 => {
                let messages = sei::read(&rbsp);
                unit.recovery_point |= messages.recovery_point;
                self.x264_build = messages.x264_build.or(self.x264_build);
                Ok(())
            }
            7 => self.sets.put_sps(&rbsp),
            8 => self.sets.put_pps(&rbsp),
            // Data partitioning: elsewhere its NAL units are damage.
            _ if !self.sets.has_extended_profile() => Err(Error::invalid("nal_unit_type", 0)),
            2 => Pending::begin(header, &rbsp, &mut self.sets).map(|pending| {
                unit.slice_bits += nal.len() as u64 * 8;
                unit.pending = Some(pending);
                unit.pending_index = unit.nal_index;
            }),
            _ => {
                unit.slice_bits += nal.len() as u64 * 8;
                partitions::attach(unit.pending.as_mut(), nal_unit_type, &rbsp)
            }
        };
        self.rbsp = rbsp;
        result
    }

    /// Parses the slice whose partitions came, if there is one.
    fn parse_pending<K: Sink>(&mut self, unit: &mut Unit<K>) -> Result<()> {
        let Some(pending) = unit.pending.take() else { return Ok(()) };
        self.parse_slice(&pending.slice, &pending.rbsp, Some(&pending), unit)
    }

    fn parse_slice<K: Sink>(
        &mut self,
        slice: &ParsedSlice,
        rbsp: &[u8],
        partitions: Option<&Pending>,
        unit: &mut Unit<K>,
    ) -> Result<()> {
        // Of separate colour planes luma counts.
        if slice.header.colour_plane_id > 0 {
            return Ok(());
        }
        // Redundant slices stand in for those that did not come.
        if slice.header.redundant_pic_cnt > 0
            && !unit.current.as_ref().is_some_and(|current| current.lacks(&slice.header))
        {
            return Ok(());
        }
        if unit.current.as_ref().is_some_and(|current| current.is_first_of(slice)) {
            self.close(unit);
        }
        let current = match &mut unit.current {
            Some(current) => {
                current.check_next(slice)?;
                current
            }
            None => unit.current.insert(self.begin(slice)),
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
                current.unread_intra.push(unread_intra(slice, slice_index as u16));
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
            partitions,
            old_x264: self.x264_build.is_some_and(|build| build < 151),
            want_energy: unit.options.want_energy,
        };
        parse_slice_data(&input, &mut self.scratch, &mut current.picture, unit.sink).map(|_| ())
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
            first_field,
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
    fn close<K: Sink>(&mut self, unit: &mut Unit<K>) {
        let Some(mut current) = unit.current.take() else { return };
        current.fill_unread();
        current.covered = current.picture.covered() as u32;
        current.picture.motion_known =
            current.motion_exact && current.covered as usize == current.picture.blocks.len();
        let picture = Arc::new(std::mem::take(&mut current.picture));
        unit.sink.picture(&picture, current.counts);
        self.pictures.push(Arc::clone(&picture));
        let second = current.first_field.is_some();
        self.dpb.mark(&current.sps, &current.first, &picture, current.counts, &mut self.poc, second);
        if picture.structure.is_field() && !second {
            self.first_field = Some(FirstField {
                header: current.first.clone(),
                picture: Arc::clone(&picture),
                slice_type: current.slice_type,
                keyframe: current.is_keyframe(unit.recovery_point),
                sequence_changed: current.sequence_changed,
                missing_references: current.missing_references,
                covered: current.covered,
                motion_exact: current.motion_exact,
            });
        }
        unit.closed.push((current, picture));
    }

    /// Closes the last picture and says what the access unit held: a frame, or one or two fields.
    fn finish<K: Sink>(&mut self, mut unit: Unit<K>) -> Option<ParsedPicture> {
        self.close(&mut unit);
        let (first, first_picture) = unit.closed.first()?;
        let content = match (&unit.closed[..], first_picture.structure) {
            ([_], Structure::Frame) => Content::Frame,
            ([_], _) if first.first_field.is_some() => Content::SecondField,
            ([_], Structure::Top) => Content::TopField,
            ([_], Structure::Bottom) => Content::BottomField,
            _ => Content::Fields,
        };
        // The field that came in the access unit before.
        let before = first.first_field.as_ref();
        let mut slice_type = before.map_or(SliceType::I, |field| field.slice_type);
        let mut missing_references = before.map_or(0, |field| field.missing_references);
        let mut covered = before.map_or(0, |field| field.covered);
        let mut motion_exact = before.map_or(true, |field| field.motion_exact);
        for (current, _) in &unit.closed {
            slice_type = slice_type.richer(current.slice_type);
            missing_references += current.missing_references;
            covered += current.covered;
            motion_exact &= current.motion_exact;
        }
        let picture = if content == Content::Frame && !first_picture.mbaff {
            Arc::clone(first_picture)
        } else {
            let mut frame = self.spare_picture();
            if content == Content::Frame {
                in_frame_lines(first_picture, &mut frame);
            } else {
                let fields = unit.closed.iter().map(|(_, field)| field);
                weave(
                    before.map(|field| &field.picture).into_iter().chain(fields).map(Arc::as_ref),
                    &mut frame,
                );
            }
            let frame = Arc::new(frame);
            self.pictures.push(Arc::clone(&frame));
            frame
        };
        Some(ParsedPicture {
            size: first.sps.cropped_size()?,
            slice_type,
            shown: true,
            content,
            keyframe: before.map_or(first.is_keyframe(unit.recovery_point), |field| field.keyframe),
            reference: before.map_or(&first.first, |field| &field.header).nal_ref_idc != 0,
            sequence_changed: before.map_or(first.sequence_changed, |field| field.sequence_changed),
            slice_bits: unit.slice_bits,
            covered,
            unread: unit.depth.unread,
            motion_exact,
            missing_references,
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

/// Two pictures in one access unit are a mistake of whoever cut the stream, not damage.
const SECOND_PICTURE: &str = "slice_header (second primary coded picture in the access unit)";

impl Current {
    /// Whether `slice` begins the second field of the frame whose first is this one.
    fn is_first_of(&self, slice: &ParsedSlice) -> bool {
        self.first_field.is_none() && slice.sps == self.sps && self.first.is_first_of(&slice.header)
    }

    /// IDR, or intra only with a recovery point.
    fn is_keyframe(&self, recovery_point: bool) -> bool {
        self.first.idr_pic_flag || (self.slice_type == SliceType::I && recovery_point)
    }

    /// Whether the first macroblock of a slice of this very picture is missing.
    fn lacks(&self, header: &SliceHeader) -> bool {
        let address = header.first_address(self.picture.mb_cols);
        let missing = |block: &Block| block.class == BlockClass::Unknown as u8;
        !header.starts_new_picture(&self.first) && self.picture.blocks.get(address).is_some_and(missing)
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
