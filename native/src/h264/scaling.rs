//! Scaling lists (H.264 7.3.2.1.1.1) and their fall-back rules (Table 7-2).

use super::sps::ScalingLists8x8;
use crate::{bits::BitReader, error::Result};

/// Scaling lists in zig-zag order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingLists {
    /// Intra Y, Cb, Cr, inter Y, Cb, Cr.
    pub lists_4x4: [[u8; 16]; 6],
    /// Intra Y, inter Y, then Cb and Cr of 4:4:4.
    pub lists_8x8: ScalingLists8x8,
}

impl ScalingLists {
    /// Flat_4x4_16 and Flat_8x8_16.
    pub fn flat() -> Self {
        Self { lists_4x4: [[16; 16]; 6], lists_8x8: ScalingLists8x8::default() }
    }

    /// Tables 7-3 and 7-4: what fall-back rule A starts from.
    pub fn default_matrices() -> Self {
        let (intra4, inter4) = (DEFAULT_4X4_INTRA, DEFAULT_4X4_INTER);
        let (intra8, inter8) = (DEFAULT_8X8_INTRA, DEFAULT_8X8_INTER);
        Self {
            lists_4x4: [intra4, intra4, intra4, inter4, inter4, inter4],
            lists_8x8: ScalingLists8x8([intra8, inter8, intra8, inter8, intra8, inter8]),
        }
    }

    /// Reads six 4x4 lists and `count_8x8` 8x8 lists; an absent list falls back to the one before it of its
    /// kind, the first of each kind to `fall_back`.
    // H.264 7.4.2.1.1, Table 7-2
    pub fn read(r: &mut BitReader<'_>, count_8x8: usize, fall_back: &Self) -> Result<Self> {
        let defaults = Self::default_matrices();
        let mut lists = fall_back.clone();
        for i in 0..6 {
            let previous = if i % 3 == 0 { fall_back.lists_4x4[i] } else { lists.lists_4x4[i - 1] };
            lists.lists_4x4[i] = read_list(r, &previous, &defaults.lists_4x4[i])?;
        }
        for i in 0..6 {
            let previous = if i < 2 { fall_back.lists_8x8.0[i] } else { lists.lists_8x8.0[i - 2] };
            lists.lists_8x8.0[i] =
                if i < count_8x8 { read_list(r, &previous, &defaults.lists_8x8.0[i])? } else { previous };
        }
        Ok(lists)
    }
}

/// scaling_list_present_flag and scaling_list().
// H.264 7.3.2.1.1.1
fn read_list<const N: usize>(r: &mut BitReader<'_>, absent: &[u8; N], default: &[u8; N]) -> Result<[u8; N]> {
    if !r.flag("scaling_list_present_flag")? {
        return Ok(*absent);
    }
    let mut list = [0; N];
    let (mut last_scale, mut next_scale) = (8i32, 8i32);
    for (j, scale) in list.iter_mut().enumerate() {
        if next_scale != 0 {
            let delta_scale = r.se_in(-128..=127, "delta_scale")?;
            next_scale = (last_scale + delta_scale + 256) % 256;
            if j == 0 && next_scale == 0 {
                return Ok(*default);
            }
        }
        last_scale = if next_scale == 0 { last_scale } else { next_scale };
        *scale = last_scale as u8;
    }
    Ok(list)
}

const DEFAULT_4X4_INTRA: [u8; 16] = [6, 13, 13, 20, 20, 20, 28, 28, 28, 28, 32, 32, 32, 37, 37, 42];
const DEFAULT_4X4_INTER: [u8; 16] = [10, 14, 14, 20, 20, 20, 24, 24, 24, 24, 27, 27, 27, 30, 30, 34];
const DEFAULT_8X8_INTRA: [u8; 64] = [
    6, 10, 10, 13, 11, 13, 16, 16, 16, 16, 18, 18, 18, 18, 18, 23, 23, 23, 23, 23, 23, 25, 25, 25, 25, 25,
    25, 25, 27, 27, 27, 27, 27, 27, 27, 27, 29, 29, 29, 29, 29, 29, 29, 31, 31, 31, 31, 31, 31, 33, 33, 33,
    33, 33, 36, 36, 36, 36, 38, 38, 38, 40, 40, 42,
];
const DEFAULT_8X8_INTER: [u8; 64] = [
    9, 13, 13, 15, 13, 15, 17, 17, 17, 17, 19, 19, 19, 19, 19, 21, 21, 21, 21, 21, 21, 22, 22, 22, 22, 22,
    22, 22, 24, 24, 24, 24, 24, 24, 24, 24, 25, 25, 25, 25, 25, 25, 25, 27, 27, 27, 27, 27, 27, 28, 28, 28,
    28, 28, 30, 30, 30, 30, 32, 32, 32, 33, 33, 35,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_lists_fall_back_and_an_immediate_zero_means_default() {
        // 4x4: list 0 absent, 1 default (flag 1, delta_scale -8 = 000010001), 2 absent (copies 1), 3..5 absent; 8x8: absent
        let bits = "0 1000010001 0 0 0 0 0 0 1";
        let bits: String = bits.split(' ').collect();
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|c| c.iter().enumerate().fold(0, |b, (i, &x)| b | (x - b'0') << (7 - i)))
            .collect();
        let mut r = BitReader::new(&bytes);
        let lists = ScalingLists::read(&mut r, 2, &ScalingLists::flat()).unwrap();
        assert_eq!(lists.lists_4x4[0], [16; 16]);
        assert_eq!(lists.lists_4x4[1], DEFAULT_4X4_INTRA);
        assert_eq!(lists.lists_4x4[2], DEFAULT_4X4_INTRA);
        assert_eq!(lists.lists_4x4[3], [16; 16]);
        assert_eq!(lists.lists_8x8, ScalingLists8x8::default());
    }

    #[test]
    fn a_zero_scale_repeats_the_last_one() {
        // flag 1, delta +2 (00100) -> 10, delta -10 (000010101) -> stop: all the rest is 10
        let mut r = BitReader::new(&[0b1001_0000, 0b0010_1011]);
        assert_eq!(read_list(&mut r, &[16; 16], &[1; 16]).unwrap(), [10; 16]);
    }
}
