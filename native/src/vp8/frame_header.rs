//! Frame tag, key frame start and frame header (RFC 6386 9, 19.1, 19.2).

use super::{bool_decoder::BoolDecoder, entropy::Entropy};
use crate::error::{Error, Result};

/// Bytes of the frame tag.
pub(super) const TAG_BYTES: usize = 3;
/// Bytes of start code and dimensions, which follow the tag of a key frame.
pub(super) const KEY_FRAME_START_BYTES: usize = 7;
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// RFC 6386 9.1: the three bytes before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTag {
    /// No other frame is needed to decode this one.
    pub key_frame: bool,
    /// Selects the reconstruction filters, 0 to 3.
    pub version: u8,
    /// Whether the frame is put out, or only referred to ("altref").
    pub show_frame: bool,
    /// Size of the first partition in bytes.
    pub first_part_size: usize,
}

impl FrameTag {
    /// Reads the tag.
    ///
    /// # Errors
    /// `Invalid`: fewer than three bytes, a reserved version, or no first partition.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let &[a, b, c, ..] = data else { return Err(Error::invalid("frame_tag", 0)) };
        let tag = u32::from_le_bytes([a, b, c, 0]);
        let version = (tag >> 1 & 7) as u8;
        let first_part_size = (tag >> 5) as usize;
        if version > 3 {
            return Err(Error::invalid("version", 1));
        }
        if first_part_size == 0 {
            return Err(Error::invalid("first_part_size", 5));
        }
        Ok(Self { key_frame: tag & 1 == 0, version, show_frame: tag >> 4 & 1 == 1, first_part_size })
    }
}

/// RFC 6386 9.1: what follows the tag of a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Luma samples, 1 to 16383.
    pub width: u16,
    /// Luma samples, 1 to 16383.
    pub height: u16,
    /// Upscaling that a player should do: none, 5/4, 5/3, 2.
    pub horizontal_scale: u8,
    /// As `horizontal_scale`.
    pub vertical_scale: u8,
}

impl Dimensions {
    /// Reads start code and dimensions from the bytes behind the tag.
    ///
    /// # Errors
    /// `Invalid`: too few bytes, no start code, or an empty picture.
    pub fn parse(data: &[u8]) -> Result<Self> {
        const BITS_BEFORE: u64 = 8 * TAG_BYTES as u64;
        let &[s0, s1, s2, w0, w1, h0, h1, ..] = data else {
            return Err(Error::invalid("start_code", BITS_BEFORE));
        };
        if [s0, s1, s2] != START_CODE {
            return Err(Error::invalid("start_code", BITS_BEFORE));
        }
        let (horizontal, vertical) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
        let (width, height) = (horizontal & 0x3fff, vertical & 0x3fff);
        if width == 0 || height == 0 {
            return Err(Error::invalid("width, height", BITS_BEFORE + 24));
        }
        let (horizontal_scale, vertical_scale) = ((horizontal >> 14) as u8, (vertical >> 14) as u8);
        Ok(Self { width, height, horizontal_scale, vertical_scale })
    }

    /// Width in macroblocks.
    pub fn mb_cols(&self) -> usize {
        usize::from(self.width).div_ceil(16)
    }

    /// Height in macroblocks.
    pub fn mb_rows(&self) -> usize {
        usize::from(self.height).div_ceil(16)
    }
}

/// RFC 6386 9.3: features that differ by segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// Segments are in use in this frame.
    pub enabled: bool,
    /// This frame says the segment of each macroblock; else the map of the frame before goes on.
    pub update_map: bool,
    /// The values replace those of the frame instead of being added to them.
    pub absolute: bool,
    /// Quantiser index by segment.
    pub quantizer: [i8; 4],
    /// Loop filter level by segment.
    pub loop_filter: [i8; 4],
    /// mb_segment_tree_probs
    pub tree_probabilities: [u8; 3],
}

impl Segmentation {
    // RFC 6386 9.3, 19.2: update_segmentation()
    fn update(&mut self, bits: &mut BoolDecoder) {
        self.enabled = bits.read_flag();
        self.update_map = self.enabled && bits.read_flag();
        if self.enabled && bits.read_flag() {
            self.absolute = bits.read_flag();
            self.quantizer = std::array::from_fn(|_| bits.read_optional_signed(7).unwrap_or(0));
            self.loop_filter = std::array::from_fn(|_| bits.read_optional_signed(6).unwrap_or(0));
        }
        if self.update_map {
            self.tree_probabilities =
                std::array::from_fn(|_| if bits.read_flag() { bits.read_probability() } else { 255 });
        }
    }
}

/// RFC 6386 9.6: the loop filter, which metadata does not depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopFilter {
    /// filter_type: the simple filter instead of the normal one.
    pub simple: bool,
    /// 0 to 63; 0 is off.
    pub level: u8,
    /// 0 to 7
    pub sharpness: u8,
    /// loop_filter_adj_enable
    pub adjust: bool,
    /// Added to the level by reference frame: intra, last, golden, altref.
    pub ref_frame_delta: [i8; 4],
    /// Added to the level by mode: B_PRED, ZEROMV, other whole MVs, SPLITMV.
    pub mode_delta: [i8; 4],
}

impl LoopFilter {
    // RFC 6386 9.3, 9.6, 19.2: filter_type to mb_lf_adjustments()
    fn update(&mut self, bits: &mut BoolDecoder) {
        self.simple = bits.read_flag();
        self.level = bits.read_literal(6) as u8;
        self.sharpness = bits.read_literal(3) as u8;
        self.adjust = bits.read_flag();
        if self.adjust && bits.read_flag() {
            for delta in self.ref_frame_delta.iter_mut().chain(&mut self.mode_delta) {
                *delta = bits.read_optional_signed(6).unwrap_or(*delta);
            }
        }
    }
}

