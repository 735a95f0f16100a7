//! slice_data() (H.264 7.3.4): drives the macroblock layer over one slice.

use super::{
    cabac::{init_contexts, Engine},
    cabac_syntax::CabacReader,
    cavlc::{CavlcReader, SkipRuns},
    direct::{Direct, Setting},
    energy::EnergyWeights,
    macroblock::SliceParser,
    neighbours::{Coded, CodedChroma, Place},
    pairs::Pairs,
    partitions::{PartitionedReader, Pending},
    pps::Pps,
    residual::Format,
    sink::Sink,
    slice_groups::MapCache,
    slice_header::SliceHeader,
    sps::Sps,
    still_runs::{RunEnd, P_SKIP_CONTEXT},
    syntax::Syntax,
};
use crate::{
    bits::payload_bits,
    error::{Error, Result},
    picture::{Block, BlockClass, Picture, SliceRefs, Split, Structure},
    unit::SliceType,
};

/// Bits that may follow the end of CABAC slice data besides cabac_zero_words: x264 marks the alignment with a bit,
/// other encoders end every slice 4 to 6 bits early.
const MAX_SURPLUS_BITS: u64 = 7;

/// Everything one slice is parsed against.
pub struct SliceInput<'a> {
    /// RBSP: the NAL unit after its header byte, emulation prevention removed.
    pub rbsp: &'a [u8],
    /// Active sequence parameter set.
    pub sps: &'a Sps,
    /// Active picture parameter set.
    pub pps: &'a Pps,
    /// Header of this slice.
    pub header: &'a SliceHeader,
    /// Number of the slice inside the picture, written to every block.
    pub slice_index: u16,
    /// Reference lists after modification (8.2.4).
    pub refs: &'a SliceRefs,
    /// RefPicList1\[0\] for direct prediction (8.4.1.2.1); `None` when it is missing.
    pub colocated: Option<&'a Picture>,
    /// What field macroblocks refer to, in frames of macroblock pairs (MBAFF).
    pub fields: Option<&'a FieldRefs<'a>>,
    /// Partition A is `rbsp`; these are the others.
    pub partitions: Option<&'a Pending>,
    /// The stream comes from x264 before build 151, see [`Format::old_x264`].
    pub old_x264: bool,
    /// Whether `residual_energy` is wanted (level "full").
    pub want_energy: bool,
}

/// What the field macroblocks of a frame refer to, in B slices by the field that they belong to.
#[derive(Debug, Default)]
pub struct FieldRefs<'a> {
    /// Fields of the frames in the lists, those of the own parity first of each.
    pub refs: [SliceRefs; 2],
    /// Field of RefPicList1\[0\], or all of it when it was coded as frame.
    pub colocated: [Option<&'a Picture>; 2],
    /// Order counts of the fields of the current picture.
    pub pocs: [i32; 2],
    /// The bottom field of RefPicList1\[0\] is at least as near as its top field.
    pub bottom_is_nearer: bool,
}

/// Macroblocks that the slices of a picture may bring altogether, in pictures: redundant slices and damage repeat some,
/// and nobody else.
const MOST_READ: usize = 2;

/// Working memory of the slice parser, reusable over slices, pictures and streams.
#[derive(Debug, Default)]
pub struct Scratch {
    columns: Vec<Coded>,
    chroma_columns: Vec<CodedChroma>,
    /// Of frame and of field macroblocks.
    weights: [EnergyWeights; 2],
    groups: MapCache,
}

