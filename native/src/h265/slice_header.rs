//! Slice segment header (H.265 7.3.6). Raw values keep the names of the specification.

use super::{
    nal_type::NalHeader,
    param_sets::{ActiveSets, ParameterSets},
    pps::Pps,
    ref_pic_set::{ShortTermSet, MAX_REFERENCES},
    sps::Sps,
};
use crate::{bits::BitReader, error::Result, unit::SliceType};

/// A long-term picture that a slice names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongTerm {
    /// PocLsbLt: low bits of its order count.
    pub poc_lsb: u32,
    /// DeltaPocMsbCycleLt, when the high bits are sent as well.
    pub delta_poc_msb_cycle: Option<u32>,
    /// UsedByCurrPicLt
    pub used: bool,
}

/// What slice data needs from the slice segment header, and what the picture management needs.
#[derive(Clone, Debug, Default)]
pub struct SliceHeader {
    /// Of this segment.
    pub first_slice_segment_in_pic_flag: bool,
    /// 0..=63
    pub slice_pic_parameter_set_id: u8,
    /// The segment goes on with the header of the slice before.
    pub dependent_slice_segment_flag: bool,
    /// Address of its first coding tree block in raster scan.
    pub slice_segment_address: u32,
    /// SliceAddrRs: that of the slice it belongs to.
    pub slice_address: u32,
    /// P, B or I.
    pub slice_type: SliceType,
    /// The picture is put out, not only referred to.
    pub pic_output_flag: bool,
    /// Low bits of the order count.
    pub slice_pic_order_cnt_lsb: u32,
    /// Which short-term pictures stay.
    pub short_term: ShortTermSet,
    /// Which long-term pictures stay.
    pub long_term: Vec<LongTerm>,
    /// Motion of other pictures may predict.
    pub slice_temporal_mvp_enabled_flag: bool,
    /// Offsets are coded, of luma and of chroma.
    pub sao: [bool; 2],
    /// num_ref_idx_l0_active_minus1 + 1, and of list 1; 0 where the slice has no such list.
    pub num_ref_idx_active: [u32; 2],
    /// Of explicit weights.
    pub luma_log2_weight_denom: u8,
    /// LumaWeight and luma_offset by list and reference index; empty without explicit weights.
    pub luma_weights: [Vec<(i32, i32)>; 2],
    /// list_entry_l0, list_entry_l1
    pub list_entries: [Option<Vec<u8>>; 2],
    /// Differences in list 1 are left out where both lists are used.
    pub mvd_l1_zero_flag: bool,
    /// Swaps the initial contexts of P and B.
    pub cabac_init_flag: bool,
    /// Which list holds the co-located picture.
    pub collocated_from_l0_flag: bool,
    /// Its index there.
    pub collocated_ref_idx: u32,
    /// MaxNumMergeCand
    pub max_num_merge_cand: u32,
    /// SliceQpY
    pub slice_qp: i32,
    /// slice_cb_qp_offset, slice_cr_qp_offset
    pub chroma_qp_offsets: [i32; 2],
    /// Units choose from the offset list of the PPS.
    pub cu_chroma_qp_offset_enabled_flag: bool,
    /// The deblocking filter is off in this slice.
    pub slice_deblocking_filter_disabled_flag: bool,
    /// Where slice_segment_data() starts, in bytes from the start of the RBSP.
    pub slice_data_offset: usize,
}

/// A slice segment header with the parameter sets that it names.
pub struct ParsedSlice {
    /// The header.
    pub header: SliceHeader,
    /// Parameter sets of the slice.
    pub sets: ActiveSets,
}

