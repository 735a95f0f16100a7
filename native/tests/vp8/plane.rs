//! One plane of samples in whole macroblocks.

#[derive(Clone, Default)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    samples: Vec<u8>,
}

impl Plane {
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, samples: vec![0; width * height] }
    }

    pub fn get(&self, x: usize, y: usize) -> u8 {
        self.samples[y * self.width + x]
    }

    pub fn set(&mut self, x: usize, y: usize, value: u8) {
        self.samples[y * self.width + x] = value;
    }

    /// The plane goes on for ever with the samples of its edges: what motion vectors see (RFC 6386 18.1).
    pub fn clamped(&self, x: i32, y: i32) -> i32 {
        let (x, y) = (x.clamp(0, self.width as i32 - 1), y.clamp(0, self.height as i32 - 1));
        self.get(x as usize, y as usize).into()
    }

    /// Above the frame there is 127, to its left 129: what intra prediction sees (RFC 6386 12.2).
    pub fn bordered(&self, x: i32, y: i32) -> i32 {
        match (x, y) {
            (_, ..=-1) => 127,
            (..=-1, _) => 129,
            _ => self.get(x as usize, y as usize).into(),
        }
    }

    pub fn add(&mut self, x: usize, y: usize, difference: i32) {
        let value = i32::from(self.get(x, y)) + difference;
        self.set(x, y, value.clamp(0, 255) as u8);
    }

    /// The visible part, row by row.
    pub fn cropped(&self, width: usize, height: usize) -> impl Iterator<Item = u8> + '_ {
        self.samples.chunks(self.width).take(height).flat_map(move |row| row[..width].iter().copied())
    }
}
