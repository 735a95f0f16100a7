//! Slice header (H.264 7.3.3). Raw values keep the names of the specification.

use super::{param_sets::ParameterSets, pps::Pps, sps::Sps};
use crate::{
    bits::BitReader,
    error::{Error, Result},
    picture::Structure,
    unit::SliceType,
};

/// What slice data needs from the slice header, and what the picture management needs.
#[derive(Clone, Debug, Default)]
pub struct SliceHeader {
    /// Address of the first macroblock.
    pub first_mb_in_slice: u32,
    /// P, B or I.
    pub slice_type: SliceType,
    /// SP (counts as P) or SI (counts as I).
    pub is_switching: bool,
    /// 0..=255
    pub pic_parameter_set_id: u8,
    /// With separate colour planes: 0 Y, 1 Cb, 2 Cr.
    pub colour_plane_id: u8,
    /// Modulo MaxFrameNum.
    pub frame_num: u32,
    /// Frame, or which field (field_pic_flag, bottom_field_flag).
    pub structure: Structure,
    /// MbaffFrameFlag: the macroblocks come in pairs.
    pub mbaff_frame_flag: bool,
    /// From the NAL unit header: nal_unit_type 5.
    pub idr_pic_flag: bool,
    /// From the NAL unit header.
    pub nal_ref_idc: u8,
    /// Of IDR pictures.
    pub idr_pic_id: u16,
    /// For pic_order_cnt_type 0.
    pub pic_order_cnt_lsb: u32,
    /// For pic_order_cnt_type 0.
    pub delta_pic_order_cnt_bottom: i32,
    /// For pic_order_cnt_type 1.
    pub delta_pic_order_cnt: [i32; 2],
    /// More than 0: a redundant slice.
    pub redundant_pic_cnt: u8,
    /// B slices: spatial (true) or temporal direct.
    pub direct_spatial_mv_pred_flag: bool,
    /// Active length of the lists, minus one (0..=31).
    pub num_ref_idx_active_minus1: [u8; 2],
    /// 0..=2 (CABAC, P and B)
    pub cabac_init_idc: u8,
    /// QP of the slice minus the initial QP.
    pub slice_qp_delta: i8,
    /// sp_for_switch_flag
    pub sp_for_switch_flag: bool,
    /// QS of the slice minus the initial QS (SP and SI).
    pub slice_qs_delta: i8,
    /// Explicit prediction weights.
    pub pred_weight_table: PredWeightTable,
    /// 0 on, 1 off, 2 not across slices
    pub disable_deblocking_filter_idc: u8,
    /// FilterOffsetA / 2
    pub slice_alpha_c0_offset_div2: i8,
    /// FilterOffsetB / 2
    pub slice_beta_offset_div2: i8,
    /// Where the changing slice groups are.
    pub slice_group_change_cycle: u32,
    /// Where slice_data() starts, in bits from the start of the RBSP.
    pub slice_data_bit_offset: usize,
    /// Per list: commands that move pictures to its front, in order.
    pub ref_pic_list_modification: [Vec<Modification>; 2],
    /// What happens to the reference pictures after this picture.
    pub dec_ref_pic_marking: DecRefPicMarking,
}

/// pred_weight_table() (H.264 7.3.3.2); empty lists without explicit weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PredWeightTable {
    /// luma_log2_weight_denom, chroma_log2_weight_denom
    pub log2_weight_denom: [u8; 2],
    /// Per list and reference index: weight and offset of Y, Cb, Cr.
    pub weights: [Vec<[(i16, i16); 3]>; 2],
}

/// One command of ref_pic_list_modification() (Table 7-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modification {
    /// abs_diff_pic_num_minus1 + 1 to subtract from (negative) or add to the predicted picture number.
    PicNum(i32),
    /// long_term_pic_num
    LongTerm(u32),
}

