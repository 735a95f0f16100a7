//! Parameter sets of one stream: kept as they arrive, joined when a slice names them.

use std::{collections::BTreeMap, sync::Arc};

use super::{geometry::Geometry, pps::Pps, sps::Sps};
use crate::error::{Error, Result};

/// An SPS, a PPS and the order of blocks that follows from both.
#[derive(Clone, Debug)]
pub struct ActiveSets {
    /// Sequence parameter set.
    pub sps: Arc<Sps>,
    /// Picture parameter set.
    pub pps: Arc<Pps>,
    /// Order of coding tree blocks.
    pub geometry: Arc<Geometry>,
}

/// All parameter sets that a stream has sent.
#[derive(Debug)]
pub struct ParameterSets {
    sps: BTreeMap<u8, Arc<Sps>>,
    pps: BTreeMap<u8, Arc<Pps>>,
    max_pixels: u64,
    /// The pair that was used last.
    active: Option<ActiveSets>,
}

impl ParameterSets {
    /// No sets yet; sequences of more than `max_pixels` luma samples will be unsupported.
    pub fn new(max_pixels: u64) -> Self {
        Self { sps: BTreeMap::new(), pps: BTreeMap::new(), max_pixels, active: None }
    }

    /// Takes an SPS; a repetition changes nothing.
    pub fn put_sps(&mut self, rbsp: &[u8]) -> Result<()> {
        let sps = Sps::parse(rbsp)?;
        let id = sps.seq_parameter_set_id;
        if !self.sps.get(&id).is_some_and(|known| **known == sps) {
            self.sps.insert(id, Arc::new(sps));
        }
        Ok(())
    }

    /// Takes a PPS; a repetition changes nothing.
    pub fn put_pps(&mut self, rbsp: &[u8]) -> Result<()> {
        let pps = Pps::parse(rbsp)?;
        let id = pps.pic_parameter_set_id;
        if !self.pps.get(&id).is_some_and(|known| **known == pps) {
            self.pps.insert(id, Arc::new(pps));
        }
        Ok(())
    }

    /// The sets of a slice.
    pub fn get(&mut self, pic_parameter_set_id: u8) -> Result<ActiveSets> {
        let missing = |element| Error::invalid(element, 0);
        let pps = self
            .pps
            .get(&pic_parameter_set_id)
            .ok_or(missing("slice_pic_parameter_set_id (no such picture parameter set)"))?;
        let sps = self
            .sps
            .get(&pps.seq_parameter_set_id)
            .ok_or(missing("pps_seq_parameter_set_id (no such sequence parameter set)"))?;
        if let Some(active) = &self.active {
            if Arc::ptr_eq(&active.sps, sps) && Arc::ptr_eq(&active.pps, pps) {
                return Ok(active.clone());
            }
        }
        sps.check_supported(self.max_pixels)?;
        pps.check_supported()?;
        check_together(sps, pps)?;
        let geometry = Arc::new(Geometry::new(sps, pps)?);
        let active = ActiveSets { sps: Arc::clone(sps), pps: Arc::clone(pps), geometry };
        self.active = Some(active.clone());
        Ok(active)
    }
}

/// Limits of a PPS that depend on its SPS (7.4.3.3).
fn check_together(sps: &Sps, pps: &Pps) -> Result<()> {
    let invalid = |element| Err(Error::invalid(element, 0));
    let deepest = sps.log2_ctb - sps.log2_min_cb;
    if pps.diff_cu_qp_delta_depth.is_some_and(|depth| depth > deepest) {
        return invalid("diff_cu_qp_delta_depth");
    }
    if pps.chroma_qp_offset_list.as_ref().is_some_and(|(depth, _)| *depth > deepest) {
        return invalid("diff_cu_chroma_qp_offset_depth");
    }
    if pps.init_qp < -sps.qp_bd_offset(false) {
        return invalid("init_qp_minus26");
    }
    if pps.log2_parallel_merge_level > sps.log2_ctb {
        return invalid("log2_parallel_merge_level_minus2");
    }
    Ok(())
}
