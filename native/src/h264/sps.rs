//! Sequence parameter set (H.264 7.3.2.1.1). Raw values keep the names of the specification.

use super::{scaling::ScalingLists, vui::Vui};
use crate::{
    bits::BitReader,
    error::{Error, Result},
};

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
    /// Video usability information, as far as it could be read.
    pub vui: Vui,
}

impl Sps {
    /// Reads seq_parameter_set_data(); whether the parser handles what it says is for
    /// [`Sps::check_supported`] to answer, when a picture uses it.
    // H.264 7.3.2.1.1
    pub fn parse(rbsp: &[u8]) -> Result<Self> {
        let r = &mut BitReader::new(rbsp);
        let mut sps = Self {
            profile_idc: r.u(8, "profile_idc")? as u8,
            constraint_set_flags: r.u(8, "constraint_set_flags")? as u8,
            level_idc: r.u(8, "level_idc")? as u8,
            seq_parameter_set_id: r.ue_max(31, "seq_parameter_set_id")? as u8,
            ..Self::default()
        };
        sps.read_format(r)?;
        sps.log2_max_frame_num_minus4 = r.ue_max(12, "log2_max_frame_num_minus4")? as u8;
        sps.read_pic_order_cnt(r)?;
        sps.max_num_ref_frames = r.ue_max(16, "max_num_ref_frames")? as u8;
        sps.gaps_in_frame_num_value_allowed_flag = r.flag("gaps_in_frame_num_value_allowed_flag")?;
        sps.read_size(r)?;
        if r.flag("vui_parameters_present_flag")? {
            sps.vui = Vui::read(r);
        }
        Ok(sps)
    }

    /// Fields that only the profiles of 7.3.2.1.1 carry; the others imply 4:2:0, 8 bit, flat lists.
    fn read_format(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.chroma_format_idc = 1;
        let mut lists = ScalingLists::flat();
        if HIGH_PROFILES.contains(&self.profile_idc) {
            self.chroma_format_idc = r.ue_max(3, "chroma_format_idc")? as u8;
            if self.chroma_format_idc == 3 {
                self.separate_colour_plane_flag = r.flag("separate_colour_plane_flag")?;
            }
            self.bit_depth_luma_minus8 = r.ue_max(6, "bit_depth_luma_minus8")? as u8;
            self.bit_depth_chroma_minus8 = r.ue_max(6, "bit_depth_chroma_minus8")? as u8;
            self.qpprime_y_zero_transform_bypass_flag = r.flag("qpprime_y_zero_transform_bypass_flag")?;
            self.seq_scaling_matrix_present_flag = r.flag("seq_scaling_matrix_present_flag")?;
            if self.seq_scaling_matrix_present_flag {
                lists = ScalingLists::read(r, self.scaling_lists_8x8(), &ScalingLists::default_matrices())?;
            }
        }
        self.scaling_list_4x4 = lists.lists_4x4;
        self.scaling_list_8x8 = lists.lists_8x8;
        Ok(())
    }

    fn read_pic_order_cnt(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.pic_order_cnt_type = r.ue_max(2, "pic_order_cnt_type")? as u8;
        if self.pic_order_cnt_type == 0 {
            self.log2_max_pic_order_cnt_lsb_minus4 = r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4")? as u8;
        } else if self.pic_order_cnt_type == 1 {
            self.delta_pic_order_always_zero_flag = r.flag("delta_pic_order_always_zero_flag")?;
            self.offset_for_non_ref_pic = r.se("offset_for_non_ref_pic")?;
            self.offset_for_top_to_bottom_field = r.se("offset_for_top_to_bottom_field")?;
            let count = r.ue_max(255, "num_ref_frames_in_pic_order_cnt_cycle")?;
            self.offset_for_ref_frame =
                (0..count).map(|_| r.se("offset_for_ref_frame")).collect::<Result<_>>()?;
        }
        Ok(())
    }

    fn read_size(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.pic_width_in_mbs_minus1 = r.ue_max(MAX_SIDE_MINUS1, "pic_width_in_mbs_minus1")? as u16;
        self.pic_height_in_map_units_minus1 =
            r.ue_max(MAX_SIDE_MINUS1, "pic_height_in_map_units_minus1")? as u16;
        self.frame_mbs_only_flag = r.flag("frame_mbs_only_flag")?;
        if !self.frame_mbs_only_flag {
            self.mb_adaptive_frame_field_flag = r.flag("mb_adaptive_frame_field_flag")?;
        }
        self.direct_8x8_inference_flag = r.flag("direct_8x8_inference_flag")?;
        if r.flag("frame_cropping_flag")? {
            for offset in &mut self.frame_crop_offsets {
                *offset = r.ue_max(u32::from(u16::MAX), "frame_crop_offset")? as u16;
            }
            if self.cropped_size().is_none() {
                return Err(r.invalid("frame_crop_offset"));
            }
        }
        Ok(())
    }

    /// `Unsupported` unless this is of at most `max_pixels` luma samples.
    pub fn check_supported(&self, max_pixels: u64) -> Result<()> {
        let unsupported = |element| Err(Error::unsupported(element, 0));
        if (self.mb_cols() * self.mb_rows()) as u64 * 256 > max_pixels {
            return unsupported("pic_width_in_mbs_minus1 (more than max_pixels)");
        }
        Ok(())
    }