/// dec_ref_pic_marking() (H.264 7.3.3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DecRefPicMarking {
    /// IDR: everything before is forgotten; the picture itself becomes long-term on request.
    Idr {
        /// The IDR picture is a long-term reference.
        long_term_reference_flag: bool,
    },
    /// The oldest short-term picture leaves when the buffer is full.
    #[default]
    SlidingWindow,
    /// adaptive_ref_pic_marking_mode_flag 1
    Adaptive(Vec<MemoryManagement>),
}

/// memory_management_control_operation 1 to 6 (Table 7-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryManagement {
    /// 1: forgets a short-term picture.
    ForgetShortTerm {
        /// Distance of picture numbers, minus one.
        difference_of_pic_nums_minus1: u32,
    },
    /// 2: forgets a long-term picture.
    ForgetLongTerm {
        /// Which.
        long_term_pic_num: u32,
    },
    /// 3: makes a short-term picture long-term.
    MakeLongTerm {
        /// Distance of picture numbers, minus one.
        difference_of_pic_nums_minus1: u32,
        /// Its new index.
        long_term_frame_idx: u32,
    },
    /// 4: forgets long-term pictures at and above an index.
    TrimLongTerm {
        /// First index that may not be used any more.
        max_long_term_frame_idx_plus1: u32,
    },
    /// 5: forgets everything and restarts the counters.
    ForgetAll,
    /// 6: makes the current picture long-term.
    MakeCurrentLongTerm {
        /// Its index.
        long_term_frame_idx: u32,
    },
}

/// More commands than this appear in no sane stream; the specification has no plain number.
const MAX_COMMANDS: usize = 66;
/// num_ref_idx_active_minus1 of frames and of fields (7.4.3).
const MAX_REF_IDX: [u32; 2] = [15, 31];

/// A slice header with the parameter sets that it names.
pub struct ParsedSlice {
    /// The header.
    pub header: SliceHeader,
    /// Sequence parameter set of the slice.
    pub sps: std::sync::Arc<Sps>,
    /// Picture parameter set of the slice.
    pub pps: std::sync::Arc<Pps>,
}

impl SliceHeader {
    /// Reads slice_header() of a NAL unit of type 1 or 5.
    ///
    /// # Errors
    /// `Unsupported` when the slice or its sequence needs what the parser does not have, `Invalid` for anything
    /// out of range and for parameter sets that never came.
    // H.264 7.3.3
    pub fn parse(nal_header: u8, rbsp: &[u8], sets: &mut ParameterSets) -> Result<ParsedSlice> {
        let r = &mut BitReader::new(rbsp);
        let mut header = Self {
            idr_pic_flag: nal_header & 0x1f == 5,
            nal_ref_idc: nal_header >> 5 & 3,
            first_mb_in_slice: r.ue("first_mb_in_slice")?,
            ..Self::default()
        };
        let slice_type = r.ue_max(9, "slice_type")? % 5;
        header.pic_parameter_set_id = r.ue_max(255, "pic_parameter_set_id")? as u8;
        let (sps, pps) = sets.get(header.pic_parameter_set_id)?;
        header.slice_type = match slice_type {
            0 => SliceType::P,
            1 => SliceType::B,
            2 => SliceType::I,
            3 if sps.is_extended_profile() => SliceType::P,
            4 if sps.is_extended_profile() => SliceType::I,
            _ => return Err(r.invalid("slice_type")),
        };
        header.is_switching = slice_type > 2;
        header.read_numbers(r, &sps, &pps)?;
        let half = header.structure.is_field() || header.mbaff_frame_flag;
        let rows = sps.mb_rows() >> u32::from(half);
        if header.first_mb_in_slice as usize >= sps.mb_cols() * rows {
            return Err(Error::invalid("first_mb_in_slice", 0));
        }
        header.read_references(r, &sps, &pps)?;
        header.read_coding(r, &sps, &pps)?;
        header.slice_data_bit_offset = r.bit_offset();
        Ok(ParsedSlice { header, sps, pps })
    }

