//! Slice header (H.264 7.3.3). Raw values keep the names of the specification.

/// slice_type modulo 5 (Table 7-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SliceType {
    /// Predicted from one list.
    #[default]
    P,
    /// Predicted from two lists.
    B,
    /// Intra only.
    I,
}

/// What slice data needs from the slice header, and what the picture management needs.
#[derive(Clone, Debug, Default)]
pub struct SliceHeader {
    /// Address of the first macroblock.
    pub first_mb_in_slice: u32,
    /// P, B or I (SP and SI are unsupported).
    pub slice_type: SliceType,
    /// 0..=255
    pub pic_parameter_set_id: u8,
    /// Modulo MaxFrameNum.
    pub frame_num: u32,
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
    /// Where slice_data() starts, in bits from the start of the RBSP.
    pub slice_data_bit_offset: usize,
}
