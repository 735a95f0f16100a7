//! Per-macroblock headers: segments, prediction modes, motion (RFC 6386 10, 11, 16, 19.3).

use super::{
    bool_decoder::BoolDecoder,
    frame_header::{Context, FrameHeader, InterProbabilities},
    mode_tables::{
        B_MODE_PROBABILITIES, B_MODE_TREE, IMPLIED_B_MODE, KEY_FRAME_B_MODE_PROBABILITIES,
        KEY_FRAME_UV_MODE_PROBABILITIES, KEY_FRAME_Y_MODE_PROBABILITIES, KEY_FRAME_Y_MODE_TREE, UV_MODE_TREE,
        Y_MODE_TREE,
    },
    motion::{self, Mv, Neighbour, Neighbours, Place},
    sink::Sink,
};
use crate::picture::{flags, Block, BlockClass, Picture, Split};

/// Prediction mode of a macroblock; the number is [`Block::mb_type`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MbMode {
    /// Mean of the row above and the column to the left.
    DcPred = 0,
    /// The row above.
    VPred = 1,
    /// The column to the left.
    HPred = 2,
    /// "TrueMotion": gradients of both.
    TmPred = 3,
    /// Each 4x4 block has an intra mode of its own.
    BPred = 4,
    /// The best motion vector around.
    NearestMv = 5,
    /// The second best.
    NearMv = 6,
    /// No motion.
    ZeroMv = 7,
    /// A motion vector of its own.
    NewMv = 8,
    /// Several motion vectors.
    SplitMv = 9,
}

impl MbMode {
    /// Whether the DC levels of luma stand in a 25th block, Y2.
    pub fn has_y2(mb_type: u8) -> bool {
        mb_type != Self::BPred as u8 && mb_type != Self::SplitMv as u8
    }
}

/// What the rows of a frame hand down; kept over frames for its memory.
#[derive(Clone, Debug, Default)]
pub(super) struct RowContext {
    /// Per macroblock of the row above, shifted by one: the first is outside of the frame.
    above: Vec<Neighbour>,
    /// Lower motion vectors of the SPLITMV macroblocks above; others leave anything here.
    above_mvs: Vec<[Mv; 4]>,
    /// Lower intra modes of the macroblocks above, in key frames.
    above_b_modes: Vec<[u8; 4]>,
}

/// The macroblock to the left.
#[derive(Default)]
struct Left {
    neighbour: Neighbour,
    above_left: Neighbour,
    mvs: [Mv; 4],
    b_modes: [u8; 4],
}

impl RowContext {
    pub fn reset(&mut self, mb_cols: usize) {
        self.above.clear();
        self.above.resize(mb_cols + 1, Neighbour::default());
        self.above_mvs.clear();
        self.above_mvs.resize(mb_cols, Default::default());
        self.above_b_modes.clear();
        self.above_b_modes.resize(mb_cols, Default::default());
    }
}

/// Reads the macroblock headers of one frame from its first partition.
pub(super) struct ModeReader<'a, 'b> {
    pub bits: BoolDecoder<'a>,
    pub context: &'b Context,
    pub header: &'b FrameHeader,
    /// Quantiser index by segment.
    pub quantizers: [u8; 4],
    /// Segment of each macroblock, from this frame or one before.
    pub segment_map: &'b mut [u8],
    pub rows: &'b mut RowContext,
}

/// The part of a macroblock header that is the same in all frames.
struct Start {
    segment: u8,
    mb_skip_coeff: bool,
}

