//! One H.265 stream: access units in, pictures out, reference state in between.

use std::sync::Arc;

use super::{
    dpb::Dpb,
    nal_type::NalHeader,
    param_sets::{ActiveSets, ParameterSets},
    sink::Sink,
    slice_data::{parse_slice_data, PictureState, SliceInput},
    slice_header::{ParsedSlice, SliceHeader},
    sps::Sps,
};
use crate::{
    error::{Error, ErrorKind, Result},
    nal::{self, Framing},
    picture::{Block, BlockClass, Picture, PictureId, SliceRefs},
    unit::{Content, Depth, Options, ParsedPicture, Sampler, SliceType, UnitError},
};

/// Reference list entries kept per picture, over all slices: bounds the memory of a picture of tiny slices.
const MAX_REF_ENTRIES: usize = 1 << 16;

/// Two pictures in one access unit are a mistake of whoever cut the stream, not damage.
const SECOND_PICTURE: &str = "first_slice_segment_in_pic_flag (second picture in the access unit)";

/// The parser of one stream.
#[derive(Debug)]
pub struct Parser {
    sets: ParameterSets,
    active_sps: Option<Arc<Sps>>,
    dpb: Dpb,
    /// The next picture begins a sequence: the first one, and the one behind an end of sequence.
    restart: bool,
    /// NoRaslOutputFlag of the last random access point: pictures that it skips have no references.
    no_rasl_output: bool,
    next_id: PictureId,
    sampler: Sampler,
    /// Every picture that may still be in use; those held by nobody else are taken again.
    pictures: Vec<Arc<Picture>>,
    state: PictureState,
    rbsp: Vec<u8>,
}

/// The access unit being parsed.
struct Unit<K> {
    sink: K,
    options: Options,
    depth: Depth,
    current: Option<Current>,
    slice_bits: u64,
    errors: u32,
    first_error: Option<UnitError>,
}

/// The picture being parsed.
struct Current {
    picture: Picture,
    sets: ActiveSets,
    nal: NalHeader,
    /// Header of the first segment.
    first: SliceHeader,
    /// Header of the last segment, which dependent ones go on with.
    last: SliceHeader,
    refs: SliceRefs,
    sequence_changed: bool,
    slice_type: SliceType,
    ref_entries: usize,
    missing_references: u32,
    /// No vector was inferred from a picture that is missing, damaged or unread.
    motion_exact: bool,
    /// First tree block in tile scan, and content of the segments of I slices that are not read.
    unread_intra: Vec<(usize, Block)>,
}

