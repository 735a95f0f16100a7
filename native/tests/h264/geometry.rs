//! Where macroblocks lie and who their neighbours are (H.264 6.4).

use ovbits::picture::{flags, Block, BlockClass, Picture};

use super::plane::Lines;

/// The macroblock at a place relative to another one, and the place inside it.
pub type At = (usize, usize, usize);

pub fn is_field(block: &Block) -> bool {
    block.flags & flags::FIELD != 0
}

pub fn is_intra(block: &Block) -> bool {
    block.class == BlockClass::Intra as u8 || block.class == BlockClass::Pcm as u8
}

/// Column of the left samples of a macroblock of `size` (16 luma, 8 chroma) and its lines, in lines of its picture
/// (6.4.1).
pub fn place(picture: &Picture, address: usize, size: usize) -> (usize, Lines) {
    let (row, column) = (address / picture.mb_cols, address % picture.mb_cols);
    let lines = if picture.mbaff && is_field(&picture.blocks[address]) {
        Lines { first: row / 2 * 2 * size + row % 2, step: 2 }
    } else {
        Lines { first: size * row, step: 1 }
    };
    (size * column, lines)
}

/// The macroblock that covers a luma sample of its picture (MBAFF: in lines of the frame), and the place inside it.
pub fn covering(picture: &Picture, x: usize, y: usize) -> At {
    let columns = picture.mb_cols;
    let (column, row) = (x / 16, y / 16);
    let top = row / 2 * 2 * columns + column;
    if picture.mbaff && is_field(&picture.blocks[top]) {
        return (top + y % 2 * columns, x % 16, y % 32 / 2);
    }
    (row * columns + column, x % 16, y % 16)
}

/// Macroblocks of one slice as neighbours of each other.
#[derive(Clone, Copy)]
pub struct Neighbourhood<'a> {
    pub picture: &'a Picture,
}

impl Neighbourhood<'_> {
    /// The macroblock at `address` when it is in the same slice as `current`.
    fn available(&self, current: usize, address: Option<usize>) -> Option<usize> {
        let blocks = &self.picture.blocks;
        address.filter(|&address| {
            let known = blocks[address].class != BlockClass::Unknown as u8;
            known && blocks[address].slice == blocks[current].slice
        })
    }

    /// Luma or chroma location (x, y) relative to macroblock `current`, whose size is `width` by `height`
    /// (6.4.12). Places to the right inside the same row of macroblocks do not exist yet.
    pub fn at(&self, current: usize, x: i32, y: i32, width: i32, height: i32) -> Option<At> {
        if x >= width && y >= 0 || y >= height {
            return None;
        }
        let inside = |value: i32, size: i32| value.rem_euclid(size) as usize;
        if (0..width).contains(&x) && y >= 0 {
            return Some((current, x as usize, y as usize));
        }
        let columns = self.picture.mb_cols;
        let column = (current % columns) as i32 + x.div_euclid(width);
        if !(0..columns as i32).contains(&column) {
            return None;
        }
        if self.picture.mbaff {
            return self.at_in_pairs(current, column as usize, (x, y), (width, height));
        }
        let row = (current / columns) as i32 + y.div_euclid(height);
        let address = (row >= 0).then(|| row as usize * columns + column as usize);
        let address = self.available(current, address)?;
        Some((address, inside(x, width), inside(y, height)))
    }

    /// Table 6-4.
    fn at_in_pairs(
        &self,
        current: usize,
        column: usize,
        (x, y): (i32, i32),
        (width, height): (i32, i32),
    ) -> Option<At> {
        let columns = self.picture.mb_cols;
        let (row, own_column) = (current / columns, current % columns);
        let (pair_row, bottom) = (row / 2, row % 2 == 1);
        let frame = !is_field(&self.picture.blocks[current]);
        let left_pair = x < 0;
        let in_x = x.rem_euclid(width) as usize;
        let pair = |row: Option<usize>, column: usize| {
            let top = row.map(|row| 2 * row * columns + column);
            self.available(current, top)
        };
        let found =
            |top: usize, lower: bool, y: i32| Some((top + usize::from(lower) * columns, in_x, y as usize));
        if y < 0 {
            if frame && bottom {
                // Inside the own row of pairs.
                if column == own_column {
                    return Some((current - columns, in_x, (y + height) as usize));
                }
                if !left_pair {
                    return None;
                }
                let top = pair(Some(pair_row), column)?;
                let is_field_pair = is_field(&self.picture.blocks[top]);
                // Of a field pair, the line of the frame that is beside.
                return if is_field_pair {
                    let line = height + y;
                    found(top, line % 2 == 1, line / 2)
                } else {
                    found(top, false, height + y)
                };
            }
            let top = pair(pair_row.checked_sub(1), column)?;
            let is_field_pair = is_field(&self.picture.blocks[top]);
            return match (frame, bottom) {
                (true, _) => found(top, true, height + y),
                (false, false) if is_field_pair => found(top, false, height + y),
                (false, false) => found(top, true, height + 2 * y),
                (false, true) => found(top, true, height + y),
            };
        }
        let top = pair(Some(pair_row), column)?;
        let is_field_pair = is_field(&self.picture.blocks[top]);
        match (frame, is_field_pair) {
            (true, true) => {
                let line = y + if bottom { height } else { 0 };
                found(top, y % 2 == 1, line / 2)
            }
            (false, false) => {
                let line = 2 * y + i32::from(bottom);
                found(top, line >= height, line % height)
            }
            _ => found(top, bottom, y),
        }
    }
}
