//! What mb_type and sub_mb_type mean (H.264 Tables 7-11, 7-13, 7-14, 7-17, 7-18).

/// How an Inter macroblock is cut into partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    Whole,
    /// Two, one above the other.
    TwoRows,
    /// Two, side by side.
    TwoColumns,
}

/// Lists that a partition is predicted from: bit 0 list 0, bit 1 list 1.
pub type Lists = u8;

const L0: Lists = 1;
const L1: Lists = 2;
const BI: Lists = 3;

/// mb_type I_PCM, counted from I_NxN.
pub const I_PCM: u8 = 25;
/// mb_type P_8x8ref0.
pub const P_8X8_REF0: u8 = 4;
/// Number of Inter types in P slices; intra types follow.
pub const P_INTRA: u8 = 5;
/// mb_type B_8x8.
pub const B_8X8: u8 = 22;
/// Number of Inter types in B slices; intra types follow.
pub const B_INTRA: u8 = 23;

/// P_L0_16x16, P_L0_L0_16x8, P_L0_L0_8x16.
pub static P_TYPES: [(Shape, [Lists; 2]); 3] =
    [(Shape::Whole, [L0, 0]), (Shape::TwoRows, [L0, L0]), (Shape::TwoColumns, [L0, L0])];

/// B types 1..=21; index 0 stands for B_Direct_16x16, which is not cut.
pub static B_TYPES: [(Shape, [Lists; 2]); 22] = [
    (Shape::Whole, [0, 0]),
    (Shape::Whole, [L0, 0]),
    (Shape::Whole, [L1, 0]),
    (Shape::Whole, [BI, 0]),
    (Shape::TwoRows, [L0, L0]),
    (Shape::TwoColumns, [L0, L0]),
    (Shape::TwoRows, [L1, L1]),
    (Shape::TwoColumns, [L1, L1]),
    (Shape::TwoRows, [L0, L1]),
    (Shape::TwoColumns, [L0, L1]),
    (Shape::TwoRows, [L1, L0]),
    (Shape::TwoColumns, [L1, L0]),
    (Shape::TwoRows, [L0, BI]),
    (Shape::TwoColumns, [L0, BI]),
    (Shape::TwoRows, [L1, BI]),
    (Shape::TwoColumns, [L1, BI]),
    (Shape::TwoRows, [BI, L0]),
    (Shape::TwoColumns, [BI, L0]),
    (Shape::TwoRows, [BI, L1]),
    (Shape::TwoColumns, [BI, L1]),
    (Shape::TwoRows, [BI, BI]),
    (Shape::TwoColumns, [BI, BI]),
];

/// How an 8x8 sub-macroblock is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubType {
    /// Lists; 0 for direct prediction.
    pub lists: Lists,
    /// Width of a sub-macroblock partition in 4x4 blocks.
    pub width: u8,
    /// Height of a sub-macroblock partition in 4x4 blocks.
    pub height: u8,
}

impl SubType {
    const fn new(lists: Lists, width: u8, height: u8) -> Self {
        Self { lists, width, height }
    }

    /// Direct prediction.
    pub fn is_direct(self) -> bool {
        self.lists == 0
    }

    /// One partition only.
    pub fn is_whole(self) -> bool {
        self.width == 2 && self.height == 2
    }
}

/// P sub-macroblocks by sub_mb_type.
pub static P_SUB_TYPES: [SubType; 4] =
    [SubType::new(L0, 2, 2), SubType::new(L0, 2, 1), SubType::new(L0, 1, 2), SubType::new(L0, 1, 1)];

/// B sub-macroblocks by sub_mb_type; 0 is B_Direct_8x8.
pub static B_SUB_TYPES: [SubType; 13] = [
    SubType::new(0, 1, 1),
    SubType::new(L0, 2, 2),
    SubType::new(L1, 2, 2),
    SubType::new(BI, 2, 2),
    SubType::new(L0, 2, 1),
    SubType::new(L0, 1, 2),
    SubType::new(L1, 2, 1),
    SubType::new(L1, 1, 2),
    SubType::new(BI, 2, 1),
    SubType::new(BI, 1, 2),
    SubType::new(L0, 1, 1),
    SubType::new(L1, 1, 1),
    SubType::new(BI, 1, 1),
];

/// coded_block_pattern of an Intra_16x16 mb_type (1..=24, counted from I_NxN; Table 7-11).
pub fn intra_16x16_cbp(mb_type: u8) -> u8 {
    let index = mb_type.saturating_sub(1);
    let luma = if index >= 12 { 15 } else { 0 };
    luma | (index / 4 % 3) << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intra_16x16_types_spell_out_their_patterns() {
        assert_eq!([1, 4, 5, 9, 12, 13, 17, 24].map(intra_16x16_cbp), [0, 0, 16, 32, 32, 15, 31, 47]);
    }

    #[test]
    fn two_partition_types_alternate_rows_and_columns() {
        for (mb_type, (shape, lists)) in B_TYPES.iter().enumerate().skip(4) {
            assert_eq!(*shape == Shape::TwoRows, mb_type % 2 == 0);
            assert!(lists.iter().all(|&l| l != 0));
        }
    }
}
