//! One VP8 stream: frames in, pictures out, probabilities and segments in between.

use std::sync::Arc;

use super::{
    bool_decoder::BoolDecoder,
    energy,
    frame::{self, Damage, FrameInput, Scratch},
    frame_header::{
        BufferUpdate, Context, Dimensions, FrameHeader, FrameTag, References, KEY_FRAME_START_BYTES,
        TAG_BYTES,
    },
    sink::{FrameInfo, Sink},
};
use crate::{
    error::{Error, Result},
    picture::{Block, BlockClass, Picture, PictureId, RefEntry, SliceRefs, Structure},
    unit::{Content, Depth, Options, ParsedPicture, Sampler, SliceType, UnitError, Unread},
};

/// The parser of one stream.
#[derive(Debug)]
pub struct Parser {
    max_pixels: u64,
    /// None before the first key frame, and after one that could not be read.
    stream: Option<Stream>,
    next_id: PictureId,
    sampler: Sampler,
    /// The last picture, for its memory.
    last: Option<Arc<Picture>>,
    scratch: Scratch,
}

/// What a key frame begins.
#[derive(Debug)]
struct Stream {
    dimensions: Dimensions,
    context: Context,
    /// Segment of each macroblock.
    segment_map: Vec<u8>,
    /// What last, golden and altref hold.
    references: [PictureId; 3],
    /// Quantiser index of the last frame.
    y_ac_qi: u8,
}

impl Parser {
    /// A parser that has seen nothing; pictures of more than `max_pixels` luma samples will be unsupported.
    pub fn new(max_pixels: u64) -> Self {
        Self {
            max_pixels,
            stream: None,
            next_id: 0,
            sampler: Sampler::default(),
            last: None,
            scratch: Scratch::default(),
        }
    }

    /// Parses one frame. An empty one repeats the last.
    ///
    /// Macroblocks behind the end of a first partition that is cut off stay unknown; where token partitions are cut
    /// off, residuals are missing. Both count as errors, and the stream goes on.
    ///
    /// # Errors
    /// `Unsupported` when the picture is too large; `Invalid` when the frame header cannot be read or there was
    /// no key frame.
    pub fn parse(&mut self, data: &[u8], options: Options) -> std::result::Result<ParsedPicture, UnitError> {
        self.parse_with(data, options, &mut ())
    }

