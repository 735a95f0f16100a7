//! From levels to scaled coefficients (H.264 8.5.6 to 8.5.9).

use std::sync::OnceLock;

use ovbits::h264::pps::Pps;

/// Positions of the 4x4 scans as row * 4 + column (Table 8-2): zig-zag, field.
const SCAN_4X4: [[usize; 16]; 2] = [
    [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15],
    [0, 4, 1, 8, 12, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
];

/// Positions of the 8x8 field scan as row * 8 + column (Table 8-3).
#[rustfmt::skip]
const FIELD_8X8: [usize; 64] = [
     0,  8, 16,  1,  9, 24, 32, 17,  2, 25, 40, 48, 56, 33, 10,  3,
    18, 41, 49, 57, 26, 11,  4, 19, 34, 42, 50, 58, 27, 12,  5, 20,
    35, 43, 51, 59, 28, 13,  6, 21, 36, 44, 52, 60, 29, 14, 22, 37,
    45, 53, 61, 30,  7, 15, 38, 46, 54, 62, 23, 31, 39, 47, 55, 63,
];

/// normAdjust4x4 by qP % 6 (8-315): both even, both odd, else.
const NORM_4X4: [[i32; 3]; 6] =
    [[10, 16, 13], [11, 18, 14], [13, 20, 16], [14, 23, 18], [16, 25, 20], [18, 29, 23]];

/// normAdjust8x8 by qP % 6 (8-318).
const NORM_8X8: [[i32; 6]; 6] = [
    [20, 18, 32, 19, 25, 24],
    [22, 19, 35, 21, 28, 26],
    [26, 23, 42, 24, 33, 31],
    [28, 25, 45, 26, 35, 33],
    [32, 28, 51, 30, 40, 38],
    [36, 32, 58, 34, 46, 43],
];

/// QP_C by qPI from 30 on (Table 8-15).
const CHROMA_QP: [i32; 22] =
    [29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39];

/// QP_C of a chroma plane (0 Cb, 1 Cr) that goes with QP_Y (8.5.8), without its offset for deep samples.
pub fn chroma_qp(pps: &Pps, plane: usize, qp: i32, bd_offset: i32) -> i32 {
    let offset = [pps.chroma_qp_index_offset, pps.second_chroma_qp_index_offset][plane];
    let index = (qp + i32::from(offset)).clamp(-bd_offset, 51);
    usize::try_from(index - 30).map_or(index, |above| CHROMA_QP[above])
}

/// Position of a scan index in a 4x4 block.
pub fn position_4x4(index: usize, field: bool) -> usize {
    SCAN_4X4[usize::from(field)][index]
}

/// Row and column of a 4x4 block both even, both odd, or neither.
pub fn class_of(position: usize) -> usize {
    match (position / 4 % 2, position % 2) {
        (0, 0) => 0,
        (1, 1) => 1,
        _ => 2,
    }
}

/// Position of a scan index in an 8x8 block.
pub fn position_8x8(index: usize, field: bool) -> usize {
    if field {
        FIELD_8X8[index]
    } else {
        zigzag_8x8(index)
    }
}

/// Along diagonals, by turns upwards and downwards.
fn zigzag_8x8(index: usize) -> usize {
    static PLACES: OnceLock<Vec<usize>> = OnceLock::new();
    let places = PLACES.get_or_init(|| {
        let mut places: Vec<usize> = (0..64).collect();
        places.sort_by_key(|place| {
            let (row, column) = (place / 8, place % 8);
            (row + column, if (row + column) % 2 == 0 { column } else { row })
        });
        places
    });
    places[index]
}

/// One scaling list ready for use: LevelScale4x4 or LevelScale8x8 by qP % 6 and position.
#[derive(Clone)]
pub struct LevelScale(Vec<[i32; 6]>);

impl LevelScale {
    pub fn of_4x4(list: &[u8; 16]) -> Self {
        let mut scale = vec![[0; 6]; 16];
        for (index, &weight) in list.iter().enumerate() {
            let position = position_4x4(index, false);
            let class = class_of(position);
            scale[position] = std::array::from_fn(|rest| i32::from(weight) * NORM_4X4[rest][class]);
        }
        Self(scale)
    }

    pub fn of_8x8(list: &[u8; 64]) -> Self {
        let mut scale = vec![[0; 6]; 64];
        for (index, &weight) in list.iter().enumerate() {
            let position = zigzag_8x8(index);
            let class = match (position / 8 % 4, position % 4) {
                (0, 0) => 0,
                (1 | 3, 1 | 3) => 1,
                (2, 2) => 2,
                (0, 1 | 3) | (1 | 3, 0) => 3,
                (0, 2) | (2, 0) => 4,
                _ => 5,
            };
            scale[position] = std::array::from_fn(|rest| i32::from(weight) * NORM_8X8[rest][class]);
        }
        Self(scale)
    }

    fn at(&self, qp: i32, position: usize) -> i32 {
        self.0[position][qp as usize % 6]
    }

    /// A coefficient of a 4x4 block (8-336, 8-337), or of an 8x8 block (8-356, 8-357).
    pub fn coefficient(&self, level: i32, qp: i32, position: usize) -> i32 {
        let shift = qp / 6 - if self.0.len() == 64 { 6 } else { 4 };
        shifted(level * self.at(qp, position), shift)
    }

    /// A DC value of Intra_16x16 after its transform (8-323, 8-324).
    pub fn luma_dc(&self, value: i32, qp: i32) -> i32 {
        shifted(value * self.at(qp, 0), qp / 6 - 6)
    }

    /// A DC value of 4:2:0 chroma after its transform (8-330).
    pub fn chroma_dc(&self, value: i32, qp: i32) -> i32 {
        ((value * self.at(qp, 0)) << (qp / 6)) >> 5
    }
}

/// Up, or down with rounding.
fn shifted(value: i32, shift: i32) -> i32 {
    if shift >= 0 {
        value << shift
    } else {
        (value + (1 << (-shift - 1))) >> -shift
    }
}

#[test]
fn the_8x8_zigzag_begins_to_the_right() {
    assert_eq!([0, 1, 2, 3, 4, 5, 63].map(zigzag_8x8), [0, 1, 8, 16, 9, 2, 63]);
}