    /// frame_num up to redundant_pic_cnt.
    fn read_numbers(&mut self, r: &mut BitReader<'_>, sps: &Sps, pps: &Pps) -> Result<()> {
        if sps.separate_colour_plane_flag {
            self.colour_plane_id = r.u(2, "colour_plane_id")? as u8;
        }
        self.frame_num = r.u(u32::from(sps.log2_max_frame_num_minus4) + 4, "frame_num")?;
        if !sps.frame_mbs_only_flag {
            self.structure = match (r.flag("field_pic_flag")?, sps.mb_adaptive_frame_field_flag) {
                (true, _) if r.flag("bottom_field_flag")? => Structure::Bottom,
                (true, _) => Structure::Top,
                (false, _) => Structure::Frame,
            };
            self.mbaff_frame_flag = sps.mb_adaptive_frame_field_flag && !self.structure.is_field();
        }
        if self.idr_pic_flag {
            self.idr_pic_id = r.ue_max(65535, "idr_pic_id")? as u16;
        }
        let bottom_present = pps.bottom_field_pic_order_in_frame_present_flag && !self.structure.is_field();
        if sps.pic_order_cnt_type == 0 {
            let bits = u32::from(sps.log2_max_pic_order_cnt_lsb_minus4) + 4;
            self.pic_order_cnt_lsb = r.u(bits, "pic_order_cnt_lsb")?;
            if bottom_present {
                self.delta_pic_order_cnt_bottom = r.se("delta_pic_order_cnt_bottom")?;
            }
        }
        if sps.pic_order_cnt_type == 1 && !sps.delta_pic_order_always_zero_flag {
            self.delta_pic_order_cnt[0] = r.se("delta_pic_order_cnt")?;
            if bottom_present {
                self.delta_pic_order_cnt[1] = r.se("delta_pic_order_cnt")?;
            }
        }
        if pps.redundant_pic_cnt_present_flag {
            self.redundant_pic_cnt = r.ue_max(127, "redundant_pic_cnt")? as u8;
        }
        Ok(())
    }

    /// direct_spatial_mv_pred_flag up to dec_ref_pic_marking().
    fn read_references(&mut self, r: &mut BitReader<'_>, sps: &Sps, pps: &Pps) -> Result<()> {
        let lists = self.lists();
        if self.slice_type == SliceType::B {
            self.direct_spatial_mv_pred_flag = r.flag("direct_spatial_mv_pred_flag")?;
        }
        let max_ref_idx = MAX_REF_IDX[usize::from(self.structure.is_field())];
        if lists > 0 {
            self.num_ref_idx_active_minus1 = pps.num_ref_idx_default_active_minus1;
            if r.flag("num_ref_idx_active_override_flag")? {
                for count in self.num_ref_idx_active_minus1.iter_mut().take(lists) {
                    *count = r.ue_max(max_ref_idx, "num_ref_idx_active_minus1")? as u8;
                }
            }
            if self.num_ref_idx_active_minus1.iter().take(lists).any(|&count| u32::from(count) > max_ref_idx)
            {
                return Err(r.invalid("num_ref_idx_default_active_minus1"));
            }
        }
        for list in self.ref_pic_list_modification.iter_mut().take(lists) {
            *list = read_modification(r)?;
        }
        let weighted = match self.slice_type {
            SliceType::P => pps.weighted_pred_flag,
            SliceType::B => pps.weighted_bipred_idc == 1,
            SliceType::I => false,
        };
        if weighted {
            self.read_pred_weight_table(r, lists, sps.chroma_array_type() != 0)?;
        }
        if self.nal_ref_idc != 0 {
            self.dec_ref_pic_marking = read_marking(r, self.idr_pic_flag)?;
        }
        Ok(())
    }

