//! Intra prediction (RFC 6386 12).

use super::plane::Plane;

/// Predicts a whole block of `size` x `size` (16 luma, 8 chroma) by mode DC_PRED, V_PRED, H_PRED or TM_PRED.
pub fn predict(plane: &mut Plane, x: usize, y: usize, size: usize, mode: u8) {
    let (left, top) = (x as i32 - 1, y as i32 - 1);
    let above: Vec<i32> = (0..size).map(|i| plane.bordered((x + i) as i32, top)).collect();
    let beside: Vec<i32> = (0..size).map(|i| plane.bordered(left, (y + i) as i32)).collect();
    let corner = plane.bordered(left, top);
    let mean = mean(x > 0, y > 0, &above, &beside);
    for (j, &left) in beside.iter().enumerate() {
        for (i, &top) in above.iter().enumerate() {
            let value = match mode {
                0 => mean,
                1 => top,
                2 => left,
                _ => (left + top - corner).clamp(0, 255),
            };
            plane.set(x + i, y + j, value as u8);
        }
    }
}

/// DC_PRED takes only edges that exist.
fn mean(has_left: bool, has_above: bool, above: &[i32], beside: &[i32]) -> i32 {
    let edges: Vec<i32> = [(has_above, above), (has_left, beside)]
        .iter()
        .filter(|(exists, _)| *exists)
        .flat_map(|(_, edge)| edge.iter().copied())
        .collect();
    match edges.len() as i32 {
        0 => 128,
        count => (edges.iter().sum::<i32>() + count / 2) / count,
    }
}

/// Predicts a 4x4 block; `above_right` are the four samples that follow those above.
pub fn predict_4x4(plane: &mut Plane, x: usize, y: usize, mode: u8, above_right: [i32; 4]) {
    let (left, top) = (x as i32 - 1, y as i32 - 1);
    // The edge from the bottom left around the corner to the top right: E of the RFC, the corner at 4.
    let mut e = [0; 13];
    for i in 0..4 {
        e[3 - i] = plane.bordered(left, (y + i) as i32);
        e[5 + i] = plane.bordered((x + i) as i32, top);
        e[9 + i] = above_right[i];
    }
    e[4] = plane.bordered(left, top);
    let two = |i: usize| (e[i] + e[i + 1] + 1) >> 1;
    let three = |i: usize| (e[i - 1] + 2 * e[i] + e[i + 1] + 2) >> 2;
    let dc = ((0..4).map(|i| e[i] + e[5 + i]).sum::<i32>() + 4) >> 3;
    for r in 0..4 {
        for c in 0..4 {
            let value = match mode {
                0 => dc,
                1 => (e[3 - r] + e[5 + c] - e[4]).clamp(0, 255),
                2 => three(5 + c),
                3 if r == 3 => (e[1] + 3 * e[0] + 2) >> 2,
                3 => three(3 - r),
                4 if r + c == 6 => (e[11] + 3 * e[12] + 2) >> 2,
                4 => three(6 + r + c),
                5 => three(4 + c - r),
                6 => vertical_right(r, c, two, three),
                7 => vertical_left(r, c, two, three),
                8 => horizontal_down(r, c, two, three),
                _ => horizontal_up(r, c, &e, two, three),
            };
            plane.set(x + c, y + r, value as u8);
        }
    }
}

fn vertical_right(r: usize, c: usize, two: impl Fn(usize) -> i32, three: impl Fn(usize) -> i32) -> i32 {
    match (r, c) {
        (3, 0) => three(2),
        (2, 0) => three(3),
        (1 | 3, _) => three(4 + c - r / 2),
        _ => two(4 + c - r / 2),
    }
}

fn vertical_left(r: usize, c: usize, two: impl Fn(usize) -> i32, three: impl Fn(usize) -> i32) -> i32 {
    match (r, c) {
        (2, 3) => three(10),
        (3, 3) => three(11),
        (1 | 3, _) => three(6 + c + r / 2),
        _ => two(5 + c + r / 2),
    }
}

fn horizontal_down(r: usize, c: usize, two: impl Fn(usize) -> i32, three: impl Fn(usize) -> i32) -> i32 {
    match (r, c) {
        (0, 2) => three(5),
        (0, 3) => three(6),
        (_, 0 | 2) => two(3 + c / 2 - r),
        _ => three(4 + c / 2 - r),
    }
}

fn horizontal_up(
    r: usize,
    c: usize,
    e: &[i32; 13],
    two: impl Fn(usize) -> i32,
    three: impl Fn(usize) -> i32,
) -> i32 {
    match 2 * r + c {
        i @ (0 | 2 | 4) => two(2 - i / 2),
        i @ (1 | 3) => three(2 - i / 2),
        5 => (e[1] + 3 * e[0] + 2) >> 2,
        _ => e[0],
    }
}