/// Parses one slice into `picture` and returns the number of macroblocks that it held.
///
/// `picture.blocks` has one block per macroblock; `picture.slice_refs` holds the reference lists of every slice so
/// far, including this one. `sink` is told what else the slice says.
///
/// # Errors
/// The place and the syntax element where the slice breaks the specification. Macroblocks before it stay parsed.
pub fn parse_slice_data<K: Sink>(
    input: &SliceInput<'_>,
    scratch: &mut Scratch,
    picture: &mut Picture,
    sink: K,
) -> Result<u32> {
    let start = input.header.slice_data_bit_offset;
    let first = input.header.first_address(picture.mb_cols);
    let rows_per_unit = if picture.mbaff { 2 } else { 1 };
    if picture.mb_cols == 0
        || picture.blocks.len() % (rows_per_unit * picture.mb_cols) != 0
        || first >= picture.blocks.len()
        || input.header.mbaff_frame_flag != picture.mbaff
    {
        return Err(Error::invalid("first_mb_in_slice", start as u64));
    }
    // Slices that overlap again and again would take any amount of time, and more records than macroblocks of memory.
    if picture.macroblocks_read > MOST_READ * picture.blocks.len()
        || picture.splits.len() > picture.blocks.len()
    {
        return Err(Error::invalid("first_mb_in_slice (macroblocks come again and again)", start as u64));
    }
    let payload_bits = payload_bits(input.rbsp) as u64;
    if start as u64 >= payload_bits {
        return Err(Error::invalid("slice_data", start as u64));
    }
    let slice_qp = 26 + i32::from(input.pps.pic_init_qp_minus26) + i32::from(input.header.slice_qp_delta);
    let qp_bd_offset = input.sps.qp_bd_offset_luma();
    let Some(qp) = u8::try_from(slice_qp + i32::from(qp_bd_offset)).ok().filter(|_| slice_qp <= 51) else {
        return Err(Error::invalid("slice_qp_delta", start as u64));
    };
    sink.slice(input);
    if let Some(pending) = input.partitions {
        if input.pps.entropy_coding_mode_flag {
            return Err(Error::invalid("entropy_coding_mode_flag (CABAC in data partitions)", start as u64));
        }
        return partitioned(pending.reader(payload_bits, sink)?, input, scratch, picture, qp);
    }
    if let Some(map) = scratch.groups.map_of(input.sps, input.pps, input.header, picture) {
        if input.pps.entropy_coding_mode_flag {
            return Err(Error::invalid("entropy_coding_mode_flag (CABAC with slice groups)", start as u64));
        }
        let reader = CavlcReader::new(input.rbsp, start, payload_bits, sink);
        return match picture.mbaff {
            true => parser::<_, true>(reader, input, scratch, picture, qp).pairs_of_group(map),
            false => parser::<_, false>(reader, input, scratch, picture, qp).slice_of_group(&map),
        };
    }
    if input.pps.entropy_coding_mode_flag {
        let set = match input.header.slice_type {
            SliceType::I => 0,
            _ => usize::from(input.header.cabac_init_idc.min(2)) + 1,
        };
        let contexts = init_contexts(set, slice_qp, input.sps.chroma_array_type() == 3);
        let reader = CabacReader::new(
            input.rbsp,
            start.div_ceil(8),
            payload_bits + 1,
            contexts,
            picture.structure.is_field(),
            sink,
        );
        if picture.mbaff {
            parser::<_, true>(reader, input, scratch, picture, qp).cabac_pairs()
        } else {
            parser::<_, false>(reader, input, scratch, picture, qp).cabac_slice()
        }
    } else {
        let reader = CavlcReader::new(input.rbsp, start, payload_bits, sink);
        if picture.mbaff {
            parser::<_, true>(reader, input, scratch, picture, qp).cavlc_pairs()
        } else {
            parser::<_, false>(reader, input, scratch, picture, qp).cavlc_slice()
        }
    }
}

/// A slice in partitions; macroblocks whose residual is lost are unknown.
fn partitioned<K: Sink>(
    reader: PartitionedReader<'_, K>,
    input: &SliceInput<'_>,
    scratch: &mut Scratch,
    picture: &mut Picture,
    qp: u8,
) -> Result<u32> {
    let map = scratch.groups.map_of(input.sps, input.pps, input.header, picture);
    if picture.mbaff {
        let mut parser = parser::<_, true>(reader, input, scratch, picture, qp);
        let read = match map {
            Some(map) => parser.pairs_of_group(map),
            None => parser.cavlc_pairs(),
        };
        return parser.without_lost(read);
    }
    let mut parser = parser::<_, false>(reader, input, scratch, picture, qp);
    let read = match map {
        Some(map) => parser.slice_of_group(&map),
        None => parser.cavlc_slice(),
    };
    parser.without_lost(read)
}

impl<K: Sink, const MBAFF: bool> SliceParser<'_, PartitionedReader<'_, K>, MBAFF> {
    /// What was read of a slice in partitions.
    fn without_lost(&mut self, read: Result<u32>) -> Result<u32> {
        let result = read.and_then(|count| self.syntax.check_end().map(|()| count));
        for address in std::mem::take(&mut self.lost) {
            if let Some(block) = self.blocks.get_mut(address) {
                block.class = BlockClass::Unknown as u8;
            }
        }
        result
    }
}

