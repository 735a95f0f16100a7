//! Sequence parameter set (H.265 7.3.2.2). Raw values keep the names of the specification.

use super::{
    profile_tier_level::ProfileTierLevel, ref_pic_set::ShortTermSet, scaling::ScalingFactors, vui::Vui,
};
use crate::{
    bits::BitReader,
    error::{Error, Result},
};

/// num_short_term_ref_pic_sets at most (7.4.3.2.1).
const MAX_SHORT_TERM_SETS: u32 = 64;
/// num_long_term_ref_pics_sps at most (7.4.3.2.1).
const MAX_LONG_TERM: u32 = 32;
/// Largest side that the arithmetic here is made for; far above level 6.2.
const MAX_SIDE: u32 = 1 << 15;

/// PCM sample sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcm {
    /// PcmBitDepth of luma and of chroma.
    pub bit_depth: [u8; 2],
    /// Log2MinIpcmCbSizeY
    pub log2_min_size: u32,
    /// Log2MaxIpcmCbSizeY
    pub log2_max_size: u32,
}

/// sps_range_extension() (7.3.2.2.2), as far as it is supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpsRangeExtension {
    /// transform_skip_context_enabled_flag
    pub transform_skip_context: bool,
    /// implicit_rdpcm_enabled_flag
    pub implicit_rdpcm: bool,
    /// explicit_rdpcm_enabled_flag
    pub explicit_rdpcm: bool,
    /// extended_precision_processing_flag
    pub extended_precision: bool,
    /// high_precision_offsets_enabled_flag
    pub high_precision_offsets: bool,
    /// persistent_rice_adaptation_enabled_flag
    pub persistent_rice: bool,
    /// cabac_bypass_alignment_enabled_flag
    pub bypass_alignment: bool,
}

/// What the parser keeps of an SPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sps {
    /// 0..=15
    pub seq_parameter_set_id: u8,
    /// Profile and level.
    pub profile: ProfileTierLevel,
    /// 0: monochrome, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4
    pub chroma_format_idc: u8,
    /// Three monochrome planes coded apart.
    pub separate_colour_plane_flag: bool,
    /// Multiple of the smallest coding block.
    pub pic_width_in_luma_samples: u32,
    /// Multiple of the smallest coding block.
    pub pic_height_in_luma_samples: u32,
    /// Left, right, top, bottom, in chroma samples.
    pub conf_win_offsets: [u32; 4],
    /// Bits per luma and per chroma sample.
    pub bit_depth: [u8; 2],
    /// Bits of slice_pic_order_cnt_lsb.
    pub log2_max_pic_order_cnt_lsb: u32,
    /// MinCbLog2SizeY, 3..=6
    pub log2_min_cb: u32,
    /// CtbLog2SizeY, 4..=6
    pub log2_ctb: u32,
    /// MinTbLog2SizeY, 2..=5
    pub log2_min_tb: u32,
    /// MaxTbLog2SizeY, up to 5
    pub log2_max_tb: u32,
    /// Of inter coding units.
    pub max_transform_hierarchy_depth_inter: u32,
    /// Of intra coding units.
    pub max_transform_hierarchy_depth_intra: u32,
    /// Lists of the sequence, when scaling lists are in use.
    pub scaling: Option<ScalingFactors>,
    /// Asymmetric motion partitions.
    pub amp_enabled_flag: bool,
    /// Sample adaptive offset syntax may be there.
    pub sample_adaptive_offset_enabled_flag: bool,
    /// Raw samples may be there.
    pub pcm: Option<Pcm>,
    /// Sets that slices choose from.
    pub short_term_sets: Vec<ShortTermSet>,
    /// Slices may name long-term pictures.
    pub long_term_ref_pics_present_flag: bool,
    /// Long-term pictures that slices choose from: order count (low bits), used by the current picture.
    pub long_term: Vec<(u32, bool)>,
    /// Motion of other pictures may predict.
    pub sps_temporal_mvp_enabled_flag: bool,
    /// Bilinear smoothing of 32x32 intra blocks.
    pub strong_intra_smoothing_enabled_flag: bool,
    /// Timing.
    pub vui: Vui,
    /// Range extensions.
    pub range: SpsRangeExtension,
    /// Screen content coding, 3D or multilayer syntax in the extensions.
    pub other_extensions: bool,
}

