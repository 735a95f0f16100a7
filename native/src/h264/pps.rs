//! Picture parameter set (H.264 7.3.2.2). Raw values keep the names of the specification.

use super::sps::ScalingLists8x8;

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
    /// More than 0 is FMO.
    pub num_slice_groups_minus1: u8,
    /// Default length of the lists, minus one.
    pub num_ref_idx_default_active_minus1: [u8; 2],
    /// Explicit weighting in P slices.
    pub weighted_pred_flag: bool,
    /// 0 default, 1 explicit, 2 implicit
    pub weighted_bipred_idc: u8,
    /// Initial QP minus 26.
    pub pic_init_qp_minus26: i8,
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