    /// cabac_init_idc up to slice_group_change_cycle.
    fn read_coding(&mut self, r: &mut BitReader<'_>, sps: &Sps, pps: &Pps) -> Result<()> {
        if pps.entropy_coding_mode_flag && self.slice_type != SliceType::I {
            self.cabac_init_idc = r.ue_max(2, "cabac_init_idc")? as u8;
        }
        let init_qp = 26 + i32::from(pps.pic_init_qp_minus26);
        let lowest = -i32::from(sps.qp_bd_offset_luma()) - init_qp;
        self.slice_qp_delta = r.se_in(lowest..=51 - init_qp, "slice_qp_delta")? as i8;
        if self.is_switching {
            if self.slice_type == SliceType::P {
                self.sp_for_switch_flag = r.flag("sp_for_switch_flag")?;
            }
            self.slice_qs_delta = r.se_in(-51..=51, "slice_qs_delta")? as i8;
        }
        if pps.deblocking_filter_control_present_flag {
            self.disable_deblocking_filter_idc = r.ue_max(2, "disable_deblocking_filter_idc")? as u8;
            if self.disable_deblocking_filter_idc != 1 {
                self.slice_alpha_c0_offset_div2 = r.se_in(-6..=6, "slice_alpha_c0_offset_div2")? as i8;
                self.slice_beta_offset_div2 = r.se_in(-6..=6, "slice_beta_offset_div2")? as i8;
            }
        }
        if let Some(groups) = &pps.slice_groups {
            self.slice_group_change_cycle = groups.read_change_cycle(r, sps)?;
        }
        Ok(())
    }

    /// Raster address of the first macroblock in a picture of `columns` macroblocks a row.
    pub fn first_address(&self, columns: usize) -> usize {
        let first = self.first_mb_in_slice as usize;
        if self.mbaff_frame_flag {
            pair_address(first, columns)
        } else {
            first
        }
    }

    /// Number of reference lists of the slice type.
    pub fn lists(&self) -> usize {
        match self.slice_type {
            SliceType::I => 0,
            SliceType::P => 1,
            SliceType::B => 2,
        }
    }

    // H.264 7.3.3.2
    fn read_pred_weight_table(&mut self, r: &mut BitReader<'_>, lists: usize, chroma: bool) -> Result<()> {
        let luma_denom = r.ue_max(7, "luma_log2_weight_denom")? as u8;
        let chroma_denom = if chroma { r.ue_max(7, "chroma_log2_weight_denom")? as u8 } else { 0 };
        let mut table =
            PredWeightTable { log2_weight_denom: [luma_denom, chroma_denom], ..Default::default() };
        for (list, weights) in table.weights.iter_mut().enumerate().take(lists) {
            for _ in 0..=self.num_ref_idx_active_minus1[list] {
                let mut planes = [luma_denom, chroma_denom, chroma_denom].map(|denom| (1_i16 << denom, 0));
                if r.flag("luma_weight_flag")? {
                    let weight = r.se_in(-128..=127, "luma_weight")? as i16;
                    planes[0] = (weight, r.se_in(-128..=127, "luma_offset")? as i16);
                }
                if chroma && r.flag("chroma_weight_flag")? {
                    for plane in &mut planes[1..] {
                        let weight = r.se_in(-128..=127, "chroma_weight")? as i16;
                        *plane = (weight, r.se_in(-128..=127, "chroma_offset")? as i16);
                    }
                }
                weights.push(planes);
            }
        }
        self.pred_weight_table = table;
        Ok(())
    }

    /// Whether this is the first and `second` the second field of one frame.
    // H.264 3.30, 7.4.1.2.4
    pub fn is_first_of(&self, second: &Self) -> bool {
        self.structure.is_field()
            && second.structure == self.structure.opposite()
            && self.frame_num == second.frame_num
            && !second.idr_pic_flag
            && (self.nal_ref_idc != 0 || second.nal_ref_idc == 0)
    }

