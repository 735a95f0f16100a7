//! st_ref_pic_set() (H.265 7.3.7, 7.4.8): which pictures before and after the current one stay references.

use crate::{bits::BitReader, error::Result};

/// More reference pictures than any decoded picture buffer holds.
pub const MAX_REFERENCES: usize = 16;

/// One picture of a short-term set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortTerm {
    /// DeltaPocS0 or DeltaPocS1: its order count minus that of the current picture.
    pub delta_poc: i32,
    /// UsedByCurrPic: the current picture may refer to it; else only later ones.
    pub used: bool,
}

/// A short-term reference picture set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShortTermSet {
    /// Pictures before the current one, nearest first.
    pub before: Vec<ShortTerm>,
    /// Pictures after the current one, nearest first.
    pub after: Vec<ShortTerm>,
}

impl ShortTermSet {
    /// Reads the set number `earlier.len()` of an SPS, or that of a slice header (`in_slice`, `earlier` are the
    /// sets of the SPS).
    // H.265 7.3.7
    pub fn parse(r: &mut BitReader<'_>, earlier: &[Self], in_slice: bool) -> Result<Self> {
        if !earlier.is_empty() && r.flag("inter_ref_pic_set_prediction_flag")? {
            return Self::predicted(r, earlier, in_slice);
        }
        let num_negative_pics = r.ue_max(MAX_REFERENCES as u32, "num_negative_pics")?;
        let num_positive_pics = r.ue_max(MAX_REFERENCES as u32 - num_negative_pics, "num_positive_pics")?;
        let mut set = Self::default();
        for (list, count, sign) in
            [(&mut set.before, num_negative_pics, -1), (&mut set.after, num_positive_pics, 1)]
        {
            let mut delta_poc = 0;
            for _ in 0..count {
                delta_poc +=
                    sign * (r.ue_max(0x7fff, "delta_poc_s0_minus1, delta_poc_s1_minus1")? as i32 + 1);
                let used = r.flag("used_by_curr_pic_s0_flag, used_by_curr_pic_s1_flag")?;
                list.push(ShortTerm { delta_poc, used });
            }
        }
        Ok(set)
    }

    // H.265 7.4.8, (7-59) to (7-62)
    fn predicted(r: &mut BitReader<'_>, earlier: &[Self], in_slice: bool) -> Result<Self> {
        let back =
            if in_slice { r.ue_max(earlier.len() as u32 - 1, "delta_idx_minus1")? } else { 0 } as usize;
        let reference = &earlier[earlier.len() - 1 - back];
        let negative = r.flag("delta_rps_sign")?;
        let magnitude = r.ue_max(0x7fff, "abs_delta_rps_minus1")? as i32 + 1;
        let delta_rps = if negative { -magnitude } else { magnitude };
        // Flags are sent for the pictures before, those after, and the reference set's own picture.
        let mut kept = Vec::with_capacity(MAX_REFERENCES + 1);
        let own = ShortTerm { delta_poc: 0, used: true };
        for picture in reference.before.iter().chain(&reference.after).chain([&own]) {
            let used = r.flag("used_by_curr_pic_flag")?;
            if used || r.flag("use_delta_flag")? {
                kept.push(ShortTerm { delta_poc: picture.delta_poc + delta_rps, used });
            }
        }
        let mut set = Self::default();
        set.before.extend(kept.iter().filter(|picture| picture.delta_poc < 0));
        set.after.extend(kept.iter().filter(|picture| picture.delta_poc > 0));
        // Stable: a damaged set may name a picture twice.
        set.before.sort_by_key(|picture| -picture.delta_poc);
        set.after.sort_by_key(|picture| picture.delta_poc);
        let in_range = |picture: &ShortTerm| picture.delta_poc.abs() <= 1 << 20;
        if set.len() > MAX_REFERENCES || !set.before.iter().chain(&set.after).all(in_range) {
            return Err(r.invalid("st_ref_pic_set (too many pictures)"));
        }
        Ok(set)
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Whether nothing stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pictures that the current one may refer to.
    pub fn used(&self) -> usize {
        self.before.iter().chain(&self.after).filter(|picture| picture.used).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicted_set_is_the_shifted_one() {
        let pictures = |deltas: &[i32]| -> Vec<ShortTerm> {
            deltas.iter().map(|&delta_poc| ShortTerm { delta_poc, used: true }).collect()
        };
        let first = ShortTermSet { before: pictures(&[-2, -6]), after: pictures(&[2]) };
        // Prediction 1, sign 1 (minus), abs_delta_rps_minus1 1 (010): -2; four times used.
        let bytes = [0b1101_0111, 0b1100_0000];
        let set = ShortTermSet::parse(&mut BitReader::new(&bytes), &[first], false).unwrap();
        assert_eq!(set, ShortTermSet { before: pictures(&[-2, -4, -8]), after: Vec::new() });
    }

    #[test]
    fn too_many_pictures_are_refused() {
        // No earlier set: num_negative_pics 17 (codeNum 17 = 000010010).
        assert!(ShortTermSet::parse(&mut BitReader::new(&[0b0000_1001, 0b0100_0000]), &[], false).is_err());
    }
}
