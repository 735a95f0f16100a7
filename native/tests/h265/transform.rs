//! Scaling and inverse transforms (H.265 8.6.2 to 8.6.4). Blocks are row by row.

/// cos(pi * j / 64) by j, as the standard rounds it (8.6.4.2).
const COSINES: [i32; 33] = [
    64, 90, 90, 90, 89, 88, 87, 85, 83, 82, 80, 78, 75, 73, 70, 67, 64, 61, 57, 54, 50, 46, 43, 38, 36, 31,
    25, 22, 18, 13, 9, 4, 0,
];

/// The transform of 4x4 intra luma blocks (8-??): DST-VII.
const DST: [[i32; 4]; 4] = [[29, 55, 74, 84], [74, 74, 0, -74], [84, -29, -74, 55], [55, -84, 74, -29]];

/// levelScale by qP % 6 (8.6.3).
const LEVEL_SCALE: [i64; 6] = [40, 45, 51, 57, 64, 72];

/// Entry of the 32x32 DCT matrix: frequency and place.
fn dct(frequency: usize, place: usize) -> i32 {
    if frequency == 0 {
        return 64;
    }
    match frequency * (2 * place + 1) % 128 {
        j @ 0..=32 => COSINES[j],
        j @ 33..=64 => -COSINES[64 - j],
        j @ 65..=96 => -COSINES[j - 64],
        j => COSINES[128 - j],
    }
}

fn clip_16(value: i64) -> i32 {
    value.clamp(-32768, 32767) as i32
}

/// A level times its scaling factor (8-309).
pub fn scaled(level: i32, factor: u8, qp: i32, log2_size: u32, bit_depth: u32) -> i32 {
    let shift = bit_depth + log2_size - 5;
    let product = i64::from(level) * i64::from(factor) * LEVEL_SCALE[qp as usize % 6];
    clip_16(((product << (qp / 6)) + (1 << (shift - 1))) >> shift)
}

/// Residual of a block of scaled coefficients.
// H.265 8.6.4.2
pub fn inverse(block: &[i32], log2_size: u32, is_dst: bool, bit_depth: u32) -> Vec<i32> {
    let size = 1_usize << log2_size;
    let matrix = |frequency: usize, place: usize| match is_dst {
        true => DST[frequency][place],
        false => dct(frequency * 32 / size, place),
    };
    let one_way = |line: &dyn Fn(usize) -> i32, place: usize| -> i32 {
        (0..size).map(|frequency| matrix(frequency, place) * line(frequency)).sum()
    };
    let mut columns = vec![0; size * size];
    for x in (0..size).filter(|&x| (0..size).any(|y| block[y * size + x] != 0)) {
        for y in 0..size {
            let sum = one_way(&|frequency| block[frequency * size + x], y);
            columns[y * size + x] = clip_16(i64::from((sum + 64) >> 7));
        }
    }
    let shift = 20 - bit_depth;
    let sample = |place: usize| {
        let (x, row) = (place % size, place / size * size);
        (one_way(&|frequency| columns[row + frequency], x) + (1 << (shift - 1))) >> shift
    };
    (0..size * size).map(sample).collect()
}

/// Residual of a block without transform (8.6.4.2, transform_skip_flag).
pub fn skipped(block: &[i32], log2_size: u32, bit_depth: u32) -> Vec<i32> {
    let shift = 20 - bit_depth;
    block.iter().map(|value| ((value << (5 + log2_size)) + (1 << (shift - 1))) >> shift).collect()
}

#[test]
fn a_dc_is_flat() {
    let mut block = [0; 16];
    block[0] = 512;
    assert_eq!(inverse(&block, 2, false, 8), [4; 16]);
}
