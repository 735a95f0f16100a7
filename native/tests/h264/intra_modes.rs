//! Intra4x4PredMode and Intra8x8PredMode (H.264 8.3.1.1, 8.3.2.1).

use std::collections::HashMap;

use ovbits::picture::{flags, BlockClass};

use super::{geometry::Neighbourhood, recorder::Coded};

const DC: u8 = 2;

/// Upper left cell of each 4x4 block in decoding order, as (column, row).
pub fn cell(block: usize) -> (usize, usize) {
    (block & 1 | block >> 1 & 2, block >> 1 & 1 | block >> 2 & 2)
}

/// Prediction modes of the macroblocks of a picture so far, by 4x4 cell.
#[derive(Default)]
pub struct IntraModes(HashMap<usize, [u8; 16]>);

impl IntraModes {
    /// Modes of an I_NxN macroblock by cell in raster order.
    pub fn derive(&mut self, coded: &Coded, address: usize, constrained: bool) -> [u8; 16] {
        let heard = &coded.macroblocks[&address];
        let size = if heard.intra_modes.len() == 4 { 2 } else { 1 };
        self.0.insert(address, [DC; 16]);
        for (index, rem) in heard.intra_modes.iter().enumerate() {
            let (column, row) = cell(index * size * size);
            let (x, y) = (4 * column as i32, 4 * row as i32);
            let left = self.neighbour(coded, address, (x - 1, y), constrained);
            let above = self.neighbour(coded, address, (x, y - 1), constrained);
            let predicted = match (left, above) {
                (Some(left), Some(above)) => left.min(above),
                _ => DC,
            };
            let mode = match *rem {
                None => predicted,
                Some(rem) if rem < predicted => rem,
                Some(rem) => rem + 1,
            };
            let modes = self.0.get_mut(&address).expect("inserted");
            for cell in (0..size * size).map(|i| (row + i / size) * 4 + column + i % size) {
                modes[cell] = mode;
            }
        }
        self.0[&address]
    }

    /// The mode beside or above; `None` makes the prediction DC (dcPredModePredictedFlag).
    fn neighbour(&self, coded: &Coded, address: usize, (x, y): (i32, i32), constrained: bool) -> Option<u8> {
        let (other, x, y) = Neighbourhood { picture: &coded.picture }.at(address, x, y, 16, 16)?;
        let block = &coded.picture.blocks[other];
        let is_inter = block.class == BlockClass::Skip as u8 || block.class == BlockClass::Inter as u8;
        if is_inter && constrained {
            return None;
        }
        if block.class != BlockClass::Intra as u8 || block.flags & flags::INTRA_16X16 != 0 {
            return Some(DC);
        }
        Some(self.0.get(&other).map_or(DC, |modes| modes[y / 4 * 4 + x / 4]))
    }
}
