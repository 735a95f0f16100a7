//! Weights that turn squared coefficient levels into squared sample units (H.264 8.5.9 to 8.5.13).
//!
//! The inverse transforms are orthogonal up to a norm per basis function, so the energy of a residual block is
//! the weighted sum of its squared levels (Parseval), with no transform carried out.

use super::{pps::Pps, sps::Sps};

/// QP' values of 14-bit video, and three more for chroma DC of 4:2:2.
const QPS: usize = 52 + 36 + 3;

/// Positions of the 4x4 zig-zag scan as row * 4 + column (Table 8-2).
const ZIGZAG_4X4: [u8; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Positions of the 4x4 field scan as row * 4 + column (Table 8-2).
const FIELD_4X4: [u8; 16] = [0, 4, 1, 8, 12, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

/// Positions of the 8x8 field scan as row * 8 + column (Table 8-3).
#[rustfmt::skip]
const FIELD_8X8: [u8; 64] = [
     0,  8, 16,  1,  9, 24, 32, 17,  2, 25, 40, 48, 56, 33, 10,  3,
    18, 41, 49, 57, 26, 11,  4, 19, 34, 42, 50, 58, 27, 12,  5, 20,
    35, 43, 51, 59, 28, 13,  6, 21, 36, 44, 52, 60, 29, 14, 22, 37,
    45, 53, 61, 30,  7, 15, 38, 46, 54, 62, 23, 31, 39, 47, 55, 63,
];

/// normAdjust4x4 by qP % 6 (8.5.9): both even, both odd, mixed.
const NORM_ADJUST_4X4: [[u8; 3]; 6] =
    [[10, 16, 13], [11, 18, 14], [13, 20, 16], [14, 23, 18], [16, 25, 20], [18, 29, 23]];

/// normAdjust8x8 by qP % 6 (8.5.9).
const NORM_ADJUST_8X8: [[u8; 6]; 6] = [
    [20, 18, 32, 19, 25, 24],
    [22, 19, 35, 21, 28, 26],
    [26, 23, 42, 24, 33, 31],
    [28, 25, 45, 26, 35, 33],
    [32, 28, 51, 30, 40, 38],
    [36, 32, 58, 34, 46, 43],
];

/// QP_C by qPI from 30 on (Table 8-15).
const CHROMA_QP: [u8; 22] =
    [29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39];

/// QP'_C of a chroma plane (8.5.8) by QP_Y; `bd_offset` is QpBdOffset_C.
pub fn chroma_qp(luma_qp: i8, chroma_qp_index_offset: i8, bd_offset: u8) -> u8 {
    let index = (luma_qp + chroma_qp_index_offset).clamp(-(bd_offset as i8), 51);
    let qp = match usize::try_from(index - 30) {
        Ok(above) => CHROMA_QP.get(above).map_or(index, |&qp| qp as i8),
        Err(_) => index,
    };
    (qp + bd_offset as i8) as u8
}

/// Energy per squared level, at one QP.
#[derive(Clone, Debug)]
pub struct QpWeights {
    /// 4x4 blocks by scaling list (Y, Cb, Cr intra; Y, Cb, Cr inter) and zig-zag index.
    pub block_4x4: [[f32; 16]; 6],
    /// 8x8 blocks by scaling list (Y intra, inter; then Cb, Cr of 4:4:4) and zig-zag index.
    pub block_8x8: [[f32; 64]; 6],
    /// The same for the four interleaved 4x4 blocks that CAVLC makes of one 8x8 block.
    pub interleaved: [[[f32; 16]; 4]; 6],
    /// DC of Intra_16x16 by plane: the same at each index.
    pub luma_dc: [[f32; 16]; 3],
    /// Chroma DC by scaling list as in `block_4x4` (luma lists unused): the same at each index.
    pub chroma_dc: [[f32; 16]; 6],
    /// The same for 4:2:2.
    pub chroma_dc_422: [[f32; 16]; 6],
}

impl QpWeights {
    const ZERO: Self = Self {
        block_4x4: [[0.0; 16]; 6],
        block_8x8: [[0.0; 64]; 6],
        interleaved: [[[0.0; 16]; 4]; 6],
        luma_dc: [[0.0; 16]; 3],
        chroma_dc: [[0.0; 16]; 6],
        chroma_dc_422: [[0.0; 16]; 6],
    };

    /// Transform bypass: levels are samples.
    fn bypass(lists: &Lists) -> Self {
        let mut weights = Self::ZERO;
        for list in 0..6 {
            let scale = lists.sample_scale[usize::from(list % 3 != 0)];
            weights.block_4x4[list] = [scale; 16];
            weights.chroma_dc[list] = [scale; 16];
            weights.chroma_dc_422[list] = [scale; 16];
            weights.luma_dc[list % 3] = [scale; 16];
            let scale = lists.sample_scale[usize::from(list > 1)];
            weights.block_8x8[list] = [scale; 64];
            weights.interleaved[list] = [[scale; 16]; 4];
        }
        weights
    }

    fn new(lists: &Lists, qp: u8) -> Self {
        let mut weights = Self::ZERO;
        for (list, scaling) in lists.block_4x4.iter().enumerate() {
            let scale = lists.sample_scale[usize::from(list % 3 != 0)];
            weights.block_4x4[list] =
                std::array::from_fn(|index| scale * weight_4x4(scaling, qp, lists.zigzag_4x4(index)));
            // 8.5.11.2: the 2x2 Hadamard transform doubles norms, and the scaling divides by 32 instead of 16.
            weights.chroma_dc[list] = [weights.block_4x4[list][0]; 16];
            // The 2x4 transform has norm 8, the scaling divides by 64, and the quantiser is that of QP + 3.
            weights.chroma_dc_422[list] = [scale * weight_4x4(scaling, qp + 3, 0) / 2.0; 16];
        }
        for plane in 0..3 {
            // 8.5.10: the 4x4 Hadamard transform has norm 16, and the scaling divides by 64 instead of 16.
            weights.luma_dc[plane] = [weights.block_4x4[plane][0]; 16];
        }
        for (list, scaling) in lists.block_8x8.iter().enumerate() {
            let scale = lists.sample_scale[usize::from(list > 1)];
            let block: [f32; 64] =
                std::array::from_fn(|index| scale * weight_8x8(scaling, qp, lists.zigzag_8x8(index)));
            weights.block_8x8[list] = block;
            for (part, interleaved) in weights.interleaved[list].iter_mut().enumerate() {
                *interleaved = std::array::from_fn(|index| block[4 * index + part]);
            }
        }
        weights
    }
}

fn weight_4x4(scaling: &[u8; 16], qp: u8, index: usize) -> f32 {
    let (row, column) = (ZIGZAG_4X4[index] / 4, ZIGZAG_4X4[index] % 4);
    let class = usize::from(row % 2 != column % 2) * 2 + usize::from(row % 2 == 1 && column % 2 == 1);
    let scale = f32::from(scaling[index]) * f32::from(NORM_ADJUST_4X4[usize::from(qp % 6)][class]);
    let step = scale * f32::from(1_u16 << (qp / 6)) / 16.0;
    let norm = |frequency: u8| if frequency % 2 == 0 { 4.0 } else { 2.5 };
    step * step * norm(row) * norm(column) / 4096.0
}

fn weight_8x8(scaling: &[u8; 64], qp: u8, index: usize) -> f32 {
    let (row, column) = zigzag_8x8(index);
    let class = match (row % 4, column % 4) {
        (0, 0) => 0,
        (1 | 3, 1 | 3) => 1,
        (2, 2) => 2,
        (0, 1 | 3) | (1 | 3, 0) => 3,
        (0, 2) | (2, 0) => 4,
        _ => 5,
    };
    let scale = f32::from(scaling[index]) * f32::from(NORM_ADJUST_8X8[usize::from(qp % 6)][class]);
    let step = scale * f32::from(1_u16 << (qp / 6)) / 64.0;
    let norm = |frequency: usize| match frequency % 4 {
        0 => 8.0,
        2 => 5.0,
        _ => 9.03125,
    };
    step * step * norm(row) * norm(column) / 4096.0
}

/// Row and column at an index of the 8x8 zig-zag scan (6.4.x, Figure 8-8 extended to 8x8).
fn zigzag_8x8(index: usize) -> (usize, usize) {
    let mut before = 0;
    for diagonal in 0..15_usize {
        let first = diagonal.saturating_sub(7);
        let length = diagonal.min(7) - first + 1;
        if index < before + length {
            let step = first + index - before;
            return if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
        }
        before += length;
    }
    (7, 7)
}

/// Scaling lists that the weights were made for.
#[derive(Clone, Debug)]
struct Lists {
    block_4x4: [[u8; 16]; 6],
    /// Two, or six in 4:4:4.
    block_8x8: Vec<[u8; 64]>,
    /// Bit depths minus eight, luma and chroma.
    depths: [u8; 2],
    /// Squared sample steps in 8-bit steps, luma and chroma.
    sample_scale: [f32; 2],
    /// Field scan.
    field: bool,
    /// Weights of macroblocks with transform bypass, where they may occur.
    bypass: Option<Box<QpWeights>>,
}

impl Lists {
    /// Zig-zag index of the coefficient at an index of the scan: scaling lists are in zig-zag order in any case.
    fn zigzag_4x4(&self, index: usize) -> usize {
        if !self.field {
            return index;
        }
        ZIGZAG_4X4.iter().position(|&position| position == FIELD_4X4[index]).unwrap_or(index)
    }

    fn zigzag_8x8(&self, index: usize) -> usize {
        if !self.field {
            return index;
        }
        let [row, column] = [FIELD_8X8[index] / 8, FIELD_8X8[index] % 8].map(usize::from);
        (0..64).find(|&zigzag| zigzag_8x8(zigzag) == (row, column)).unwrap_or(index)
    }
}

/// Weights of every QP, made when a QP first occurs.
#[derive(Debug, Default)]
pub struct EnergyWeights {
    lists: Option<Lists>,
    by_qp: Vec<Option<Box<QpWeights>>>,
}

impl EnergyWeights {
    /// Weights without energy, for callers that want none.
    pub fn none() -> &'static QpWeights {
        static NONE: QpWeights = QpWeights::ZERO;
        &NONE
    }

    /// Chooses the scaling lists of a slice.
    pub fn activate(&mut self, sps: &Sps, pps: &Pps, field: bool) {
        let block_8x8 = &pps.scaling_list_8x8.0[..sps.scaling_lists_8x8()];
        let depths = [sps.bit_depth_luma_minus8, sps.bit_depth_chroma_minus8];
        let bypass = sps.qpprime_y_zero_transform_bypass_flag;
        let same = |lists: &Lists| {
            lists.block_4x4 == pps.scaling_list_4x4
                && lists.block_8x8 == block_8x8
                && (lists.depths, lists.bypass.is_some()) == (depths, bypass)
        };
        if self.lists.as_ref().is_some_and(same) {
            return;
        }
        let mut lists = Lists {
            block_4x4: pps.scaling_list_4x4,
            block_8x8: block_8x8.to_vec(),
            depths,
            sample_scale: depths.map(|depth| 0.25_f32.powi(i32::from(depth))),
            field,
            bypass: None,
        };
        lists.bypass = bypass.then(|| Box::new(QpWeights::bypass(&lists)));
        self.lists = Some(lists);
        self.by_qp.clear();
        self.by_qp.resize_with(QPS, || None);
    }

    /// Makes sure that [`Self::at`] knows the luma QP and the chroma QPs that go with it.
    pub fn prepare(&mut self, qp: u8) {
        let (Some(lists), Some(slot)) = (&self.lists, self.by_qp.get_mut(usize::from(qp))) else { return };
        slot.get_or_insert_with(|| Box::new(QpWeights::new(lists, qp)));
    }

    /// Weights at a QP; those of a QP that was not prepared are zero.
    pub fn at(&self, qp: u8) -> &QpWeights {
        self.by_qp.get(usize::from(qp)).and_then(|slot| slot.as_deref()).unwrap_or(Self::none())
    }

    /// Weights of a macroblock whose luma QP' is `qp`, by plane.
    pub fn of_macroblock(&self, qp: u8, chroma: [u8; 2]) -> [&QpWeights; 3] {
        if let (0, Some(bypass)) = (qp, self.lists.as_ref().and_then(|lists| lists.bypass.as_ref())) {
            return [bypass; 3];
        }
        [self.at(qp), self.at(chroma[0]), self.at(chroma[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row or column of the 4x4 inverse transform (8.5.12.2).
    fn inverse_4(c: [f32; 4]) -> [f32; 4] {
        let (e, f) = (c[0] + c[2], c[0] - c[2]);
        let (g, h) = (c[1] / 2.0 - c[3], c[1] + c[3] / 2.0);
        [e + h, f + g, f - g, e - h]
    }

    fn inverse_4x4(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        let transpose = |m: [[f32; 4]; 4]| std::array::from_fn(|r| std::array::from_fn(|c| m[c][r]));
        transpose(transpose(block.map(inverse_4)).map(inverse_4))
    }

    fn flat() -> Lists {
        Lists {
            block_4x4: [[16; 16]; 6],
            block_8x8: vec![[16; 64]; 2],
            depths: [0; 2],
            sample_scale: [1.0; 2],
            field: false,
            bypass: None,
        }
    }

    #[test]
    fn weights_equal_the_energy_of_reconstructed_basis_functions() {
        for qp in [0, 17, 26, 51] {
            let lists = flat();
            let weights = QpWeights::new(&lists, qp);
            for (index, &position) in ZIGZAG_4X4.iter().enumerate() {
                let (row, column) = (usize::from(position / 4), usize::from(position % 4));
                let class = if (row + column) % 2 == 1 { 2 } else { row % 2 };
                let level =
                    f32::from(NORM_ADJUST_4X4[usize::from(qp % 6)][class]) * 2_f32.powi(i32::from(qp / 6));
                let mut block = [[0.0; 4]; 4];
                block[row][column] = level;
                let energy: f32 = inverse_4x4(block).iter().flatten().map(|x| (x / 64.0).powi(2)).sum();
                assert!((weights.block_4x4[0][index] / energy - 1.0).abs() < 1e-5, "qp {qp} index {index}");
            }
        }
    }

    /// One row or column of the 8x8 inverse transform (8.5.13).
    fn inverse_8(d: [f32; 8]) -> [f32; 8] {
        let e = [
            d[0] + d[4],
            -d[3] + d[5] - 1.5 * d[7],
            d[0] - d[4],
            d[1] + d[7] - 1.5 * d[3],
            d[2] / 2.0 - d[6],
            -d[1] + d[7] + 1.5 * d[5],
            d[2] + d[6] / 2.0,
            d[3] + d[5] + 1.5 * d[1],
        ];
        let f = [
            e[0] + e[6],
            e[1] + e[7] / 4.0,
            e[2] + e[4],
            e[3] + e[5] / 4.0,
            e[2] - e[4],
            e[3] / 4.0 - e[5],
            e[0] - e[6],
            e[7] - e[1] / 4.0,
        ];
        let [sums, differences] = [1.0, -1.0]
            .map(|sign| [f[0] + sign * f[7], f[2] + sign * f[5], f[4] + sign * f[3], f[6] + sign * f[1]]);
        std::array::from_fn(|i| if i < 4 { sums[i] } else { differences[7 - i] })
    }

    #[test]
    fn weights_of_8x8_blocks_equal_the_energy_of_their_basis_functions() {
        let lists = flat();
        let weights = QpWeights::new(&lists, 30);
        for index in 0..64 {
            let (row, column) = zigzag_8x8(index);
            let class = match (row % 4, column % 4) {
                (0, 0) => 0,
                (2, 2) => 2,
                (0, 2) | (2, 0) => 4,
                (0, _) | (_, 0) => 3,
                (2, _) | (_, 2) => 5,
                _ => 1,
            };
            // LevelScale8x8 at qP 30 is 16 * normAdjust, scaled by 2^(30 / 6 - 6).
            let level = 16.0 * f32::from(NORM_ADJUST_8X8[0][class]) / 2.0;
            let mut rows = [[0.0; 8]; 8];
            rows[row][column] = level;
            let rows = rows.map(inverse_8);
            let energy: f32 = (0..8)
                .flat_map(|c| inverse_8(std::array::from_fn(|r| rows[r][c])))
                .map(|x| (x / 64.0).powi(2))
                .sum();
            assert!((weights.block_8x8[1][index] / energy - 1.0).abs() < 1e-5, "index {index}");
        }
    }

    #[test]
    fn luma_dc_of_intra_16x16_spreads_over_sixteen_blocks() {
        let lists = flat();
        let weights = QpWeights::new(&lists, 28);
        // One DC level reaches each of 16 blocks as level * scale / 64, which fills 16 samples divided by 64.
        let dc = 16.0 * f32::from(NORM_ADJUST_4X4[4][0]) * 16.0 / 64.0;
        let energy = 16.0 * 16.0 * (dc / 64.0) * (dc / 64.0);
        assert!((weights.luma_dc[0][3] / energy - 1.0).abs() < 1e-6);
    }

    #[test]
    fn deep_samples_count_in_steps_of_eight_bits() {
        let deep = Lists { sample_scale: [1.0 / 16.0; 2], ..flat() };
        // Twelve more QP' steps are four times the quantiser, as two more bits are four times the range.
        let (shallow, deep) = (QpWeights::new(&flat(), 20), QpWeights::new(&deep, 32));
        assert_eq!((shallow.block_4x4, shallow.chroma_dc_422), (deep.block_4x4, deep.chroma_dc_422));
    }

    #[test]
    fn field_scan_moves_weights_and_changes_none() {
        let own = Lists {
            block_4x4: [std::array::from_fn(|i| 8 + i as u8); 6],
            block_8x8: vec![std::array::from_fn(|i| 8 + i as u8); 2],
            ..flat()
        };
        let [frame, field] = [false, true].map(|field| QpWeights::new(&Lists { field, ..own.clone() }, 26));
        // Second in the field scan: the first frequency downwards, third in the zig-zag scan.
        assert_eq!(field.block_4x4[0][1], frame.block_4x4[0][2]);
        let sorted = |mut weights: Vec<f32>| {
            weights.sort_by(f32::total_cmp);
            weights
        };
        assert_eq!(sorted(field.block_4x4[1].to_vec()), sorted(frame.block_4x4[1].to_vec()));
        assert_eq!(sorted(field.block_8x8[1].to_vec()), sorted(frame.block_8x8[1].to_vec()));
    }

    #[test]
    fn zigzag_visits_every_position_once() {
        let mut seen: Vec<_> = (0..64).map(zigzag_8x8).collect();
        assert_eq!(seen[..6], [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2)]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 64);
    }

    #[test]
    fn chroma_qp_follows_the_table() {
        assert_eq!([0, 29, 30, 43, 51].map(|qp| chroma_qp(qp, 0, 0)), [0, 29, 29, 37, 39]);
        assert_eq!((chroma_qp(51, 12, 0), chroma_qp(0, -12, 0), chroma_qp(-12, -2, 12)), (39, 0, 0));
    }
}
