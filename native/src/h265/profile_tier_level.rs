//! profile_tier_level() (H.265 7.3.3): skipped over but for the profile.

use crate::{bits::BitReader, error::Result};

/// What the parser wants to know of profile_tier_level().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// general_profile_idc: 1 Main, 2 Main 10, 3 Main Still Picture, 4 range extensions.
    pub general_profile_idc: u8,
    /// 30 times the level number.
    pub general_level_idc: u8,
}

impl ProfileTierLevel {
    /// Reads the structure of an SPS (profilePresentFlag 1).
    // H.265 7.3.3
    pub fn parse(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Result<Self> {
        r.u(3, "general_profile_space, general_tier_flag")?;
        let general_profile_idc = r.u(5, "general_profile_idc")? as u8;
        r.u(32, "general_profile_compatibility_flag")?;
        r.u(24, "general constraint flags")?;
        r.u(24, "general constraint flags")?;
        let general_level_idc = r.u(8, "general_level_idc")? as u8;
        let mut present = [(false, false); 8];
        for sub_layer in present.iter_mut().take(max_sub_layers_minus1 as usize) {
            *sub_layer = (r.flag("sub_layer_profile_present_flag")?, r.flag("sub_layer_level_present_flag")?);
        }
        if max_sub_layers_minus1 > 0 {
            r.u(2 * (8 - max_sub_layers_minus1.min(8)), "reserved_zero_2bits")?;
        }
        for (profile, level) in present {
            if profile {
                r.u(32, "sub_layer_profile_idc")?;
                r.u(32, "sub_layer_profile_compatibility_flag")?;
                r.u(24, "sub_layer constraint flags")?;
            }
            if level {
                r.u(8, "sub_layer_level_idc")?;
            }
        }
        Ok(Self { general_profile_idc, general_level_idc })
    }
}
