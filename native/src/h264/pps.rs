//! Picture parameter set (H.264 7.3.2.2). Raw values keep the names of the specification.

use super::{
    scaling::ScalingLists,
    slice_groups::SliceGroups,
    sps::{ScalingLists8x8, Sps},
};
use crate::{bits::BitReader, error::Result};

/// Picture parameter set as far as metadata needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pps {
    /// 0..=255
    pub pic_parameter_set_id: u8,
    /// 0..=31
    pub seq_parameter_set_id: u8,
    /// false: CAVLC, true: CABAC
    pub entropy_coding_mode_flag: bool,
    /// delta_pic_order_cnt_bottom and friends are present in slice headers.
    pub bottom_field_pic_order_in_frame_present_flag: bool,
    /// More than 0 is flexible macroblock ordering.
    pub num_slice_groups_minus1: u8,
    /// Where the slice groups lie.
    pub slice_groups: Option<SliceGroups>,
    /// Default length of the lists, minus one.
    pub num_ref_idx_default_active_minus1: [u8; 2],
    /// Explicit weighting in P slices.
    pub weighted_pred_flag: bool,
    /// 0 default, 1 explicit, 2 implicit
    pub weighted_bipred_idc: u8,
    /// Initial QP minus 26.
    pub pic_init_qp_minus26: i8,
    /// Initial QS minus 26 (SP and SI).
    pub pic_init_qs_minus26: i8,
    /// Chroma QP offset (Cb).
    pub chroma_qp_index_offset: i8,
    /// Chroma QP offset (Cr); equals the first when absent.
    pub second_chroma_qp_index_offset: i8,
    /// Deblocking syntax present in slice headers.
    pub deblocking_filter_control_present_flag: bool,
    /// Intra uses intra neighbours only.
    pub constrained_intra_pred_flag: bool,
    /// redundant_pic_cnt present in slice headers.
    pub redundant_pic_cnt_present_flag: bool,
    /// 8x8 transform allowed.
    pub transform_8x8_mode_flag: bool,
    /// Effective scaling lists after SPS and PPS fall-back rules (zig-zag order).
    pub scaling_list_4x4: [[u8; 16]; 6],
    /// Effective 8x8 lists (zig-zag order): 0 intra Y, 1 inter Y.
    pub scaling_list_8x8: ScalingLists8x8,
}

impl Pps {
    /// The two ids alone: what is needed to keep a PPS whose SPS has not arrived yet.
    pub fn parse_ids(rbsp: &[u8]) -> Result<(u8, u8)> {
        let r = &mut BitReader::new(rbsp);
        Ok((r.ue_max(255, "pic_parameter_set_id")? as u8, r.ue_max(31, "seq_parameter_set_id")? as u8))
    }

    /// Reads pic_parameter_set_rbsp() against the SPS it names.
    // H.264 7.3.2.2
    pub fn parse(rbsp: &[u8], sps: &Sps) -> Result<Self> {
        let r = &mut BitReader::new(rbsp);
        let mut pps = Self {
            pic_parameter_set_id: r.ue_max(255, "pic_parameter_set_id")? as u8,
            seq_parameter_set_id: r.ue_max(31, "seq_parameter_set_id")? as u8,
            entropy_coding_mode_flag: r.flag("entropy_coding_mode_flag")?,
            bottom_field_pic_order_in_frame_present_flag: r
                .flag("bottom_field_pic_order_in_frame_present_flag")?,
            num_slice_groups_minus1: r.ue_max(7, "num_slice_groups_minus1")? as u8,
            scaling_list_4x4: sps.scaling_list_4x4,
            scaling_list_8x8: sps.scaling_list_8x8.clone(),
            ..Self::default()
        };
        if pps.num_slice_groups_minus1 > 0 {
            pps.slice_groups = Some(SliceGroups::read(r, pps.num_slice_groups_minus1, sps)?);
        }
        for count in &mut pps.num_ref_idx_default_active_minus1 {
            *count = r.ue_max(31, "num_ref_idx_default_active_minus1")? as u8;
        }
        pps.weighted_pred_flag = r.flag("weighted_pred_flag")?;
        pps.weighted_bipred_idc = r.u(2, "weighted_bipred_idc")? as u8;
        if pps.weighted_bipred_idc == 3 {
            return Err(r.invalid("weighted_bipred_idc"));
        }
        let qp_bd_offset = 6 * i32::from(sps.bit_depth_luma_minus8);
        pps.pic_init_qp_minus26 = r.se_in(-26 - qp_bd_offset..=25, "pic_init_qp_minus26")? as i8;
        pps.pic_init_qs_minus26 = r.se_in(-26..=25, "pic_init_qs_minus26")? as i8;
        pps.chroma_qp_index_offset = r.se_in(-12..=12, "chroma_qp_index_offset")? as i8;
        pps.second_chroma_qp_index_offset = pps.chroma_qp_index_offset;
        pps.deblocking_filter_control_present_flag = r.flag("deblocking_filter_control_present_flag")?;
        pps.constrained_intra_pred_flag = r.flag("constrained_intra_pred_flag")?;
        pps.redundant_pic_cnt_present_flag = r.flag("redundant_pic_cnt_present_flag")?;
        if r.more_rbsp_data() {
            pps.read_extension(r, sps)?;
        }
        Ok(pps)
    }

    fn read_extension(&mut self, r: &mut BitReader<'_>, sps: &Sps) -> Result<()> {
        self.transform_8x8_mode_flag = r.flag("transform_8x8_mode_flag")?;
        if r.flag("pic_scaling_matrix_present_flag")? {
            // Fall-back rule B starts from the lists of the SPS, rule A from the default matrices.
            let fall_back = if sps.seq_scaling_matrix_present_flag {
                ScalingLists { lists_4x4: sps.scaling_list_4x4, lists_8x8: sps.scaling_list_8x8.clone() }
            } else {
                ScalingLists::default_matrices()
            };
            let count_8x8 = if self.transform_8x8_mode_flag { sps.scaling_lists_8x8() } else { 0 };
            let lists = ScalingLists::read(r, count_8x8, &fall_back)?;
            self.scaling_list_4x4 = lists.lists_4x4;
            self.scaling_list_8x8 = lists.lists_8x8;
        }
        self.second_chroma_qp_index_offset = r.se_in(-12..=12, "second_chroma_qp_index_offset")? as i8;
        Ok(())
    }
}