/// RFC 6386 9.6: quantiser indices of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantIndices {
    /// y_ac_qi, 0 to 127.
    pub y_ac_qi: u8,
    /// y_dc_delta
    pub y_dc_delta: i8,
    /// y2_dc_delta
    pub y2_dc_delta: i8,
    /// y2_ac_delta
    pub y2_ac_delta: i8,
    /// uv_dc_delta
    pub uv_dc_delta: i8,
    /// uv_ac_delta
    pub uv_ac_delta: i8,
}

impl QuantIndices {
    fn parse(bits: &mut BoolDecoder) -> Self {
        let y_ac_qi = bits.read_literal(7) as u8;
        let mut delta = || bits.read_optional_signed(4).unwrap_or(0);
        Self {
            y_ac_qi,
            y_dc_delta: delta(),
            y2_dc_delta: delta(),
            y2_ac_delta: delta(),
            uv_dc_delta: delta(),
            uv_ac_delta: delta(),
        }
    }
}

/// RFC 6386 9.7: where a reference buffer gets its next content from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BufferUpdate {
    /// It stays.
    #[default]
    Keep,
    /// This frame.
    Current,
    /// The last frame before this one.
    Last,
    /// The other one of golden and altref.
    Other,
}

/// RFC 6386 9.7: what becomes of the reference buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct References {
    /// refresh_last
    pub refresh_last: bool,
    /// refresh_golden_frame, copy_buffer_to_golden
    pub golden: BufferUpdate,
    /// refresh_alternate_frame, copy_buffer_to_alternate
    pub altref: BufferUpdate,
}

impl References {
    const KEY_FRAME: Self =
        Self { refresh_last: true, golden: BufferUpdate::Current, altref: BufferUpdate::Current };

    /// Later frames may refer to this one.
    pub fn keep_current(&self) -> bool {
        self.refresh_last || self.golden == BufferUpdate::Current || self.altref == BufferUpdate::Current
    }
}

/// What stays from frame to frame unless a header says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    pub entropy: Entropy,
    pub segmentation: Segmentation,
    pub loop_filter: LoopFilter,
    /// By reference frame: last, golden, altref. MVs into it point the other way in time.
    pub sign_bias: [bool; 3],
}

/// RFC 6386 9.10: probabilities of this inter frame alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InterProbabilities {
    pub prob_intra: u8,
    pub prob_last: u8,
    pub prob_gf: u8,
}

/// The frame header, without what went into the [`Context`].
#[derive(Clone, Debug)]
pub(super) struct FrameHeader {
    /// Number of token partitions: 1, 2, 4 or 8.
    pub partitions: usize,
    pub quant_indices: QuantIndices,
    pub references: References,
    /// The probabilities to go back to after this frame: refresh_entropy_probs is 0.
    pub saved_entropy: Option<Entropy>,
    /// prob_skip_false when mb_no_coeff_skip is set.
    pub prob_skip_false: Option<u8>,
    /// None in a key frame.
    pub inter: Option<InterProbabilities>,
}

impl FrameHeader {
    /// RFC 6386 9.2 to 9.11, 19.2: reads the header at the start of the first partition; `context` is that of the
    /// frame before, or a new one.
    pub fn parse(bits: &mut BoolDecoder, key_frame: bool, context: &mut Context) -> Self {
        if key_frame {
            // color_space, clamping_type: of interest to pixels only.
            bits.read_literal(2);
        }
        context.segmentation.update(bits);
        context.loop_filter.update(bits);
        let partitions = 1 << bits.read_literal(2);
        let quant_indices = QuantIndices::parse(bits);
        let (references, saved_entropy) = read_references(bits, key_frame, context);
        context.entropy.update_coefficients(bits);
        let prob_skip_false = bits.read_flag().then(|| bits.read_probability());
        let inter = (!key_frame).then(|| InterProbabilities {
            prob_intra: bits.read_probability(),
            prob_last: bits.read_probability(),
            prob_gf: bits.read_probability(),
        });
        if !key_frame {
            context.entropy.update_intra_modes(bits);
            context.entropy.update_mvs(bits);
        }
        Self { partitions, quant_indices, references, saved_entropy, prob_skip_false, inter }
    }
}

// RFC 6386 9.7, 9.11: refresh_golden_frame to refresh_last, with refresh_entropy_probs in between
fn read_references(
    bits: &mut BoolDecoder,
    key_frame: bool,
    context: &mut Context,
) -> (References, Option<Entropy>) {
    if key_frame {
        let refresh_entropy_probs = bits.read_flag();
        return (References::KEY_FRAME, (!refresh_entropy_probs).then(|| context.entropy.clone()));
    }
    let refresh_golden_frame = bits.read_flag();
    let refresh_alternate_frame = bits.read_flag();
    let golden = read_buffer_update(bits, refresh_golden_frame);
    let altref = read_buffer_update(bits, refresh_alternate_frame);
    context.sign_bias = [false, bits.read_flag(), bits.read_flag()];
    let refresh_entropy_probs = bits.read_flag();
    let saved_entropy = (!refresh_entropy_probs).then(|| context.entropy.clone());
    let refresh_last = bits.read_flag();
    (References { refresh_last, golden, altref }, saved_entropy)
}

fn read_buffer_update(bits: &mut BoolDecoder, refresh: bool) -> BufferUpdate {
    if refresh {
        return BufferUpdate::Current;
    }
    match bits.read_literal(2) {
        1 => BufferUpdate::Last,
        2 => BufferUpdate::Other,
        // 3 is reserved; decoders leave the buffer alone.
        _ => BufferUpdate::Keep,
    }
}
