//! Scan orders (H.265 6.5.3 to 6.5.5) as tables made at compile time. A position is `y << log2 | x`.

/// Up-right diagonal of a 2x2 block.
pub(super) const DIAGONAL_2X2: [u8; 4] = diagonal(1);
/// Up-right diagonal of a 4x4 block.
pub(super) const DIAGONAL_4X4: [u8; 16] = diagonal(2);
/// Up-right diagonal of an 8x8 block.
pub(super) const DIAGONAL_8X8: [u8; 64] = diagonal(3);

/// scanIdx: order of coefficients and of their 4x4 groups (7.4.9.11).
pub mod scan_idx {
    /// Up-right diagonal.
    pub(in crate::h265) const DIAGONAL: usize = 0;
    /// Rows.
    pub(in crate::h265) const HORIZONTAL: usize = 1;
    /// Columns.
    pub(in crate::h265) const VERTICAL: usize = 2;
}

/// Positions inside a 4x4 group by scanIdx and index: `y << 2 | x`.
pub(super) const IN_GROUP: [[u8; 16]; 3] = [DIAGONAL_4X4, horizontal(), vertical()];

/// Positions of groups by scanIdx, log2 of the groups in a row and index: `y << 3 | x`.
pub(super) const GROUPS: [[[u8; 64]; 4]; 3] = [
    [[0; 64], spread(&DIAGONAL_2X2, 1), spread(&DIAGONAL_4X4, 2), spread(&DIAGONAL_8X8, 3)],
    // 6.5.4 and the horizontal scan are used up to 8x8, in 4:4:4 chroma as well.
    [[0; 64], spread(&[0, 1, 2, 3], 1), [0; 64], [0; 64]],
    [[0; 64], spread(&[0, 2, 1, 3], 1), [0; 64], [0; 64]],
];

/// Index in the scan by position: the inverse of [`IN_GROUP`].
pub(super) static INDEX_IN_GROUP: [[u8; 16]; 3] =
    [inverse(&IN_GROUP[0]), inverse(&IN_GROUP[1]), inverse(&IN_GROUP[2])];

/// Number of a group by position: the inverse of [`GROUPS`].
pub(super) static INDEX_OF_GROUP: [[[u8; 64]; 4]; 3] = {
    let mut table = [[[0; 64]; 4]; 3];
    let mut scan = 0;
    while scan < 3 {
        let mut log2 = 1;
        while log2 < 4 {
            let mut index = 0;
            while index < 1 << (2 * log2) {
                table[scan][log2][GROUPS[scan][log2][index] as usize] = index as u8;
                index += 1;
            }
            log2 += 1;
        }
        scan += 1;
    }
    table
};

const fn inverse(scan: &[u8; 16]) -> [u8; 16] {
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        table[scan[index] as usize] = index as u8;
        index += 1;
    }
    table
}

const fn diagonal<const N: usize>(log2: u32) -> [u8; N] {
    let mut scan = [0; N];
    let side = 1 << log2;
    let (mut index, mut sum) = (0, 0);
    while index < N {
        let mut x = 0;
        while x < side {
            let y: i32 = sum - x;
            if y >= 0 && y < side {
                scan[index] = (y << log2 | x) as u8;
                index += 1;
            }
            x += 1;
        }
        sum += 1;
    }
    scan
}

const fn horizontal() -> [u8; 16] {
    let mut scan = [0; 16];
    let mut index = 0;
    while index < 16 {
        scan[index] = index as u8;
        index += 1;
    }
    scan
}

const fn vertical() -> [u8; 16] {
    let mut scan = [0; 16];
    let mut index = 0;
    while index < 16 {
        scan[index] = ((index & 3) << 2 | index >> 2) as u8;
        index += 1;
    }
    scan
}

const fn spread(scan: &[u8], log2: u32) -> [u8; 64] {
    let mut groups = [0; 64];
    let mut index = 0;
    while index < scan.len() {
        let position = scan[index];
        groups[index] = (position >> log2) << 3 | position & ((1 << log2) - 1);
        index += 1;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_of_clause_6_5() {
        // x: 0 0 1 0 1 2 .., y: 0 1 0 2 1 0 ..
        assert_eq!(DIAGONAL_4X4[..6], [0, 4, 1, 8, 5, 2]);
        assert_eq!(DIAGONAL_4X4[15], 15);
        assert_eq!(IN_GROUP[scan_idx::VERTICAL][..5], [0, 4, 8, 12, 1]);
        assert_eq!(GROUPS[scan_idx::DIAGONAL][1][..4], [0, 8, 1, 9]);
        assert_eq!(GROUPS[scan_idx::HORIZONTAL][1][..4], [0, 1, 8, 9]);
        let mut all = DIAGONAL_8X8;
        all.sort_unstable();
        assert!(all.iter().enumerate().all(|(index, &position)| index == usize::from(position)));
    }
}