impl SliceHeader {
    /// Reads slice_segment_header(); `before` is the header of the previous segment of the same picture.
    ///
    /// # Errors
    /// `Unsupported` when the sequence needs what the parser does not have, `Invalid` for anything out of range
    /// and for parameter sets that never came.
    // H.265 7.3.6.1
    pub fn parse(
        nal: NalHeader,
        rbsp: &[u8],
        known: &mut ParameterSets,
        before: Option<&Self>,
    ) -> Result<ParsedSlice> {
        let r = &mut BitReader::new(rbsp);
        let first_slice_segment_in_pic_flag = r.flag("first_slice_segment_in_pic_flag")?;
        if nal.is_irap() {
            r.flag("no_output_of_prior_pics_flag")?;
        }
        let slice_pic_parameter_set_id = r.ue_max(63, "slice_pic_parameter_set_id")? as u8;
        let sets = known.get(slice_pic_parameter_set_id)?;
        let (sps, pps) = (&*sets.sps, &*sets.pps);
        let mut dependent_slice_segment_flag = false;
        let mut slice_segment_address = 0;
        if !first_slice_segment_in_pic_flag {
            if pps.dependent_slice_segments_enabled_flag {
                dependent_slice_segment_flag = r.flag("dependent_slice_segment_flag")?;
            }
            let count = sets.geometry.count() as u32;
            slice_segment_address = r.u(ceil_log2(count), "slice_segment_address")?;
            if slice_segment_address == 0 || slice_segment_address >= count {
                return Err(r.invalid("slice_segment_address"));
            }
        }
        let mut header = if dependent_slice_segment_flag {
            before.cloned().ok_or_else(|| r.invalid("dependent_slice_segment_flag (no slice before)"))?
        } else {
            Self { slice_address: slice_segment_address, ..Self::default() }
        };
        header.first_slice_segment_in_pic_flag = first_slice_segment_in_pic_flag;
        header.slice_pic_parameter_set_id = slice_pic_parameter_set_id;
        header.dependent_slice_segment_flag = dependent_slice_segment_flag;
        header.slice_segment_address = slice_segment_address;
        if !dependent_slice_segment_flag {
            header.read_picture(r, nal, sps, pps)?;
            if header.slice_type != SliceType::I {
                header.read_inter(r, sps, pps)?;
            }
            header.read_coding(r, sps, pps)?;
        }
        skip_entry_points(r, pps)?;
        header.slice_data_offset = byte_alignment(r)?;
        Ok(ParsedSlice { header, sets })
    }

    /// slice_reserved_flag up to the slice_sao flags.
    fn read_picture(&mut self, r: &mut BitReader<'_>, nal: NalHeader, sps: &Sps, pps: &Pps) -> Result<()> {
        r.u(pps.num_extra_slice_header_bits, "slice_reserved_flag")?;
        self.slice_type = match r.ue_max(2, "slice_type")? {
            0 => SliceType::B,
            1 => SliceType::P,
            _ => SliceType::I,
        };
        self.pic_output_flag = !pps.output_flag_present_flag || r.flag("pic_output_flag")?;
        if !nal.is_idr() {
            self.slice_pic_order_cnt_lsb = r.u(sps.log2_max_pic_order_cnt_lsb, "slice_pic_order_cnt_lsb")?;
            self.read_short_term(r, sps)?;
            if sps.long_term_ref_pics_present_flag {
                self.read_long_term(r, sps)?;
            }
            if self.short_term.len() + self.long_term.len() > MAX_REFERENCES {
                return Err(r.invalid("slice_segment_header (too many reference pictures)"));
            }
            if sps.sps_temporal_mvp_enabled_flag {
                self.slice_temporal_mvp_enabled_flag = r.flag("slice_temporal_mvp_enabled_flag")?;
            }
        }
        if sps.sample_adaptive_offset_enabled_flag {
            self.sao[0] = r.flag("slice_sao_luma_flag")?;
            if sps.chroma_array_type() != 0 {
                self.sao[1] = r.flag("slice_sao_chroma_flag")?;
            }
        }
        Ok(())
    }

    fn read_short_term(&mut self, r: &mut BitReader<'_>, sps: &Sps) -> Result<()> {
        if !r.flag("short_term_ref_pic_set_sps_flag")? {
            self.short_term = ShortTermSet::parse(r, &sps.short_term_sets, true)?;
            return Ok(());
        }
        let count = sps.short_term_sets.len() as u32;
        let index = r.u(ceil_log2(count.max(1)), "short_term_ref_pic_set_idx")? as usize;
        let set = sps.short_term_sets.get(index);
        self.short_term = set.ok_or_else(|| r.invalid("short_term_ref_pic_set_idx"))?.clone();
        Ok(())
    }

