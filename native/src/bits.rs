//! Bit reader over an RBSP; every read names its syntax element, so the error names it too.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// Reads u(n), ue(v) and se(v) (H.264 7.2, 9.1) from a NAL unit whose emulation prevention is removed.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    rbsp: &'a [u8],
    /// Next bit.
    position: usize,
    /// Bits before rbsp_stop_one_bit.
    payload_bits: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at the first bit of `rbsp` (the byte after the NAL unit header).
    pub fn new(rbsp: &'a [u8]) -> Self {
        Self { rbsp, position: 0, payload_bits: payload_bits(rbsp) }
    }

    /// Bits read so far.
    pub fn bit_offset(&self) -> usize {
        self.position
    }

    /// H.264 7.2: whether anything but the trailing bits is left.
    pub fn more_rbsp_data(&self) -> bool {
        self.position < self.payload_bits
    }

    /// The stream is broken at `element`.
    pub fn invalid(&self, element: &'static str) -> Error {
        Error::invalid(element, self.position as u64)
    }

    /// The stream uses `element` in a way that is not supported.
    pub fn unsupported(&self, element: &'static str) -> Error {
        Error::unsupported(element, self.position as u64)
    }

    /// Unsigned integer of `bits` (0 to 32) bits.
    pub fn u(&mut self, bits: u32, element: &'static str) -> Result<u32> {
        debug_assert!(bits <= 32);
        if self.position + bits as usize > self.rbsp.len() * 8 {
            return Err(self.invalid(element));
        }
        let value = (self.window() >> 32) >> (32 - bits);
        self.position += bits as usize;
        Ok(value as u32)
    }

    /// One bit.
    pub fn flag(&mut self, element: &'static str) -> Result<bool> {
        Ok(self.u(1, element)? == 1)
    }

    /// Unsigned Exp-Golomb code, 0 to 2^32 - 2.
    pub fn ue(&mut self, element: &'static str) -> Result<u32> {
        let zeros = self.window().leading_zeros();
        if zeros >= 32 {
            return Err(self.invalid(element));
        }
        self.u(zeros, element)?;
        Ok(self.u(zeros + 1, element)? - 1)
    }

    /// Unsigned Exp-Golomb code that must not exceed `max`.
    pub fn ue_max(&mut self, max: u32, element: &'static str) -> Result<u32> {
        let at = self.position;
        let value = self.ue(element)?;
        if value > max {
            return Err(Error::invalid(element, at as u64));
        }
        Ok(value)
    }

    /// Signed Exp-Golomb code.
    pub fn se(&mut self, element: &'static str) -> Result<i32> {
        let code = i64::from(self.ue(element)?);
        let magnitude = (code + 1) >> 1;
        let value = if code & 1 == 1 { magnitude } else { -magnitude };
        Ok(value as i32)
    }

    /// Signed Exp-Golomb code that must lie in `range`.
    pub fn se_in(&mut self, range: RangeInclusive<i32>, element: &'static str) -> Result<i32> {
        let at = self.position;
        let value = self.se(element)?;
        if !range.contains(&value) {
            return Err(Error::invalid(element, at as u64));
        }
        Ok(value)
    }

    /// The next 57 or more bits, left-aligned; zeros behind the end.
    fn window(&self) -> u64 {
        let byte = self.position / 8;
        let word = match self.rbsp.get(byte..byte + 8) {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().unwrap_or_default()),
            None => self.tail(byte),
        };
        word << (self.position % 8)
    }

    fn tail(&self, byte: usize) -> u64 {
        let rest = self.rbsp.get(byte..).unwrap_or_default();
        rest.iter().zip((0..8).rev()).fold(0, |word, (&value, place)| word | u64::from(value) << (8 * place))
    }
}

/// Number of bits before rbsp_stop_one_bit, the last one bit of the RBSP.
pub(crate) fn payload_bits(rbsp: &[u8]) -> usize {
    match rbsp.iter().rposition(|&byte| byte != 0) {
        Some(last) => last * 8 + 7 - rbsp[last].trailing_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_of_table_9_2() {
        // 1 010 011 00100 00101, then the stop bit
        let bytes = [0b1010_0110, 0b0100_0010, 0b1100_0000];
        let mut r = BitReader::new(&bytes);
        let values: Vec<u32> = (0..5).map(|_| r.ue("x").unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        assert!(!r.more_rbsp_data());
        let mut r = BitReader::new(&bytes);
        let values: Vec<i32> = (0..5).map(|_| r.se("x").unwrap()).collect();
        assert_eq!(values, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn fixed_length_reads_cross_bytes_and_stop_at_the_end() {
        let bytes = [0xff, 0x00, 0xaa, 0x55, 0x0f, 0xf0, 0x12, 0x34, 0x80];
        for offset in 0..8 {
            let mut r = BitReader::new(&bytes);
            r.u(offset, "skip").unwrap();
            let expected = (u64::from_be_bytes(bytes[..8].try_into().unwrap()) << offset) >> 32;
            assert_eq!(u64::from(r.u(32, "word").unwrap()), expected);
        }
        let mut r = BitReader::new(&bytes[..1]);
        assert_eq!(r.u(0, "none").unwrap(), 0);
        assert_eq!(r.u(9, "nine"), Err(Error::invalid("nine", 0)));
    }

    #[test]
    fn largest_code_and_one_too_long() {
        let largest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x80];
        let mut r = BitReader::new(&largest);
        assert_eq!(r.ue("max").unwrap(), u32::MAX - 1);
        assert_eq!(
            BitReader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).ue("long").unwrap_err().element,
            "long"
        );
        assert_eq!(BitReader::new(&[]).ue("empty").unwrap_err(), Error::invalid("empty", 0));
    }
}