impl Sps {
    /// Reads seq_parameter_set_rbsp() of the base layer.
    pub fn parse(rbsp: &[u8]) -> Result<Self> {
        let r = &mut BitReader::new(rbsp);
        r.u(4, "sps_video_parameter_set_id")?;
        let max_sub_layers_minus1 = r.u(3, "sps_max_sub_layers_minus1")?;
        if max_sub_layers_minus1 > 6 {
            return Err(r.invalid("sps_max_sub_layers_minus1"));
        }
        r.flag("sps_temporal_id_nesting_flag")?;
        let mut sps = Self {
            profile: ProfileTierLevel::parse(r, max_sub_layers_minus1)?,
            seq_parameter_set_id: r.ue_max(15, "sps_seq_parameter_set_id")? as u8,
            ..Self::default()
        };
        sps.read_format(r)?;
        let all_sub_layers = r.flag("sps_sub_layer_ordering_info_present_flag")?;
        for _ in 0..if all_sub_layers { max_sub_layers_minus1 + 1 } else { 1 } {
            r.ue("sps_max_dec_pic_buffering_minus1")?;
            r.ue("sps_max_num_reorder_pics")?;
            r.ue("sps_max_latency_increase_plus1")?;
        }
        sps.read_block_sizes(r)?;
        if r.flag("scaling_list_enabled_flag")? {
            sps.scaling = Some(match r.flag("sps_scaling_list_data_present_flag")? {
                true => ScalingFactors::parse(r)?,
                false => ScalingFactors::default_lists(),
            });
        }
        sps.amp_enabled_flag = r.flag("amp_enabled_flag")?;
        sps.sample_adaptive_offset_enabled_flag = r.flag("sample_adaptive_offset_enabled_flag")?;
        if r.flag("pcm_enabled_flag")? {
            sps.pcm = Some(sps.read_pcm(r)?);
        }
        sps.read_references(r)?;
        sps.strong_intra_smoothing_enabled_flag = r.flag("strong_intra_smoothing_enabled_flag")?;
        if r.flag("vui_parameters_present_flag")? {
            match Vui::parse(r, max_sub_layers_minus1) {
                Ok(vui) => sps.vui = vui,
                // Advice, and often broken: pictures do not need it. What lies behind it is lost.
                Err(_) => return Ok(sps),
            }
        }
        sps.read_extensions(r)?;
        Ok(sps)
    }

    fn read_format(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.chroma_format_idc = r.ue_max(3, "chroma_format_idc")? as u8;
        if self.chroma_format_idc == 3 {
            self.separate_colour_plane_flag = r.flag("separate_colour_plane_flag")?;
        }
        self.pic_width_in_luma_samples = r.ue_max(MAX_SIDE, "pic_width_in_luma_samples")?;
        self.pic_height_in_luma_samples = r.ue_max(MAX_SIDE, "pic_height_in_luma_samples")?;
        if r.flag("conformance_window_flag")? {
            for offset in &mut self.conf_win_offsets {
                *offset = r.ue_max(MAX_SIDE, "conf_win_offset")?;
            }
        }
        for depth in &mut self.bit_depth {
            *depth = r.ue_max(8, "bit_depth_luma_minus8, bit_depth_chroma_minus8")? as u8 + 8;
        }
        self.log2_max_pic_order_cnt_lsb = r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4")? + 4;
        Ok(())
    }

    fn read_block_sizes(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.log2_min_cb = r.ue_max(3, "log2_min_luma_coding_block_size_minus3")? + 3;
        let diff = r.ue_max(3, "log2_diff_max_min_luma_coding_block_size")?;
        self.log2_ctb = self.log2_min_cb + diff;
        if !(4..=6).contains(&self.log2_ctb) {
            return Err(r.invalid("log2_diff_max_min_luma_coding_block_size"));
        }
        self.log2_min_tb = r.ue_max(3, "log2_min_luma_transform_block_size_minus2")? + 2;
        self.log2_max_tb = self.log2_min_tb + r.ue_max(3, "log2_diff_max_min_luma_transform_block_size")?;
        if self.log2_min_tb >= self.log2_min_cb || self.log2_max_tb > self.log2_ctb.min(5) {
            return Err(r.invalid("log2_diff_max_min_luma_transform_block_size"));
        }
        let deepest = self.log2_ctb - self.log2_min_tb;
        self.max_transform_hierarchy_depth_inter =
            r.ue_max(deepest, "max_transform_hierarchy_depth_inter")?;
        self.max_transform_hierarchy_depth_intra =
            r.ue_max(deepest, "max_transform_hierarchy_depth_intra")?;
        let mask = (1 << self.log2_min_cb) - 1;
        let (width, height) = (self.pic_width_in_luma_samples, self.pic_height_in_luma_samples);
        if width == 0 || height == 0 || width & mask != 0 || height & mask != 0 {
            return Err(r.invalid("pic_width_in_luma_samples, pic_height_in_luma_samples"));
        }
        Ok(())
    }

