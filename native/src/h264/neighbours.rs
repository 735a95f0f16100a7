//! What a macroblock needs to know of the macroblocks left of and above it (H.264 6.4.9 to 6.4.11).

use crate::picture::{flags, Block, BlockClass};

/// Address of the current macroblock, and which neighbours belong to the same slice.
///
/// Without FMO and ASO the macroblocks of a slice are consecutive, so that addresses decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Macroblock address (raster order).
    pub address: usize,
    /// Column.
    pub x: usize,
    /// Left.
    pub a: bool,
    /// Above.
    pub b: bool,
    /// Above right.
    pub c: bool,
    /// Above left.
    pub d: bool,
}

impl Place {
    /// Place of macroblock `address` in column `x` of `columns`, in a slice that starts at `first`.
    #[inline(always)]
    pub fn new(address: usize, x: usize, columns: usize, first: usize) -> Self {
        let above = address.wrapping_sub(columns);
        let row_above = address >= columns;
        Self {
            address,
            x,
            a: x > 0 && address > first,
            b: row_above && above >= first,
            c: row_above && x.wrapping_add(1) < columns && above.wrapping_add(1) >= first,
            d: row_above && x > 0 && above > first,
        }
    }
}

/// Absolute motion vector difference (x, y) of a 4x4 block, capped: sums are compared with 32 at most.
pub type AbsMvd = [u8; 2];

/// Stored motion vector differences are capped here: contexts compare sums of them, or of their halves, with 32.
pub const MVD_CAP: u16 = 66;

/// In [`Around::a`], bit of [`Block::flags`]: beside a field macroblock, the left one of the lower half is another;
/// [`Block::split`] holds its class and flags << 8.
pub const LOWER_LEFT: u8 = 0x80;

/// What later macroblocks need of one that was not skipped, besides its [`Block`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Coded {
    /// Right column of [`Levels`]: luma 4, Cb 2, Cr 2.
    pub right: [u8; 8],
    /// Bottom row of [`Levels`]: luma 4, Cb 2, Cr 2.
    pub bottom: [u8; 8],
    /// Per list: motion vector differences of the right column.
    pub mvd_right: [[AbsMvd; 4]; 2],
    /// Per list: motion vector differences of the bottom row.
    pub mvd_bottom: [[AbsMvd; 4]; 2],
    /// coded_block_flag of the DC blocks: Y, Cb, Cr from bit 0.
    pub dc: u8,
    /// Explicit ref_idx above 0: list 0 quadrants from bit 0, list 1 from bit 4.
    pub ref_idx_positive: u8,
    /// The same for ref_idx above 1 (MBAFF).
    pub ref_idx_above_one: u8,
    /// intra_chroma_pred_mode is not 0.
    pub chroma_mode: bool,
}

/// The neighbours of the current macroblock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Left macroblock; class Unknown when it is not available.
    pub a: Block,
    /// Macroblock above; class Unknown when it is not available.
    pub b: Block,
    /// More of the left macroblock; default when it was skipped or is not available.
    pub left: Coded,
    /// More of the macroblock above; default when it was skipped or is not available.
    pub above: Coded,
}

impl Around {
    /// Number of neighbours (A counts 1, B counts `b_weight`) for which `test` holds; it sees available ones only.
    #[inline(always)]
    pub fn count(&self, b_weight: usize, test: impl Fn(&Block) -> bool) -> usize {
        let one = |block: &Block| usize::from(is_available(block) && test(block));
        one(&self.a).wrapping_add(one(&self.b).wrapping_mul(b_weight))
    }

    /// The same, with Inter neighbours that have no coefficients (9.2.1, data partitioning).
    #[cold]
    pub fn without_inter(&self) -> Self {
        let mut around = *self;
        let inter = BlockClass::Inter as u8;
        let lower_left = if self.a.flags & LOWER_LEFT != 0 { self.a.split as u8 } else { self.a.class };
        // Luma, Cb, Cr of the upper and of the lower half.
        for (class, rows) in [(self.a.class, [0, 1, 4, 6]), (lower_left, [2, 3, 5, 7])] {
            if class == inter {
                rows.into_iter().for_each(|row| around.left.right[row] = 0);
            }
        }
        if self.b.class == inter {
            around.above.bottom = [0; 8];
        }
        around
    }

    /// coded_block_pattern as contexts see it: luma counts as coded where the neighbour is not available.
    #[inline(always)]
    pub fn cbp(&self) -> (u16, u16) {
        let cbp = |block: &Block| if is_available(block) { block.cbp } else { 0x0f };
        (cbp(&self.a), cbp(&self.b))
    }
}

/// Whether the neighbour exists in this slice.
#[inline(always)]
pub fn is_available(block: &Block) -> bool {
    block.class != BlockClass::Unknown as u8
}

/// P_Skip or B_Skip.
#[inline(always)]
pub fn is_skipped(block: &Block) -> bool {
    block.class == BlockClass::Skip as u8
}

/// transform_size_8x8_flag.
#[inline(always)]
pub fn uses_8x8_transform(block: &Block) -> bool {
    block.flags & flags::TRANSFORM_8X8 != 0
}

/// Index of each luma 4x4 block, in decoding order, in a [`Grid`].
pub const LUMA_CELL: [usize; 16] = luma_cells();

