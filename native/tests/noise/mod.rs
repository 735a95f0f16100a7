//! Streams of random tools whose slice data is noise: shared by hostile tests and fuzz drivers.
#![allow(dead_code)] // not every user needs all of it

pub mod h264;
pub mod h265;

/// Small numbers without a crate; the tests need variety, not quality.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    /// 0 or 1.
    pub fn bit(&mut self) -> u32 {
        self.roll(2) as u32
    }

    /// So many random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll(256) as u8).collect()
    }
}

/// Writes codes bit by bit and closes as an Annex B NAL unit.
#[derive(Clone, Default)]
pub struct Bits(Vec<bool>);

impl Bits {
    /// u(v)
    pub fn u(mut self, width: u32, value: u32) -> Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// ue(v)
    pub fn ue(self, value: u32) -> Self {
        let width = 32 - (value + 1).leading_zeros();
        self.u(width - 1, 0).u(width, value + 1)
    }

    /// se(v)
    pub fn se(self, value: i32) -> Self {
        self.ue(if value > 0 { 2 * value as u32 - 1 } else { 2 * value.unsigned_abs() })
    }

    /// Several ue(v)
    pub fn many(self, values: &[u32]) -> Self {
        values.iter().fold(self, |bits, &value| bits.ue(value))
    }

    /// Raw bytes.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |bits, &byte| bits.u(8, u32::from(byte)))
    }

    /// Bits up to the next byte: `first`, then `rest`.
    pub fn align(mut self, first: bool, rest: bool) -> Self {
        self.0.push(first);
        self.0.resize(self.0.len().div_ceil(8) * 8, rest);
        self
    }

    /// Start code, header bytes, payload with trailing bits and emulation prevention.
    pub fn nal(self, header: &[u8]) -> Vec<u8> {
        let mut nal = [&[0, 0, 1], header].concat();
        let mut zeros = 0;
        for chunk in self.align(true, false).0.chunks(8) {
            let byte = chunk.iter().enumerate().fold(0, |byte, (i, &bit)| byte | u8::from(bit) << (7 - i));
            if zeros == 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}
