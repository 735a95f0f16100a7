//! slice_segment_data() (H.265 7.3.8.1): coding tree blocks in tile scan, wavefronts, substreams.

use super::{
    cells::Cells,
    coding_unit::Edges,
    contexts::{at, init_contexts, Contexts},
    intra,
    motion::{Grid, Motion},
    param_sets::ActiveSets,
    pps::Pps,
    quantiser::Quantiser,
    sink::Sink,
    slice_header::SliceHeader,
    sps::Sps,
};
use crate::{
    bits::payload_bits,
    error::{Error, Result},
    h264::cabac::Engine,
    picture::{Block, Picture, SliceRefs, Split},
    unit::SliceType,
};

/// ctb_slice of a coding tree block that is not decoded.
const NOT_DECODED: u32 = u32::MAX;

/// Everything one slice segment is parsed against.
pub struct SliceInput<'a> {
    /// RBSP: the NAL unit after its header, emulation prevention removed.
    pub rbsp: &'a [u8],
    /// Active parameter sets.
    pub sets: &'a ActiveSets,
    /// Header of the segment.
    pub header: &'a SliceHeader,
    /// Number of the slice inside the picture, written to every block.
    pub slice_index: u16,
    /// Reference lists.
    pub refs: &'a SliceRefs,
    /// The co-located picture; `None` when it is missing or not wanted.
    pub colocated: Option<&'a Picture>,
    /// PicOrderCntVal
    pub poc: i32,
    /// Whether `residual_energy` is wanted (level "full").
    pub want_energy: bool,
}

/// Contexts that another row or segment starts from.
#[derive(Clone, Debug)]
struct Saved {
    contexts: Contexts,
    rice: [u8; 4],
}

impl Default for Saved {
    fn default() -> Self {
        Self { contexts: [0; 256], rice: [0; 4] }
    }
}

/// What goes from one slice segment of a picture to the next.
#[derive(Debug, Default)]
pub struct PictureState {
    /// SliceAddrRs of each decoded coding tree block, by raster address.
    ctb_slice: Vec<u32>,
    /// Depth and skip flags of the row above, by 8 samples.
    pub(super) above: Vec<Edges>,
    /// Motion of the row above, by 4 samples.
    above_motion: Vec<Motion>,
    /// Motion around the current tree block.
    pub(super) grid: Grid,
    /// Cells of the current tree block that several blocks share.
    pub(super) cells: Cells,
    wavefront: Saved,
    dependent: Saved,
    last_qp: i32,
}

impl PictureState {
    /// Begins a picture.
    pub fn reset(&mut self, sets: &ActiveSets) {
        let columns = sets.geometry.ctb_cols << sets.sps.log2_ctb;
        self.ctb_slice.clear();
        self.ctb_slice.resize(sets.geometry.count(), NOT_DECODED);
        self.above.clear();
        self.above.resize(columns / 8, Edges::default());
        self.above_motion.clear();
        // One more: the block above and to the right of the last.
        self.above_motion.resize(columns / 4 + 1, Motion::NONE);
    }

    /// Coding tree blocks that were decoded.
    pub fn is_decoded(&self, ctb_rs: usize) -> bool {
        self.ctb_slice.get(ctb_rs).is_some_and(|&slice| slice != NOT_DECODED)
    }
}

/// The current coding tree block and which of its neighbours it may use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ctb {
    /// Raster address.
    pub rs: usize,
    /// Luma samples.
    pub x: u32,
    /// Luma samples.
    pub y: u32,
    pub left: bool,
    pub up: bool,
    pub up_left: bool,
    pub up_right: bool,
}

