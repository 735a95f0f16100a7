//! Picture parameter set (H.265 7.3.2.3). Raw values keep the names of the specification.

use super::scaling::ScalingFactors;
use crate::{
    bits::BitReader,
    error::{Error, Result},
};

/// Tile columns and rows at most (Table A.6: 20 x 22 up to level 6.2).
const MAX_TILES: u32 = 64;

/// Tile structure as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tiles {
    /// All tiles of nearly the same size.
    Uniform {
        /// num_tile_columns_minus1 + 1
        columns: u32,
        /// num_tile_rows_minus1 + 1
        rows: u32,
    },
    /// Sizes of all columns and rows but the last, in coding tree blocks.
    Explicit {
        /// column_width_minus1 + 1
        widths: Vec<u32>,
        /// row_height_minus1 + 1
        heights: Vec<u32>,
    },
}

/// What the parser keeps of a PPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pps {
    /// 0..=63
    pub pic_parameter_set_id: u8,
    /// 0..=15
    pub seq_parameter_set_id: u8,
    /// Slices may go on without a header of their own.
    pub dependent_slice_segments_enabled_flag: bool,
    /// pic_output_flag is in the slice header.
    pub output_flag_present_flag: bool,
    /// Bits to skip in the slice header.
    pub num_extra_slice_header_bits: u32,
    /// One sign per group may be hidden in the parity.
    pub sign_data_hiding_enabled_flag: bool,
    /// cabac_init_flag is in the slice header.
    pub cabac_init_present_flag: bool,
    /// num_ref_idx_l0_default_active_minus1 + 1, and of list 1.
    pub num_ref_idx_default_active: [u32; 2],
    /// 26 + init_qp_minus26
    pub init_qp: i32,
    /// Inter prediction must not feed intra prediction; no syntax depends on it.
    pub constrained_intra_pred_flag: bool,
    /// Blocks may be coded without a transform.
    pub transform_skip_enabled_flag: bool,
    /// Depth of quantisation groups below the coding tree block, when the quantiser may change.
    pub diff_cu_qp_delta_depth: Option<u32>,
    /// pps_cb_qp_offset, pps_cr_qp_offset
    pub chroma_qp_offsets: [i32; 2],
    /// Slices have chroma offsets of their own.
    pub pps_slice_chroma_qp_offsets_present_flag: bool,
    /// P slices are weighted.
    pub weighted_pred_flag: bool,
    /// B slices are weighted.
    pub weighted_bipred_flag: bool,
    /// Coding units may be lossless.
    pub transquant_bypass_enabled_flag: bool,
    /// More than one tile.
    pub tiles: Option<Tiles>,
    /// Wavefronts: contexts of each row start from the row above.
    pub entropy_coding_sync_enabled_flag: bool,
    /// Slices may switch the deblocking filter.
    pub deblocking_filter_override_enabled_flag: bool,
    /// Deblocking is off unless a slice says otherwise.
    pub pps_deblocking_filter_disabled_flag: bool,
    /// In-loop filters cross slices.
    pub pps_loop_filter_across_slices_enabled_flag: bool,
    /// Lists that replace those of the sequence.
    pub scaling: Option<ScalingFactors>,
    /// Slices may reorder the reference lists.
    pub lists_modification_present_flag: bool,
    /// Log2ParMrgLevel
    pub log2_parallel_merge_level: u32,
    /// The slice header has an extension to skip.
    pub slice_segment_header_extension_present_flag: bool,
    /// Log2MaxTransformSkipSize
    pub log2_max_transform_skip_size: u32,
    /// Chroma residual may be predicted from luma.
    pub cross_component_prediction_enabled_flag: bool,
    /// Depth of chroma offset groups and the offsets (Cb, Cr) that units choose from.
    pub chroma_qp_offset_list: Option<(u32, Vec<[i32; 2]>)>,
    /// Screen content coding, 3D or multilayer syntax in the extensions.
    pub other_extensions: bool,
}

