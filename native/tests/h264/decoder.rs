//! A decoder on top of the parser: whatever it shows is proof of what the parser read.

use std::collections::HashMap;

use ovbits::{
    h264::{
        slice_header::{DecRefPicMarking, MemoryManagement},
        sps::Sps,
        stream::Parser,
    },
    nal::Framing,
    picture::{BlockClass, Structure},
    unit::{Options, ParsedPicture},
};

use super::{
    deblock::{in_order, Deblocker},
    intra_modes::IntraModes,
    macroblock::PictureBuilder,
    plane::{Lines, Plane},
    recorder::{Coded, Recorder},
    strength::Strengths,
};

/// A frame with its place in the order of display.
#[derive(Clone, Default)]
pub struct Frame {
    /// Y, Cb, Cr; the latter stay blank unless 4:2:0.
    pub planes: [Plane; 3],
    /// Number of the sequence (from IDR to IDR) and order count in it.
    pub order: (u32, i32),
    /// Visible part: left, top, width, height.
    pub window: [usize; 4],
    /// More than eight bits.
    pub deep: bool,
}

impl Frame {
    fn new(coded: &Coded, sps: &Sps) -> Self {
        let rows = coded.picture.mb_rows << usize::from(coded.picture.structure.is_field());
        let (width, height) = (16 * coded.picture.mb_cols, 16 * rows);
        let grey = 128 << sps.bit_depth_chroma_minus8;
        let chroma = || Plane::filled(width / 2, height / 2, grey);
        let [left, _, top, _] = sps.frame_crop_offsets.map(usize::from);
        let (unit_x, unit_y) = match sps.chroma_format_idc {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let unit_y = unit_y * if sps.frame_mbs_only_flag { 1 } else { 2 };
        let (visible_width, visible_height) = sps.cropped_size().expect("a size");
        Self {
            planes: [Plane::new(width, height), chroma(), chroma()],
            order: (0, i32::MAX),
            window: [unit_x * left, unit_y * top, visible_width as usize, visible_height as usize],
            deep: sps.bit_depth_luma_minus8 > 0,
        }
    }

    /// Bytes of the visible samples: of luma, or of all planes of 4:2:0, which monochrome counts as (grey).
    pub fn bytes(&self, chroma: bool) -> Vec<u8> {
        let [left, top, width, height] = self.window;
        let of = |plane: &Plane, by: usize| -> Vec<u16> {
            plane.window(left / by, top / by, width.div_ceil(by), height.div_ceil(by)).collect()
        };
        let mut samples = of(&self.planes[0], 1);
        if chroma {
            samples.extend(self.planes[1..].iter().flat_map(|plane| of(plane, 2)));
        }
        if self.deep {
            return samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        }
        samples.iter().map(|&sample| sample as u8).collect()
    }
}

/// One stream.
pub struct Decoder {
    parser: Parser,
    recorder: Recorder,
    /// By identity.
    pub frames: HashMap<u32, Frame>,
    sequence: u32,
    /// SP and SI are read as P and I, as FFmpeg does.
    plain: bool,
    /// Macroblocks rebuilt.
    pub macroblocks: usize,
}

impl Decoder {
    pub fn new(plain: bool) -> Self {
        Self {
            parser: Parser::new(1 << 26),
            recorder: Recorder::default(),
            frames: HashMap::new(),
            sequence: 0,
            plain,
            macroblocks: 0,
        }
    }

    /// Parses an access unit and rebuilds its frame or fields.
    ///
    /// # Errors
    /// What keeps samples from being rebuilt.
    pub fn decode(&mut self, unit: &[u8]) -> Result<ParsedPicture, String> {
        let parsed = self.parser.parse_with(unit, Framing::AnnexB, Options::FULL, &self.recorder);
        let parsed = parsed.map_err(|error| format!("{error:?}"))?;
        if let Some(error) = &parsed.first_error {
            return Err(format!("{error:?}"));
        }
        for coded in self.recorder.take() {
            self.rebuild(&coded)?;
        }
        Ok(parsed)
    }

    fn rebuild(&mut self, coded: &Coded) -> Result<(), String> {
        let picture = &coded.picture;
        let first = coded.slices.values().next().ok_or("no slice was read")?;
        let forgets = matches!(&first.header.dec_ref_pic_marking, DecRefPicMarking::Adaptive(commands)
            if commands.contains(&MemoryManagement::ForgetAll));
        let known = self.frames.get(&picture.id).cloned();
        if (first.header.idr_pic_flag || forgets) && known.is_none() {
            self.sequence += 1;
        }
        let mut frame = known.unwrap_or_else(|| Frame::new(coded, &first.sps));
        let poc = if forgets { 0 } else { picture.poc };
        frame.order = (self.sequence, frame.order.1.min(poc));
        let lines = match picture.structure {
            Structure::Frame => Lines::ALL,
            Structure::Top => Lines::of_field(0),
            Structure::Bottom => Lines::of_field(1),
        };
        let mut builder = PictureBuilder {
            coded,
            frames: &self.frames,
            planes: &mut frame.planes,
            lines,
            modes: IntraModes::default(),
            plain: self.plain,
        };
        // Slices may come in any order, and neighbours count inside their slice alone.
        for address in in_order(coded) {
            if picture.blocks[address].class == BlockClass::Unknown as u8 {
                return Err(format!("macroblock {address} is unknown"));
            }
            if !builder.build(address) {
                return Err(format!("macroblock {address} refers to a picture that never came"));
            }
            self.macroblocks += 1;
        }
        let strengths = Strengths::new(coded, self.plain);
        Deblocker { coded, strengths, planes: &mut frame.planes, lines }.run();
        self.frames.insert(picture.id, frame);
        Ok(())
    }

    /// All frames so far in the order of display.
    pub fn displayed(&self) -> Vec<&Frame> {
        let mut frames: Vec<&Frame> = self.frames.values().collect();
        frames.sort_by_key(|frame| frame.order);
        frames
    }
}
