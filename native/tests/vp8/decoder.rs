//! A decoder on top of the parser: whatever it shows is proof of what the parser read.

use ovbits::{
    picture::{flags, Block, BlockClass, Picture},
    unit::{Options, ParsedPicture},
    vp8::{
        energy::{self, Factors},
        frame_header::BufferUpdate,
        modes::MbMode,
        sink::{FrameInfo, Sink},
        stream::Parser,
    },
};

use super::{
    inter::{self, Square},
    intra,
    loop_filter::{self, Edges, Strength},
    plane::Plane,
    transform::{inverse_dct, inverse_walsh, ZIGZAG},
};

/// Y, U, V.
pub type Planes = [Plane; 3];

/// Everything that the metadata leaves out.
#[derive(Default)]
struct Heard {
    frame: Option<FrameInfo>,
    macroblocks: Vec<Macroblock>,
}

#[derive(Clone)]
struct Macroblock {
    segment: u8,
    uv_mode: u8,
    b_modes: [u8; 16],
    /// Levels of the 25 blocks in raster order.
    levels: [[i32; 16]; 25],
    has_tokens: bool,
}

impl Sink for Heard {
    fn frame(&mut self, frame: &FrameInfo) {
        self.frame = Some(*frame);
        let blank =
            Macroblock { segment: 0, uv_mode: 0, b_modes: [0; 16], levels: [[0; 16]; 25], has_tokens: false };
        self.macroblocks.clear();
        self.macroblocks.resize(frame.dimensions.mb_cols() * frame.dimensions.mb_rows(), blank);
    }

    fn segment(&mut self, mb: usize, segment: u8) {
        self.macroblocks[mb].segment = segment;
    }

    fn intra_modes(&mut self, mb: usize, uv_mode: u8, b_modes: &[u8; 16]) {
        (self.macroblocks[mb].uv_mode, self.macroblocks[mb].b_modes) = (uv_mode, *b_modes);
    }

    fn block(&mut self, mb: usize, _block: usize) {
        self.macroblocks[mb].has_tokens = true;
    }

    fn level(&mut self, mb: usize, block: usize, position: usize, level: i16) {
        self.macroblocks[mb].levels[block][ZIGZAG[position]] = level.into();
    }
}

/// One stream.
pub struct Decoder {
    parser: Parser,
    /// Last, golden, altref.
    references: [Planes; 3],
}

/// A frame with its metadata.
pub struct Decoded {
    pub parsed: ParsedPicture,
    pub planes: Planes,
    /// Visible size.
    pub size: (usize, usize),
}

impl Decoded {
    /// The visible samples as I420.
    pub fn i420(&self) -> Vec<u8> {
        let (width, height) = self.size;
        let [y, u, v] = &self.planes;
        let chroma = |plane| Plane::cropped(plane, width.div_ceil(2), height.div_ceil(2));
        y.cropped(width, height).chain(chroma(u)).chain(chroma(v)).collect()
    }
}

impl Decoder {
    pub fn new() -> Self {
        Self { parser: Parser::new(1 << 26), references: Default::default() }
    }

    pub fn decode(&mut self, data: &[u8]) -> Decoded {
        let mut heard = Heard::default();
        let options = Options::FULL;
        let parsed = self.parser.parse_with(data, options, &mut heard).expect("a frame");
        let Some(info) = heard.frame else {
            let size = (parsed.size.0 as usize, parsed.size.1 as usize);
            return Decoded { parsed, planes: self.references[0].clone(), size };
        };
        let frame = Frame { info: &info, picture: &parsed.picture, references: &self.references };
        let planes = frame.reconstruct(&heard.macroblocks);
        self.update_references(&info, &planes);
        let size = (info.dimensions.width.into(), info.dimensions.height.into());
        Decoded { parsed, planes, size }
    }

    fn update_references(&mut self, info: &FrameInfo, current: &Planes) {
        let [last, golden, altref] = &mut self.references;
        let pick = |update, old: &mut Planes, last: &Planes, other: &Planes| match update {
            BufferUpdate::Keep => {}
            BufferUpdate::Current => *old = current.clone(),
            BufferUpdate::Last => *old = last.clone(),
            BufferUpdate::Other => *old = other.clone(),
        };
        pick(info.references.altref, altref, last, golden);
        pick(info.references.golden, golden, last, altref);
        if info.references.refresh_last {
            *last = current.clone();
        }
    }
}