impl Parser {
    /// A parser that has seen nothing; pictures of more than `max_pixels` luma samples will be unsupported.
    pub fn new(max_pixels: u64) -> Self {
        Self {
            sets: ParameterSets::new(max_pixels),
            active_sps: None,
            dpb: Dpb::default(),
            restart: true,
            no_rasl_output: false,
            next_id: 0,
            sampler: Sampler::default(),
            pictures: Vec::new(),
            state: PictureState::default(),
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
        let nothing = || UnitError {
            error: Error::invalid("slice_segment_header (no coded picture)", 0),
            nal_index: 0,
        };
        match unit.current {
            Some(_) => self.finish(unit).ok_or_else(nothing),
            None => Err(unit.first_error.unwrap_or_else(nothing)),
        }
    }

    // H.265 7.4.2.2, Table 7-1
    fn parse_nal<K: Sink>(&mut self, nal: &[u8], unit: &mut Unit<K>) -> Result<()> {
        const SPS: u8 = 33;
        const PPS: u8 = 34;
        const END_OF_SEQUENCE: u8 = 36;
        const END_OF_BITSTREAM: u8 = 37;
        let header = NalHeader::parse(nal)?;
        if header.nuh_layer_id > 0 {
            // Other layers and views: the base layer needs none of them.
            return Ok(());
        }
        if matches!(header.nal_unit_type, END_OF_SEQUENCE | END_OF_BITSTREAM) {
            self.restart = true;
            return Ok(());
        }
        if !header.is_slice() && !matches!(header.nal_unit_type, SPS | PPS) {
            return Ok(());
        }
        let mut rbsp = std::mem::take(&mut self.rbsp);
        // The second byte of the header goes with the first.
        nal::unescape(&nal[1..], &mut rbsp);
        let result = match header.nal_unit_type {
            SPS => self.sets.put_sps(&rbsp),
            PPS => self.sets.put_pps(&rbsp),
            _ => {
                unit.slice_bits += nal.len() as u64 * 8;
                self.parse_slice(header, &rbsp, unit)
            }
        };
        self.rbsp = rbsp;
        result
    }

    fn parse_slice<K: Sink>(&mut self, nal: NalHeader, rbsp: &[u8], unit: &mut Unit<K>) -> Result<()> {
        let before = unit.current.as_ref().map(|current| &current.last);
        let slice = SliceHeader::parse(nal, rbsp, &mut self.sets, before)?;
        let current = match &mut unit.current {
            Some(current) => {
                current.check_next(&slice)?;
                current
            }
            None => unit.current.insert(self.begin(nal, &slice)),
        };
        if !slice.header.dependent_slice_segment_flag {
            current.refs = self.dpb.build_lists(&slice.header);
            current.ref_entries += current.refs.lists.iter().map(Vec::len).sum::<usize>();
            if current.ref_entries > MAX_REF_ENTRIES
                || current.picture.slice_refs.len() > usize::from(u16::MAX)
            {
                return Err(Error::unsupported("slice_segment_header (too many slices)", 0));
            }
            let missing = current.refs.lists.iter().flatten().filter(|entry| entry.id.is_none()).count();
            current.missing_references += missing as u32;
            current.picture.slice_refs.push(current.refs.clone());
        }
        current.last = slice.header.clone();
        current.slice_type = current.slice_type.richer(slice.header.slice_type);
        let slice_index = current.picture.slice_refs.len().saturating_sub(1) as u16;
        let sps = &slice.sets.sps;
        let pixels = u64::from(sps.pic_width_in_luma_samples) * u64::from(sps.pic_height_in_luma_samples);
        if unit.depth.leaves(
            &mut self.sampler,
            slice.header.slice_type,
            pixels,
            sps.sps_temporal_mvp_enabled_flag,
        ) {
            if slice.header.slice_type == SliceType::I {
                current.unread_intra.push(unread_intra(&slice, slice_index));
            }
            return Ok(());
        }
        let same_size = |other: &&Arc<Picture>| other.blocks.len() == current.picture.blocks.len();
        let entry = colocated_entry(&slice.header, &current.refs);
        let colocated = entry.and_then(|entry| self.dpb.motion(entry)).filter(same_size);
        current.motion_exact &= entry.is_none() || colocated.is_some_and(|picture| picture.motion_known);
        let input = SliceInput {
            rbsp,
            sets: &slice.sets,
            header: &slice.header,
            slice_index,
            refs: &current.refs,
            colocated: colocated.map(Arc::as_ref),
            poc: current.picture.poc,
            want_energy: unit.options.want_energy,
        };
        parse_slice_data(&input, &mut self.state, &mut current.picture, unit.sink).map(|_| ())
    }

    /// Opens the picture of its first segment.
    fn begin(&mut self, nal: NalHeader, slice: &ParsedSlice) -> Current {
        let sps = &slice.sets.sps;
        let sequence_changed = self.active_sps.as_ref() != Some(sps);
        if sequence_changed {
            self.active_sps = Some(Arc::clone(sps));
        }
        // NoRaslOutputFlag; a sequence that begins elsewhere (joined late, damaged) cannot count on before.
        let restarts = nal.is_idr() || nal.is_bla() || self.restart || sequence_changed;
        self.restart = false;
        if restarts {
            self.dpb.clear();
        }
        if nal.is_irap() {
            self.sampler.restart();
            self.no_rasl_output = restarts;
        }
        let poc = self.dpb.order_count(nal, &slice.header, sps, restarts);
        self.dpb.apply_set(&slice.header, sps, poc);
        let mut picture = self.spare_picture();
        picture.reset(self.next_id, sps.cell_cols(), sps.cell_rows(), poc);
        self.next_id = self.next_id.wrapping_add(1);
        self.state.reset(&slice.sets);
        Current {
            picture,
            sets: slice.sets.clone(),
            nal,
            first: slice.header.clone(),
            last: slice.header.clone(),
            refs: SliceRefs::default(),
            sequence_changed,
            slice_type: SliceType::I,
            ref_entries: 0,
            missing_references: 0,
            motion_exact: true,
            unread_intra: Vec::new(),
        }
    }

    fn spare_picture(&mut self) -> Picture {
        let unused = self.pictures.iter().position(|picture| Arc::strong_count(picture) == 1);
        unused.and_then(|index| Arc::try_unwrap(self.pictures.swap_remove(index)).ok()).unwrap_or_default()
    }

    /// Closes the picture and makes it a reference.
    fn finish<K: Sink>(&mut self, unit: Unit<K>) -> Option<ParsedPicture> {
        let mut current = unit.current?;
        current.fill_unread(&self.state);
        let covered = current.picture.covered();
        current.picture.motion_known = current.motion_exact && covered == current.picture.blocks.len();
        let picture = Arc::new(current.picture);
        unit.sink.picture(&picture);
        self.pictures.push(Arc::clone(&picture));
        self.dpb.insert(&picture);
        Some(ParsedPicture {
            size: current.sets.sps.cropped_size()?,
            slice_type: current.slice_type,
            keyframe: current.nal.is_irap(),
            reference: !current.nal.is_sub_layer_non_reference(),
            shown: current.first.pic_output_flag && !(current.nal.is_rasl() && self.no_rasl_output),
            content: Content::Frame,
            sequence_changed: current.sequence_changed,
            slice_bits: unit.slice_bits,
            covered: covered as u32,
            unread: unit.depth.unread,
            motion_exact: current.motion_exact,
            missing_references: current.missing_references,
            errors: unit.errors,
            first_error: unit.first_error,
            picture,
        })
    }
}

impl Current {
    /// Whether a segment may follow the segments so far.
    fn check_next(&self, slice: &ParsedSlice) -> Result<()> {
        let same = slice.header.slice_pic_order_cnt_lsb == self.first.slice_pic_order_cnt_lsb
            && Arc::ptr_eq(&slice.sets.sps, &self.sets.sps);
        match (same, slice.header.first_slice_segment_in_pic_flag) {
            (true, false) => Ok(()),
            (true, true) => Err(Error::invalid("first_slice_segment_in_pic_flag (repeated)", 0)),
            (false, false) => {
                Err(Error::invalid("slice_segment_header (differs from the first of the picture)", 0))
            }
            (false, true) => Err(Error::invalid(SECOND_PICTURE, 0)),
        }
    }