/// Index of each chroma 4x4 block in [`Levels::chroma`].
pub const CHROMA_CELL: [usize; 4] = [4, 5, 7, 8];

const fn luma_cells() -> [usize; 16] {
    let mut cells = [0; 16];
    let mut block = 0;
    while block < 16 {
        let x = block & 1 | block >> 1 & 2;
        let y = block >> 1 & 1 | block >> 2 & 2;
        cells[block] = 6 + 5 * y + x;
        block += 1;
    }
    cells
}

/// TotalCoeff (CAVLC) or coded_block_flag (CABAC) of the 4x4 blocks of one plane of the current macroblock and of
/// its neighbours: five by five, row 0 and column 0 belong to neighbours.
pub type Grid = [u8; 25];

/// The blocks of 4:2:0.
pub struct Levels {
    /// Luma.
    pub luma: Grid,
    /// Cb, Cr: three by three, row 0 and column 0 belong to neighbours.
    pub chroma: [[u8; 9]; 2],
}

impl Levels {
    /// Nothing coded yet; `unavailable` stands for blocks of missing neighbours.
    #[inline(always)]
    pub fn new(around: &Around, unavailable: u8) -> Self {
        let left = if is_available(&around.a) { around.left.right } else { [unavailable; 8] };
        let above = if is_available(&around.b) { around.above.bottom } else { [unavailable; 8] };
        let mut levels = Self { luma: [0; 25], chroma: [[0; 9]; 2] };
        for i in 0..4 {
            levels.luma[1 + i] = above[i];
            levels.luma[5 + 5 * i] = left[i];
        }
        for i in 0..2 {
            for plane in 0..2 {
                levels.chroma[plane][1 + i] = above[4 + 2 * plane + i];
                levels.chroma[plane][3 + 3 * i] = left[4 + 2 * plane + i];
            }
        }
        levels
    }

    /// Keeps what the macroblocks right of and below this one will ask for.
    #[inline(always)]
    pub fn store(&self, coded: &mut Coded) {
        let [cb, cr] = &self.chroma;
        let luma = &self.luma;
        coded.right = [luma[9], luma[14], luma[19], luma[24], cb[5], cb[8], cr[5], cr[8]];
        coded.bottom = [luma[21], luma[22], luma[23], luma[24], cb[7], cb[8], cr[7], cr[8]];
    }
}

/// What later macroblocks need of the chroma blocks of one that was not skipped, in 4:2:2 and 4:4:4; apart from
/// [`Coded`], whose size counts in 4:2:0.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodedChroma {
    /// Right columns of Cb and Cr.
    right: [[u8; 4]; 2],
    /// Bottom rows of Cb and Cr.
    bottom: [[u8; 4]; 2],
}

impl CodedChroma {
    /// What is left of finished [`Grid`]s of Cb and Cr, `columns` (2 or 4) blocks wide.
    pub fn new(grids: &[Grid; 2], columns: usize) -> Self {
        let mut coded = Self::default();
        for (plane, grid) in grids.iter().enumerate() {
            for i in 0..4 {
                coded.right[plane][i] = grid[5 + 5 * i + columns];
                coded.bottom[plane][i] = grid[21 + i];
            }
        }
        coded
    }

    /// Takes row `to` of the right column from row `from` of another macroblock.
    pub fn set_right(&mut self, to: usize, other: &Self, from: usize) {
        for plane in 0..2 {
            self.right[plane][to & 3] = other.right[plane][from & 3];
        }
    }

    /// [`Grid`]s of Cb and Cr with nothing coded yet.
    pub fn grids(left: Option<&Self>, above: Option<&Self>, around: &Around, unavailable: u8) -> [Grid; 2] {
        let level = |coded: Option<u8>, neighbour: &Block| match coded {
            _ if !is_available(neighbour) => unavailable,
            Some(level) if !is_skipped(neighbour) => level,
            _ => 0,
        };
        let mut grids = [[0; 25]; 2];
        for (plane, grid) in grids.iter_mut().enumerate() {
            for i in 0..4 {
                grid[1 + i] = level(above.map(|coded| coded.bottom[plane][i]), &around.b);
                grid[5 + 5 * i] = level(left.map(|coded| coded.right[plane][i]), &around.a);
            }
        }
        grids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_outside_the_slice_are_not_available() {
        // Three columns; the slice starts at address 4, the middle of row 1.
        let place = |address: usize| {
            let p = Place::new(address, address % 3, 3, 4);
            [p.a, p.b, p.c, p.d]
        };
        assert_eq!(place(4), [false; 4]);
        assert_eq!(place(5), [true, false, false, false]);
        assert_eq!(place(6), [false, false, true, false]);
        assert_eq!(place(7), [true, true, true, false]);
        assert_eq!(place(8), [true, true, false, true]);
    }

    #[test]
    fn blocks_in_decoding_order_walk_through_quadrants() {
        let raster: Vec<_> = LUMA_CELL.iter().map(|cell| (cell % 5 - 1, cell / 5 - 1)).collect();
        assert_eq!(raster[..8], [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 0), (2, 1), (3, 1)]);
        assert_eq!(raster[12..], [(2, 2), (3, 2), (2, 3), (3, 3)]);
    }
}