struct Frame<'a> {
    info: &'a FrameInfo,
    picture: &'a Picture,
    references: &'a [Planes; 3],
}

impl Frame<'_> {
    fn reconstruct(&self, macroblocks: &[Macroblock]) -> Planes {
        let (cols, rows) = (self.picture.mb_cols, self.picture.mb_rows);
        let mut planes = [16, 8, 8].map(|size| Plane::new(cols * size, rows * size));
        let quantizers = energy::quantizers(&self.info.quant_indices, &self.info.segmentation);
        let factors = energy::factors(quantizers, &self.info.quant_indices);
        for (mb, macroblock) in macroblocks.iter().enumerate() {
            let block = &self.picture.blocks[mb];
            let segment = usize::from(macroblock.segment);
            assert_eq!(block.qp as u8, quantizers[segment]);
            let residual = residual(macroblock, block.mb_type, &factors[segment]);
            check_energy(block, &residual, macroblock);
            if block.class == BlockClass::Intra as u8 {
                self.predict_intra(&mut planes, mb, macroblock, &residual);
            } else {
                self.predict_inter(&mut planes, mb);
                add_luma(&mut planes[0], (mb % cols, mb / cols), &residual);
            }
            add_chroma(&mut planes, (mb % cols, mb / cols), &residual);
        }
        if self.info.loop_filter.level > 0 {
            self.filter(&mut planes, macroblocks);
        }
        planes
    }

    fn predict_intra(
        &self,
        planes: &mut Planes,
        mb: usize,
        macroblock: &Macroblock,
        residual: &[[i32; 16]; 24],
    ) {
        let (mb_x, mb_y) = (mb % self.picture.mb_cols, mb / self.picture.mb_cols);
        let (x, y) = (16 * mb_x, 16 * mb_y);
        let [luma, chroma @ ..] = planes;
        chroma.iter_mut().for_each(|plane| intra::predict(plane, x / 2, y / 2, 8, macroblock.uv_mode));
        let mode = self.picture.blocks[mb].mb_type;
        if mode != MbMode::BPred as u8 {
            intra::predict(luma, x, y, 16, mode);
            add_luma(luma, (mb_x, mb_y), residual);
            return;
        }
        // The blocks at the right edge all take what follows the row above the macroblock.
        let last_x = luma.width as i32 - 1;
        let above_macroblock: [i32; 4] =
            std::array::from_fn(|i| luma.bordered(((x + 16 + i) as i32).min(last_x), y as i32 - 1));
        for (block, &b_mode) in macroblock.b_modes.iter().enumerate() {
            let (x, y) = (x + block % 4 * 4, y + block / 4 * 4);
            let above_right = if block % 4 == 3 {
                above_macroblock
            } else {
                std::array::from_fn(|i| luma.bordered((x + 4 + i) as i32, y as i32 - 1))
            };
            intra::predict_4x4(luma, x, y, b_mode, above_right);
            add_4x4(luma, x, y, &residual[block]);
        }
    }

    fn predict_inter(&self, planes: &mut Planes, mb: usize) {
        let block = &self.picture.blocks[mb];
        let (x, y) = (16 * (mb % self.picture.mb_cols), 16 * (mb / self.picture.mb_cols));
        let reference = &self.references[block.ref_idx[0] as usize];
        let bilinear = self.info.tag.version != 0;
        let whole_samples = if self.info.tag.version == 3 { !7 } else { !0 };
        let mut predict =
            |plane: usize, to, mv| inter::predict(&mut planes[plane], &reference[plane], to, mv, bilinear);
        if block.flags & flags::SPLIT == 0 {
            let mv = block.mv[0].map(i32::from);
            predict(0, Square { x, y, size: 16 }, mv.map(|quarters| 2 * quarters));
            let to = Square { x: x / 2, y: y / 2, size: 8 };
            (1..3).for_each(|plane| predict(plane, to, mv.map(|eighths| eighths & whole_samples)));
            return;
        }
        let mvs = self.picture.splits[block.split as usize].mv[0].map(|mv| mv.map(i32::from));
        for (index, mv) in mvs.iter().enumerate() {
            let to = Square { x: x + index % 4 * 4, y: y + index / 4 * 4, size: 4 };
            predict(0, to, mv.map(|quarters| 2 * quarters));
        }
        for index in 0..4 {
            let first = index / 2 * 8 + index % 2 * 2;
            // RFC 6386 18.1: chroma moves by the mean of its four luma blocks.
            let mv = [0, 1].map(|axis| {
                let sum: i32 = [0, 1, 4, 5].iter().map(|offset| mvs[first + offset][axis]).sum();
                ((sum + if sum < 0 { -2 } else { 2 }) / 4) & whole_samples
            });
            let to = Square { x: x / 2 + index % 2 * 4, y: y / 2 + index / 2 * 4, size: 4 };
            (1..3).for_each(|plane| predict(plane, to, mv));
        }
    }

    fn filter(&self, planes: &mut Planes, macroblocks: &[Macroblock]) {
        let FrameInfo { loop_filter, segmentation, tag, .. } = self.info;
        for (mb, macroblock) in macroblocks.iter().enumerate() {
            let block = &self.picture.blocks[mb];
            let strength = Strength::new(loop_filter, segmentation, macroblock.segment, block, tag.key_frame);
            if strength.level == 0 {
                continue;
            }
            let (mb_x, mb_y) = (mb % self.picture.mb_cols, mb / self.picture.mb_cols);
            let inner = macroblock.has_tokens || !MbMode::has_y2(block.mb_type);
            let edges = Edges { left: mb_x > 0, top: mb_y > 0, inner };
            let [luma, chroma @ ..] = &mut *planes;
            loop_filter::filter(luma, (16 * mb_x, 16 * mb_y), 16, edges, loop_filter.simple, &strength);
            if !loop_filter.simple {
                for plane in chroma {
                    loop_filter::filter(plane, (8 * mb_x, 8 * mb_y), 8, edges, false, &strength);
                }
            }
        }
    }
}

