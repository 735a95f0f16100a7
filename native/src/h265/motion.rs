//! Motion of prediction blocks and what later blocks see of it (H.265 6.4.2, 8.5.3).

use super::coding_unit::{part_mode, Unit};
use super::{sink::Sink, slice_data::SliceParser};
use crate::picture::RefEntry;

/// Motion vector (x, y) in quarter luma samples.
pub type Mv = [i16; 2];

/// MvL0, MvL1 and RefIdxL0, RefIdxL1; an index of -1 is predFlag 0. Both -1: no inter prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// By list; 0 where the list is not used.
    pub mv: [Mv; 2],
    /// By list.
    pub ref_idx: [i8; 2],
}

impl Motion {
    /// Intra, or not there.
    pub const NONE: Self = Self { mv: [[0; 2]; 2], ref_idx: [-1; 2] };

    /// predFlagLX
    pub fn uses(&self, list: usize) -> bool {
        self.ref_idx[list] >= 0
    }
}

/// 4x4 blocks along the side of the largest coding tree block.
const CTB_BLOCKS: usize = 16;
/// Row of the grid: the block to the left, those of the tree block, the one to the right (above only).
const STRIDE: usize = CTB_BLOCKS + 2;

/// Motion around and inside the current coding tree block, by 4x4 blocks.
///
/// Neighbours are only ever asked for next to a later block, so a prediction block leaves its right column and
/// its bottom row here and nothing else.
#[derive(Clone, Debug)]
pub struct Grid([Motion; STRIDE * (CTB_BLOCKS + 1)]);

impl Default for Grid {
    fn default() -> Self {
        Self([Motion::NONE; STRIDE * (CTB_BLOCKS + 1)])
    }
}

impl Grid {
    /// Position (-1, -1) is the block above and to the left of the tree block.
    #[inline(always)]
    fn index(x: i32, y: i32) -> usize {
        ((y + 1) * STRIDE as i32 + x + 1) as usize
    }

    #[inline(always)]
    fn at(&self, x: i32, y: i32) -> Motion {
        self.0.get(Self::index(x, y)).copied().unwrap_or(Motion::NONE)
    }

    /// Moves on to the tree block to the right: the last column becomes the left one, `above` the row above.
    pub fn advance(&mut self, blocks: usize, above: &[Motion]) {
        for row in 0..=blocks {
            self.0[row * STRIDE] = self.0[row * STRIDE + blocks];
        }
        for (target, &motion) in self.0[1..].iter_mut().zip(above.iter().take(blocks + 1)) {
            *target = motion;
        }
    }

    /// The bottom row of the tree block.
    pub fn bottom(&self, blocks: usize) -> &[Motion] {
        let start = blocks * STRIDE + 1;
        &self.0[start..start + blocks]
    }

    /// Leaves the outline of a block (in 4x4 blocks).
    pub fn put(&mut self, x: usize, y: usize, width: usize, height: usize, motion: Motion) {
        let right = (y + 1) * STRIDE + x + width;
        for row in 0..height {
            self.0[right + row * STRIDE] = motion;
        }
        let bottom = (y + height) * STRIDE + x + 1;
        self.0[bottom..bottom + width].fill(motion);
    }
}

/// Order of 4x4 blocks inside a coding tree block (6.5.2).
fn z_order(x: u32, y: u32) -> u32 {
    let spread = |v: u32| v & 1 | (v & 2) << 1 | (v & 4) << 2 | (v & 8) << 3;
    spread(x) | spread(y) << 1
}

/// A prediction block.
#[derive(Clone, Copy, Debug)]
pub struct PredictionBlock {
    /// Luma samples in the picture.
    pub x: u32,
    /// Luma samples in the picture.
    pub y: u32,
    /// Luma samples.
    pub width: u32,
    /// Luma samples.
    pub height: u32,
    /// partIdx
    pub part_idx: usize,
}