impl ModeReader<'_, '_> {
    /// Reads row `mb_y` into `picture` and mb_skip_coeff into `skips`; returns how many macroblocks the partition
    /// held: all, or fewer where it is cut off.
    pub fn read_row<S: Sink>(
        &mut self,
        mb_y: usize,
        picture: &mut Picture,
        skips: &mut [bool],
        sink: &mut S,
    ) -> usize {
        let Picture { mb_cols, mb_rows, blocks, splits, .. } = picture;
        let first = mb_y * *mb_cols;
        let mut bits = self.bits;
        let mut left = Left::default();
        // Fields are set one by one: a block put together elsewhere is copied faster than it can be stored.
        for ((mb_x, block), skip) in blocks[first..].iter_mut().enumerate().zip(skips.iter_mut()) {
            let begin = bits.position_bits();
            let start = self.read_start(&mut bits, first + mb_x);
            *skip = start.mb_skip_coeff;
            match self.header.inter {
                None => {
                    let b_modes = &mut left.b_modes;
                    let mode =
                        bits.apart(|bits| self.read_key_frame_modes(bits, mb_x, b_modes, first + mb_x, sink));
                    set_intra(block, mode);
                }
                Some(inter) if bits.read_bool(inter.prob_intra) => {
                    let place = Place { mb_x, mb_y, mb_cols: *mb_cols, mb_rows: *mb_rows };
                    self.read_inter(&mut bits, place, inter, &mut left, block, splits);
                    block.class =
                        if start.mb_skip_coeff { BlockClass::Skip as u8 } else { BlockClass::Inter as u8 };
                }
                Some(_) => {
                    let mode = bits.apart(|bits| self.read_intra_modes(bits, first + mb_x, sink));
                    self.hand_on(mb_x, &mut left, Neighbour::default());
                    set_intra(block, mode);
                }
            }
            block.bit_cost = bits.position_bits().wrapping_sub(begin) as u32;
            block.qp = self.quantizers[usize::from(start.segment & 3)] as i8;
            sink.segment(first + mb_x, start.segment);
            if bits.is_overrun() {
                *block = Block::default();
                self.bits = bits;
                return mb_x;
            }
        }
        self.bits = bits;
        skips.len()
    }

    // RFC 6386 19.3: update_mb_segmentation_map, mb_skip_coeff
    #[inline(always)]
    fn read_start(&mut self, bits: &mut BoolDecoder, mb: usize) -> Start {
        let segmentation = &self.context.segmentation;
        if segmentation.update_map {
            let [root, low, high] = segmentation.tree_probabilities;
            self.segment_map[mb] = if bits.read_bool(root) {
                2 + u8::from(bits.read_bool(high))
            } else {
                u8::from(bits.read_bool(low))
            };
        }
        let segment = if segmentation.enabled { self.segment_map[mb] } else { 0 };
        let mb_skip_coeff =
            self.header.prob_skip_false.is_some_and(|prob_skip_false| bits.read_bool(prob_skip_false));
        Start { segment, mb_skip_coeff }
    }

    // RFC 6386 11.2, 11.3: modes of 4x4 blocks depend on those above and to the left
    #[inline(never)]
    fn read_key_frame_modes<S: Sink>(
        &mut self,
        bits: &mut BoolDecoder,
        mb_x: usize,
        left: &mut [u8; 4],
        mb: usize,
        sink: &mut S,
    ) -> u8 {
        let mode = bits.read_tree(&KEY_FRAME_Y_MODE_TREE, &KEY_FRAME_Y_MODE_PROBABILITIES);
        let above = &mut self.rows.above_b_modes[mb_x];
        let mut b_modes = [0; 16];
        match IMPLIED_B_MODE.get(usize::from(mode)) {
            Some(&implied) => {
                b_modes = [implied; 16];
                (*above, *left) = ([implied; 4], [implied; 4]);
            }
            None => {
                bits.apart(|bits| {
                    for (block, b_mode) in b_modes.iter_mut().enumerate() {
                        let (a, l) = (&mut above[block % 4], &mut left[block / 4]);
                        let probabilities = &KEY_FRAME_B_MODE_PROBABILITIES[usize::from(*a)][usize::from(*l)];
                        *b_mode = bits.read_tree(&B_MODE_TREE, probabilities);
                        (*a, *l) = (*b_mode, *b_mode);
                    }
                });
            }
        }
        let uv_mode = bits.read_tree(&UV_MODE_TREE, &KEY_FRAME_UV_MODE_PROBABILITIES);
        sink.intra_modes(mb, uv_mode, &b_modes);
        mode
    }

