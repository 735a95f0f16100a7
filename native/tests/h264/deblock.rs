//! The deblocking filter (H.264 8.7).

use ovbits::picture::{flags, Block};

use super::{
    geometry::{covering, is_field, place, At},
    plane::{Lines, Plane},
    recorder::Coded,
    scaling::chroma_qp,
    strength::Strengths,
};

/// alpha' and beta' by index from 16 on (Table 8-16).
const ALPHA: [i32; 36] = [
    4, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 17, 20, 22, 25, 28, 32, 36, 40, 45, 50, 56, 63, 71, 80, 90, 101,
    113, 127, 144, 162, 182, 203, 226, 255, 255,
];
const BETA: [i32; 36] = [
    2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16,
    16, 17, 17, 18, 18,
];
/// tC0' by bS (1 to 3) and index from 17 on (Table 8-17).
const TC0: [[i32; 35]; 3] = [
    [
        0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 6, 7, 8, 9, 10,
        11, 13,
    ],
    [
        0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 8, 10, 11, 12,
        13, 15, 17,
    ],
    [
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 6, 7, 8, 9, 10, 11, 13, 14, 16, 18,
        20, 23, 25,
    ],
];

/// A step from sample to sample across an edge: first sample of q, and where the next ones are.
#[derive(Clone, Copy)]
struct Across {
    x: usize,
    y: usize,
    step: (usize, usize),
}

impl Across {
    /// Sample `i` of q from 0 on, of p from -1 down.
    fn at(self, i: i32) -> (usize, usize) {
        let place = |first: usize, step: usize| (first as i32 + i * step as i32) as usize;
        (place(self.x, self.step.0), place(self.y, self.step.1))
    }
}

/// An edge of a macroblock: `number` counts 4x4 blocks; `field` is set where a frame macroblock lies below a pair of
/// field macroblocks and is filtered with one of the fields.
#[derive(Clone, Copy)]
struct Edge {
    vertical: bool,
    number: usize,
    field: Option<usize>,
}

/// Filters a picture in place.
pub struct Deblocker<'a> {
    pub coded: &'a Coded,
    pub strengths: Strengths<'a>,
    pub planes: &'a mut [Plane; 3],
    pub lines: Lines,
}

