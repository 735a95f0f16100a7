//! Samples of a frame, and the lines of it that a picture or macroblock counts.

/// One plane of samples in whole macroblocks.
#[derive(Clone, Default)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    samples: Vec<u16>,
}

/// All lines of a frame, or those of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    pub first: usize,
    pub step: usize,
}

impl Lines {
    pub const ALL: Self = Self { first: 0, step: 1 };

    /// The lines of the top field (0) or the bottom field (1).
    pub fn of_field(parity: usize) -> Self {
        Self { first: parity, step: 2 }
    }

    /// Lines that are counted among these.
    pub fn among(self, inner: Self) -> Self {
        Self { first: self.first + self.step * inner.first, step: self.step * inner.step }
    }
}

impl Plane {
    pub fn new(width: usize, height: usize) -> Self {
        Self::filled(width, height, 0)
    }

    pub fn filled(width: usize, height: usize, value: u16) -> Self {
        Self { width, height, samples: vec![value; width * height] }
    }

    pub fn get(&self, lines: Lines, x: usize, y: usize) -> i32 {
        self.samples[(lines.first + lines.step * y) * self.width + x].into()
    }

    pub fn set(&mut self, lines: Lines, x: usize, y: usize, value: i32) {
        self.samples[(lines.first + lines.step * y) * self.width + x] = value as u16;
    }

    /// The sample nearest to a place that may lie outside (8-239, 8-240).
    pub fn clamped(&self, lines: Lines, x: i32, y: i32) -> i32 {
        let height = self.height / lines.step;
        let (x, y) = (x.clamp(0, self.width as i32 - 1), y.clamp(0, height as i32 - 1));
        self.get(lines, x as usize, y as usize)
    }

    /// A window, row by row.
    pub fn window(
        &self,
        left: usize,
        top: usize,
        width: usize,
        height: usize,
    ) -> impl Iterator<Item = u16> + '_ {
        let rows = self.samples.chunks(self.width.max(1)).skip(top).take(height);
        rows.flat_map(move |row| row[left..left + width].iter().copied())
    }
}
