//! The boolean entropy decoder (RFC 6386 section 7).

/// Bits that decide the next bool: the rest of the window is only read ahead.
const DECIDING_BITS: u32 = 8;

/// Position in the window of the number that `range` is compared with.
const DECIDING_SHIFT: u32 = u64::BITS - DECIDING_BITS;

/// Reads bools from one partition. Beyond its end it reads zeros, as the specification's decoder does, and
/// remembers that it did.
#[derive(Clone, Copy, Debug)]
pub struct BoolDecoder<'a> {
    /// Bytes not yet in the window.
    rest: &'a [u8],
    /// The next bits of the partition, from the top; below `available` bits more of the same or zeros.
    window: u64,
    /// Bits of the window that count.
    available: u32,
    /// Always 128 to 255 between reads.
    range: u32,
    /// Size of the partition, and what was imagined behind it.
    total_bits: u64,
    imagined_bits: u64,
}

impl<'a> BoolDecoder<'a> {
    /// Starts at the first byte of a partition.
    pub fn new(partition: &'a [u8]) -> Self {
        let total_bits = partition.len() as u64 * 8;
        Self { rest: partition, window: 0, available: 0, range: 255, total_bits, imagined_bits: 0 }
    }

    /// Bits consumed so far.
    #[inline]
    pub fn position_bits(&self) -> u64 {
        let end = self.total_bits.wrapping_add(self.imagined_bits);
        end.wrapping_sub(8 * self.rest.len() as u64).wrapping_sub(u64::from(self.available))
    }

    /// Size of the partition in bits.
    pub fn total_bits(&self) -> u64 {
        self.total_bits
    }

    /// Whether bools were read for which the partition holds no bits.
    #[inline]
    pub fn is_overrun(&self) -> bool {
        self.position_bits() > self.total_bits
    }

    /// Reads B(p): one bool that is false with a probability of `probability` / 256.
    #[inline(always)]
    pub fn read_bool(&mut self, probability: u8) -> bool {
        self.decide::<true>(probability)
    }

    /// `read_bool` of one that may well come out either way.
    #[inline(always)]
    pub fn read_open_bool(&mut self, probability: u8) -> bool {
        self.decide::<false>(probability)
    }

    /// After a false that was `EXPECTED` the range rarely doubles: a branch foresees that. Else it would be wrong too often.
    #[inline(always)]
    fn decide<const EXPECTED: bool>(&mut self, probability: u8) -> bool {
        let split = self.split(probability);
        let threshold = u64::from(split) << DECIDING_SHIFT;
        // Branches instead of selections: most bools are as expected, and the next then need not wait for them.
        if self.window < threshold {
            self.range = split;
            if !EXPECTED || split < 128 {
                self.normalise();
            }
            return false;
        }
        self.window = self.window.wrapping_sub(threshold);
        self.range = self.range.wrapping_sub(split);
        self.normalise();
        true
    }

    /// Reads L(1), a bool that nothing is expected of.
    #[inline(always)]
    pub fn read_flag(&mut self) -> bool {
        let split = self.split(128);
        let threshold = u64::from(split) << DECIDING_SHIFT;
        let bit = self.window >= threshold;
        self.window = self.window.wrapping_sub(if bit { threshold } else { 0 });
        self.range = if bit { self.range.wrapping_sub(split) } else { split };
        // Half of the range is left, at least 64.
        self.shift(u32::from(self.range < 128));
        bit
    }

    /// The part of the range that stands for false: at least 1, and less than all, as 128 <= range <= 255. Nothing
    /// here or behind can overflow.
    #[inline(always)]
    fn split(&mut self, probability: u8) -> u32 {
        if self.available < DECIDING_BITS {
            self.fill();
        }
        1 + (self.range.wrapping_sub(1).wrapping_mul(u32::from(probability)) >> 8)
    }

    /// Doubles the range until it is at least 128.
    #[inline(always)]
    fn normalise(&mut self) {
        self.shift((self.range | 1).leading_zeros().wrapping_sub(u32::BITS - DECIDING_BITS) & 7);
    }

    #[inline(always)]
    fn shift(&mut self, shift: u32) {
        self.range <<= shift;
        self.window <<= shift;
        self.available = self.available.wrapping_sub(shift);
    }

