//! Code words of CAVLC as (length, bits) and the look-up tables that are built from them (H.264 9.2).

use super::cavlc::UNAVAILABLE;

/// coeff_token for 0 <= nC < 2 (Table 9-5): TotalCoeff from 0, inside it TrailingOnes from 0 to min(TotalCoeff, 3).
#[rustfmt::skip]
const COEFF_TOKEN_0: [(u8, u16); 62] = [
    (1, 1), (6, 5), (2, 1), (8, 7), (6, 4), (3, 1), (9, 7), (8, 6), (7, 5), (5, 3),
    (10, 7), (9, 6), (8, 5), (6, 3), (11, 7), (10, 6), (9, 5), (7, 4), (13, 15), (11, 6),
    (10, 5), (8, 4), (13, 11), (13, 14), (11, 5), (9, 4), (13, 8), (13, 10), (13, 13), (10, 4),
    (14, 15), (14, 14), (13, 9), (11, 4), (14, 11), (14, 10), (14, 13), (13, 12), (15, 15), (15, 14),
    (14, 9), (14, 12), (15, 11), (15, 10), (15, 13), (14, 8), (16, 15), (15, 1), (15, 9), (15, 12),
    (16, 11), (16, 14), (16, 13), (15, 8), (16, 7), (16, 10), (16, 9), (16, 12), (16, 4), (16, 6),
    (16, 5), (16, 8),
];

/// coeff_token for 2 <= nC < 4 (Table 9-5): TotalCoeff from 0, inside it TrailingOnes from 0 to min(TotalCoeff, 3).
#[rustfmt::skip]
const COEFF_TOKEN_2: [(u8, u16); 62] = [
    (2, 3), (6, 11), (2, 2), (6, 7), (5, 7), (3, 3), (7, 7), (6, 10), (6, 9), (4, 5),
    (8, 7), (6, 6), (6, 5), (4, 4), (8, 4), (7, 6), (7, 5), (5, 6), (9, 7), (8, 6),
    (8, 5), (6, 8), (11, 15), (9, 6), (9, 5), (6, 4), (11, 11), (11, 14), (11, 13), (7, 4),
    (12, 15), (11, 10), (11, 9), (9, 4), (12, 11), (12, 14), (12, 13), (11, 12), (12, 8), (12, 10),
    (12, 9), (11, 8), (13, 15), (13, 14), (13, 13), (12, 12), (13, 11), (13, 10), (13, 9), (13, 12),
    (13, 7), (14, 11), (13, 6), (13, 8), (14, 9), (14, 8), (14, 10), (13, 1), (14, 7), (14, 6),
    (14, 5), (14, 4),
];

/// coeff_token for 4 <= nC < 8 (Table 9-5): TotalCoeff from 0, inside it TrailingOnes from 0 to min(TotalCoeff, 3).
#[rustfmt::skip]
const COEFF_TOKEN_4: [(u8, u16); 62] = [
    (4, 15), (6, 15), (4, 14), (6, 11), (5, 15), (4, 13), (6, 8), (5, 12), (5, 14), (4, 12),
    (7, 15), (5, 10), (5, 11), (4, 11), (7, 11), (5, 8), (5, 9), (4, 10), (7, 9), (6, 14),
    (6, 13), (4, 9), (7, 8), (6, 10), (6, 9), (4, 8), (8, 15), (7, 14), (7, 13), (5, 13),
    (8, 11), (8, 14), (7, 10), (6, 12), (9, 15), (8, 10), (8, 13), (7, 12), (9, 11), (9, 14),
    (8, 9), (8, 12), (9, 8), (9, 10), (9, 13), (8, 8), (10, 13), (9, 7), (9, 9), (9, 12),
    (10, 9), (10, 12), (10, 11), (10, 10), (10, 5), (10, 8), (10, 7), (10, 6), (10, 1), (10, 4),
    (10, 3), (10, 2),
];

/// coeff_token for nC = -1 (Table 9-5): TotalCoeff from 0, inside it TrailingOnes from 0 to min(TotalCoeff, 3).
#[rustfmt::skip]
const COEFF_TOKEN_CHROMA_DC: [(u8, u16); 14] = [
    (2, 1), (6, 7), (1, 1), (6, 4), (6, 6), (3, 1), (6, 3), (7, 3), (7, 2), (6, 5),
    (6, 2), (8, 3), (8, 2), (7, 0),
];