    /// ChromaArrayType: separate colour planes count as monochrome.
    pub fn chroma_array_type(&self) -> u8 {
        if self.separate_colour_plane_flag {
            0
        } else {
            self.chroma_format_idc
        }
    }

    /// QpBdOffset_Y
    pub fn qp_bd_offset_luma(&self) -> u8 {
        6 * self.bit_depth_luma_minus8
    }

    /// Size of the samples of an I_PCM macroblock.
    // H.264 7.3.5
    pub fn pcm_bytes(&self) -> usize {
        let (luma, chroma) =
            (8 + usize::from(self.bit_depth_luma_minus8), 8 + usize::from(self.bit_depth_chroma_minus8));
        let chroma_samples = [0, 128, 256, 512][usize::from(self.chroma_array_type() & 3)];
        (256 * luma + chroma_samples * chroma) / 8
    }

    /// The only profile with SP and SI slices and data partitioning (A.2.3).
    pub fn is_extended_profile(&self) -> bool {
        self.profile_idc == 88
    }

    /// PicWidthInMbs
    pub fn mb_cols(&self) -> usize {
        usize::from(self.pic_width_in_mbs_minus1) + 1
    }

    /// FrameHeightInMbs
    pub fn mb_rows(&self) -> usize {
        let fields = if self.frame_mbs_only_flag { 1 } else { 2 };
        self.map_unit_rows() * fields
    }

    /// PicHeightInMapUnits
    pub fn map_unit_rows(&self) -> usize {
        usize::from(self.pic_height_in_map_units_minus1) + 1
    }

    /// Width and height in luma samples after cropping; `None` when nothing would be left.
    // H.264 7.4.2.1.1, (7-19) to (7-22)
    pub fn cropped_size(&self) -> Option<(u32, u32)> {
        let [left, right, top, bottom] = self.frame_crop_offsets.map(u32::from);
        let unit_x = if matches!(self.chroma_format_idc, 1 | 2) { 2 } else { 1 };
        let unit_y =
            if self.chroma_format_idc == 1 { 2 } else { 1 } * (2 - u32::from(self.frame_mbs_only_flag));
        let width = (self.mb_cols() as u32 * 16).checked_sub(unit_x * (left + right))?;
        let height = (self.mb_rows() as u32 * 16).checked_sub(unit_y * (top + bottom))?;
        (width > 0 && height > 0).then_some((width, height))
    }

    /// Number of 8x8 scaling lists in the bitstream.
    pub fn scaling_lists_8x8(&self) -> usize {
        if self.chroma_format_idc == 3 {
            6
        } else {
            2
        }
    }

    /// MaxFrameNum
    pub fn max_frame_num(&self) -> u32 {
        1 << (self.log2_max_frame_num_minus4 + 4)
    }

    /// MaxPicOrderCntLsb
    pub fn max_pic_order_cnt_lsb(&self) -> i32 {
        1 << (self.log2_max_pic_order_cnt_lsb_minus4 + 4)
    }
}

/// Profiles whose SPS carries chroma_format_idc and scaling matrices.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Far above any level, small enough for 32-bit sizes.
const MAX_SIDE_MINUS1: u32 = (1 << 14) - 1;

/// Six 8x8 scaling lists (an own type because arrays of 64 have no `Default`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingLists8x8(pub [[u8; 64]; 6]);

impl Default for ScalingLists8x8 {
    fn default() -> Self {
        Self([[16; 64]; 6])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1920x1080 High, cropped from 1088, as x264 writes it (up to the VUI).
    fn full_hd() -> Sps {
        Sps {
            chroma_format_idc: 1,
            frame_mbs_only_flag: true,
            pic_width_in_mbs_minus1: 119,
            pic_height_in_map_units_minus1: 67,
            frame_crop_offsets: [0, 0, 0, 4],
            ..Sps::default()
        }
    }

    #[test]
    fn cropping_counts_in_chroma_samples() {
        assert_eq!(full_hd().cropped_size(), Some((1920, 1080)));
        let interlaced = Sps { frame_mbs_only_flag: false, pic_height_in_map_units_minus1: 33, ..full_hd() };
        assert_eq!(Sps { frame_crop_offsets: [0, 0, 0, 2], ..interlaced }.cropped_size(), Some((1920, 1080)));
        assert_eq!(Sps { frame_crop_offsets: [960, 0, 0, 0], ..full_hd() }.cropped_size(), None);
        assert_eq!(Sps { frame_crop_offsets: [u16::MAX; 4], ..full_hd() }.cropped_size(), None);
    }

    #[test]
    fn the_size_is_bounded() {
        assert_eq!(full_hd().check_supported(8_912_896), Ok(()));
        assert!(full_hd().check_supported(1_000_000).unwrap_err().element.contains("max_pixels"));
    }

    #[test]
    fn raw_macroblocks_hold_all_samples() {
        let deep = Sps { chroma_format_idc: 2, bit_depth_luma_minus8: 2, ..full_hd() };
        assert_eq!([full_hd().pcm_bytes(), deep.pcm_bytes()], [384, 320 + 256]);
        let separate = Sps { chroma_format_idc: 3, separate_colour_plane_flag: true, ..full_hd() };
        assert_eq!(separate.pcm_bytes(), 256);
    }
}
