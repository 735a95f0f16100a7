//! Sequence parameter set (H.264 7.3.2.1.1). Raw values keep the names of the specification.

/// Sequence parameter set as far as metadata needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sps {
    /// 0..=31
    pub seq_parameter_set_id: u8,
    /// Profile, H.264 Annex A.
    pub profile_idc: u8,
    /// constraint_set0_flag is bit 7.
    pub constraint_set_flags: u8,
    /// Level times ten.
    pub level_idc: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4
    pub chroma_format_idc: u8,
    /// Three separate colour planes (4:4:4 only).
    pub separate_colour_plane_flag: bool,
    /// Luma bit depth minus eight.
    pub bit_depth_luma_minus8: u8,
    /// Chroma bit depth minus eight.
    pub bit_depth_chroma_minus8: u8,
    /// Lossless at QP' 0.
    pub qpprime_y_zero_transform_bypass_flag: bool,
    /// Scaling lists after the fall-back rules A (7.4.2.1.1.1): 6 lists of 16 (zig-zag order); flat 16 when absent.
    pub scaling_list_4x4: [[u8; 16]; 6],
    /// 6 lists of 64 (zig-zag order); only the first 2 are used when chroma_format_idc != 3.
    pub scaling_list_8x8: ScalingLists8x8,
    /// Whether the sequence carries its own matrix (decides the PPS fall-back rule).
    pub seq_scaling_matrix_present_flag: bool,
    /// log2 of MaxFrameNum minus four.
    pub log2_max_frame_num_minus4: u8,
    /// 0, 1 or 2
    pub pic_order_cnt_type: u8,
    /// For pic_order_cnt_type 0.
    pub log2_max_pic_order_cnt_lsb_minus4: u8,
    /// For pic_order_cnt_type 1.
    pub delta_pic_order_always_zero_flag: bool,
    /// For pic_order_cnt_type 1.
    pub offset_for_non_ref_pic: i32,
    /// For pic_order_cnt_type 1.
    pub offset_for_top_to_bottom_field: i32,
    /// For pic_order_cnt_type 1; at most 255 entries.
    pub offset_for_ref_frame: Vec<i32>,
    /// Size of the reference buffer in frames.
    pub max_num_ref_frames: u8,
    /// Gaps in frame_num are allowed.
    pub gaps_in_frame_num_value_allowed_flag: bool,
    /// Width in macroblocks minus one.
    pub pic_width_in_mbs_minus1: u16,
    /// Height in map units minus one.
    pub pic_height_in_map_units_minus1: u16,
    /// Progressive only.
    pub frame_mbs_only_flag: bool,
    /// MBAFF allowed.
    pub mb_adaptive_frame_field_flag: bool,
    /// How direct motion is inferred.
    pub direct_8x8_inference_flag: bool,
    /// Cropping in crop units: left, right, top, bottom.
    pub frame_crop_offsets: [u16; 4],
}

/// Six 8x8 scaling lists (an own type because arrays of 64 have no `Default`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingLists8x8(pub [[u8; 64]; 6]);

impl Default for ScalingLists8x8 {
    fn default() -> Self {
        Self([[16; 64]; 6])
    }
}