/// total_zeros of 4x4 blocks (Tables 9-7, 9-8): tzVlcIndex from 1, inside it total_zeros from 0 to 16 - tzVlcIndex.
#[rustfmt::skip]
const TOTAL_ZEROS: [(u8, u16); 135] = [
    (1, 1), (3, 3), (3, 2), (4, 3), (4, 2), (5, 3), (5, 2), (6, 3), (6, 2), (7, 3),
    (7, 2), (8, 3), (8, 2), (9, 3), (9, 2), (9, 1), (3, 7), (3, 6), (3, 5), (3, 4),
    (3, 3), (4, 5), (4, 4), (4, 3), (4, 2), (5, 3), (5, 2), (6, 3), (6, 2), (6, 1),
    (6, 0), (4, 5), (3, 7), (3, 6), (3, 5), (4, 4), (4, 3), (3, 4), (3, 3), (4, 2),
    (5, 3), (5, 2), (6, 1), (5, 1), (6, 0), (5, 3), (3, 7), (4, 5), (4, 4), (3, 6),
    (3, 5), (3, 4), (4, 3), (3, 3), (4, 2), (5, 2), (5, 1), (5, 0), (4, 5), (4, 4),
    (4, 3), (3, 7), (3, 6), (3, 5), (3, 4), (3, 3), (4, 2), (5, 1), (4, 1), (5, 0),
    (6, 1), (5, 1), (3, 7), (3, 6), (3, 5), (3, 4), (3, 3), (3, 2), (4, 1), (3, 1),
    (6, 0), (6, 1), (5, 1), (3, 5), (3, 4), (3, 3), (2, 3), (3, 2), (4, 1), (3, 1),
    (6, 0), (6, 1), (4, 1), (5, 1), (3, 3), (2, 3), (2, 2), (3, 2), (3, 1), (6, 0),
    (6, 1), (6, 0), (4, 1), (2, 3), (2, 2), (3, 1), (2, 1), (5, 1), (5, 1), (5, 0),
    (3, 1), (2, 3), (2, 2), (2, 1), (4, 1), (4, 0), (4, 1), (3, 1), (3, 2), (1, 1),
    (3, 3), (4, 0), (4, 1), (2, 1), (1, 1), (3, 1), (3, 0), (3, 1), (1, 1), (2, 1),
    (2, 0), (2, 1), (1, 1), (1, 0), (1, 1),
];

/// total_zeros of chroma DC 2x2 blocks (Table 9-9 a).
#[rustfmt::skip]
const TOTAL_ZEROS_CHROMA_DC: [(u8, u16); 9] = [
    (1, 1), (2, 1), (3, 1), (3, 0), (1, 1), (2, 1), (2, 0), (1, 1), (1, 0),
];

/// coeff_token of chroma DC in 4:2:2 (nC -2).
#[rustfmt::skip]
const COEFF_TOKEN_CHROMA_DC_422: [(u8, u16); 30] = [
    (1, 1), (7, 15), (2, 1), (7, 14), (7, 13), (3, 1), (9, 7), (7, 12), (7, 11), (5, 1),
    (9, 6), (9, 5), (7, 10), (6, 1), (10, 7), (10, 6), (9, 4), (7, 9), (11, 7), (11, 6),
    (10, 5), (7, 8), (12, 7), (12, 6), (11, 5), (10, 4), (13, 7), (12, 5), (12, 4), (11, 4),
];

/// total_zeros of chroma DC in 4:2:2 (Table 9-9 b).
#[rustfmt::skip]
const TOTAL_ZEROS_CHROMA_DC_422: [(u8, u16); 35] = [
    (1, 1), (3, 2), (3, 3), (4, 2), (4, 3), (4, 1), (5, 1), (5, 0), (3, 0), (2, 1),
    (3, 1), (3, 4), (3, 5), (3, 6), (3, 7), (3, 0), (3, 1), (2, 1), (2, 2), (3, 6),
    (3, 7), (3, 6), (2, 0), (2, 1), (2, 2), (3, 7), (2, 0), (2, 1), (2, 2), (2, 3),
    (2, 0), (2, 1), (1, 1), (1, 0), (1, 1),
];

/// run_before (Table 9-10): zerosLeft from 1 to 7 (more count as 7), inside it run_before from 0.
#[rustfmt::skip]
const RUN_BEFORE: [(u8, u16); 42] = [
    (1, 1), (1, 0), (1, 1), (2, 1), (2, 0), (2, 3), (2, 2), (2, 1), (2, 0), (2, 3),
    (2, 2), (2, 1), (3, 1), (3, 0), (2, 3), (2, 2), (3, 3), (3, 2), (3, 1), (3, 0),
    (2, 3), (3, 0), (3, 1), (3, 3), (3, 2), (3, 5), (3, 4), (3, 7), (3, 6), (3, 5),
    (3, 4), (3, 3), (3, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1),
    (10, 1), (11, 1),
];