    /// An I slice that is not read reaches to the next segment, or to the end of the picture.
    fn fill_unread(&mut self, state: &PictureState) {
        let geometry = &self.sets.geometry;
        let log2 = self.sets.sps.log2_ctb - 4;
        self.unread_intra.sort_by_key(|&(first, _)| std::cmp::Reverse(first));
        let mut end = geometry.count();
        for &(first, block) in &self.unread_intra {
            for &rs in geometry.ts_to_rs[first..end].iter().take_while(|&&rs| !state.is_decoded(rs as usize))
            {
                let (x, y) =
                    ((rs as usize % geometry.ctb_cols) << log2, (rs as usize / geometry.ctb_cols) << log2);
                for row in (y..y + (1 << log2)).take_while(|&row| row < self.picture.mb_rows) {
                    let end = (x + (1 << log2)).min(self.picture.mb_cols);
                    self.picture.blocks[row * self.picture.mb_cols..][x..end].fill(block);
                }
            }
            end = first;
        }
    }
}

/// Bits of the slices of an access unit.
fn slice_bits(access_unit: &[u8], framing: Framing) -> u64 {
    let is_slice = |nal: &&[u8]| NalHeader::parse(nal).is_ok_and(|header| header.is_slice());
    nal::split(access_unit, framing).filter(is_slice).map(|nal| nal.len() as u64 * 8).sum()
}

/// The entry of the co-located picture, when temporal prediction is on.
fn colocated_entry(header: &SliceHeader, refs: &SliceRefs) -> Option<crate::picture::RefEntry> {
    if !header.slice_temporal_mvp_enabled_flag || header.slice_type == SliceType::I {
        return None;
    }
    let list = usize::from(!header.collocated_from_l0_flag);
    refs.lists[list].get(header.collocated_ref_idx as usize).copied()
}

fn unread_intra(slice: &ParsedSlice, slice_index: u16) -> (usize, Block) {
    let block = Block {
        ref_idx: [-1; 2],
        class: BlockClass::Intra as u8,
        qp: slice.header.slice_qp as i8,
        slice: slice_index,
        ..Block::default()
    };
    let first = slice.sets.geometry.rs_to_ts[slice.header.slice_segment_address as usize];
    (first as usize, block)
}