/// Residual samples of the 24 blocks.
fn residual(macroblock: &Macroblock, mb_type: u8, factors: &Factors) -> [[i32; 16]; 24] {
    let scaled = |block: usize, (dc, ac): (u16, u16)| -> [i32; 16] {
        let mut levels = macroblock.levels[block];
        levels[0] *= i32::from(dc);
        levels[1..].iter_mut().for_each(|level| *level *= i32::from(ac));
        levels
    };
    let luma_dc = MbMode::has_y2(mb_type).then(|| inverse_walsh(&scaled(24, factors.y2)));
    std::array::from_fn(|block| {
        let mut coefficients = scaled(block, if block < 16 { factors.y } else { factors.uv });
        if let (Some(dc), true) = (luma_dc, block < 16) {
            coefficients[0] = dc[block];
        }
        inverse_dct(&coefficients)
    })
}

/// `residual_energy` is the energy of the residual, up to the rounding of the transforms: at most one half for each
/// of the 384 samples, and one half of a DC coefficient for each of the 16 luma blocks.
fn check_energy(block: &Block, residual: &[[i32; 16]; 24], macroblock: &Macroblock) {
    let energy: f32 = residual.iter().flatten().map(|&sample| (sample * sample) as f32).sum();
    let rounding = 1.0_f32.max(384.0_f32.sqrt() * 0.75);
    let (exact, ours) = (energy.sqrt(), block.residual_energy.sqrt());
    assert!((exact - ours).abs() <= rounding, "energy {ours}^2 for {exact}^2");
    let levels = macroblock.levels.iter().flatten().filter(|&&level| level != 0).count();
    assert_eq!(usize::from(block.coefficients), levels);
}

fn add_4x4(plane: &mut Plane, x: usize, y: usize, residual: &[i32; 16]) {
    (0..16).for_each(|i| plane.add(x + i % 4, y + i / 4, residual[i]));
}

fn add_luma(plane: &mut Plane, (mb_x, mb_y): (usize, usize), residual: &[[i32; 16]; 24]) {
    for (block, samples) in residual[..16].iter().enumerate() {
        add_4x4(plane, 16 * mb_x + block % 4 * 4, 16 * mb_y + block / 4 * 4, samples);
    }
}

fn add_chroma(planes: &mut Planes, (mb_x, mb_y): (usize, usize), residual: &[[i32; 16]; 24]) {
    for (block, samples) in residual[16..].iter().enumerate() {
        let plane = &mut planes[1 + block / 4];
        add_4x4(plane, 8 * mb_x + block % 2 * 4, 8 * mb_y + block / 2 % 2 * 4, samples);
    }
}
