//! residual_block_cavlc() (H.264 7.3.5.3.2, 9.2).

use super::{
    cavlc::CavlcReader,
    cavlc_tables::{
        COEFF_TOKEN_CHROMA, COEFF_TOKEN_CHROMA_422, COEFF_TOKEN_LONG, COEFF_TOKEN_SHORT, ESCAPE, NOTHING,
        POSITIONS_2X2, POSITIONS_4X4, RUN_BEFORE_SHORT, TOKEN_TABLE, TOTAL_ZEROS_2X2, TOTAL_ZEROS_2X4,
        TOTAL_ZEROS_4X4,
    },
    sink::Sink,
    syntax::{
        block_kind::{self, CHROMA_DC, CHROMA_DC_422},
        Residual, Syntax,
    },
};

/// Longest level_prefix of 8-bit video with room to spare; keeps every level in 32 bits.
const MAX_LEVEL_PREFIX: u32 = 25;

impl<K: Sink> CavlcReader<'_, K> {
    /// coeff_token (9.2.1) as a table entry; `context` is the table number, or chroma DC.
    #[inline(always)]
    pub(super) fn coeff_token<const KIND: usize>(&mut self, a: u8, b: u8) -> u16 {
        let entry = if KIND == CHROMA_DC {
            COEFF_TOKEN_CHROMA[self.index(8) & 255]
        } else if KIND == CHROMA_DC_422 {
            COEFF_TOKEN_CHROMA_422[self.index(13) & 8191]
        } else {
            let number = usize::from(TOKEN_TABLE[usize::from(a.wrapping_add(b))]);
            match COEFF_TOKEN_SHORT[number & 3][self.index(8) & 255] {
                0 => COEFF_TOKEN_LONG[number & 3][self.index(16) & 2047],
                entry => entry,
            }
        };
        self.consume(u32::from(entry & 31));
        entry
    }

    /// One level after the trailing ones (9.2.2.1), as levelCode.
    #[inline(always)]
    fn level_code(&mut self, suffix_length: u32) -> u32 {
        self.require(32);
        let prefix = self.window.leading_zeros();
        if prefix > 14 {
            return self.long_level_code(prefix, suffix_length);
        }
        self.consume(prefix.wrapping_add(1));
        let suffix_size = if prefix == 14 && suffix_length == 0 { 4 } else { suffix_length };
        // In two steps, the second of which is never by 64.
        let suffix = (self.window >> 1).wrapping_shr(63_u32.wrapping_sub(suffix_size)) as u32;
        self.consume(suffix_size);
        prefix.wrapping_shl(suffix_length).wrapping_add(suffix)
    }

    /// level_prefix of 15 and more.
    #[cold]
    fn long_level_code(&mut self, prefix: u32, suffix_length: u32) -> u32 {
        if prefix > MAX_LEVEL_PREFIX {
            self.fail("level_prefix");
            return 0;
        }
        self.consume(prefix + 1);
        self.refill();
        let suffix_size = prefix - 3;
        let suffix = self.peek(suffix_size);
        self.consume(suffix_size);
        let escape = if suffix_length == 0 { 15 } else { 0 };
        (15 << suffix_length) + suffix + escape + (1 << (prefix - 3)) - 4096
    }

    /// Levels (absolute values unless somebody listens, highest frequency first) of a block (9.2.2).
    #[inline(always)]
    fn levels(&mut self, total: usize, trailing_ones: usize) -> [i32; 16] {
        let mut levels = [1; 16];
        if K::LISTENS {
            for (index, level) in levels.iter_mut().enumerate().take(trailing_ones) {
                *level = self.sign(index);
            }
        }
        self.consume(trailing_ones as u32);
        if total == trailing_ones {
            return levels;
        }
        let mut suffix_length = u32::from(total > 10 && trailing_ones < 3);
        let mut code = self.level_code(suffix_length);
        if trailing_ones < 3 {
            code = code.wrapping_add(2);
        }
        let mut index = trailing_ones;
        loop {
            let level = (code >> 1).wrapping_add(1);
            levels[index & 15] = if K::LISTENS && code & 1 == 1 { -(level as i32) } else { level as i32 };
            index = index.wrapping_add(1);
            if index >= total {
                return levels;
            }
            suffix_length = suffix_length.max(1);
            if level > 3_u32.wrapping_shl(suffix_length.wrapping_sub(1)) && suffix_length < 6 {
                suffix_length = suffix_length.wrapping_add(1);
            }
            code = self.level_code(suffix_length);
        }
    }

    /// A level of 1 with the sign at bit `index` of the window.
    fn sign(&self, index: usize) -> i32 {
        if self.window << index >> 63 != 0 {
            -1
        } else {
            1
        }
    }

    /// total_zeros (9.2.3)
    #[inline(always)]
    fn total_zeros<const KIND: usize>(&mut self, total: usize) -> usize {
        if total >= block_kind::coefficients(KIND) {
            return 0;
        }
        let entry = if KIND == CHROMA_DC {
            TOTAL_ZEROS_2X2[total.wrapping_sub(1) & 3][self.index(3) & 7]
        } else if KIND == CHROMA_DC_422 {
            TOTAL_ZEROS_2X4[total.wrapping_sub(1) & 7][self.index(5) & 31]
        } else {
            TOTAL_ZEROS_4X4[total.wrapping_sub(1) & 15][self.index(9) & 511]
        };
        if entry == 0 {
            self.fail("total_zeros");
        }
        self.consume(u32::from(entry & 31));
        usize::from(entry >> 5)
    }

    /// run_before (9.2.3); none is read when no zeros are left.
    #[inline(always)]
    fn run_before(&mut self, zeros_left: usize) -> usize {
        let entry = RUN_BEFORE_SHORT[zeros_left.min(7)][self.index(3) & 7];
        if entry != ESCAPE {
            self.consume(u32::from(entry & 31));
            return usize::from(entry >> 5);
        }
        let zeros = self.window.leading_zeros();
        if zeros > 10 {
            self.fail("run_before");
            return 0;
        }
        self.consume(zeros.wrapping_add(1));
        zeros.wrapping_add(4) as usize
    }

    /// Positions of none to three levels behind `signs` bits as an entry of [`POSITIONS_4X4`].
    #[inline(always)]
    fn positions<const KIND: usize>(&self, total: usize, signs: u32) -> u32 {
        let index = |bits: u32| (self.window.wrapping_shl(signs) >> (64 - bits)) as usize;
        match KIND {
            CHROMA_DC => POSITIONS_2X2[total & 3][index(6) & 63],
            CHROMA_DC_422 if total == 0 => NOTHING,
            CHROMA_DC_422 => 0,
            _ => POSITIONS_4X4[total & 3][index(10) & 1023],
        }
    }

    /// Everything after coeff_token of a block with at most three levels, all of them 1 or -1; most blocks are such. One
    /// way for none to three: the processor cannot tell beforehand how many there are.
    /// False when a code is too long for the table.
    #[inline(always)]
    fn ones<const KIND: usize>(&mut self, total: usize, weights: &[f32; 16], sums: &mut Residual) -> bool {
        const COUNTED: [[f32; 3]; 4] = [[0.0; 3], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0; 3]];
        let entry = self.positions::<KIND>(total, total as u32);
        let highest = (entry >> 8 & 15) as usize;
        if entry == 0 || highest.wrapping_add(block_kind::first(KIND)) >= 16 {
            return false;
        }
        if K::LISTENS {
            for level in 0..total {
                let position = (entry >> (8 + 4 * level) & 15) as usize + block_kind::first(KIND);
                self.sink.level(position, self.sign(level));
            }
        }
        self.consume((total as u32).wrapping_add(entry & 31));
        for (level, counted) in COUNTED[total & 3].iter().enumerate() {
            let position = (entry >> (8 + 4 * level) & 15) as usize;
            sums.energy += counted * weights[position.wrapping_add(block_kind::first(KIND)) & 15];
        }
        sums.coefficients = sums.coefficients.wrapping_add(total as u32);
        true
    }

    /// Everything after coeff_token.
    #[inline(always)]
    pub(super) fn coefficients<const KIND: usize>(
        &mut self,
        entry: u16,
        weights: &[f32; 16],
        sums: &mut Residual,
    ) {
        let (total, trailing_ones) = (usize::from(entry >> 5 & 31), usize::from(entry >> 10));
        if total != trailing_ones || !self.ones::<KIND>(total, weights, sums) {
            self.any_levels::<KIND>(total, trailing_ones, weights, sums);
        }
    }

    /// The same, level by level and run by run.
    #[inline(never)]
    fn any_levels<const KIND: usize>(
        &mut self,
        total: usize,
        trailing_ones: usize,
        weights: &[f32; 16],
        sums: &mut Residual,
    ) {
        let capacity = block_kind::coefficients(KIND);
        if total > capacity {
            self.fail("coeff_token");
            return;
        }
        let levels = self.levels(total, trailing_ones);
        // Enough for total_zeros (9 bits) and every run_before: 3 bits each for at most 8 while more than 6 zeros are left,
        // one of up to 11, then fewer.
        self.refill();
        let mut zeros_left = self.total_zeros::<KIND>(total);
        let mut position =
            total.wrapping_add(zeros_left).wrapping_sub(1).wrapping_add(block_kind::first(KIND));
        if position >= 16 {
            self.fail("total_zeros");
            return;
        }
        let mut index = 0_usize;
        loop {
            sums.add(levels[index & 15], weights[position & 15]);
            self.sink.level(position, levels[index & 15]);
            index = index.wrapping_add(1);
            if index >= total {
                break;
            }
            let run = self.run_before(zeros_left);
            if run > zeros_left {
                self.fail("run_before");
                break;
            }
            zeros_left = zeros_left.wrapping_sub(run);
            position = position.wrapping_sub(run).wrapping_sub(1);
        }
        sums.coefficients = sums.coefficients.wrapping_add(total as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        block_kind::{CHROMA_AC, LUMA},
        *,
    };

    #[test]
    fn one_look_finds_what_the_codes_say_one_by_one() {
        // Sums of powers of two tell which levels were added.
        let weights: [f32; 16] = std::array::from_fn(|index| (1 << index) as f32);
        let mut looks = 0;
        for total in 1..=3_usize {
            for code in 0..1024_u64 {
                let window = (code << 54 | code << 20 | 1) >> total;
                let data = [window.to_be_bytes(), [0x55; 8]].concat();
                looks += usize::from(agree::<LUMA>(&data, total, &weights));
                looks += usize::from(agree::<CHROMA_AC>(&data, total, &weights));
                looks += usize::from(agree::<CHROMA_DC>(&data, total, &weights));
            }
        }
        assert!(looks > 5000, "{looks} of 9216 blocks are in the tables");
    }

    #[test]
    fn a_block_without_levels_reads_nothing_more() {
        fn blank<const KIND: usize>() -> bool {
            let mut reader = CavlcReader::new(&[0x55; 16], 0, 128, ());
            let mut sums = Residual::default();
            let taken = reader.ones::<KIND>(0, &[1.0; 16], &mut sums);
            taken && reader.position() == 0 && (sums.energy, sums.coefficients) == (0.0, 0)
        }
        assert!(blank::<LUMA>() && blank::<CHROMA_AC>() && blank::<CHROMA_DC>() && blank::<CHROMA_DC_422>());
    }

    fn agree<const KIND: usize>(data: &[u8], total: usize, weights: &[f32; 16]) -> bool {
        let read = || CavlcReader::new(data, 0, 8 * data.len() as u64, ());
        let (mut quick, mut slow) = (read(), read());
        let (mut found, mut expected) = (Residual::default(), Residual::default());
        if !quick.ones::<KIND>(total, weights, &mut found) {
            return false;
        }
        slow.any_levels::<KIND>(total, total, weights, &mut expected);
        assert_eq!(slow.failure(), None);
        assert_eq!(quick.position(), slow.position());
        assert_eq!((found.energy, found.coefficients), (expected.energy, expected.coefficients));
        true
    }
}