/// The parser of one slice segment.
pub(super) struct SliceParser<'a, K> {
    pub sink: K,
    pub engine: Engine<'a>,
    pub contexts: Contexts,
    /// StatCoeff
    pub rice: [u8; 4],
    pub input: &'a SliceInput<'a>,
    pub sps: &'a Sps,
    pub pps: &'a Pps,
    pub header: &'a SliceHeader,
    pub chroma_array_type: u8,
    /// Luma samples.
    pub width: u32,
    /// Luma samples.
    pub height: u32,
    pub blocks: &'a mut [Block],
    pub splits: &'a mut Vec<Split>,
    pub cell_cols: usize,
    pub state: &'a mut PictureState,
    pub ctb: Ctb,
    /// Depth and skip flags to the left, by 8 samples.
    pub left: [Edges; 8],
    /// Intra modes to the left and above, by 4 samples.
    pub intra_modes: [[u8; 16]; 2],
    /// Whether any of them may be another than DC.
    pub has_intra_modes: bool,
    pub quantiser: Quantiser,
    /// NoBackwardPredFlag: no reference picture follows the current one.
    pub no_backward: bool,
    /// Up to here the bits are attributed to cells.
    pub charged: u64,
}

/// Parses one slice segment into `picture` and returns the number of coding tree blocks that it held.
///
/// # Errors
/// The place and the syntax element where the segment breaks the specification. Blocks before it stay parsed.
pub fn parse_slice_data<K: Sink>(
    input: &SliceInput<'_>,
    state: &mut PictureState,
    picture: &mut Picture,
    sink: K,
) -> Result<u32> {
    sink.slice(input);
    let header = input.header;
    let geometry = &input.sets.geometry;
    let first_ts = geometry.rs_to_ts[header.slice_segment_address as usize] as usize;
    if header.dependent_slice_segment_flag
        && !(first_ts > 0 && state.is_decoded(geometry.ts_to_rs[first_ts - 1] as usize))
    {
        return Err(Error::invalid("dependent_slice_segment_flag (the segment before is missing)", 0));
    }
    let start = header.slice_data_offset;
    let payload_bits = payload_bits(input.rbsp) as u64;
    if start as u64 * 8 >= payload_bits {
        return Err(Error::invalid("slice_segment_data", start as u64 * 8));
    }
    state.cells.clear();
    let (sps, pps) = (&*input.sets.sps, &*input.sets.pps);
    let engine = Engine::new(input.rbsp, start);
    let follows = |entry: &crate::picture::RefEntry| entry.poc.wrapping_sub(input.poc) > 0;
    let mut parser = SliceParser {
        sink,
        charged: start as u64 * 8,
        engine,
        contexts: [0; 256],
        rice: [0; 4],
        input,
        sps,
        pps,
        header,
        chroma_array_type: sps.chroma_array_type(),
        width: sps.pic_width_in_luma_samples,
        height: sps.pic_height_in_luma_samples,
        blocks: &mut picture.blocks,
        splits: &mut picture.splits,
        cell_cols: picture.mb_cols,
        ctb: Ctb::default(),
        left: [Edges::default(); 8],
        intra_modes: [[intra::DC; 16]; 2],
        has_intra_modes: false,
        quantiser: Quantiser::new(sps, pps, header, state.last_qp),
        no_backward: !input.refs.lists.iter().flatten().any(follows),
        state,
    };
    parser.segment(first_ts, payload_bits)
}