    /// Like `parse`; tells `sink` what else the frame says. Levels come only with `want_energy`.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_with<S: Sink>(
        &mut self,
        data: &[u8],
        options: Options,
        sink: &mut S,
    ) -> std::result::Result<ParsedPicture, UnitError> {
        let result = if data.is_empty() { self.repeat() } else { self.parse_coded(data, options, sink) };
        result.map_err(|error| UnitError { error, nal_index: 0 })
    }

    fn parse_coded<S: Sink>(&mut self, data: &[u8], options: Options, sink: &mut S) -> Result<ParsedPicture> {
        let tag = FrameTag::parse(data)?;
        let payload = &data[TAG_BYTES..];
        if !tag.key_frame {
            let mut stream = self.stream.take().ok_or(NO_KEY_FRAME)?;
            let parsed = self.parse_frame(&mut stream, tag, payload, false, options, sink);
            self.stream = Some(stream);
            return parsed;
        }
        let dimensions = Dimensions::parse(payload)?;
        // Frames that follow belong to this one: when it cannot be read, neither can they.
        let before = self.stream.take();
        if u64::from(dimensions.width) * u64::from(dimensions.height) > self.max_pixels {
            return Err(Error::unsupported(
                "width * height (more than max_pixels)",
                8 * TAG_BYTES as u64 + 24,
            ));
        }
        let sequence_changed = before.as_ref().map(|stream| stream.dimensions) != Some(dimensions);
        let mut stream = Stream::begin(before, dimensions);
        let payload = &payload[KEY_FRAME_START_BYTES..];
        let parsed = self.parse_frame(&mut stream, tag, payload, sequence_changed, options, sink)?;
        self.stream = Some(stream);
        Ok(parsed)
    }

    /// Parses what follows the tag and the dimensions.
    fn parse_frame<S: Sink>(
        &mut self,
        stream: &mut Stream,
        tag: FrameTag,
        payload: &[u8],
        sequence_changed: bool,
        options: Options,
        sink: &mut S,
    ) -> Result<ParsedPicture> {
        let (first, rest) = payload.split_at(tag.first_part_size.min(payload.len()));
        let mut bits = BoolDecoder::new(first);
        let mut context = if tag.key_frame { Context::default() } else { stream.context.clone() };
        let mut header = FrameHeader::parse(&mut bits, tag.key_frame, &mut context);
        if bits.is_overrun() {
            return Err(Error::invalid("frame_header (first partition ends)", 8 * first.len() as u64));
        }
        let saved_entropy = header.saved_entropy.take();
        sink.frame(&FrameInfo {
            tag,
            dimensions: stream.dimensions,
            segmentation: context.segmentation,
            loop_filter: context.loop_filter,
            quant_indices: header.quant_indices,
            references: header.references,
        });
        let pixels = u64::from(stream.dimensions.width) * u64::from(stream.dimensions.height);
        let slice_type = slice_type(tag.key_frame);
        if tag.key_frame {
            self.sampler.restart();
        }
        let mut depth = Depth::new(options, || 8 * payload.len() as u64);
        depth.leaves(&mut self.sampler, slice_type, pixels, false);
        let mut picture = self.new_picture(&stream.dimensions);
        let input = FrameInput {
            bits,
            token_data: rest,
            context: &context,
            header: &header,
            quantizers: energy::quantizers(&header.quant_indices, &context.segmentation),
            options,
            leave: depth.unread,
        };
        let damage = frame::read(input, &mut picture, &mut stream.segment_map, &mut self.scratch, sink);
        if !tag.key_frame {
            picture.slice_refs.push(stream.slice_refs());
        }
        if let Some(entropy) = saved_entropy {
            context.entropy = entropy;
        }
        stream.context = context;
        stream.y_ac_qi = header.quant_indices.y_ac_qi;
        stream.update_references(header.references, picture.id);
        let kind = Kind {
            key_frame: tag.key_frame,
            reference: header.references.keep_current(),
            shown: tag.show_frame,
            sequence_changed,
            unread: depth.unread,
        };
        Ok(self.finish(picture, &stream.dimensions, kind, payload.len(), damage))
    }

    /// A frame without a byte: a decoder shows the last one again.
    fn repeat(&mut self) -> Result<ParsedPicture> {
        let stream = self.stream.take().ok_or(NO_KEY_FRAME)?;
        let mut picture = self.new_picture(&stream.dimensions);
        picture.blocks.fill(Block {
            ref_idx: [0, -1],
            class: BlockClass::Skip as u8,
            mb_type: super::modes::MbMode::ZeroMv as u8,
            qp: stream.y_ac_qi as i8,
            ..Block::default()
        });
        picture.slice_refs.push(stream.slice_refs());
        let kind = Kind {
            key_frame: false,
            reference: false,
            shown: true,
            sequence_changed: false,
            unread: Unread::Nothing,
        };
        let parsed = self.finish(picture, &stream.dimensions, kind, 0, Damage::default());
        self.stream = Some(stream);
        Ok(parsed)
    }

    fn new_picture(&mut self, dimensions: &Dimensions) -> Picture {
        let spare = self.last.take().and_then(|picture| Arc::try_unwrap(picture).ok());
        let mut picture = spare.unwrap_or_default();
        picture.reset(self.next_id, dimensions.mb_cols(), dimensions.mb_rows(), 0);
        self.next_id = self.next_id.wrapping_add(1);
        picture
    }

    fn finish(
        &mut self,
        picture: Picture,
        dimensions: &Dimensions,
        kind: Kind,
        payload_bytes: usize,
        damage: Damage,
    ) -> ParsedPicture {
        let picture = Arc::new(picture);
        self.last = Some(Arc::clone(&picture));
        ParsedPicture {
            size: (dimensions.width.into(), dimensions.height.into()),
            slice_type: slice_type(kind.key_frame),
            keyframe: kind.key_frame,
            reference: kind.reference,
            shown: kind.shown,
            content: Content::Frame,
            sequence_changed: kind.sequence_changed,
            slice_bits: 8 * payload_bytes as u64,
            covered: picture.covered() as u32,
            unread: kind.unread,
            motion_exact: true,
            missing_references: 0,
            errors: damage.errors,
            first_error: damage.first,
            picture,
        }
    }
}

fn slice_type(key_frame: bool) -> SliceType {
    if key_frame {
        SliceType::I
    } else {
        SliceType::P
    }
}

const NO_KEY_FRAME: Error = Error::invalid("key_frame (none came before)", 0);

/// What a frame is to others.
struct Kind {
    key_frame: bool,
    reference: bool,
    shown: bool,
    sequence_changed: bool,
    unread: Unread,
}

impl Stream {
    fn begin(before: Option<Self>, dimensions: Dimensions) -> Self {
        let mut segment_map = before.map(|stream| stream.segment_map).unwrap_or_default();
        segment_map.clear();
        segment_map.resize(dimensions.mb_cols() * dimensions.mb_rows(), 0);
        Self { dimensions, context: Context::default(), segment_map, references: [0; 3], y_ac_qi: 0 }
    }

    fn slice_refs(&self) -> SliceRefs {
        let entry = |&id| RefEntry { id: Some(id), poc: 0, long_term: false, structure: Structure::Frame };
        SliceRefs { lists: [self.references.iter().map(entry).collect(), Vec::new()] }
    }

    // RFC 6386 9.7; where both buffers copy each other, libvpx fills altref first
    fn update_references(&mut self, update: References, current: PictureId) {
        let next = |update, old, last, other| match update {
            BufferUpdate::Keep => old,
            BufferUpdate::Current => current,
            BufferUpdate::Last => last,
            BufferUpdate::Other => other,
        };
        let [last, golden, altref] = &mut self.references;
        *altref = next(update.altref, *altref, *last, *golden);
        *golden = next(update.golden, *golden, *last, *altref);
        if update.refresh_last {
            *last = current;
        }
    }
}