impl<K: Sink> SliceParser<'_, K> {
    /// Motion of the block that covers a luma sample, when `block` may use it.
    // H.265 6.4.1, 6.4.2
    #[inline]
    pub(super) fn neighbour(&self, unit: &Unit, block: &PredictionBlock, x: i32, y: i32) -> Option<Motion> {
        let ctb = &self.ctb;
        let side = 1_i32 << self.sps.log2_ctb;
        if x >= self.width as i32 || y >= self.height as i32 {
            return None;
        }
        let (local_x, local_y) = (x - ctb.x as i32, y - ctb.y as i32);
        let available = if local_y < 0 {
            match local_x {
                i32::MIN..=-1 => ctb.up_left,
                _ if local_x < side => ctb.up,
                _ => ctb.up_right,
            }
        } else if local_x < 0 {
            ctb.left && local_y < side
        } else if local_x < side && local_y < side {
            self.is_decoded(unit, block, x as u32, y as u32)
        } else {
            false
        };
        if !available {
            return None;
        }
        let motion = self.state.grid.at(local_x >> 2, local_y >> 2);
        (motion.ref_idx != [-1; 2]).then_some(motion)
    }

    /// Whether a sample of the current tree block comes before `block`.
    fn is_decoded(&self, unit: &Unit, block: &PredictionBlock, x: u32, y: u32) -> bool {
        let size = 1 << unit.log2_size;
        let inside = x.wrapping_sub(unit.x) < size && y.wrapping_sub(unit.y) < size;
        if inside {
            // The second quarter would look into the third, which comes later.
            let later = unit.part_mode == part_mode::NXN
                && block.part_idx == 1
                && block.y + block.height <= y
                && block.x > x;
            return !later;
        }
        let order = |x: u32, y: u32| z_order((x - self.ctb.x) >> 2, (y - self.ctb.y) >> 2);
        order(x, y) < order(block.x, block.y)
    }

    /// Writes the motion of a prediction block for neighbours, for later pictures and for the reader.
    pub(super) fn set_motion(&mut self, block: &PredictionBlock, motion: Motion) {
        let (x, y) = ((block.x - self.ctb.x) as usize >> 2, (block.y - self.ctb.y) as usize >> 2);
        let (width, height) = (block.width as usize >> 2, block.height as usize >> 2);
        self.state.grid.put(x, y, width, height, motion);
        self.put_cell_motion(block, motion);
    }

    /// An entry of a reference list of this slice.
    #[inline]
    pub(super) fn reference(&self, list: usize, ref_idx: i8) -> Option<RefEntry> {
        self.input.refs.lists[list].get(usize::try_from(ref_idx).ok()?).copied()
    }
}

/// Scales a vector by the ratio of two distances of order counts.
// H.265 8.5.3.2.7, (8-179) to (8-183)
pub fn scale(mv: Mv, wanted_distance: i32, distance: i32) -> Mv {
    let td = distance.clamp(-128, 127);
    let tb = wanted_distance.clamp(-128, 127);
    if td == 0 {
        return mv;
    }
    let tx = (16384 + td.abs() / 2) / td;
    let factor = ((tb * tx + 32) >> 6).clamp(-4096, 4095);
    mv.map(|component| {
        let product = factor * i32::from(component);
        let rounded = (product.abs() + 127) >> 8;
        (product.signum() * rounded).clamp(-32768, 32767) as i16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distances_change_nothing() {
        for distance in (-128..=127).filter(|&distance| distance != 0) {
            assert_eq!(scale([100, -77], distance, distance), [100, -77]);
        }
        assert_eq!(scale([8, -8], -2, 4), [-4, 4]);
        assert_eq!(scale([i16::MAX, i16::MIN], 127, 1), [i16::MAX, i16::MIN]);
    }

    #[test]
    fn blocks_come_in_z_order() {
        let order: Vec<u32> =
            [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (15, 15)].map(|(x, y)| z_order(x, y)).into();
        assert_eq!(order, [0, 1, 2, 3, 4, 8, 255]);
    }

    #[test]
    fn a_block_leaves_its_right_column_and_its_bottom_row() {
        let mut grid = Grid::default();
        let motion = Motion { mv: [[4, 0]; 2], ref_idx: [0, -1] };
        grid.put(0, 0, 16, 16, motion);
        assert_eq!(
            [grid.at(15, 0), grid.at(15, 15), grid.at(0, 15), grid.at(3, 3)],
            [motion, motion, motion, Motion::NONE]
        );
        assert!(grid.bottom(16).iter().all(|&one| one == motion));
        grid.advance(16, &[Motion::NONE; 17]);
        assert_eq!([grid.at(-1, 0), grid.at(-1, 15), grid.at(-1, -1)], [motion, motion, Motion::NONE]);
    }
}
