//! Intra prediction from the samples around a block (H.264 8.3).

/// The samples around a block of `size`: those to the left, the corner, and those above with as many to the right.
#[derive(Clone)]
pub struct Edges {
    size: usize,
    /// From the bottom left around the corner (at `size`) to the top right.
    line: Vec<Option<i32>>,
}

impl Edges {
    /// `sample` knows the samples at places relative to the block.
    pub fn new(size: usize, sample: impl Fn(i32, i32) -> Option<i32>) -> Self {
        let left = (0..size as i32).rev().map(|y| (-1, y));
        let above = (-1..2 * size as i32).map(|x| (x, -1));
        Self { size, line: left.chain(above).map(|(x, y)| sample(x, y)).collect() }
    }

    /// Where only the left samples above exist, the last of them goes on (8.3.1.2, 8.3.2.2).
    pub fn extended(mut self) -> Self {
        let right = 2 * self.size + 1;
        if self.line[right].is_none() {
            let last = self.line[right - 1];
            self.line[right..].fill(last);
        }
        self
    }

    /// At 0 the corner, from 1 on above, below 0 to the left from the top.
    fn at(&self, place: i32) -> i32 {
        self.line[(self.size as i32 + place) as usize].expect("an available sample")
    }

    fn two(&self, place: i32) -> i32 {
        (self.at(place) + self.at(place + 1) + 1) >> 1
    }

    fn three(&self, place: i32) -> i32 {
        (self.at(place - 1) + 2 * self.at(place) + self.at(place + 1) + 2) >> 2
    }

    pub fn left(&self) -> Option<Vec<i32>> {
        self.line[..self.size].iter().rev().copied().collect()
    }

    pub fn above(&self) -> Option<Vec<i32>> {
        self.line[self.size + 1..=2 * self.size].iter().copied().collect()
    }

    /// Sum of four samples to the left, the upper (0) or lower (1) ones of eight.
    pub fn half_left(&self, half: usize) -> Option<i32> {
        let bottom = 4 * (1 - half);
        self.line[bottom..bottom + 4].iter().copied().sum()
    }

    /// The samples as Intra_8x8 prediction sees them.
    // H.264 8.3.2.2.1
    pub fn filtered(&self) -> Self {
        let filter = |index: usize| {
            let centre = self.line[index]?;
            let before = index.checked_sub(1).and_then(|before| self.line[before]);
            let after = self.line.get(index + 1).copied().flatten();
            Some(match (before, after) {
                (Some(before), Some(after)) => (before + 2 * centre + after + 2) >> 2,
                (Some(one), None) | (None, Some(one)) => (3 * centre + one + 2) >> 2,
                (None, None) => centre,
            })
        };
        Self { size: self.size, line: (0..self.line.len()).map(filter).collect() }
    }
}

/// DC of a square of `size`; `middle` without any sample (8.3.1.2.3, 8.3.3.3).
pub fn dc(edges: &Edges, middle: i32) -> i32 {
    let sum = |edge: &[i32]| edge.iter().sum::<i32>();
    let size = edges.size as i32;
    match (edges.left(), edges.above()) {
        (Some(left), Some(above)) => (sum(&left) + sum(&above) + size) / (2 * size),
        (Some(edge), None) | (None, Some(edge)) => (sum(&edge) + size / 2) / size,
        (None, None) => middle,
    }
}

/// Intra_4x4 and Intra_8x8 prediction by mode, row by row.
// H.264 8.3.1.2, 8.3.2.2
pub fn predict_nxn(edges: &Edges, mode: u8, middle: i32) -> Vec<i32> {
    let size = edges.size as i32;
    let dc = if mode == 2 { dc(edges, middle) } else { 0 };
    let sample = |x: i32, y: i32| match mode {
        0 => edges.at(x + 1),
        1 => edges.at(-y - 1),
        2 => dc,
        3 if x + y == 2 * size - 2 => (edges.at(2 * size - 1) + 3 * edges.at(2 * size) + 2) >> 2,
        3 => edges.three(x + y + 2),
        4 => edges.three(x - y),
        5 => match 2 * x - y {
            even if even >= 0 && even % 2 == 0 => edges.two(x - (y >> 1)),
            odd if odd >= 0 => edges.three(x - (y >> 1)),
            _ => edges.three(1 + 2 * x - y),
        },
        6 => match 2 * y - x {
            even if even >= 0 && even % 2 == 0 => edges.two(-(y - (x >> 1)) - 1),
            odd if odd >= 0 => edges.three(-(y - (x >> 1))),
            _ => edges.three(x - 2 * y - 1),
        },
        7 if y % 2 == 0 => edges.two(x + (y >> 1) + 1),
        7 => edges.three(x + (y >> 1) + 2),
        _ => match x + 2 * y {
            beyond if beyond > 2 * size - 3 => edges.at(-size),
            last if last == 2 * size - 3 => (edges.at(1 - size) + 3 * edges.at(-size) + 2) >> 2,
            even if even % 2 == 0 => edges.two(-(y + (x >> 1)) - 2),
            _ => edges.three(-(y + (x >> 1)) - 2),
        },
    };
    (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect()
}

/// Plane prediction of a square of `size` 16 or 8 (8.3.3.4, 8.3.4.4); `max` is the largest sample.
pub fn plane(edges: &Edges, max: i32) -> Vec<i32> {
    let size = edges.size as i32;
    let half = size / 2;
    let slope = |direction: i32| -> i32 {
        (1..=half).map(|i| i * (edges.at(direction * (half + i)) - edges.at(direction * (half - i)))).sum()
    };
    let (h, v) = (slope(1), slope(-1));
    let scale = |sum: i32| if size == 16 { (5 * sum + 32) >> 6 } else { (34 * sum + 32) >> 6 };
    let (b, c) = (scale(h), scale(v));
    let a = 16 * (edges.at(-size) + edges.at(size));
    let sample = |x: i32, y: i32| ((a + b * (x - half + 1) + c * (y - half + 1) + 16) >> 5).clamp(0, max);
    (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect()
}