    // RFC 6386 16.1: intra macroblocks of inter frames
    #[inline(never)]
    fn read_intra_modes<S: Sink>(&self, bits: &mut BoolDecoder, mb: usize, sink: &mut S) -> u8 {
        let entropy = &self.context.entropy;
        let mode = bits.read_tree(&Y_MODE_TREE, &entropy.y_mode);
        let mut b_modes = [0; 16];
        if mode == MbMode::BPred as u8 {
            b_modes.fill_with(|| bits.read_tree(&B_MODE_TREE, &B_MODE_PROBABILITIES));
        }
        let uv_mode = bits.read_tree(&UV_MODE_TREE, &entropy.uv_mode);
        sink.intra_modes(mb, uv_mode, &b_modes);
        mode
    }

    // RFC 6386 16.2, 16.3
    #[inline(always)]
    fn read_inter(
        &mut self,
        bits: &mut BoolDecoder,
        place: Place,
        inter: InterProbabilities,
        left: &mut Left,
        block: &mut Block,
        splits: &mut Vec<Split>,
    ) {
        let (context, mb_x) = (self.context, place.mb_x);
        let ref_idx =
            if bits.read_bool(inter.prob_last) { 1 + u8::from(bits.read_bool(inter.prob_gf)) } else { 0 };
        let sign_bias = context.sign_bias[usize::from(ref_idx)];
        let neighbours = Neighbours {
            above: self.rows.above[mb_x + 1],
            left: left.neighbour,
            above_left: left.above_left,
        };
        let mv_probabilities = &context.entropy.mv;
        let (mode, mv) = motion::read_mode(bits, &neighbours, sign_bias, place, mv_probabilities);
        block.mv[0] = mv;
        block.ref_idx = [ref_idx as i8, -1];
        block.mb_type = mode as u8;
        let split = mode == MbMode::SplitMv;
        let mut last_mv = mv;
        if split {
            let above =
                if neighbours.above.split { self.rows.above_mvs[mb_x] } else { [neighbours.above.mv; 4] };
            let beside = if neighbours.left.split { left.mvs } else { [neighbours.left.mv; 4] };
            let mvs = bits.apart(|bits| motion::read_split(bits, &above, &beside, mv, mv_probabilities));
            self.rows.above_mvs[mb_x] = [mvs[12], mvs[13], mvs[14], mvs[15]];
            left.mvs = [mvs[3], mvs[7], mvs[11], mvs[15]];
            last_mv = mvs[15];
            set_split_motion(block, &mvs, splits);
        }
        self.hand_on(mb_x, left, Neighbour { mv: last_mv, inter: true, sign_bias, split });
    }

    #[inline(always)]
    fn hand_on(&mut self, mb_x: usize, left: &mut Left, neighbour: Neighbour) {
        left.above_left = std::mem::replace(&mut self.rows.above[mb_x + 1], neighbour);
        left.neighbour = neighbour;
    }
}

fn set_intra(block: &mut Block, mode: u8) {
    block.ref_idx = [-1; 2];
    block.class = BlockClass::Intra as u8;
    block.mb_type = mode;
}

/// A split record is only needed when the motion vectors are not all the same.
fn set_split_motion(block: &mut Block, mvs: &[Mv; 16], splits: &mut Vec<Split>) {
    block.mv[0] = mvs[0];
    if mvs.iter().any(|&mv| mv != mvs[0]) {
        block.flags |= flags::SPLIT;
        block.split = splits.len() as u32;
        splits.push(Split { mv: [*mvs, [[0; 2]; 16]], ref_idx: [[block.ref_idx[0]; 4], [-1; 4]] });
    }
}
