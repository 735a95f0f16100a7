//! Video usability information (H.264 E.1.1): timing and reordering, the rest is skipped over.

use crate::{bits::BitReader, error::Result};

/// What of the VUI is useful without decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vui {
    /// num_units_in_tick and time_scale: two ticks make a frame.
    pub timing: Option<(u32, u32)>,
    /// Frames that may precede another in decoding order and follow it in output order.
    pub max_num_reorder_frames: Option<u8>,
}

impl Vui {
    /// The VUI is advice and often broken: what comes before a mistake counts, a mistake is no error.
    pub fn read(r: &mut BitReader<'_>) -> Self {
        let mut vui = Self::default();
        // Whatever was read before the mistake has been stored.
        let _ = vui.read_fields(r);
        vui
    }

    fn read_fields(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        const EXTENDED_SAR: u32 = 255;
        if r.flag("aspect_ratio_info_present_flag")? && r.u(8, "aspect_ratio_idc")? == EXTENDED_SAR {
            r.u(32, "sar_width, sar_height")?;
        }
        if r.flag("overscan_info_present_flag")? {
            r.flag("overscan_appropriate_flag")?;
        }
        if r.flag("video_signal_type_present_flag")? {
            r.u(4, "video_format, video_full_range_flag")?;
            if r.flag("colour_description_present_flag")? {
                r.u(24, "colour_primaries, transfer_characteristics, matrix_coefficients")?;
            }
        }
        if r.flag("chroma_loc_info_present_flag")? {
            r.ue("chroma_sample_loc_type_top_field")?;
            r.ue("chroma_sample_loc_type_bottom_field")?;
        }
        if r.flag("timing_info_present_flag")? {
            let num_units_in_tick = r.u(32, "num_units_in_tick")?;
            let time_scale = r.u(32, "time_scale")?;
            r.flag("fixed_frame_rate_flag")?;
            self.timing =
                (num_units_in_tick > 0 && time_scale > 0).then_some((num_units_in_tick, time_scale));
        }
        self.read_bitstream_restriction(r)
    }

    fn read_bitstream_restriction(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        let nal_hrd = r.flag("nal_hrd_parameters_present_flag")?;
        if nal_hrd {
            skip_hrd(r)?;
        }
        let vcl_hrd = r.flag("vcl_hrd_parameters_present_flag")?;
        if vcl_hrd {
            skip_hrd(r)?;
        }
        if nal_hrd || vcl_hrd {
            r.flag("low_delay_hrd_flag")?;
        }
        r.flag("pic_struct_present_flag")?;
        if r.flag("bitstream_restriction_flag")? {
            r.flag("motion_vectors_over_pic_boundaries_flag")?;
            r.ue("max_bytes_per_pic_denom")?;
            r.ue("max_bits_per_mb_denom")?;
            r.ue("log2_max_mv_length_horizontal")?;
            r.ue("log2_max_mv_length_vertical")?;
            self.max_num_reorder_frames = Some(r.ue_max(16, "max_num_reorder_frames")? as u8);
        }
        Ok(())
    }
}

// H.264 E.1.2
fn skip_hrd(r: &mut BitReader<'_>) -> Result<()> {
    let cpb_cnt_minus1 = r.ue_max(31, "cpb_cnt_minus1")?;
    r.u(8, "bit_rate_scale, cpb_size_scale")?;
    for _ in 0..=cpb_cnt_minus1 {
        r.ue("bit_rate_value_minus1")?;
        r.ue("cpb_size_value_minus1")?;
        r.flag("cbr_flag")?;
    }
    r.u(20, "initial_cpb_removal_delay_length_minus1 and the other lengths")?;
    Ok(())
}
