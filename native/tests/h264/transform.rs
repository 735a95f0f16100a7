//! Inverse transforms (H.264 8.5.10 to 8.5.13). Blocks are row by row.

fn four([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    let (e, f) = (a + c, a - c);
    let (g, h) = ((b >> 1) - d, b + (d >> 1));
    [e + h, f + g, f - g, e - h]
}

fn forward_four([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    let (e, f, g, h) = (a + d, b + c, b - c, a - d);
    [e + f, 2 * h + g, e - f, h - 2 * g]
}

fn hadamard([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    [a + b + c + d, a + b - c - d, a - b - c + d, a - b + c - d]
}

fn eight(d: [i32; 8]) -> [i32; 8] {
    let e = [
        d[0] + d[4],
        d[5] - d[3] - d[7] - (d[7] >> 1),
        d[0] - d[4],
        d[1] + d[7] - d[3] - (d[3] >> 1),
        (d[2] >> 1) - d[6],
        d[7] - d[1] + d[5] + (d[5] >> 1),
        d[2] + (d[6] >> 1),
        d[3] + d[5] + d[1] + (d[1] >> 1),
    ];
    let f = [
        e[0] + e[6],
        e[1] + (e[7] >> 2),
        e[2] + e[4],
        e[3] + (e[5] >> 2),
        e[2] - e[4],
        (e[3] >> 2) - e[5],
        e[0] - e[6],
        e[7] - (e[1] >> 2),
    ];
    let pairs = [(f[0], f[7]), (f[2], f[5]), (f[4], f[3]), (f[6], f[1])];
    std::array::from_fn(|i| if i < 4 { pairs[i].0 + pairs[i].1 } else { pairs[7 - i].0 - pairs[7 - i].1 })
}

/// Rows first, then columns.
fn both_ways<const N: usize>(block: &[i32], one: fn([i32; N]) -> [i32; N]) -> Vec<i32> {
    let rows: Vec<[i32; N]> =
        block.chunks(N).map(|row| one(std::array::from_fn(|column| row[column]))).collect();
    let columns: Vec<[i32; N]> =
        (0..N).map(|column| one(std::array::from_fn(|row| rows[row][column]))).collect();
    (0..N * N).map(|place| columns[place % N][place / N]).collect()
}

/// Residual of a 4x4 block from scaled coefficients (8.5.12.2).
pub fn inverse_4x4(block: &[i32]) -> Vec<i32> {
    both_ways(block, four).into_iter().map(|value| (value + 32) >> 6).collect()
}

/// Coefficients of a 4x4 block of samples (8.6.1).
pub fn forward_4x4(block: &[i32]) -> Vec<i32> {
    both_ways(block, forward_four)
}

/// Residual of an 8x8 block from scaled coefficients (8.5.13).
pub fn inverse_8x8(block: &[i32]) -> Vec<i32> {
    both_ways(block, eight).into_iter().map(|value| (value + 32) >> 6).collect()
}

/// DC levels of Intra_16x16 before scaling (8.5.10).
pub fn inverse_luma_dc(levels: &[i32]) -> Vec<i32> {
    both_ways(levels, hadamard)
}

/// DC levels of 4:2:0 chroma before scaling (8.5.11.1).
pub fn inverse_chroma_dc([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    [a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]
}