impl Deblocker<'_> {
    pub fn run(&mut self) {
        for address in in_order(self.coded) {
            self.macroblock(address);
        }
    }

    fn macroblock(&mut self, address: usize) {
        let picture = &self.coded.picture;
        let block = picture.blocks[address];
        let header = &self.coded.slices[&block.slice].header;
        if header.disable_deblocking_filter_idc == 1 {
            return;
        }
        let crosses = |other: usize| {
            header.disable_deblocking_filter_idc != 2 || picture.blocks[other].slice == block.slice
        };
        let (x, lines) = place(picture, address, 16);
        let columns = picture.mb_cols;
        let row = address / columns;
        let left = x > 0 && crosses(address - 1);
        let in_frame_of_pairs = picture.mbaff;
        let top = if in_frame_of_pairs && row % 2 == 1 && !is_field(&block) {
            true
        } else if in_frame_of_pairs {
            row / 2 > 0 && crosses((row / 2 * 2 - 1) * columns + address % columns)
        } else {
            row > 0 && crosses(address - columns)
        };
        let is_8x8 = block.flags & flags::TRANSFORM_8X8 != 0;
        let inner = move |number: &usize| !(is_8x8 && number % 2 == 1);
        for number in (usize::from(!left)..4).filter(inner) {
            self.edge(address, &block, lines, Edge { vertical: true, number, field: None });
        }
        let under_fields = in_frame_of_pairs
            && top
            && row % 2 == 0
            && !is_field(&block)
            && is_field(&picture.blocks[address - columns]);
        if under_fields {
            for field in 0..2 {
                self.edge(address, &block, lines, Edge { vertical: false, number: 0, field: Some(field) });
            }
        }
        for number in (usize::from(!top || under_fields)..4).filter(inner) {
            self.edge(address, &block, lines, Edge { vertical: false, number, field: None });
        }
    }

    /// One edge in luma, and in chroma of 4:2:0 where it is an edge there.
    fn edge(&mut self, address: usize, block: &Block, lines: Lines, edge: Edge) {
        let coded = self.coded;
        let slice = &coded.slices[&block.slice];
        let picture = &coded.picture;
        let along = |k: usize| across(picture.mb_cols, address, lines, edge, k, 16);
        let mut sides: Vec<(u8, At, At)> = Vec::new();
        for k in 0..16 {
            // Whole 4x4 blocks have one strength, unless lines of two fields alternate.
            if k % 4 != 0 && !picture.mbaff {
                sides.push(sides[k - 1]);
                continue;
            }
            let ((px, py), (qx, qy)) = (along(k).at(-1), along(k).at(0));
            let (p, q) = (covering(picture, px, py), covering(picture, qx, qy));
            sides.push((self.strengths.between(p, q, edge.vertical), p, q));
        }
        for (k, &(strength, p, q)) in sides.iter().enumerate() {
            let qp = [p, q].map(|(address, ..)| i32::from(picture.blocks[address].qp));
            self.filter(0, along(k), strength, qp, block);
        }
        if slice.sps.chroma_array_type() != 1 || edge.number % 2 == 1 {
            return;
        }
        let bd_offset = 6 * i32::from(slice.sps.bit_depth_chroma_minus8);
        for plane in 1..3 {
            for k in 0..8 {
                let luma = match edge.vertical && !is_field(block) {
                    true => k / 2 * 4 + k % 2,
                    false => 2 * k,
                };
                let (strength, p, q) = sides[luma];
                let qp = [p, q].map(|(address, ..)| {
                    let block = &picture.blocks[address];
                    chroma_qp(&coded.slices[&block.slice].pps, plane - 1, block.qp.into(), bd_offset)
                });
                let (_, lines) = place(picture, address, 8);
                self.filter(plane, across(picture.mb_cols, address, lines, edge, k, 8), strength, qp, block);
            }
        }
    }

    /// Filters the samples across an edge at one place; offsets are those of the slice of q.
    // H.264 8.7.2.2 to 8.7.2.4
    fn filter(&mut self, plane: usize, across: Across, strength: u8, qp: [i32; 2], q_block: &Block) {
        if strength == 0 {
            return;
        }
        let slice = &self.coded.slices[&q_block.slice];
        let depth = [slice.sps.bit_depth_luma_minus8, slice.sps.bit_depth_chroma_minus8];
        let depth = depth[usize::from(plane > 0)];
        let average = (qp[0] + qp[1] + 1) >> 1;
        let index_a = (average + 2 * i32::from(slice.header.slice_alpha_c0_offset_div2)).clamp(0, 51);
        let index_b = (average + 2 * i32::from(slice.header.slice_beta_offset_div2)).clamp(0, 51);
        let table = |values: &[i32], from: i32, index: i32| {
            usize::try_from(index - from).map_or(0, |index| values[index]) << depth
        };
        let (alpha, beta) = (table(&ALPHA, 16, index_a), table(&BETA, 16, index_b));
        let (plane_lines, is_chroma) = (self.lines, plane > 0);
        let get = |i: i32| {
            let (x, y) = across.at(i);
            self.planes[plane].get(plane_lines, x, y)
        };
        let (p0, p1, q0, q1) = (get(-1), get(-2), get(0), get(1));
        if (p0 - q0).abs() >= alpha || (p1 - p0).abs() >= beta || (q1 - q0).abs() >= beta {
            return;
        }
        let (p2, q2) = if is_chroma { (p1, q1) } else { (get(-3), get(2)) };
        let (smooth_p, smooth_q) =
            (!is_chroma && (p2 - p0).abs() < beta, !is_chroma && (q2 - q0).abs() < beta);
        let mut changed = Vec::new();
        if strength < 4 {
            let tc0 = table(&TC0[usize::from(strength) - 1], 17, index_a);
            let tc = if is_chroma { tc0 + 1 } else { tc0 + i32::from(smooth_p) + i32::from(smooth_q) };
            let delta = ((((q0 - p0) << 2) + (p1 - q1) + 4) >> 3).clamp(-tc, tc);
            let max = (256 << depth) - 1;
            changed.extend([(-1, (p0 + delta).clamp(0, max)), (0, (q0 - delta).clamp(0, max))]);
            let second =
                |one: i32, two: i32| one + ((two + ((p0 + q0 + 1) >> 1) - (one << 1)) >> 1).clamp(-tc0, tc0);
            if smooth_p {
                changed.push((-2, second(p1, p2)));
            }
            if smooth_q {
                changed.push((1, second(q1, q2)));
            }
        } else {
            let flat = (p0 - q0).abs() < (alpha >> 2) + 2;
            let sides = [(-1, p0, p1, p2, q0, q1, smooth_p), (0, q0, q1, q2, p0, p1, smooth_q)];
            for (first, a0, a1, a2, b0, b1, smooth) in sides {
                if !(smooth && flat) {
                    changed.push((first, (2 * a1 + a0 + b1 + 2) >> 2));
                    continue;
                }
                let outwards = if first < 0 { -1 } else { 1 };
                let a3 = get(first + 3 * outwards);
                changed.push((first, (a2 + 2 * a1 + 2 * a0 + 2 * b0 + b1 + 4) >> 3));
                changed.push((first + outwards, (a2 + a1 + a0 + b0 + 2) >> 2));
                changed.push((first + 2 * outwards, (2 * a3 + 3 * a2 + a1 + a0 + b0 + 4) >> 3));
            }
        }
        for (i, value) in changed {
            let (x, y) = across.at(i);
            self.planes[plane].set(plane_lines, x, y, value);
        }
    }
}

/// Place `k` along an edge of a macroblock of `size`, in lines of its picture (8.7.1).
fn across(columns: usize, address: usize, lines: Lines, edge: Edge, k: usize, size: usize) -> Across {
    let left = address % columns * size;
    let offset = edge.number * size / 4;
    let line = |y: usize| lines.first + lines.step * y;
    match (edge.vertical, edge.field) {
        (true, _) => Across { x: left + offset, y: line(k), step: (1, 0) },
        (false, Some(field)) => Across { x: left + k, y: line(0) + field, step: (0, 2) },
        (false, None) => Across { x: left + k, y: line(offset), step: (0, lines.step) },
    }
}

/// Macroblocks in the order of their addresses: with pairs, the two of a pair follow each other.
pub fn in_order(coded: &Coded) -> Vec<usize> {
    let picture = &coded.picture;
    let mut addresses: Vec<usize> = (0..picture.blocks.len()).collect();
    if picture.mbaff {
        let columns = picture.mb_cols;
        addresses.sort_by_key(|address| (address / columns / 2, address % columns, address / columns % 2));
    }
    addresses
}