    fn read_long_term(&mut self, r: &mut BitReader<'_>, sps: &Sps) -> Result<()> {
        let in_sps = sps.long_term.len() as u32;
        let num_long_term_sps = if in_sps > 0 { r.ue_max(in_sps, "num_long_term_sps")? } else { 0 };
        let most = (MAX_REFERENCES as u32).max(num_long_term_sps);
        let count = num_long_term_sps + r.ue_max(most - num_long_term_sps, "num_long_term_pics")?;
        let mut cycle = 0;
        for index in 0..count {
            let (poc_lsb, used) = if index < num_long_term_sps {
                let lt_idx_sps = r.u(ceil_log2(in_sps), "lt_idx_sps")? as usize;
                *sps.long_term.get(lt_idx_sps).ok_or_else(|| r.invalid("lt_idx_sps"))?
            } else {
                let lsb = r.u(sps.log2_max_pic_order_cnt_lsb, "poc_lsb_lt")?;
                (lsb, r.flag("used_by_curr_pic_lt_flag")?)
            };
            // 7.4.7.1, (7-52): counts on from the picture before, apart for both kinds.
            if index == num_long_term_sps {
                cycle = 0;
            }
            let present = r.flag("delta_poc_msb_present_flag")?;
            if present {
                cycle += r.ue_max(1 << 24, "delta_poc_msb_cycle_lt")?;
            }
            let delta_poc_msb_cycle = present.then_some(cycle);
            self.long_term.push(LongTerm { poc_lsb, delta_poc_msb_cycle, used });
        }
        Ok(())
    }

    /// num_ref_idx_active_override_flag up to five_minus_max_num_merge_cand.
    fn read_inter(&mut self, r: &mut BitReader<'_>, sps: &Sps, pps: &Pps) -> Result<()> {
        let is_b = self.slice_type == SliceType::B;
        let lists = if is_b { 2 } else { 1 };
        let overridden = r.flag("num_ref_idx_active_override_flag")?;
        for list in 0..lists {
            self.num_ref_idx_active[list] = match overridden {
                true => r.ue_max(14, "num_ref_idx_l0_active_minus1, num_ref_idx_l1_active_minus1")? + 1,
                false => pps.num_ref_idx_default_active[list],
            };
        }
        let total = self.num_pic_total_curr();
        if total == 0 {
            return Err(r.invalid("slice_type (P or B without reference pictures)"));
        }
        if pps.lists_modification_present_flag && total > 1 {
            for list in 0..lists {
                if r.flag("ref_pic_list_modification_flag")? {
                    self.list_entries[list] = Some(self.read_list_entries(r, list, total)?);
                }
            }
        }
        if is_b {
            self.mvd_l1_zero_flag = r.flag("mvd_l1_zero_flag")?;
        }
        if pps.cabac_init_present_flag {
            self.cabac_init_flag = r.flag("cabac_init_flag")?;
        }
        self.collocated_from_l0_flag = true;
        if self.slice_temporal_mvp_enabled_flag {
            if is_b {
                self.collocated_from_l0_flag = r.flag("collocated_from_l0_flag")?;
            }
            let active = self.num_ref_idx_active[usize::from(!self.collocated_from_l0_flag)];
            if active > 1 {
                self.collocated_ref_idx = r.ue_max(active - 1, "collocated_ref_idx")?;
            }
        }
        if (pps.weighted_pred_flag && !is_b) || (pps.weighted_bipred_flag && is_b) {
            self.read_pred_weight_table(r, sps)?;
        }
        self.max_num_merge_cand = 5 - r.ue_max(4, "five_minus_max_num_merge_cand")?;
        Ok(())
    }

    fn read_list_entries(&self, r: &mut BitReader<'_>, list: usize, total: u32) -> Result<Vec<u8>> {
        let mut entries = Vec::new();
        for _ in 0..self.num_ref_idx_active[list] {
            let entry = r.u(ceil_log2(total), "list_entry_l0, list_entry_l1")?;
            if entry >= total {
                return Err(r.invalid("list_entry_l0, list_entry_l1"));
            }
            entries.push(entry as u8);
        }
        Ok(entries)
    }

    /// pred_weight_table() (7.3.6.3): of luma the weights, of chroma the syntax.
    fn read_pred_weight_table(&mut self, r: &mut BitReader<'_>, sps: &Sps) -> Result<()> {
        let chroma = sps.chroma_array_type() != 0;
        let half_range = |depth: u8| match sps.range.high_precision_offsets {
            true => 1 << (depth - 1),
            false => 128,
        };
        let [luma_half, chroma_half] = sps.bit_depth.map(half_range);
        let log2_denominator = r.ue_max(7, "luma_log2_weight_denom")? as i32;
        if chroma {
            let sum = log2_denominator + r.se_in(-7..=7, "delta_chroma_log2_weight_denom")?;
            if !(0..=7).contains(&sum) {
                return Err(r.invalid("delta_chroma_log2_weight_denom"));
            }
        }
        self.luma_log2_weight_denom = log2_denominator as u8;
        for (list, count) in self.num_ref_idx_active.map(|count| count as usize).into_iter().enumerate() {
            let mut flags = [[false; 2]; 16];
            for plane in 0..if chroma { 2 } else { 1 } {
                for flag in flags.iter_mut().take(count) {
                    flag[plane] = r.flag("luma_weight_l0_flag, chroma_weight_l0_flag")?;
                }
            }
            for [luma_weighted, chroma_weighted] in flags.into_iter().take(count) {
                let mut luma = (1 << log2_denominator, 0);
                if luma_weighted {
                    luma.0 += r.se_in(-128..=127, "delta_luma_weight_l0")?;
                    luma.1 = r.se_in(-luma_half..=luma_half - 1, "luma_offset_l0")?;
                }
                self.luma_weights[list].push(luma);
                if chroma_weighted {
                    for _ in 0..2 {
                        r.se_in(-128..=127, "delta_chroma_weight_l0")?;
                        r.se_in(-4 * chroma_half..=4 * chroma_half - 1, "delta_chroma_offset_l0")?;
                    }
                }
            }
        }
        Ok(())
    }