/// coded_block_pattern of Intra_4x4 and Intra_8x8 macroblocks by codeNum (Table 9-4).
#[rustfmt::skip]
pub static CBP_INTRA: [u8; 48] = [
    47, 31, 15, 0, 23, 27, 29, 30, 7, 11, 13, 14, 39, 43, 45, 46,
    16, 3, 5, 10, 12, 19, 21, 26, 28, 35, 37, 42, 44, 1, 2, 4,
    8, 17, 18, 20, 24, 6, 9, 22, 25, 32, 33, 34, 36, 40, 38, 41,
];

/// coded_block_pattern of Inter macroblocks by codeNum (Table 9-4).
#[rustfmt::skip]
pub static CBP_INTER: [u8; 48] = [
    0, 16, 1, 2, 4, 8, 32, 3, 5, 10, 12, 15, 47, 7, 11, 13,
    14, 6, 9, 31, 35, 37, 42, 44, 33, 34, 36, 40, 39, 43, 45, 46,
    17, 18, 20, 24, 19, 21, 26, 28, 23, 27, 29, 30, 22, 25, 38, 41,
];

/// coded_block_pattern of Intra_4x4 and Intra_8x8 macroblocks without a chroma part (4:0:0, 4:4:4) by codeNum.
pub static CBP_INTRA_LUMA: [u8; 16] = [15, 0, 7, 11, 13, 14, 3, 5, 10, 12, 1, 2, 4, 8, 6, 9];

/// coded_block_pattern of Inter macroblocks without a chroma part (4:0:0, 4:4:4) by codeNum.
pub static CBP_INTER_LUMA: [u8; 16] = [0, 1, 2, 4, 8, 3, 5, 10, 12, 15, 7, 11, 13, 14, 6, 9];

/// Entry of a look-up table: code length in the low 5 bits (0: no such code), values above.
pub type Entry = u16;

/// coeff_token with up to 16 bits: the first 8 bits decide, or are below 8 and 16 bits below 2048 decide.
/// Entry values: TotalCoeff << 5, TrailingOnes << 10.
struct TokenTable {
    /// By the first 8 bits; 0 when the code is longer.
    short: [Entry; 256],
    /// By all 16 bits, for codes that start with five zeros.
    long: [Entry; 2048],
}

/// Number of the coeff_token table by the sum of TotalCoeff of both neighbours, of which missing ones count
/// [`UNAVAILABLE`] (9.2.1).
pub static TOKEN_TABLE: [u8; 256] = token_tables();

/// coeff_token by the first 8 bits, for nC 0..=1, 2..=3, 4..=7, and 8 and more; 0 when the code is longer.
pub static COEFF_TOKEN_SHORT: [[Entry; 256]; 4] = [
    token_table(&COEFF_TOKEN_0).short,
    token_table(&COEFF_TOKEN_2).short,
    token_table(&COEFF_TOKEN_4).short,
    fixed_length_tokens(),
];

/// The same by all 16 bits, for codes that start with five zeros.
pub static COEFF_TOKEN_LONG: [[Entry; 2048]; 4] = [
    token_table(&COEFF_TOKEN_0).long,
    token_table(&COEFF_TOKEN_2).long,
    token_table(&COEFF_TOKEN_4).long,
    [0; 2048],
];

/// coeff_token of chroma DC by 8 bits.
pub static COEFF_TOKEN_CHROMA: [Entry; 256] = token_table(&COEFF_TOKEN_CHROMA_DC).short;

/// coeff_token of chroma DC in 4:2:2 by 13 bits.
pub static COEFF_TOKEN_CHROMA_422: [Entry; 8192] = coeff_token_422();

/// total_zeros by TotalCoeff - 1 and 9 bits; entry value: total_zeros << 5.
pub static TOTAL_ZEROS_4X4: [[Entry; 512]; 16] = total_zeros(9, &TOTAL_ZEROS, 16);

/// total_zeros of chroma DC by TotalCoeff - 1 and 3 bits.
pub static TOTAL_ZEROS_2X2: [[Entry; 8]; 4] = total_zeros(3, &TOTAL_ZEROS_CHROMA_DC, 4);

/// total_zeros of chroma DC in 4:2:2 by TotalCoeff - 1 and 5 bits.
pub static TOTAL_ZEROS_2X4: [[Entry; 32]; 8] = total_zeros(5, &TOTAL_ZEROS_CHROMA_DC_422, 8);

