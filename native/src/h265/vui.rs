//! Video usability information (H.265 E.2.1): skipped over, because the SPS extensions lie behind it.

use crate::{bits::BitReader, error::Result};

/// What of the VUI is useful without decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vui {
    /// vui_num_units_in_tick and vui_time_scale: one tick is a picture.
    pub timing: Option<(u32, u32)>,
}

/// A stream that forgot default_display_window_flag goes on with timing_info_present_flag and a
/// num_units_in_tick below 2^12: as a window its first offset would be huge.
const FORGOTTEN_WINDOW: u32 = 0x10_0000;

impl Vui {
    /// Reads the structure. Some old encoders leave out the default display window: a second reading without it
    /// decides when the first fails.
    pub fn parse(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Result<Self> {
        let mut first = r.clone();
        let result = Self::read(&mut first, max_sub_layers_minus1, true);
        if result.is_ok() {
            *r = first;
            return result;
        }
        let mut second = r.clone();
        let without_window = Self::read(&mut second, max_sub_layers_minus1, false);
        if without_window.is_ok() {
            *r = second;
            return without_window;
        }
        result
    }

    fn read(r: &mut BitReader<'_>, max_sub_layers_minus1: u32, has_window: bool) -> Result<Self> {
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
                r.u(24, "colour_primaries, transfer_characteristics, matrix_coeffs")?;
            }
        }
        if r.flag("chroma_loc_info_present_flag")? {
            r.ue("chroma_sample_loc_type_top_field")?;
            r.ue("chroma_sample_loc_type_bottom_field")?;
        }
        r.u(3, "neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag")?;
        let forgotten = r.clone().u(21, "").is_ok_and(|bits| bits == FORGOTTEN_WINDOW);
        if has_window && !forgotten && r.flag("default_display_window_flag")? {
            for _ in 0..4 {
                r.ue("def_disp_win_offset")?;
            }
        }
        let mut vui = Self::default();
        if r.flag("vui_timing_info_present_flag")? {
            let (ticks, scale) = (r.u(32, "vui_num_units_in_tick")?, r.u(32, "vui_time_scale")?);
            vui.timing = (ticks > 0 && scale > 0).then_some((ticks, scale));
            if r.flag("vui_poc_proportional_to_timing_flag")? {
                r.ue("vui_num_ticks_poc_diff_one_minus1")?;
            }
            if r.flag("vui_hrd_parameters_present_flag")? {
                skip_hrd(r, max_sub_layers_minus1)?;
            }
        }
        if r.flag("bitstream_restriction_flag")? {
            r.u(3, "tiles_fixed_structure_flag and two more")?;
            for _ in 0..5 {
                r.ue("bitstream_restriction")?;
            }
        }
        Ok(vui)
    }
}

// H.265 E.2.2, commonInfPresentFlag 1
fn skip_hrd(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Result<()> {
    let nal = r.flag("nal_hrd_parameters_present_flag")?;
    let vcl = r.flag("vcl_hrd_parameters_present_flag")?;
    let mut sub_pic = false;
    if nal || vcl {
        sub_pic = r.flag("sub_pic_hrd_params_present_flag")?;
        if sub_pic {
            r.u(19, "tick_divisor_minus2 and the lengths behind it")?;
        }
        r.u(8, "bit_rate_scale, cpb_size_scale")?;
        if sub_pic {
            r.u(4, "cpb_size_du_scale")?;
        }
        r.u(15, "initial_cpb_removal_delay_length_minus1 and the lengths behind it")?;
    }
    for _ in 0..=max_sub_layers_minus1 {
        let mut fixed = r.flag("fixed_pic_rate_general_flag")?;
        if !fixed {
            fixed = r.flag("fixed_pic_rate_within_cvs_flag")?;
        }
        let mut low_delay = false;
        if fixed {
            r.ue("elemental_duration_in_tc_minus1")?;
        } else {
            low_delay = r.flag("low_delay_hrd_flag")?;
        }
        let cpbs = if low_delay { 1 } else { r.ue_max(31, "cpb_cnt_minus1")? + 1 };
        for _ in 0..cpbs * (u32::from(nal) + u32::from(vcl)) {
            skip_sub_layer_hrd(r, sub_pic)?;
        }
    }
    Ok(())
}

// H.265 E.2.3
fn skip_sub_layer_hrd(r: &mut BitReader<'_>, sub_pic: bool) -> Result<()> {
    r.ue("bit_rate_value_minus1")?;
    r.ue("cpb_size_value_minus1")?;
    if sub_pic {
        r.ue("cpb_size_du_value_minus1")?;
        r.ue("bit_rate_du_value_minus1")?;
    }
    r.flag("cbr_flag")?;
    Ok(())
}