    /// slice_qp_delta up to slice_loop_filter_across_slices_enabled_flag.
    fn read_coding(&mut self, r: &mut BitReader<'_>, sps: &Sps, pps: &Pps) -> Result<()> {
        self.slice_qp = pps.init_qp + r.se_in(-128..=128, "slice_qp_delta")?;
        if !(-sps.qp_bd_offset(false)..=51).contains(&self.slice_qp) {
            return Err(r.invalid("slice_qp_delta"));
        }
        if pps.pps_slice_chroma_qp_offsets_present_flag {
            for offset in &mut self.chroma_qp_offsets {
                *offset = r.se_in(-12..=12, "slice_cb_qp_offset, slice_cr_qp_offset")?;
            }
        }
        if pps.chroma_qp_offset_list.is_some() {
            self.cu_chroma_qp_offset_enabled_flag = r.flag("cu_chroma_qp_offset_enabled_flag")?;
        }
        self.slice_deblocking_filter_disabled_flag = pps.pps_deblocking_filter_disabled_flag;
        if pps.deblocking_filter_override_enabled_flag && r.flag("deblocking_filter_override_flag")? {
            self.slice_deblocking_filter_disabled_flag = r.flag("slice_deblocking_filter_disabled_flag")?;
            if !self.slice_deblocking_filter_disabled_flag {
                r.se_in(-6..=6, "slice_beta_offset_div2")?;
                r.se_in(-6..=6, "slice_tc_offset_div2")?;
            }
        }
        let filtered = self.sao[0] || self.sao[1] || !self.slice_deblocking_filter_disabled_flag;
        if pps.pps_loop_filter_across_slices_enabled_flag && filtered {
            r.flag("slice_loop_filter_across_slices_enabled_flag")?;
        }
        Ok(())
    }

    /// NumPicTotalCurr: pictures that this one may refer to.
    pub fn num_pic_total_curr(&self) -> u32 {
        (self.short_term.used() + self.long_term.iter().filter(|picture| picture.used).count()) as u32
    }
}

/// Entry points tell where substreams start; the arithmetic decoder gets there by itself.
fn skip_entry_points(r: &mut BitReader<'_>, pps: &Pps) -> Result<()> {
    if pps.tiles.is_some() || pps.entropy_coding_sync_enabled_flag {
        // Each tile and each row of each tile can be an entry point, 22 * 135 of them in level 6.2.
        let num_entry_point_offsets = r.ue_max(1 << 16, "num_entry_point_offsets")?;
        if num_entry_point_offsets > 0 {
            let bits = r.ue_max(31, "offset_len_minus1")? + 1;
            for _ in 0..num_entry_point_offsets {
                r.u(bits, "entry_point_offset_minus1")?;
            }
        }
    }
    if pps.slice_segment_header_extension_present_flag {
        for _ in 0..r.ue_max(256, "slice_segment_header_extension_length")? {
            r.u(8, "slice_segment_header_extension_data_byte")?;
        }
    }
    Ok(())
}

/// byte_alignment() (7.3.2.5); returns the byte behind it.
fn byte_alignment(r: &mut BitReader<'_>) -> Result<usize> {
    let one = r.flag("alignment_bit_equal_to_one")?;
    let rest = (8 - r.bit_offset() % 8) % 8;
    if !one || r.u(rest as u32, "alignment_bit_equal_to_zero")? != 0 {
        return Err(r.invalid("byte_alignment"));
    }
    Ok(r.bit_offset() / 8)
}

/// Ceil(Log2(n)) for n of at least 1.
fn ceil_log2(n: u32) -> u32 {
    32 - (n - 1).leading_zeros()
}