/// In [`RUN_BEFORE_SHORT`]: a code of more than 3 bits.
pub(crate) const ESCAPE: Entry = 1 << 15;

/// run_before by min(zerosLeft, 7) and 3 bits; without zeros left there is no code.
pub static RUN_BEFORE_SHORT: [[Entry; 8]; 8] = run_before_short();

/// Where the levels of a block stand that has none to three, by TotalCoeff and the first 10 bits of total_zeros and
/// run_before: code length in the low 5 bits, from bit 8 on 4 bits per level, the highest frequency first; 0 when the
/// code is longer, or none.
pub static POSITIONS_4X4: [[u32; 1024]; 4] =
    positions(10, 9, &total_zeros::<135, 512, 16>(9, &TOTAL_ZEROS, 16));

/// In [`POSITIONS_4X4`]: there are no levels.
pub(crate) const NOTHING: u32 = 1 << 7;

/// The same of chroma DC by 6 bits.
pub static POSITIONS_2X2: [[u32; 64]; 4] =
    positions(6, 3, &total_zeros::<9, 8, 4>(3, &TOTAL_ZEROS_CHROMA_DC, 4));

const fn token_tables() -> [u8; 256] {
    let mut tables = [0; 256];
    let mut sum = 0;
    while sum < 256 {
        // With one neighbour its own count, with none 0.
        let context = if sum < UNAVAILABLE as usize { sum.div_ceil(2) } else { sum % 32 };
        tables[sum] = (context > 1) as u8 + (context > 3) as u8 + (context > 7) as u8;
        sum += 1;
    }
    tables
}

/// Writes `entry` to every index of `table` (of `bits` bits) that starts with the code word.
const fn fill<const N: usize>(mut table: [Entry; N], bits: u32, code: (u8, u16), value: u16) -> [Entry; N] {
    let free = bits - code.0 as u32;
    let first = (code.1 as usize) << free;
    let mut index = first;
    while index < first + (1 << free) {
        table[index] = value | code.0 as u16;
        index += 1;
    }
    table
}

const fn token_table<const N: usize>(codes: &[(u8, u16); N]) -> TokenTable {
    let mut table = TokenTable { short: [0; 256], long: [0; 2048] };
    let (mut total, mut ones, mut index) = (0, 0, 0);
    while index < N {
        let value = total << 5 | ones << 10;
        if codes[index].0 <= 8 {
            table.short = fill(table.short, 8, codes[index], value);
        } else {
            table.long = fill(table.long, 16, codes[index], value);
        }
        index += 1;
        ones += 1;
        if ones > 3 || ones > total {
            total += 1;
            ones = 0;
        }
    }
    table
}

/// nC >= 8: six bits, TotalCoeff - 1 and TrailingOnes; 000011 is none.
const fn fixed_length_tokens() -> [Entry; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 64 {
        let (total, ones) = (code / 4 + 1, code % 4);
        if code == 3 {
            table = fill(table, 8, (6, code), 0);
        } else if ones <= total {
            table = fill(table, 8, (6, code), total << 5 | ones << 10);
        }
        code += 1;
    }
    table
}

const fn coeff_token_422() -> [Entry; 8192] {
    let mut table = [0; 8192];
    let (mut total, mut ones, mut index) = (0, 0, 0);
    while index < COEFF_TOKEN_CHROMA_DC_422.len() {
        table = fill(table, 13, COEFF_TOKEN_CHROMA_DC_422[index], total << 5 | ones << 10);
        index += 1;
        ones += 1;
        if ones > 3 || ones > total {
            total += 1;
            ones = 0;
        }
    }
    table
}

/// Tables of `bits` bits by TotalCoeff - 1, from the codes of all TotalCoeff of a block of `capacity` levels.
const fn total_zeros<const CODES: usize, const SIZE: usize, const TABLES: usize>(
    bits: u32,
    codes: &[(u8, u16); CODES],
    capacity: usize,
) -> [[Entry; SIZE]; TABLES] {
    let mut tables = [[0; SIZE]; TABLES];
    let (mut total, mut zeros, mut index) = (1, 0, 0);
    while index < CODES {
        tables[total - 1] = fill(tables[total - 1], bits, codes[index], (zeros as u16) << 5);
        index += 1;
        zeros += 1;
        if zeros > capacity - total {
            total += 1;
            zeros = 0;
        }
    }
    tables
}

