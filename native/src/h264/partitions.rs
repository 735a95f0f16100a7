//! Data partitioning (H.264 7.3.2.9): headers and motion in partition A, residual of Intra macroblocks in B, that of
//! Inter macroblocks in C.

use super::{
    cavlc::{CavlcReader, SkipRuns},
    neighbours::{AbsMvd, Around},
    param_sets::ParameterSets,
    sink::Sink,
    slice_header::{ParsedSlice, SliceHeader},
    syntax::{Residual, Syntax},
};
use crate::{
    bits::{payload_bits, BitReader},
    error::{Error, Result},
    unit::SliceType,
};

/// A slice in partitions, of which A came.
pub struct Pending {
    /// Header and parameter sets.
    pub slice: ParsedSlice,
    /// Partition A.
    pub rbsp: Vec<u8>,
    slice_id: u32,
    /// RBSPs of B and C.
    others: [Option<Vec<u8>>; 2],
}

impl Pending {
    /// Reads the beginning of partition A.
    // H.264 7.3.2.9.1
    pub fn begin(nal_header: u8, rbsp: &[u8], sets: &mut ParameterSets) -> Result<Self> {
        let mut slice = SliceHeader::parse(nal_header, rbsp, sets)?;
        let r = &mut BitReader::new(rbsp);
        skip(r, slice.header.slice_data_bit_offset)?;
        let slice_id = r.ue("slice_id")?;
        slice.header.slice_data_bit_offset = r.bit_offset();
        Ok(Self { slice, rbsp: rbsp.to_vec(), slice_id, others: [None, None] })
    }

    /// Reads the slice data of all partitions that came.
    pub fn reader<K: Sink>(&self, payload_bits: u64, sink: K) -> Result<PartitionedReader<'_, K>> {
        let start = self.slice.header.slice_data_bit_offset;
        let mut residual = [None, None];
        for (reader, rbsp) in residual.iter_mut().zip(&self.others) {
            if let Some(rbsp) = rbsp {
                *reader = Some(self.reader_of(rbsp, sink)?);
            }
        }
        Ok(PartitionedReader {
            a: CavlcReader::new(&self.rbsp, start, payload_bits, sink),
            residual,
            constrained_intra: self.slice.pps.constrained_intra_pred_flag,
            intra: false,
            is_missing: false,
            was_missing: false,
        })
    }

    // H.264 7.3.2.9.2, 7.3.2.9.3
    fn reader_of<'a, K: Sink>(&self, rbsp: &'a [u8], sink: K) -> Result<Partition<'a, K>> {
        let r = &mut BitReader::new(rbsp);
        r.ue("slice_id")?;
        if self.slice.pps.redundant_pic_cnt_present_flag {
            r.ue("redundant_pic_cnt")?;
        }
        let payload_bits = payload_bits(rbsp) as u64;
        Ok(Partition { bits: CavlcReader::new(rbsp, r.bit_offset(), payload_bits, sink), payload_bits })
    }
}

fn skip(r: &mut BitReader<'_>, bits: usize) -> Result<()> {
    let mut left = bits;
    while left > 0 {
        let some = left.min(32);
        r.u(some as u32, "slice_header")?;
        left -= some;
    }
    Ok(())
}

/// Adds partition B (`nal_unit_type` 3) or C (4) to its slice.
pub fn attach(pending: Option<&mut Pending>, nal_unit_type: u8, rbsp: &[u8]) -> Result<()> {
    let slice_id = BitReader::new(rbsp).ue("slice_id")?;
    let Some(pending) = pending.filter(|pending| pending.slice_id == slice_id) else {
        return Err(Error::invalid("slice_id (no partition A)", 0));
    };
    let other = &mut pending.others[usize::from(nal_unit_type == 4)];
    if other.is_some() {
        return Err(Error::invalid("slice_id (partition came twice)", 0));
    }
    *other = Some(rbsp.to_vec());
    Ok(())
}

struct Partition<'a, K> {
    bits: CavlcReader<'a, K>,
    payload_bits: u64,
}

/// Reads syntax elements of the slice from partition A and residual blocks from B or C.
pub struct PartitionedReader<'a, K> {
    a: CavlcReader<'a, K>,
    /// Of Intra and of Inter macroblocks.
    residual: [Option<Partition<'a, K>>; 2],
    /// constrained_intra_pred_flag: Intra macroblocks need nothing of Inter macroblocks.
    constrained_intra: bool,
    /// The current residual is that of an Intra macroblock.
    intra: bool,
    /// The current residual did not come.
    is_missing: bool,
    /// Some residual did not come: contexts of later blocks are unknown.
    was_missing: bool,
}

