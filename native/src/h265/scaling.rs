//! scaling_list_data() (H.265 7.3.4) and the scaling factors that come of it (7.4.5).

use super::scan::DIAGONAL_4X4;
use super::scan::DIAGONAL_8X8;
use crate::{bits::BitReader, error::Result};

/// Default list of intra blocks from 8x8 on (Table 7-6), in diagonal scan.
const INTRA_8X8: [u8; 64] = [
    16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 17, 16, 17, 16, 17, 18, 17, 18, 18, 17, 18, 21, 19, 20, 21, 20,
    19, 21, 24, 22, 22, 24, 24, 22, 22, 24, 25, 25, 27, 30, 27, 25, 25, 29, 31, 35, 35, 31, 29, 36, 41, 44,
    41, 36, 47, 54, 54, 47, 65, 70, 65, 88, 88, 115,
];
/// Default list of inter blocks from 8x8 on (Table 7-6), in diagonal scan.
const INTER_8X8: [u8; 64] = [
    16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 17, 17, 17, 17, 17, 18, 18, 18, 18, 18, 18, 20, 20, 20, 20, 20,
    20, 20, 24, 24, 24, 24, 24, 24, 24, 24, 25, 25, 25, 25, 25, 25, 25, 28, 28, 28, 28, 28, 28, 33, 33, 33,
    33, 33, 41, 41, 41, 41, 54, 54, 54, 71, 71, 91,
];

/// One list as it is sent: up to 64 entries in diagonal scan, and the DC of sizes from 16x16 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List {
    entries: [u8; 64],
    dc: u8,
}

impl List {
    fn default(size_id: usize, matrix_id: usize) -> Self {
        let entries = match (size_id, matrix_id) {
            (0, _) => [16; 64],
            (_, 0..=2) => INTRA_8X8,
            _ => INTER_8X8,
        };
        Self { entries, dc: 16 }
    }
}

/// Scaling factors m\[x\]\[y\] of all transform sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingFactors {
    /// By sizeId and matrixId (0 to 2 intra Y, Cb, Cr; 3 to 5 inter): 8x8 grid in raster order (4x4: the first
    /// 16); larger transforms repeat each entry.
    grids: [[[u8; 64]; 6]; 4],
    /// Factor of the DC coefficient of 16x16 and 32x32 by matrixId.
    dc: [[u8; 6]; 2],
}

impl ScalingFactors {
    /// Table 7-5 and 7-6.
    pub fn default_lists() -> Self {
        Self::from_lists(&std::array::from_fn(|size| {
            std::array::from_fn(|matrix| List::default(size, matrix))
        }))
    }

    /// Reads scaling_list_data().
    // H.265 7.3.4
    pub fn parse(r: &mut BitReader<'_>) -> Result<Self> {
        let mut lists: [[List; 6]; 4] =
            std::array::from_fn(|size| std::array::from_fn(|matrix| List::default(size, matrix)));
        for (size_id, of_size) in lists.iter_mut().enumerate() {
            let step = if size_id == 3 { 3 } else { 1 };
            for matrix_id in (0..6).step_by(step) {
                of_size[matrix_id] = read_list(r, of_size, size_id, matrix_id)?;
            }
        }
        // 7.4.5: chroma of 32x32 exists in 4:4:4 only and takes the lists of 16x16.
        for matrix_id in [1, 2, 4, 5] {
            lists[3][matrix_id] = lists[2][matrix_id];
        }
        Ok(Self::from_lists(&lists))
    }

    fn from_lists(lists: &[[List; 6]; 4]) -> Self {
        let grid = |size: usize, list: &List| {
            let mut grid = [16; 64];
            let scan: &[u8] = if size == 0 { &DIAGONAL_4X4 } else { &DIAGONAL_8X8 };
            for (&position, &entry) in scan.iter().zip(&list.entries) {
                grid[usize::from(position)] = entry;
            }
            grid
        };
        Self {
            grids: std::array::from_fn(|size| std::array::from_fn(|matrix| grid(size, &lists[size][matrix]))),
            dc: std::array::from_fn(|size| std::array::from_fn(|matrix| lists[size + 2][matrix].dc)),
        }
    }

    /// The factor of the coefficient at (x, y) of a transform of 2^`log2_size`.
    #[inline]
    pub fn at(&self, log2_size: u32, matrix_id: usize, x: u32, y: u32) -> u8 {
        let size_id = (log2_size.wrapping_sub(2) & 3) as usize;
        let matrix = matrix_id.min(5);
        if size_id >= 2 && x == 0 && y == 0 {
            return self.dc[size_id - 2][matrix];
        }
        let (shift, stride) = if size_id == 0 { (0, 2) } else { (log2_size - 3, 3) };
        self.grids[size_id][matrix][((y >> shift << stride | x >> shift) & 63) as usize]
    }
}

fn read_list(r: &mut BitReader<'_>, before: &[List; 6], size_id: usize, matrix_id: usize) -> Result<List> {
    if !r.flag("scaling_list_pred_mode_flag")? {
        let step = if size_id == 3 { 3 } else { 1 };
        let delta = r.ue_max((matrix_id / step) as u32, "scaling_list_pred_matrix_id_delta")? as usize;
        return Ok(match delta {
            0 => List::default(size_id, matrix_id),
            _ => before[matrix_id - delta * step],
        });
    }
    let mut list = List { entries: [16; 64], dc: 16 };
    let mut next = 8;
    if size_id > 1 {
        next = r.se_in(-7..=247, "scaling_list_dc_coef_minus8")? + 8;
        list.dc = next as u8;
    }
    let count = if size_id == 0 { 16 } else { 64 };
    for entry in &mut list.entries[..count] {
        next = (next + r.se_in(-128..=127, "scaling_list_delta_coef")? + 256) % 256;
        *entry = next as u8;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_factors_grow_with_the_frequency() {
        let factors = ScalingFactors::default_lists();
        for log2_size in 3..=5 {
            let last = (1 << log2_size) - 1;
            assert_eq!(factors.at(log2_size, 0, 0, 0), 16);
            assert_eq!(factors.at(log2_size, 0, last, last), 115);
            assert_eq!(factors.at(log2_size, 3, last, last), 91);
            assert_eq!(factors.at(log2_size, 0, last, 0), factors.at(log2_size, 0, 0, last));
        }
        assert_eq!(factors.at(2, 0, 3, 3), 16);
    }

    #[test]
    fn lists_copy_others_or_the_default() {
        // All but the first 4x4 list: pred_mode_flag 0, delta 1 (010) copies the one before; delta 0 (1) the default.
        let mut bits = String::from("1");
        bits.extend(std::iter::repeat("1").take(16));
        bits.extend(std::iter::repeat("0010").take(5));
        bits.extend(std::iter::repeat("01").take(14));
        bits.push('1');
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|chunk| chunk.iter().enumerate().fold(0, |byte, (i, bit)| byte | (bit & 1) << (7 - i)))
            .collect();
        let factors = ScalingFactors::parse(&mut BitReader::new(&bytes)).unwrap();
        // Deltas of 0 keep scalingList at nextCoef 8.
        assert!((0..6).all(|matrix| factors.at(2, matrix, 1, 2) == 8));
        assert_eq!(factors.at(5, 0, 31, 31), 115);
    }
}