impl<K: Sink> SliceParser<'_, K> {
    /// The place of the decoder, for errors; it reads zeros behind the end.
    pub fn invalid(&self, element: &'static str) -> Error {
        Error::invalid(element, self.engine.position().min(self.input.rbsp.len() as u64 * 8))
    }

    fn segment(&mut self, first_ts: usize, payload_bits: u64) -> Result<u32> {
        let geometry = &*self.input.sets.geometry;
        let mut ts = first_ts;
        loop {
            let rs = geometry.ts_to_rs[ts] as usize;
            if self.state.is_decoded(rs) {
                return Err(self.invalid("slice_segment_address (coding tree block already coded)"));
            }
            self.begin_ctb(rs);
            self.start_contexts(ts, first_ts)?;
            self.coding_tree_unit()?;
            if self.engine.position() > payload_bits + 1 {
                return Err(self.invalid("coding_tree_unit"));
            }
            self.finish_ctb();
            ts += 1;
            if self.engine.terminate() {
                break;
            }
            if ts >= geometry.count() {
                return Err(self.invalid("end_of_slice_segment_flag"));
            }
            if self.starts_substream(ts) {
                if !self.engine.terminate() {
                    return Err(self.invalid("end_of_subset_one_bit"));
                }
                self.restart_engine(self.engine.position())?;
            }
        }
        self.charge(self.ctb.x, self.ctb.y, self.sps.log2_ctb);
        // The last bit that the engine reads is rbsp_slice_segment_trailing_bits' one bit.
        if self.engine.position() != payload_bits + 1 {
            return Err(self.invalid("rbsp_slice_segment_trailing_bits"));
        }
        self.state.dependent = self.saved();
        self.state.last_qp = self.quantiser.last_qp;
        Ok((ts - first_ts) as u32)
    }

    /// Starts the engine anew at the next byte boundary at or behind a bit (9.3.2.5).
    pub fn restart_engine(&mut self, position: u64) -> Result<()> {
        self.engine = self.engine.restarted(position.div_ceil(8) as usize);
        match self.engine.is_valid() {
            true => Ok(()),
            false => Err(self.invalid("slice_segment_data (offset of the arithmetic decoder)")),
        }
    }

    fn saved(&self) -> Saved {
        Saved { contexts: self.contexts, rice: self.rice }
    }

    fn load(&mut self, wavefront: bool) {
        let saved = if wavefront { &self.state.wavefront } else { &self.state.dependent };
        (self.contexts, self.rice) = (saved.contexts, saved.rice);
    }

    fn tile(&self, rs: usize) -> u16 {
        self.input.sets.geometry.tile_id[rs]
    }

    /// Whether a tree block is the first of a row in its tile.
    fn starts_row(&self, rs: usize) -> bool {
        rs % self.input.sets.geometry.ctb_cols == 0 || self.tile(rs) != self.tile(rs - 1)
    }

    fn starts_tile(&self, ts: usize) -> bool {
        let order = &self.input.sets.geometry.ts_to_rs;
        ts == 0 || self.tile(order[ts] as usize) != self.tile(order[ts - 1] as usize)
    }

    fn starts_substream(&self, ts: usize) -> bool {
        let rs = self.input.sets.geometry.ts_to_rs[ts] as usize;
        self.starts_tile(ts) || (self.pps.entropy_coding_sync_enabled_flag && self.starts_row(rs))
    }

    /// Contexts and quantiser at the start of a segment, tile or row.
    // H.265 9.3.1
    fn start_contexts(&mut self, ts: usize, first_ts: usize) -> Result<()> {
        let starts_segment = ts == first_ts;
        if !starts_segment && !self.starts_substream(ts) {
            return Ok(());
        }
        if starts_segment && !self.engine.is_valid() {
            return Err(self.invalid("slice_segment_data (offset of the arithmetic decoder)"));
        }
        let dependent = starts_segment && self.header.dependent_slice_segment_flag;
        let wavefront = self.pps.entropy_coding_sync_enabled_flag && self.starts_row(self.ctb.rs);
        if self.starts_tile(ts) {
            self.initialise();
        } else if wavefront {
            // T, above and to the right, tells whether its row has been synchronised for this slice.
            match self.ctb.up_right {
                true => self.load(true),
                false => self.initialise(),
            }
        } else if dependent {
            self.load(false);
        } else {
            self.initialise();
        }
        if !dependent || wavefront || self.starts_tile(ts) {
            self.quantiser.last_qp = self.header.slice_qp;
        }
        Ok(())
    }

    fn initialise(&mut self) {
        let init_type = match (self.header.slice_type, self.header.cabac_init_flag) {
            (SliceType::I, _) => 0,
            (SliceType::P, false) | (SliceType::B, true) => 1,
            (SliceType::B, false) | (SliceType::P, true) => 2,
        };
        self.contexts = init_contexts(init_type, self.header.slice_qp);
        self.rice = [0; 4];
    }

    fn begin_ctb(&mut self, rs: usize) {
        let columns = self.input.sets.geometry.ctb_cols;
        let (x, y) = (rs % columns, rs / columns);
        let same = |other: usize| {
            self.state.ctb_slice[other] == self.header.slice_address && self.tile(other) == self.tile(rs)
        };
        let log2 = self.sps.log2_ctb;
        self.ctb = Ctb {
            rs,
            x: (x as u32) << log2,
            y: (y as u32) << log2,
            left: x > 0 && same(rs - 1),
            up: y > 0 && same(rs - columns),
            up_left: x > 0 && y > 0 && same(rs - columns - 1),
            up_right: x + 1 < columns && y > 0 && same(rs - columns + 1),
        };
        if !self.ctb.left {
            self.left = [Edges::default(); 8];
            self.intra_modes[0] = [intra::DC; 16];
        }
        // 8.4.2: modes of the row above count inside the tree block only.
        self.intra_modes[1] = [intra::DC; 16];
        self.has_intra_modes = self.intra_modes[0] != [intra::DC; 16];
        let eights = 1 << (log2 - 3);
        let start = x * eights;
        if !self.ctb.up {
            self.state.above[start..start + eights].fill(Edges::default());
        }
        if self.header.slice_type != SliceType::I {
            let blocks = 1 << (log2 - 2);
            let start = x * blocks;
            self.state.grid.advance(blocks, &self.state.above_motion[start..=start + blocks]);
        }
        self.state.ctb_slice[rs] = self.header.slice_address;
    }

    fn finish_ctb(&mut self) {
        self.finish_cells();
        let log2 = self.sps.log2_ctb;
        if self.header.slice_type != SliceType::I {
            let blocks = 1 << (log2 - 2);
            let start = self.ctb.x as usize / 4;
            self.state.above_motion[start..start + blocks].copy_from_slice(self.state.grid.bottom(blocks));
        }
        // Row two of the wavefront starts from the contexts behind the second tree block of row one.
        if self.pps.entropy_coding_sync_enabled_flag {
            let rs = self.ctb.rs;
            let is_second = !self.starts_row(rs) && self.starts_row(rs - 1);
            if is_second {
                self.state.wavefront = self.saved();
            }
        }
    }

    fn coding_tree_unit(&mut self) -> Result<()> {
        if self.header.sao[0] || self.header.sao[1] {
            self.skip_sao();
        }
        self.coding_quadtree(self.ctb.x, self.ctb.y, self.sps.log2_ctb, 0)
    }

    /// sao() (7.3.8.3): offsets change samples only.
    fn skip_sao(&mut self) {
        for available in [self.ctb.left, self.ctb.up] {
            if available && self.decision(at::SAO_MERGE) {
                return;
            }
        }
        let mut type_idx = 0;
        for plane in 0..if self.chroma_array_type != 0 { 3 } else { 1 } {
            if !self.header.sao[plane.min(1)] {
                continue;
            }
            // Cr takes the type and the class of Cb.
            if plane < 2 {
                type_idx = match self.decision(at::SAO_TYPE_IDX) {
                    false => 0,
                    true => 1 + self.engine.bypass_bits(1),
                };
            }
            if type_idx == 0 {
                continue;
            }
            let depth = u32::from(self.sps.bit_depth[plane.min(1)]);
            let largest = (1 << (depth.min(10) - 5)) - 1;
            let mut nonzero = 0;
            for _ in 0..4 {
                let mut offset = 0;
                while offset < largest && self.engine.bypass() {
                    offset += 1;
                }
                nonzero += u32::from(offset > 0);
            }
            if type_idx == 1 {
                self.engine.bypass_bits(nonzero);
                self.engine.bypass_bits(5);
            } else if plane < 2 {
                self.engine.bypass_bits(2);
            }
        }
    }

    /// A bin with the context variable of that number.
    #[inline(always)]
    pub fn decision(&mut self, context: usize) -> bool {
        self.engine.decision(&mut self.contexts, context)
    }
}