impl<'a, K: Sink> PartitionedReader<'a, K> {
    fn current(&mut self) -> Option<&mut CavlcReader<'a, K>> {
        let residual = &mut self.residual[usize::from(!self.intra)];
        residual.as_mut().map(|partition| &mut partition.bits).filter(|_| !self.is_missing)
    }

    fn readers(&self) -> impl Iterator<Item = &CavlcReader<'a, K>> {
        [&self.a].into_iter().chain(self.residual.iter().flatten().map(|partition| &partition.bits))
    }

    /// Whether B and C ended where their trailing bits are, if they were read to the end.
    pub fn check_end(&self) -> Result<()> {
        let ended = |partition: &Partition<'_, K>| partition.bits.position() == partition.payload_bits;
        if self.was_missing {
            return Err(Error::invalid("slice_data_partition (lost)", self.position()));
        }
        if self.residual.iter().flatten().all(ended) {
            return Ok(());
        }
        Err(Error::invalid("rbsp_slice_trailing_bits (data partition)", self.position()))
    }
}

impl<K: Sink> SkipRuns for PartitionedReader<'_, K> {
    fn mb_skip_run(&mut self) -> u32 {
        self.a.mb_skip_run()
    }

    fn more_rbsp_data(&self) -> bool {
        self.a.more_rbsp_data()
    }

    fn mb_field_decoding_flag(&mut self) -> bool {
        self.a.mb_field_decoding_flag()
    }
}

impl<K: Sink> Syntax for PartitionedReader<'_, K> {
    type Sink = K;
    const CABAC: bool = false;
    const PARTITIONED: bool = true;
    const PCM_LEVEL: u8 = CavlcReader::<'_, K>::PCM_LEVEL;

    fn sink(&self) -> K {
        self.a.sink()
    }

    fn unavailable_level(intra: bool) -> u8 {
        CavlcReader::<'_, K>::unavailable_level(intra)
    }

    fn failure(&self) -> Option<&'static str> {
        self.readers().find_map(Syntax::failure)
    }

    fn fail(&mut self, element: &'static str) {
        self.a.fail(element);
    }

    fn is_exhausted(&self) -> bool {
        self.readers().any(Syntax::is_exhausted)
    }

    fn position(&self) -> u64 {
        self.readers().map(Syntax::position).sum()
    }

    fn begin_residual(&mut self, intra: bool) -> bool {
        self.intra = intra;
        // Blocks of Inter macroblocks need the counts of all neighbours, those of Intra perhaps not.
        let depends = !(intra && self.constrained_intra);
        self.is_missing = self.residual[usize::from(!intra)].is_none() || (self.was_missing && depends);
        intra && self.constrained_intra
    }

    fn end_residual(&mut self) -> bool {
        self.was_missing |= self.is_missing;
        self.is_missing
    }

    fn set_field(&mut self, field: bool) {
        self.a.set_field(field);
    }

    fn mb_type(&mut self, slice_type: SliceType, around: &Around) -> u8 {
        self.a.mb_type(slice_type, around)
    }

    fn si_mb_type(&mut self) -> u8 {
        self.a.si_mb_type()
    }

    fn transform_size_8x8_flag(&mut self, around: &Around) -> bool {
        self.a.transform_size_8x8_flag(around)
    }

    fn coded_block_pattern(&mut self, intra: bool, chroma: bool, around: &Around) -> u8 {
        self.a.coded_block_pattern(intra, chroma, around)
    }

    fn mb_qp_delta(&mut self, qps: u8) -> i32 {
        self.a.mb_qp_delta(qps)
    }

    fn no_mb_qp_delta(&mut self) {
        self.a.no_mb_qp_delta();
    }

    fn skip_intra_pred_modes(&mut self, blocks: u32) {
        self.a.skip_intra_pred_modes(blocks);
    }

    fn intra_chroma_pred_mode(&mut self, around: &Around) -> u8 {
        self.a.intra_chroma_pred_mode(around)
    }

    fn sub_mb_type(&mut self, bidirectional: bool) -> u8 {
        self.a.sub_mb_type(bidirectional)
    }

    fn ref_idx(&mut self, max: u8, inc: usize) -> u8 {
        self.a.ref_idx(max, inc)
    }

    fn mvd(&mut self, sum: AbsMvd) -> [i16; 2] {
        self.a.mvd(sum)
    }

    fn pcm_samples(&mut self, bytes: usize) {
        if let Some(reader) = self.current() {
            reader.pcm_samples(bytes);
        }
    }

    fn block<const KIND: usize>(&mut self, a: u8, b: u8, weights: &[f32; 16], sums: &mut Residual) -> u8 {
        self.current().map_or(0, |reader| reader.block::<KIND>(a, b, weights, sums))
    }

    fn block_8x8<const KIND: usize>(
        &mut self,
        neighbours: Option<(u8, u8)>,
        weights: &[f32; 64],
        sums: &mut Residual,
    ) -> u8 {
        self.current().map_or(0, |reader| reader.block_8x8::<KIND>(neighbours, weights, sums))
    }
}