impl Pps {
    /// Reads pic_parameter_set_rbsp(); nothing of it depends on the sequence.
    pub fn parse(rbsp: &[u8]) -> Result<Self> {
        let r = &mut BitReader::new(rbsp);
        let mut pps = Self {
            pic_parameter_set_id: r.ue_max(63, "pps_pic_parameter_set_id")? as u8,
            seq_parameter_set_id: r.ue_max(15, "pps_seq_parameter_set_id")? as u8,
            dependent_slice_segments_enabled_flag: r.flag("dependent_slice_segments_enabled_flag")?,
            output_flag_present_flag: r.flag("output_flag_present_flag")?,
            num_extra_slice_header_bits: r.u(3, "num_extra_slice_header_bits")?,
            sign_data_hiding_enabled_flag: r.flag("sign_data_hiding_enabled_flag")?,
            cabac_init_present_flag: r.flag("cabac_init_present_flag")?,
            num_ref_idx_default_active: [
                r.ue_max(14, "num_ref_idx_l0_default_active_minus1")? + 1,
                r.ue_max(14, "num_ref_idx_l1_default_active_minus1")? + 1,
            ],
            init_qp: r.se_in(-74..=25, "init_qp_minus26")? + 26,
            constrained_intra_pred_flag: r.flag("constrained_intra_pred_flag")?,
            transform_skip_enabled_flag: r.flag("transform_skip_enabled_flag")?,
            ..Self::default()
        };
        pps.read_quantiser(r)?;
        pps.weighted_pred_flag = r.flag("weighted_pred_flag")?;
        pps.weighted_bipred_flag = r.flag("weighted_bipred_flag")?;
        pps.transquant_bypass_enabled_flag = r.flag("transquant_bypass_enabled_flag")?;
        let tiles_enabled_flag = r.flag("tiles_enabled_flag")?;
        pps.entropy_coding_sync_enabled_flag = r.flag("entropy_coding_sync_enabled_flag")?;
        if tiles_enabled_flag {
            pps.tiles = Some(read_tiles(r)?);
        }
        pps.pps_loop_filter_across_slices_enabled_flag =
            r.flag("pps_loop_filter_across_slices_enabled_flag")?;
        if r.flag("deblocking_filter_control_present_flag")? {
            pps.deblocking_filter_override_enabled_flag =
                r.flag("deblocking_filter_override_enabled_flag")?;
            pps.pps_deblocking_filter_disabled_flag = r.flag("pps_deblocking_filter_disabled_flag")?;
            if !pps.pps_deblocking_filter_disabled_flag {
                r.se_in(-6..=6, "pps_beta_offset_div2")?;
                r.se_in(-6..=6, "pps_tc_offset_div2")?;
            }
        }
        if r.flag("pps_scaling_list_data_present_flag")? {
            pps.scaling = Some(ScalingFactors::parse(r)?);
        }
        pps.lists_modification_present_flag = r.flag("lists_modification_present_flag")?;
        pps.log2_parallel_merge_level = r.ue_max(4, "log2_parallel_merge_level_minus2")? + 2;
        pps.slice_segment_header_extension_present_flag =
            r.flag("slice_segment_header_extension_present_flag")?;
        pps.log2_max_transform_skip_size = 2;
        if r.flag("pps_extension_present_flag")? {
            let range = r.flag("pps_range_extension_flag")?;
            pps.other_extensions = r.u(3, "pps_multilayer_extension_flag, 3d, scc")? != 0;
            r.u(4, "pps_extension_4bits")?;
            if range {
                pps.read_range_extension(r)?;
            }
        }
        Ok(pps)
    }

    fn read_quantiser(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        if r.flag("cu_qp_delta_enabled_flag")? {
            self.diff_cu_qp_delta_depth = Some(r.ue_max(3, "diff_cu_qp_delta_depth")?);
        }
        for offset in &mut self.chroma_qp_offsets {
            *offset = r.se_in(-12..=12, "pps_cb_qp_offset, pps_cr_qp_offset")?;
        }
        self.pps_slice_chroma_qp_offsets_present_flag = r.flag("pps_slice_chroma_qp_offsets_present_flag")?;
        Ok(())
    }

    // H.265 7.3.2.3.2
    fn read_range_extension(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        if self.transform_skip_enabled_flag {
            self.log2_max_transform_skip_size = r.ue_max(3, "log2_max_transform_skip_block_size_minus2")? + 2;
        }
        self.cross_component_prediction_enabled_flag = r.flag("cross_component_prediction_enabled_flag")?;
        if r.flag("chroma_qp_offset_list_enabled_flag")? {
            let depth = r.ue_max(3, "diff_cu_chroma_qp_offset_depth")?;
            let count = r.ue_max(5, "chroma_qp_offset_list_len_minus1")? + 1;
            let mut offsets = Vec::new();
            for _ in 0..count {
                let cb = r.se_in(-12..=12, "cb_qp_offset_list")?;
                offsets.push([cb, r.se_in(-12..=12, "cr_qp_offset_list")?]);
            }
            self.chroma_qp_offset_list = Some((depth, offsets));
        }
        r.ue_max(8, "log2_sao_offset_scale_luma")?;
        r.ue_max(8, "log2_sao_offset_scale_chroma")?;
        Ok(())
    }

    /// Names the first feature that the parser does not have.
    pub fn check_supported(&self) -> Result<()> {
        if self.other_extensions {
            return Err(Error::unsupported("pps_extension (multilayer, 3D, screen content)", 0));
        }
        Ok(())
    }
}

fn read_tiles(r: &mut BitReader<'_>) -> Result<Tiles> {
    let columns = r.ue_max(MAX_TILES - 1, "num_tile_columns_minus1")? + 1;
    let rows = r.ue_max(MAX_TILES - 1, "num_tile_rows_minus1")? + 1;
    let uniform = r.flag("uniform_spacing_flag")?;
    let mut sizes = [Vec::new(), Vec::new()];
    if !uniform {
        for (sizes, count) in sizes.iter_mut().zip([columns, rows]) {
            for _ in 1..count {
                sizes.push(r.ue_max(4096, "column_width_minus1, row_height_minus1")? + 1);
            }
        }
    }
    r.flag("loop_filter_across_tiles_enabled_flag")?;
    let [widths, heights] = sizes;
    Ok(if uniform { Tiles::Uniform { columns, rows } } else { Tiles::Explicit { widths, heights } })
}