    /// Whether two slices belong to different primary coded pictures.
    // H.264 7.4.1.2.4
    pub fn starts_new_picture(&self, previous: &Self) -> bool {
        self.frame_num != previous.frame_num
            || self.structure != previous.structure
            || self.pic_parameter_set_id != previous.pic_parameter_set_id
            || (self.nal_ref_idc == 0) != (previous.nal_ref_idc == 0)
            || self.idr_pic_flag != previous.idr_pic_flag
            || self.idr_pic_id != previous.idr_pic_id
            || self.pic_order_cnt_lsb != previous.pic_order_cnt_lsb
            || self.delta_pic_order_cnt_bottom != previous.delta_pic_order_cnt_bottom
            || self.delta_pic_order_cnt != previous.delta_pic_order_cnt
    }
}

/// Raster address of the upper macroblock of a pair (MBAFF).
pub fn pair_address(pair: usize, columns: usize) -> usize {
    let columns = columns.max(1);
    pair / columns * 2 * columns + pair % columns
}

// H.264 7.3.3.1
fn read_modification(r: &mut BitReader<'_>) -> Result<Vec<Modification>> {
    let mut commands = Vec::new();
    if !r.flag("ref_pic_list_modification_flag")? {
        return Ok(commands);
    }
    loop {
        let command = match r.ue("modification_of_pic_nums_idc")? {
            idc @ (0 | 1) => {
                let difference = r.ue_max((1 << 16) - 1, "abs_diff_pic_num_minus1")? as i32 + 1;
                Modification::PicNum(if idc == 0 { -difference } else { difference })
            }
            2 => Modification::LongTerm(r.ue("long_term_pic_num")?),
            3 => return Ok(commands),
            _ => return Err(r.invalid("modification_of_pic_nums_idc")),
        };
        if commands.len() == MAX_COMMANDS {
            return Err(r.invalid("modification_of_pic_nums_idc"));
        }
        commands.push(command);
    }
}

// H.264 7.3.3.3
fn read_marking(r: &mut BitReader<'_>, idr_pic_flag: bool) -> Result<DecRefPicMarking> {
    if idr_pic_flag {
        r.flag("no_output_of_prior_pics_flag")?;
        let long_term_reference_flag = r.flag("long_term_reference_flag")?;
        return Ok(DecRefPicMarking::Idr { long_term_reference_flag });
    }
    if !r.flag("adaptive_ref_pic_marking_mode_flag")? {
        return Ok(DecRefPicMarking::SlidingWindow);
    }
    let mut commands = Vec::new();
    while let Some(command) = read_memory_management(r)? {
        if commands.len() == MAX_COMMANDS {
            return Err(r.invalid("memory_management_control_operation"));
        }
        commands.push(command);
    }
    Ok(DecRefPicMarking::Adaptive(commands))
}

fn read_memory_management(r: &mut BitReader<'_>) -> Result<Option<MemoryManagement>> {
    const DIFFERENCE: &str = "difference_of_pic_nums_minus1";
    const INDEX: &str = "long_term_frame_idx";
    Ok(Some(match r.ue_max(6, "memory_management_control_operation")? {
        0 => return Ok(None),
        1 => MemoryManagement::ForgetShortTerm {
            difference_of_pic_nums_minus1: r.ue_max((1 << 16) - 1, DIFFERENCE)?,
        },
        2 => MemoryManagement::ForgetLongTerm { long_term_pic_num: r.ue("long_term_pic_num")? },
        3 => MemoryManagement::MakeLongTerm {
            difference_of_pic_nums_minus1: r.ue_max((1 << 16) - 1, DIFFERENCE)?,
            long_term_frame_idx: r.ue_max(15, INDEX)?,
        },
        4 => MemoryManagement::TrimLongTerm {
            max_long_term_frame_idx_plus1: r.ue_max(16, "max_long_term_frame_idx_plus1")?,
        },
        5 => MemoryManagement::ForgetAll,
        _ => MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx: r.ue_max(15, INDEX)? },
    }))
}