fn parser<'a, S: Syntax, const MBAFF: bool>(
    syntax: S,
    input: &'a SliceInput<'a>,
    scratch: &'a mut Scratch,
    picture: &'a mut Picture,
    qp: u8,
) -> SliceParser<'a, S, MBAFF> {
    let columns = picture.mb_cols << u32::from(MBAFF);
    scratch.columns.resize(columns, Coded::default());
    let chroma_columns = if input.sps.chroma_array_type() >= 2 { columns } else { 0 };
    scratch.chroma_columns.resize(chroma_columns, CodedChroma::default());
    let field = picture.structure.is_field();
    let [of_frames, of_fields] = &mut scratch.weights;
    let (weights, other_weights) = if field { (of_fields, of_frames) } else { (of_frames, of_fields) };
    if input.want_energy {
        weights.activate(input.sps, input.pps, field);
        if MBAFF {
            other_weights.activate(input.sps, input.pps, !field);
        }
    }
    // A frame has as many macroblocks as two fields.
    let size = |picture: &Picture| picture.blocks.len() << u32::from(picture.structure.is_field());
    let fits = |other: &&Picture| (other.mb_cols, size(other)) == (picture.mb_cols, size(picture));
    let setting = Setting {
        spatial: input.header.direct_spatial_mv_pred_flag,
        inference_8x8: input.sps.direct_8x8_inference_flag,
        colocated: input.colocated.filter(fits),
        refs: input.refs,
        structure: picture.structure,
        poc: picture.poc,
        columns: picture.mb_cols,
        pairs: MBAFF,
        bottom_is_nearer: input.fields.is_some_and(|fields| fields.bottom_is_nearer),
    };
    let mut pairs = Pairs::default();
    if MBAFF {
        pairs.other_weights = Some(other_weights);
        pairs.direct = input.fields.map(|fields| {
            Box::new([(0, Structure::Top), (1, Structure::Bottom)].map(|(parity, structure)| {
                Direct::new(Setting {
                    colocated: fields.colocated[parity].filter(fits),
                    refs: &fields.refs[parity],
                    structure,
                    poc: fields.pocs[parity],
                    ..setting
                })
            }))
        });
    }
    let direct = Direct::new(setting);
    let mut parser = SliceParser {
        position: syntax.position(),
        syntax,
        input,
        direct,
        weights,
        blocks: &mut picture.blocks,
        splits: &mut picture.splits,
        macroblocks_read: &mut picture.macroblocks_read,
        columns: &mut scratch.columns,
        chroma_columns: &mut scratch.chroma_columns,
        grids: [[0; 25]; 2],
        first: input.header.first_mb_in_slice as usize,
        place: Place::default(),
        pairs,
        motion: Split { mv: [[[0; 2]; 16]; 2], ref_idx: [[-1; 4]; 2] },
        lost: Vec::new(),
        qp: 0,
        qp_bd_offset: input.sps.qp_bd_offset_luma(),
        format: Format { chroma_array_type: input.sps.chroma_array_type(), old_x264: input.old_x264 },
        pcm_bytes: input.sps.pcm_bytes(),
        chroma_qp: [0; 2],
        skipped: Block { class: BlockClass::Skip as u8, slice: input.slice_index, ..Block::default() },
    };
    parser.set_qp(qp);
    parser
}

impl<S: Syntax> SliceParser<'_, S, false> {
    /// Address and column of the first macroblock.
    fn first(&self) -> (usize, usize) {
        (self.first, self.first % self.columns.len())
    }

    /// Column after `x`.
    #[inline(always)]
    fn next_column(&self, x: usize) -> usize {
        let next = x.wrapping_add(1);
        if next == self.columns.len() {
            0
        } else {
            next
        }
    }

    /// Number of macroblocks when the slice ends before `address`.
    fn count_to(&self, address: usize) -> u32 {
        address.wrapping_sub(self.first) as u32
    }
}

impl<S: SkipRuns> SliceParser<'_, S, false> {
    fn cavlc_slice(&mut self) -> Result<u32> {
        let slice_type = self.input.header.slice_type;
        let (mut address, mut x) = self.first();
        // Whether the last macroblock stands still, in a P slice.
        let mut still = false;
        loop {
            if slice_type != SliceType::I {
                let run = self.syntax.mb_skip_run();
                if self.syntax.is_exhausted() || run as usize > self.mb_count() - address {
                    return Err(self.invalid("mb_skip_run"));
                }
                let position = self.syntax.position();
                let behind = address.wrapping_add(run as usize);
                while address < behind && !still {
                    if slice_type == SliceType::P {
                        still = self.p_skip(address, x, false, position);
                    } else {
                        self.b_skip(address, x, position);
                    }
                    (address, x) = (address.wrapping_add(1), self.next_column(x));
                }
                if address < behind {
                    self.fill_still(address, behind.wrapping_sub(address), position);
                    (address, x) = (behind, behind % self.columns.len());
                }
                if run > 0 && !self.syntax.more_rbsp_data() {
                    return Ok(self.count_to(address));
                }
            }
            if address >= self.mb_count() {
                return Err(self.invalid("rbsp_slice_trailing_bits"));
            }
            self.go_to(address, x);
            self.macroblock()?;
            still = slice_type == SliceType::P && self.stands_still(address);
            (address, x) = (address.wrapping_add(1), self.next_column(x));
            if !self.syntax.more_rbsp_data() {
                return Ok(self.count_to(address));
            }
        }
    }
}