    fn read_pcm(&self, r: &mut BitReader<'_>) -> Result<Pcm> {
        let luma = r.u(4, "pcm_sample_bit_depth_luma_minus1")? as u8 + 1;
        let chroma = r.u(4, "pcm_sample_bit_depth_chroma_minus1")? as u8 + 1;
        let log2_min_size = r.ue_max(2, "log2_min_pcm_luma_coding_block_size_minus3")? + 3;
        let diff = r.ue_max(2, "log2_diff_max_min_pcm_luma_coding_block_size")?;
        r.flag("pcm_loop_filter_disabled_flag")?;
        let log2_max_size = log2_min_size + diff;
        if luma > self.bit_depth[0] || chroma > self.bit_depth[1] || log2_max_size > self.log2_ctb.min(5) {
            return Err(r.invalid("pcm_sample_bit_depth_luma_minus1"));
        }
        Ok(Pcm { bit_depth: [luma, chroma], log2_min_size, log2_max_size })
    }

    fn read_references(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        for _ in 0..r.ue_max(MAX_SHORT_TERM_SETS, "num_short_term_ref_pic_sets")? {
            let set = ShortTermSet::parse(r, &self.short_term_sets, false)?;
            self.short_term_sets.push(set);
        }
        self.long_term_ref_pics_present_flag = r.flag("long_term_ref_pics_present_flag")?;
        if self.long_term_ref_pics_present_flag {
            for _ in 0..r.ue_max(MAX_LONG_TERM, "num_long_term_ref_pics_sps")? {
                let lsb = r.u(self.log2_max_pic_order_cnt_lsb, "lt_ref_pic_poc_lsb_sps")?;
                self.long_term.push((lsb, r.flag("used_by_curr_pic_lt_sps_flag")?));
            }
        }
        self.sps_temporal_mvp_enabled_flag = r.flag("sps_temporal_mvp_enabled_flag")?;
        Ok(())
    }

    fn read_extensions(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        if !r.flag("sps_extension_present_flag")? {
            return Ok(());
        }
        let range = r.flag("sps_range_extension_flag")?;
        self.other_extensions = r.u(3, "sps_multilayer_extension_flag, 3d, scc")? != 0;
        r.u(4, "sps_extension_4bits")?;
        if range {
            r.flag("transform_skip_rotation_enabled_flag")?;
            self.range = SpsRangeExtension {
                transform_skip_context: r.flag("transform_skip_context_enabled_flag")?,
                implicit_rdpcm: r.flag("implicit_rdpcm_enabled_flag")?,
                explicit_rdpcm: r.flag("explicit_rdpcm_enabled_flag")?,
                extended_precision: r.flag("extended_precision_processing_flag")?,
                high_precision_offsets: {
                    r.flag("intra_smoothing_disabled_flag")?;
                    r.flag("high_precision_offsets_enabled_flag")?
                },
                persistent_rice: r.flag("persistent_rice_adaptation_enabled_flag")?,
                bypass_alignment: r.flag("cabac_bypass_alignment_enabled_flag")?,
            };
        }
        Ok(())
    }

    /// ChromaArrayType
    pub fn chroma_array_type(&self) -> u8 {
        if self.separate_colour_plane_flag {
            0
        } else {
            self.chroma_format_idc
        }
    }

    /// 16x16 cells in a row.
    pub fn cell_cols(&self) -> usize {
        self.pic_width_in_luma_samples.div_ceil(16) as usize
    }

    /// Rows of 16x16 cells.
    pub fn cell_rows(&self) -> usize {
        self.pic_height_in_luma_samples.div_ceil(16) as usize
    }

    /// QpBdOffsetY, and that of chroma.
    pub fn qp_bd_offset(&self, chroma: bool) -> i32 {
        6 * (i32::from(self.bit_depth[usize::from(chroma)]) - 8)
    }

    /// Visible luma samples; `None` when the window leaves nothing.
    pub fn cropped_size(&self) -> Option<(u32, u32)> {
        let [left, right, top, bottom] = self.conf_win_offsets;
        let (wide, high) = match self.chroma_format_idc {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let width = self.pic_width_in_luma_samples.checked_sub(wide * (left + right))?;
        let height = self.pic_height_in_luma_samples.checked_sub(high * (top + bottom))?;
        (width > 0 && height > 0).then_some((width, height))
    }

    /// Names the first feature that the parser does not have.
    pub fn check_supported(&self, max_pixels: u64) -> Result<()> {
        let unsupported = |element| Err(Error::unsupported(element, 0));
        let pixels = u64::from(self.pic_width_in_luma_samples) * u64::from(self.pic_height_in_luma_samples);
        if pixels > max_pixels {
            return unsupported("pic_width_in_luma_samples (more than max_pixels)");
        }
        if self.cropped_size().is_none() {
            return Err(Error::invalid("conf_win_offset", 0));
        }
        if self.other_extensions {
            return unsupported("sps_extension (multilayer, 3D, screen content)");
        }
        if self.range.extended_precision {
            return unsupported("extended_precision_processing_flag");
        }
        if self.range.bypass_alignment {
            return unsupported("cabac_bypass_alignment_enabled_flag");
        }
        if self.separate_colour_plane_flag {
            return unsupported("separate_colour_plane_flag");
        }
        Ok(())
    }
}
