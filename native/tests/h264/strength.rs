//! How strongly an edge between two samples is filtered (H.264 8.7.2.1).

use std::collections::HashMap;

use ovbits::{
    h264::syntax::block_kind::{LUMA, LUMA_8X8},
    picture::{flags, Block, PictureId, Structure},
};

use super::{
    geometry::{is_field, is_intra, At},
    intra_modes::cell,
    macroblock::{motion, reference},
    recorder::Coded,
};

/// Which 4x4 luma blocks have levels, by macroblock: bit = raster cell.
pub struct Strengths<'a> {
    coded: &'a Coded,
    /// SP and SI are read as P and I, as FFmpeg does.
    plain: bool,
    levels: HashMap<usize, u16>,
}

type Motion = Vec<((PictureId, Structure), [i32; 2])>;

impl<'a> Strengths<'a> {
    pub fn new(coded: &'a Coded, plain: bool) -> Self {
        let of = |&address: &usize| (address, levels_of(coded, address));
        Self { coded, plain, levels: coded.macroblocks.keys().map(of).collect() }
    }

    /// bS between the samples p and q at `vertical` or horizontal edges.
    pub fn between(&self, p: At, q: At, vertical: bool) -> u8 {
        let picture = &self.coded.picture;
        let [block_p, block_q] = [p, q].map(|(address, ..)| &picture.blocks[address]);
        let in_field = |block: &Block| is_field(block) || picture.structure.is_field();
        let switching = |block: &Block| !self.plain && self.coded.slices[&block.slice].header.is_switching;
        if [block_p, block_q].iter().any(|block| is_intra(block) || switching(block)) {
            let strong = vertical || !(in_field(block_p) || in_field(block_q));
            return if p.0 != q.0 && strong { 4 } else { 3 };
        }
        if [p, q].iter().any(|&(address, x, y)| self.has_levels(address, y / 4 * 4 + x / 4)) {
            return 2;
        }
        // mixedModeEdgeFlag
        if is_field(block_p) != is_field(block_q) {
            return 1;
        }
        let limit = if in_field(block_q) { 2 } else { 4 };
        u8::from(differs(&self.motion(p), &self.motion(q), limit))
    }

    fn has_levels(&self, address: usize, cell: usize) -> bool {
        self.levels.get(&address).is_some_and(|levels| levels >> cell & 1 != 0)
    }

    fn motion(&self, (address, x, y): At) -> Motion {
        let block = &self.coded.picture.blocks[address];
        let moved = [0, 1].map(|list| (list, motion(self.coded, block, list, y / 4 * 4 + x / 4)));
        moved
            .iter()
            .filter(|(_, (ref_idx, _))| *ref_idx >= 0)
            .map(|&(list, (ref_idx, mv))| {
                let entry = reference(self.coded, address, list, ref_idx);
                ((entry.id.expect("a picture that came"), entry.structure), mv)
            })
            .collect()
    }
}

/// Different pictures, another number of vectors, or vectors a whole sample apart; `limit` is that of vertical ones.
fn differs(p: &Motion, q: &Motion, limit: i32) -> bool {
    let far = |a: [i32; 2], b: [i32; 2]| (a[0] - b[0]).abs() >= 4 || (a[1] - b[1]).abs() >= limit;
    if p.len() != q.len() {
        return true;
    }
    let unlike = |order: &[usize]| {
        p.iter().zip(order).any(|(&(picture, mv), &index)| picture != q[index].0 || far(mv, q[index].1))
    };
    match p.len() {
        1 => unlike(&[0]),
        _ => unlike(&[0, 1]) && unlike(&[1, 0]),
    }
}

fn levels_of(coded: &Coded, address: usize) -> u16 {
    let block = &coded.picture.blocks[address];
    let is_8x8 = block.flags & flags::TRANSFORM_8X8 != 0;
    let mut blocks = coded.macroblocks[&address].blocks.iter();
    let mut levels = 0;
    for quadrant in (0..4).filter(|quadrant| block.cbp >> quadrant & 1 != 0) {
        let first = 4 * quadrant;
        let mut own = 0;
        while own < 4 {
            let Some(next) = blocks.next() else { return levels };
            let width = if next.kind == LUMA_8X8 { 4 } else { 1 };
            if next.kind != LUMA && next.kind != LUMA_8X8 {
                // Intra_16x16: strong anyway.
                return levels;
            }
            if !next.levels.is_empty() {
                let covered = if is_8x8 { first..first + 4 } else { first + own..first + own + width };
                for (column, row) in covered.map(cell) {
                    levels |= 1 << (4 * row + column);
                }
            }
            own += width;
        }
    }
    levels
}