const fn run_before_short() -> [[Entry; 8]; 8] {
    let mut tables = [[0; 8]; 8];
    tables[7][0] = ESCAPE;
    let (mut left, mut run, mut index) = (1, 0, 0);
    while index < RUN_BEFORE.len() {
        if RUN_BEFORE[index].0 <= 3 {
            tables[left] = fill(tables[left], 3, RUN_BEFORE[index], (run as u16) << 5);
        }
        index += 1;
        run += 1;
        if run > left && left < 7 {
            left += 1;
            run = 0;
        }
    }
    tables
}

/// Tables of `bits` bits from those of total_zeros, which have `zeros_bits`.
const fn positions<const ZEROS: usize, const TABLES: usize, const SIZE: usize>(
    bits: u32,
    zeros_bits: u32,
    total_zeros: &[[Entry; ZEROS]; TABLES],
) -> [[u32; SIZE]; 4] {
    let runs = run_before_short();
    // Without levels nothing is read.
    let mut tables = [[NOTHING; SIZE], [0; SIZE], [0; SIZE], [0; SIZE]];
    let mut index = 0;
    while index < 3 * SIZE {
        let (total, code) = (index / SIZE + 1, index % SIZE);
        let zeros = total_zeros[total - 1][code >> (bits - zeros_bits)];
        let (mut length, mut left) = ((zeros & 31) as u32, (zeros >> 5) as usize);
        let mut known = length > 0;
        let mut position = total - 1 + left;
        let mut entry = (position as u32) << 8;
        let mut level = 1;
        while level < total {
            if left > 0 {
                let run = runs[if left < 7 { left } else { 7 }][((code << length) % SIZE) >> (bits - 3)];
                known = known && run != ESCAPE;
                if known {
                    length += (run & 31) as u32;
                    left -= (run >> 5) as usize;
                    position -= (run >> 5) as usize;
                }
            }
            position -= 1;
            entry |= (position as u32) << (8 + 4 * level);
            level += 1;
        }
        if known && length <= bits {
            tables[total][code] = entry | length;
        }
        index += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coeff_token_is_found_by_its_code_word() {
        for (table, codes) in [&COEFF_TOKEN_0, &COEFF_TOKEN_2, &COEFF_TOKEN_4].into_iter().enumerate() {
            let mut found = Vec::new();
            for &(length, bits) in codes {
                let window = usize::from(bits) << (16 - length);
                let entry = match COEFF_TOKEN_SHORT[table][window >> 8] {
                    0 => COEFF_TOKEN_LONG[table][window & 2047],
                    entry => entry,
                };
                assert_eq!(entry & 31, u16::from(length));
                found.push((entry >> 5 & 31, entry >> 10));
            }
            let pairs = (0..=16).flat_map(|total| (0..=total.min(3)).map(move |ones| (total, ones)));
            assert_eq!(found, pairs.collect::<Vec<_>>());
        }
    }

    #[test]
    fn neighbours_choose_the_table() {
        let table = |a: u8, b: u8| TOKEN_TABLE[usize::from(a + b)];
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 16].map(|total| table(total, total)), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!([(0, 2), (1, 2), (3, 4), (7, 8)].map(|(a, b)| table(a, b)), [0, 1, 2, 3]);
        assert_eq!([1, 2, 16].map(|total| table(total, UNAVAILABLE)), [0, 1, 3]);
        assert_eq!(table(UNAVAILABLE, UNAVAILABLE), 0);
    }

    #[test]
    fn total_zeros_never_exceed_the_block() {
        for (index, table) in TOTAL_ZEROS_4X4.iter().take(15).enumerate() {
            assert!(table.iter().all(|entry| usize::from(entry >> 5) + index < 16));
        }
        for (index, table) in TOTAL_ZEROS_2X2.iter().take(3).enumerate() {
            assert!(table.iter().all(|entry| usize::from(entry >> 5) + index < 4));
        }
        for (index, table) in TOTAL_ZEROS_2X4.iter().take(7).enumerate() {
            assert!(table.iter().all(|entry| *entry != 0 && usize::from(entry >> 5) + index < 8));
        }
    }

    #[test]
    fn short_run_before_codes_cover_all_but_the_escape() {
        for (left, table) in RUN_BEFORE_SHORT.iter().enumerate().skip(1) {
            for (bits, entry) in table.iter().enumerate() {
                assert_eq!(*entry == ESCAPE, left == 7 && bits == 0);
                assert!(*entry == ESCAPE || usize::from(entry >> 5) <= left);
            }
        }
    }

    #[test]
    fn coded_block_patterns_are_permutations() {
        for table in [&CBP_INTRA, &CBP_INTER] {
            let mut sorted = table.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..48));
        }
    }
}
