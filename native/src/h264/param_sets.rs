//! Parameter sets of one stream: kept as they arrive, joined when a slice names them.

use std::{collections::BTreeMap, sync::Arc};

use super::{pps::Pps, sps::Sps};
use crate::error::{Error, ErrorKind, Result};

/// Longest PPS that is kept: slice groups of the largest level and full scaling lists fit.
const MAX_PPS_BYTES: usize = 16384;

/// All parameter sets that a stream has sent.
#[derive(Debug)]
pub struct ParameterSets {
    sps: BTreeMap<u8, Arc<Sps>>,
    pps: BTreeMap<u8, StoredPps>,
    max_pixels: u64,
}

/// A PPS may come before its SPS, whose chroma format decides how to read it: the bytes stay.
#[derive(Debug)]
struct StoredPps {
    rbsp: Vec<u8>,
    seq_parameter_set_id: u8,
    parsed: Option<Arc<Pps>>,
}

impl ParameterSets {
    /// No sets yet; sequences of more than `max_pixels` luma samples will be unsupported.
    pub fn new(max_pixels: u64) -> Self {
        Self { sps: BTreeMap::new(), pps: BTreeMap::new(), max_pixels }
    }

    /// Takes an SPS; a repetition changes nothing, different content makes its PPSs to be read again.
    pub fn put_sps(&mut self, rbsp: &[u8]) -> Result<()> {
        let sps = Sps::parse(rbsp)?;
        let id = sps.seq_parameter_set_id;
        if self.sps.get(&id).is_some_and(|known| **known == sps) {
            return Ok(());
        }
        self.pps.values_mut().filter(|pps| pps.seq_parameter_set_id == id).for_each(|pps| pps.parsed = None);
        self.sps.insert(id, Arc::new(sps));
        Ok(())
    }

    /// Takes a PPS without reading more than its ids.
    pub fn put_pps(&mut self, rbsp: &[u8]) -> Result<()> {
        let (id, seq_parameter_set_id) = Pps::parse_ids(rbsp)?;
        if rbsp.len() > MAX_PPS_BYTES {
            return Err(Error::unsupported("pic_parameter_set_rbsp (longer than 16384 bytes)", 0));
        }
        if !self.pps.get(&id).is_some_and(|known| known.rbsp == rbsp) {
            self.pps.insert(id, StoredPps { rbsp: rbsp.to_vec(), seq_parameter_set_id, parsed: None });
        }
        Ok(())
    }

    /// Whether data partitioning may occur; elsewhere its NAL units are damage.
    pub fn has_extended_profile(&self) -> bool {
        self.sps.values().any(|sps| sps.is_extended_profile())
    }

    /// The PPS of a slice and the SPS behind it.
    pub fn get(&mut self, pic_parameter_set_id: u8) -> Result<(Arc<Sps>, Arc<Pps>)> {
        let missing = |element| Error::invalid(element, 0);
        let stored = self
            .pps
            .get_mut(&pic_parameter_set_id)
            .ok_or(missing("pic_parameter_set_id (no such picture parameter set)"))?;
        let sps = self
            .sps
            .get(&stored.seq_parameter_set_id)
            .ok_or(missing("seq_parameter_set_id (no such sequence parameter set)"))?;
        sps.check_supported(self.max_pixels)?;
        let pps = match &stored.parsed {
            Some(pps) => Arc::clone(pps),
            None => {
                let pps = Arc::new(Pps::parse(&stored.rbsp, sps).map_err(seen_from_slice)?);
                stored.parsed = Some(Arc::clone(&pps));
                pps
            }
        };
        Ok((Arc::clone(sps), pps))
    }
}

/// A PPS is read when the first slice names it: its bit offsets would point into the wrong NAL unit.
fn seen_from_slice(error: Error) -> Error {
    match error.kind {
        ErrorKind::Unsupported => Error { bit_offset: 0, ..error },
        ErrorKind::Invalid => Error::invalid("pic_parameter_set_id (damaged picture parameter set)", 0),
    }
}
