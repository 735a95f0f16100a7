//! Loop filters (RFC 6386 15).

use ovbits::{
    picture::Block,
    vp8::{frame_header::LoopFilter, frame_header::Segmentation, modes::MbMode},
};

use super::plane::Plane;

/// Strength of the filters of one macroblock.
pub struct Strength {
    pub level: i32,
    interior_limit: i32,
    hev_threshold: i32,
}

impl Strength {
    /// RFC 6386 9.3, 9.6, 15.2
    pub fn new(
        filter: &LoopFilter,
        segmentation: &Segmentation,
        segment: u8,
        block: &Block,
        key_frame: bool,
    ) -> Self {
        let mut level = i32::from(filter.level);
        if segmentation.enabled {
            let value = i32::from(segmentation.loop_filter[usize::from(segment)]);
            level = if segmentation.absolute { value } else { level + value }.clamp(0, 63);
        }
        if filter.adjust {
            level += i32::from(filter.ref_frame_delta[(block.ref_idx[0] + 1) as usize]);
            level += mode_delta(filter, block.mb_type);
            level = level.clamp(0, 63);
        }
        let sharpness = i32::from(filter.sharpness);
        let mut interior_limit = level >> (i32::from(sharpness > 0) + i32::from(sharpness > 4));
        if sharpness > 0 {
            interior_limit = interior_limit.min(9 - sharpness);
        }
        let hev_threshold = match (key_frame, level) {
            (true, 40..) => 2,
            (true, 15..) => 1,
            (false, 40..) => 3,
            (false, 20..) => 2,
            (false, 15..) => 1,
            _ => 0,
        };
        Self { level, interior_limit: interior_limit.max(1), hev_threshold }
    }

    fn edge_limit(&self, macroblock_edge: bool) -> i32 {
        2 * (self.level + if macroblock_edge { 2 } else { 0 }) + self.interior_limit
    }
}

fn mode_delta(filter: &LoopFilter, mb_type: u8) -> i32 {
    let index = match mb_type {
        mode if mode == MbMode::BPred as u8 => 0,
        mode if mode < MbMode::BPred as u8 => return 0,
        mode if mode == MbMode::ZeroMv as u8 => 1,
        mode if mode == MbMode::SplitMv as u8 => 3,
        _ => 2,
    };
    filter.mode_delta[index].into()
}

/// Which edges of a macroblock are filtered.
#[derive(Clone, Copy)]
pub struct Edges {
    pub left: bool,
    pub top: bool,
    pub inner: bool,
}

/// Filters the edges of the block of `size` (16 luma, 8 chroma) at (x, y).
pub fn filter(
    plane: &mut Plane,
    (x, y): (usize, usize),
    size: usize,
    edges: Edges,
    simple: bool,
    strength: &Strength,
) {
    let inner = || (4..size).step_by(4).filter(|_| edges.inner).map(|offset| (offset, false));
    for (offset, macroblock_edge) in edges.left.then_some((0, true)).into_iter().chain(inner()) {
        (0..size).for_each(|i| {
            Segment::vertical(plane, x + offset, y + i).filter(strength, simple, macroblock_edge)
        });
    }
    for (offset, macroblock_edge) in edges.top.then_some((0, true)).into_iter().chain(inner()) {
        (0..size).for_each(|i| {
            Segment::horizontal(plane, x + i, y + offset).filter(strength, simple, macroblock_edge)
        });
    }
}

/// The eight samples across an edge.
struct Segment<'a> {
    plane: &'a mut Plane,
    at: (usize, usize),
    step: (usize, usize),
}

fn signed(value: i32) -> i32 {
    value.clamp(-128, 127)
}

impl<'a> Segment<'a> {
    fn vertical(plane: &'a mut Plane, x: usize, y: usize) -> Self {
        Self { plane, at: (x - 4, y), step: (1, 0) }
    }

    fn horizontal(plane: &'a mut Plane, x: usize, y: usize) -> Self {
        Self { plane, at: (x, y - 4), step: (0, 1) }
    }

    fn place(&self, index: usize) -> (usize, usize) {
        (self.at.0 + index * self.step.0, self.at.1 + index * self.step.1)
    }

    /// p3 p2 p1 p0 q0 q1 q2 q3
    fn samples(&self) -> [i32; 8] {
        std::array::from_fn(|index| {
            let (x, y) = self.place(index);
            self.plane.get(x, y).into()
        })
    }

    fn put(&mut self, index: usize, value: i32) {
        let (x, y) = self.place(index);
        self.plane.set(x, y, (signed(value) + 128) as u8);
    }

    fn filter(&mut self, strength: &Strength, simple: bool, macroblock_edge: bool) {
        let samples = self.samples();
        let [p3, p2, p1, p0, q0, q1, q2, q3] = samples;
        if (p0 - q0).abs() * 2 + (p1 - q1).abs() / 2 > strength.edge_limit(macroblock_edge) {
            return;
        }
        if simple {
            self.common(samples, true);
            return;
        }
        let neighbours = [(p3, p2), (p2, p1), (p1, p0), (q1, q0), (q2, q1), (q3, q2)];
        if neighbours.iter().any(|(a, b)| (a - b).abs() > strength.interior_limit) {
            return;
        }
        let hev = (p1 - p0).abs() > strength.hev_threshold || (q1 - q0).abs() > strength.hev_threshold;
        match (macroblock_edge, hev) {
            (_, true) => _ = self.common(samples, true),
            (true, false) => self.wide(samples),
            (false, false) => {
                let a = (self.common(samples, false) + 1) >> 1;
                self.put(2, p1 - 128 + a);
                self.put(5, q1 - 128 - a);
            }
        }
    }

    /// RFC 6386 15.2: common_adjust()
    fn common(&mut self, samples: [i32; 8], use_outer_taps: bool) -> i32 {
        let [_, _, p1, p0, q0, q1, _, _] = samples.map(|sample| sample - 128);
        let outer = if use_outer_taps { signed(p1 - q1) } else { 0 };
        let a = signed(outer + 3 * (q0 - p0));
        let (f, b) = (signed(a + 4) >> 3, signed(a + 3) >> 3);
        self.put(4, q0 - f);
        self.put(3, p0 + b);
        f
    }

    /// RFC 6386 15.3: MBfilter()
    fn wide(&mut self, samples: [i32; 8]) {
        let [_, p2, p1, p0, q0, q1, q2, _] = samples.map(|sample| sample - 128);
        let w = signed(signed(p1 - q1) + 3 * (q0 - p0));
        for (factor, p, q, index) in [(27, p0, q0, 0), (18, p1, q1, 1), (9, p2, q2, 2)] {
            let a = signed((factor * w + 63) >> 7);
            self.put(3 - index, p + a);
            self.put(4 + index, q - a);
        }
    }
}
