//! Intra prediction of luma (H.265 8.4.4.2).

/// INTRA_DC
const DC: u8 = 1;

/// intraPredAngle of modes 2 to 34 (Table 8-5).
const ANGLES: [i32; 33] = [
    32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26, -32, -26, -21, -17, -13, -9, -5, -2, 0,
    2, 5, 9, 13, 17, 21, 26, 32,
];
/// invAngle of modes 11 to 25 (Table 8-6).
const INVERSE_ANGLES: [i32; 15] =
    [-4096, -1638, -910, -630, -482, -390, -315, -256, -315, -390, -482, -630, -910, -1638, -4096];

/// What prediction depends on beyond the samples around.
#[derive(Clone, Copy)]
pub struct Setting {
    pub bit_depth: u32,
    /// strong_intra_smoothing_enabled_flag
    pub strong_smoothing: bool,
    /// disableIntraBoundaryFilter
    pub plain_edges: bool,
}

/// The samples around a block: from the bottom left around the corner (at 2 * size) to the top right.
pub struct Around {
    size: usize,
    line: Vec<i32>,
}

impl Around {
    /// `sample` knows the available samples at places relative to the block; others are substituted.
    // H.265 8.4.4.2.2
    pub fn new(size: usize, bit_depth: u32, sample: impl Fn(i32, i32) -> Option<i32>) -> Self {
        let left = (0..2 * size as i32).rev().map(|y| (-1, y));
        let above = (-1..2 * size as i32).map(|x| (x, -1));
        let known: Vec<Option<i32>> = left.chain(above).map(|(x, y)| sample(x, y)).collect();
        let mut last = known.iter().flatten().next().copied().unwrap_or(1 << (bit_depth - 1));
        let line = known
            .iter()
            .map(|value| {
                last = value.unwrap_or(last);
                last
            })
            .collect();
        Self { size, line }
    }

    /// At 0 the corner, from 1 on above, below 0 to the left from the top.
    fn at(&self, place: i32) -> i32 {
        self.line[(2 * self.size as i32 + place) as usize]
    }

    // H.265 8.4.4.2.3
    fn filtered(self, mode: u8, setting: &Setting) -> Self {
        let distance = i32::from(mode).abs_diff(26).min(i32::from(mode).abs_diff(10));
        let threshold = match self.size {
            8 => 7,
            16 => 1,
            _ => 0,
        };
        if mode == DC || self.size == 4 || distance <= threshold {
            return self;
        }
        let end = 2 * self.size as i32;
        let is_flat = |end: i32| {
            let middle = end / 2;
            (self.at(0) + self.at(end) - 2 * self.at(middle)).abs() < 1 << (setting.bit_depth - 5)
        };
        let strong = setting.strong_smoothing && self.size == 32 && is_flat(end) && is_flat(-end);
        let smooth = |place: i32| match place {
            _ if place.abs() == end => self.at(place),
            0 if strong => self.at(0),
            _ if strong => {
                let far = place.abs();
                ((64 - far) * self.at(0) + far * self.at(place.signum() * end) + 32) >> 6
            }
            _ => (self.at(place - 1) + 2 * self.at(place) + self.at(place + 1) + 2) >> 2,
        };
        Self { size: self.size, line: (-end..=end).map(smooth).collect() }
    }

    /// Predicts the block by its mode, row by row.
    pub fn predict(self, mode: u8, setting: &Setting) -> Vec<i32> {
        let around = self.filtered(mode, setting);
        match mode {
            0 => around.planar(),
            DC => around.dc(setting),
            _ => around.angular(mode, setting),
        }
    }

    fn each(&self, sample: impl Fn(i32, i32) -> i32) -> Vec<i32> {
        let size = self.size as i32;
        (0..size * size).map(|place| sample(place % size, place / size)).collect()
    }

    // H.265 8.4.4.2.4
    fn planar(&self) -> Vec<i32> {
        let size = self.size as i32;
        let log2 = size.trailing_zeros();
        self.each(|x, y| {
            let across = (size - 1 - x) * self.at(-y - 1) + (x + 1) * self.at(size + 1);
            let down = (size - 1 - y) * self.at(x + 1) + (y + 1) * self.at(-size - 1);
            (across + down + size) >> (log2 + 1)
        })
    }

    // H.265 8.4.4.2.5
    fn dc(&self, setting: &Setting) -> Vec<i32> {
        let size = self.size as i32;
        let sum: i32 = (1..=size).map(|place| self.at(place) + self.at(-place)).sum();
        let dc = (sum + size) >> (size.trailing_zeros() + 1);
        let soft = size < 32 && !setting.plain_edges;
        self.each(|x, y| match (x, y) {
            _ if !soft => dc,
            (0, 0) => (self.at(-1) + 2 * dc + self.at(1) + 2) >> 2,
            (_, 0) => (self.at(x + 1) + 3 * dc + 2) >> 2,
            (0, _) => (self.at(-y - 1) + 3 * dc + 2) >> 2,
            _ => dc,
        })
    }

    // H.265 8.4.4.2.6
    fn angular(&self, mode: u8, setting: &Setting) -> Vec<i32> {
        let size = self.size as i32;
        let angle = ANGLES[usize::from(mode) - 2];
        // Modes below 18 are the others with rows and columns exchanged.
        let side = if mode < 18 { -1 } else { 1 };
        let reference = |place: i32| match place {
            0.. => self.at(side * place),
            _ => {
                let inverse = INVERSE_ANGLES[usize::from(mode) - 11];
                self.at(-side * ((place * inverse + 128) >> 8))
            }
        };
        let max = (1 << setting.bit_depth) - 1;
        let soft = angle == 0 && size < 32 && !setting.plain_edges;
        let sample = |along: i32, away: i32| {
            if soft && along == 0 {
                return (self.at(side) + ((self.at(-side * (away + 1)) - self.at(0)) >> 1)).clamp(0, max);
            }
            let (whole, part) = (((away + 1) * angle) >> 5, ((away + 1) * angle) & 31);
            let place = along + whole + 1;
            if part == 0 {
                reference(place)
            } else {
                ((32 - part) * reference(place) + part * reference(place + 1) + 16) >> 5
            }
        };
        self.each(|x, y| if mode < 18 { sample(y, x) } else { sample(x, y) })
    }
}