impl<S: SkipRuns> SliceParser<'_, S, false> {
    /// A slice of one slice group: the macroblocks of other groups are passed over.
    // H.264 8.2.2, (8-16)
    fn slice_of_group(&mut self, map: &[u8]) -> Result<u32> {
        let slice_type = self.input.header.slice_type;
        let group = map.get(self.first).copied();
        let mut addresses = (self.first..map.len()).filter(|&address| map.get(address).copied() == group);
        let mut count = 0;
        loop {
            if slice_type != SliceType::I {
                let run = self.syntax.mb_skip_run();
                let position = self.syntax.position();
                for _ in 0..run {
                    let Some(address) = addresses.next().filter(|_| !self.syntax.is_exhausted()) else {
                        return Err(self.invalid("mb_skip_run"));
                    };
                    self.skip_at(self.place_in_group(address), position);
                    count += 1;
                }
                if run > 0 && !self.syntax.more_rbsp_data() {
                    return Ok(count);
                }
            }
            let Some(address) = addresses.next() else {
                return Err(self.invalid("rbsp_slice_trailing_bits"));
            };
            self.place = self.place_in_group(address);
            self.macroblock()?;
            count += 1;
            if !self.syntax.more_rbsp_data() {
                return Ok(count);
            }
        }
    }
}

impl<K: Sink> SliceParser<'_, CabacReader<'_, K>, false> {
    fn cabac_slice(&mut self) -> Result<u32> {
        let slice_type = self.input.header.slice_type;
        let (mut address, mut x) = self.first();
        let end = self.syntax.end;
        // Skipped macroblocks need nothing of the reader but its engine, which stays in registers meanwhile.
        let mut engine = self.syntax.engine;
        // Whether the last macroblock was skipped and whether it stands still.
        let (mut skipped, mut still) = (true, false);
        loop {
            let mut run_end = RunEnd::Open;
            if slice_type == SliceType::P && skipped && still {
                let count;
                (count, run_end) = self.still_run(&mut engine, address)?;
                address = address.wrapping_add(count);
                x = address % self.columns.len();
            }
            if run_end == RunEnd::Slice {
                break;
            }
            if address >= self.mb_count() {
                return Err(Error::invalid("end_of_slice_flag", engine.position()));
            }
            let inc = self.unskipped_neighbours(address, x, skipped);
            skipped = match slice_type {
                _ if run_end == RunEnd::Coded => false,
                SliceType::I => false,
                SliceType::P => engine.decision(&mut self.syntax.contexts, P_SKIP_CONTEXT + inc),
                SliceType::B => engine.decision(&mut self.syntax.contexts, 24 + inc),
            };
            if !skipped {
                self.go_to(address, x);
                self.syntax.engine = engine;
                self.macroblock()?;
                engine = self.syntax.engine;
                still = self.stands_still(address);
            } else if engine.position() > end {
                return Err(Error::invalid("mb_skip_flag", engine.position()));
            } else {
                self.syntax.no_mb_qp_delta();
                if slice_type == SliceType::P {
                    still = self.p_skip(address, x, still, engine.position());
                } else {
                    self.b_skip(address, x, engine.position());
                }
            }
            (address, x) = (address.wrapping_add(1), self.next_column(x));
            if engine.terminate() {
                break;
            }
        }
        self.check_end(engine)?;
        Ok(self.count_to(address))
    }

    /// Number of available neighbours (A, B) that were not skipped: the context of mb_skip_flag.
    #[inline(always)]
    fn unskipped_neighbours(&self, address: usize, x: usize, left_skipped: bool) -> usize {
        let left = (x > 0) & (address > self.first) & !left_skipped;
        let columns = self.columns.len();
        let above = address >= self.first.wrapping_add(columns)
            && self
                .blocks
                .get(address.wrapping_sub(columns))
                .is_some_and(|b| b.class != BlockClass::Skip as u8);
        usize::from(left).wrapping_add(usize::from(above))
    }
}

impl<K: Sink, const MBAFF: bool> SliceParser<'_, CabacReader<'_, K>, MBAFF> {
    /// The last bit that the engine reads is rbsp_stop_one_bit. Some encoders flush a few bits more.
    pub fn check_end(&self, engine: Engine<'_>) -> Result<()> {
        let surplus = self.syntax.end.checked_sub(engine.position());
        if surplus.is_some_and(|bits| bits <= MAX_SURPLUS_BITS) {
            return Ok(());
        }
        Err(Error::invalid("rbsp_slice_trailing_bits", engine.position()))
    }
}

#[cfg(test)]
mod tests;
