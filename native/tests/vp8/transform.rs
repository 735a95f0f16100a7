//! Inverse transforms (RFC 6386 14.3, 14.4).

/// Raster position by zig-zag position.
pub const ZIGZAG: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Walsh-Hadamard: DC coefficients of the 16 luma blocks.
pub fn inverse_walsh(input: &[i32; 16]) -> [i32; 16] {
    let mut rows = [0; 16];
    for i in 0..4 {
        let (a, b) = (input[i] + input[12 + i], input[4 + i] + input[8 + i]);
        let (c, d) = (input[4 + i] - input[8 + i], input[i] - input[12 + i]);
        (rows[i], rows[4 + i], rows[8 + i], rows[12 + i]) = (a + b, c + d, a - b, d - c);
    }
    let mut output = [0; 16];
    for (row, out) in rows.chunks(4).zip(output.chunks_mut(4)) {
        let (a, b, c, d) = (row[0] + row[3], row[1] + row[2], row[1] - row[2], row[0] - row[3]);
        out.copy_from_slice(&[(a + b + 3) >> 3, (c + d + 3) >> 3, (a - b + 3) >> 3, (d - c + 3) >> 3]);
    }
    output
}

/// sqrt(2) * cos(pi / 8) and sqrt(2) * sin(pi / 8) in 16 bits.
fn by_cosine(value: i32) -> i32 {
    value + ((value * 20091) >> 16)
}

fn by_sine(value: i32) -> i32 {
    (value * 35468) >> 16
}

fn butterfly([i0, i1, i2, i3]: [i32; 4]) -> [i32; 4] {
    let (a, b) = (i0 + i2, i0 - i2);
    let (c, d) = (by_sine(i1) - by_cosine(i3), by_cosine(i1) + by_sine(i3));
    [a + d, b + c, b - c, a - d]
}

/// 4x4 residual from coefficients in raster order.
pub fn inverse_dct(input: &[i32; 16]) -> [i32; 16] {
    let mut columns = [0; 16];
    for i in 0..4 {
        let out = butterfly([input[i], input[4 + i], input[8 + i], input[12 + i]]);
        (0..4).for_each(|j| columns[4 * j + i] = out[j]);
    }
    let mut output = [0; 16];
    for (row, out) in columns.chunks(4).zip(output.chunks_mut(4)) {
        out.copy_from_slice(&butterfly([row[0], row[1], row[2], row[3]]).map(|value| (value + 4) >> 3));
    }
    output
}