    /// Lets `read` work on a copy, so that the original can stay in registers: a function that is not inlined
    /// takes an address.
    #[inline(always)]
    pub fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut copy = *self;
        let result = read(&mut copy);
        *self = copy;
        result
    }

    /// Reads L(n): an unsigned number of `width` bits, most significant first.
    pub fn read_literal(&mut self, width: u32) -> u32 {
        (0..width).fold(0, |value, _| value << 1 | u32::from(self.read_flag()))
    }

    /// Reads a number of 8 bits that is a probability.
    pub fn read_probability(&mut self) -> u8 {
        self.read_literal(8) as u8
    }

    /// Reads a magnitude of `width` (at most 7) bits and its sign.
    pub fn read_signed(&mut self, width: u32) -> i8 {
        let magnitude = self.read_literal(width) as i8;
        if self.read_flag() {
            -magnitude
        } else {
            magnitude
        }
    }

    /// Reads an optional signed number: a flag, then `read_signed` when it is set.
    pub fn read_optional_signed(&mut self, width: u32) -> Option<i8> {
        self.read_flag().then(|| self.read_signed(width))
    }

    /// RFC 6386 8.1: walks a tree; positive entries are indices of pairs, others negated leaves.
    #[inline(always)]
    pub fn read_tree(&mut self, tree: &[i8], probabilities: &[u8]) -> u8 {
        let mut node = 0;
        loop {
            let bit = self.read_bool(probabilities[node >> 1]);
            match tree[node + usize::from(bit)] {
                leaf @ ..=0 => return leaf.unsigned_abs(),
                next => node = next as usize,
            }
        }
    }

    /// By value: a decoder whose address no call ever sees stays in registers.
    #[cold]
    #[inline(never)]
    fn filled_at_end(mut self) -> Self {
        let mut free = u64::BITS - self.available;
        while free >= 8 {
            free -= 8;
            self.available += 8;
            match self.rest.split_first() {
                Some((&byte, rest)) => {
                    self.window |= u64::from(byte) << free;
                    self.rest = rest;
                }
                None => self.imagined_bits += 8,
            }
        }
        self
    }

    #[inline(always)]
    fn fill(&mut self) {
        match self.rest.get(..8).and_then(|next| next.try_into().ok()) {
            Some(next) => {
                // The bits below the last whole byte come again with the next fill: they may stand there already.
                self.window |= u64::from_be_bytes(next) >> self.available;
                let bytes = (u64::BITS - 1 - self.available) / 8;
                self.rest = &self.rest[bytes as usize..];
                self.available += bytes * 8;
            }
            None => *self = self.filled_at_end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encoder of RFC 6386 7.3.
    struct BoolEncoder {
        out: Vec<u8>,
        range: u32,
        bottom: u32,
        bit_count: u32,
    }

    impl BoolEncoder {
        fn new() -> Self {
            Self { out: Vec::new(), range: 255, bottom: 0, bit_count: 24 }
        }

        fn write(&mut self, probability: u8, bit: bool) {
            let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
            if bit {
                let (bottom, carry) = self.bottom.overflowing_add(split);
                self.bottom = bottom;
                self.range -= split;
                self.carry(carry);
            } else {
                self.range = split;
            }
            while self.range < 128 {
                self.range <<= 1;
                let carry = self.bottom >> 31 == 1;
                self.carry(carry);
                self.bottom <<= 1;
                self.bit_count -= 1;
                if self.bit_count == 0 {
                    self.out.push((self.bottom >> 24) as u8);
                    self.bottom &= 0xff_ffff;
                    self.bit_count = 8;
                }
            }
        }

        fn carry(&mut self, carry: bool) {
            if carry {
                for byte in self.out.iter_mut().rev() {
                    *byte = byte.wrapping_add(1);
                    if *byte != 0 {
                        break;
                    }
                }
            }
        }

        fn finish(mut self) -> Vec<u8> {
            (0..32).for_each(|_| self.write(128, false));
            self.out
        }
    }

    fn dice(state: &mut u32) -> u32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *state >> 8
    }

    #[test]
    fn what_is_written_is_read_and_the_end_is_known() {
        let mut state = 5;
        for length in [0_usize, 1, 7, 64, 1000, 20_000] {
            let bools: Vec<(u8, bool)> = (0..length)
                .map(|_| {
                    let probability = (dice(&mut state) % 256) as u8;
                    (probability.max(1), dice(&mut state) % 256 >= u32::from(probability))
                })
                .collect();
            let mut encoder = BoolEncoder::new();
            bools.iter().for_each(|&(probability, bit)| encoder.write(probability, bit));
            let bytes = encoder.finish();
            let mut decoder = BoolDecoder::new(&bytes);
            for &(probability, bit) in &bools {
                assert_eq!(decoder.read_bool(probability), bit);
            }
            assert!(!decoder.is_overrun());
            assert!(decoder.position_bits() <= bytes.len() as u64 * 8);
            (0..64).for_each(|_| assert!(!decoder.read_flag()));
            assert!(decoder.is_overrun());
        }
    }

    #[test]
    fn literals_and_signs() {
        let mut encoder = BoolEncoder::new();
        for bit in [1, 0, 1, 1, 0, 1, 1, 1, 0, 1] {
            encoder.write(128, bit == 1);
        }
        let bytes = encoder.finish();
        let mut decoder = BoolDecoder::new(&bytes);
        assert_eq!((decoder.read_literal(4), decoder.read_signed(3)), (0b1011, -3));
        assert_eq!(decoder.read_optional_signed(1), None);
        assert!(decoder.read_flag());
    }

    #[test]
    fn an_empty_partition_is_zeros() {
        let mut decoder = BoolDecoder::new(&[]);
        assert_eq!(decoder.read_literal(16), 0);
        assert!(decoder.is_overrun());
    }

    #[test]
    fn a_probability_of_zero_is_harmless() {
        let mut decoder = BoolDecoder::new(&[0xff; 40]);
        (0..100_000).for_each(|_| _ = decoder.read_bool(0));
        assert!(decoder.is_overrun());
    }
}
