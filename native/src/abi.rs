//! The C ABI of the parsers: the only unsafe code beside `vectors` and `encoder`. Pointers become slices, panics become
//! a status.
//!
//! The caller owns all memory but the parser itself, and no pointer is kept after a call returns.
#![allow(unsafe_code)]

use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{Mutex, Once, PoisonError},
};

use crate::{
    error::{Error, ErrorKind},
    h264::stream::Parser,
    h265,
    nal::Framing,
    picture::{Block, Picture, RefEntry, Split},
    unit::{Options, ParsedPicture, SliceType, UnitError},
    vectors, vp8,
};

/// The access unit was parsed.
pub const OVBITS_OK: i32 = 0;
/// The bytes break the specification.
pub const OVBITS_INVALID: i32 = 1;
/// The specification allows the bytes, the parser does not.
pub const OVBITS_UNSUPPORTED: i32 = 2;
/// A mistake in the parser itself; it starts anew.
pub const OVBITS_INTERNAL: i32 = 3;

/// Option bit: fill `residual_energy`.
pub const OVBITS_ENERGY: u32 = 1;
/// Option bit: do not read the macroblocks of I slices.
pub const OVBITS_SKIP_INTRA: u32 = 2;
/// Option bit: do not read the macroblocks of P and B slices.
pub const OVBITS_SKIP_INTER: u32 = 4;

/// What is wanted from access units.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OvbitsOptions {
    /// Option bits.
    pub flags: u32,
    /// Read only P and B pictures whose number since the keyframe divides by this; 0 and 1: all.
    pub every: u32,
    /// Leave pictures unread whose slices hold more bits per 1000 luma samples; 0: none.
    pub max_bits_per_kilopixel: u32,
}

/// What a picture is, beside its blocks.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OvbitsPicture {
    /// Visible luma samples.
    pub width: u32,
    /// Visible luma samples.
    pub height: u32,
    /// Width in macroblocks.
    pub mb_cols: u32,
    /// Height in macroblocks.
    pub mb_rows: u32,
    /// Number of split records.
    pub splits: u32,
    /// Macroblocks that are known.
    pub covered: u32,
    /// Entries of reference lists whose picture never came.
    pub missing_references: u32,
    /// Damaged NAL units.
    pub errors: u32,
    /// PicOrderCnt
    pub poc: i32,
    /// 'I', 'P' or 'B'
    pub slice_type: u8,
    /// A decoder can start here.
    pub keyframe: u8,
    /// Others may refer to it.
    pub reference: u8,
    /// The active SPS (VP8: the size) differs from the one before.
    pub sequence_changed: u8,
    /// Put out, not only referred to
    pub shown: u8,
    /// Why blocks were left unread: 0 they were read, 1 intra, 2 inter, 3 costly.
    pub unread: u8,
    /// No vector was inferred from a picture that is missing, damaged or unread.
    pub motion_exact: u8,
    /// Frame 0, both fields 1, top field alone 2, bottom field alone 3, second field with the first of before 4
    pub content: u8,
    /// Reference lists: two a slice.
    pub lists: u32,
    /// Entries of all of them.
    pub list_entries: u32,
}

/// The (first) error of the last access unit.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OvbitsError {
    /// Offset in bits from the first bit after the NAL unit header (VP8: from the start of the partition, in a
    /// damaged frame tag from the start of the frame).
    pub bit_offset: u64,
    /// Number of the NAL unit in the access unit (VP8: of the partition in the frame).
    pub nal_index: u32,
    /// OVBITS_OK (no error), OVBITS_INVALID, OVBITS_UNSUPPORTED or OVBITS_INTERNAL.
    pub status: i32,
    /// Name of the syntax element or of the broken rule, UTF-8, zero-terminated.
    pub element: [u8; 96],
}

/// The parser of one stream with its last result.
pub struct OvbitsParser(Mutex<State>);

/// The parser of one codec.
enum CodecParser {
    H264(Box<Parser>),
    H265(Box<h265::stream::Parser>),
    Vp8(Box<vp8::stream::Parser>),
}

struct State {
    parser: CodecParser,
    max_pixels: u64,
    last: Option<ParsedPicture>,
    error: OvbitsError,
}

/// Makes a parser for H.264; pictures of more than `max_pixels` luma samples will be unsupported.
#[no_mangle]
pub extern "C" fn ovbits_h264_new(max_pixels: u64) -> *mut OvbitsParser {
    new_parser(CodecParser::H264(Box::new(Parser::new(max_pixels))), max_pixels)
}

/// Makes a parser for H.265; pictures of more than `max_pixels` luma samples will be unsupported.
#[no_mangle]
pub extern "C" fn ovbits_h265_new(max_pixels: u64) -> *mut OvbitsParser {
    new_parser(CodecParser::H265(Box::new(h265::stream::Parser::new(max_pixels))), max_pixels)
}

/// Makes a parser for VP8; pictures of more than `max_pixels` luma samples will be unsupported.
#[no_mangle]
pub extern "C" fn ovbits_vp8_new(max_pixels: u64) -> *mut OvbitsParser {
    new_parser(CodecParser::Vp8(Box::new(vp8::stream::Parser::new(max_pixels))), max_pixels)
}

fn new_parser(parser: CodecParser, max_pixels: u64) -> *mut OvbitsParser {
    static QUIET: Once = Once::new();
    // A panic is reported to the caller as a status; text on stderr would be noise of a library.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let state = State { parser, max_pixels, last: None, error: to_c(None) };
    Box::into_raw(Box::new(OvbitsParser(Mutex::new(state))))
}

/// Frees a parser; null is allowed.
///
/// # Safety
/// `parser` comes from one of the functions that make parsers and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn ovbits_free(parser: *mut OvbitsParser) {
    if !parser.is_null() {
        // SAFETY: made by Box::into_raw in new_parser, given back once.
        drop(unsafe { Box::from_raw(parser) });
    }
}

/// Parses one access unit; `nal_length_bytes` is 0 for Annex B, else the size of the length fields. VP8 has neither.
///
/// # Safety
/// `parser` is alive; `data` points to `length` readable bytes (null when `length` is 0); `options` is
/// readable, `picture` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn ovbits_parse(
    parser: *const OvbitsParser,
    data: *const u8,
    length: usize,
    nal_length_bytes: u8,
    options: *const OvbitsOptions,
    picture: *mut OvbitsPicture,
    error: *mut OvbitsError,
) -> i32 {
    // SAFETY: promised by the caller.
    let (parser, options, picture, error) = unsafe { (&*parser, &*options, &mut *picture, &mut *error) };
    let access_unit = if length == 0 {
        &[][..]
    } else {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(data, length) }
    };
    let mut state = parser.0.lock().unwrap_or_else(PoisonError::into_inner);
    state.parse(access_unit, nal_length_bytes, options);
    *error = state.error;
    *picture = state.last.as_ref().map_or_else(OvbitsPicture::default, describe);
    match state.last {
        Some(_) => OVBITS_OK,
        None => state.error.status,
    }
}

/// Copies the blocks (`mb_rows * mb_cols`, raster order) and splits of the last picture; returns OVBITS_INVALID
/// and copies nothing when the arrays are not exactly as long.
///
/// # Safety
/// `parser` is alive; `blocks` and `splits` point to as many writable records as said (null when 0).
#[no_mangle]
pub unsafe extern "C" fn ovbits_copy(
    parser: *const OvbitsParser,
    blocks: *mut u8,
    blocks_count: usize,
    splits: *mut u8,
    splits_count: usize,
) -> i32 {
    // SAFETY: promised by the caller.
    let state = unsafe { &*parser }.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(last) = &state.last else { return OVBITS_INVALID };
    let source = &last.picture;
    if source.blocks.len() != blocks_count || source.splits.len() != splits_count {
        return OVBITS_INVALID;
    }
    // SAFETY: the counts are equal, the records are plain data without padding, and the caller's memory is
    // its own; byte copies need no alignment.
    unsafe {
        copy_bytes::<Block>(&source.blocks, blocks);
        copy_bytes::<Split>(&source.splits, splits);
    }
    OVBITS_OK
}

/// Writes the picture order counts of a reference list of the last picture and returns how many it has; at most
/// `capacity` are written. 0 for a slice or list that does not exist.
///
/// # Safety
/// `parser` is alive; `pocs` points to `capacity` writable numbers (null when 0).
#[no_mangle]
pub unsafe extern "C" fn ovbits_reference_pocs(
    parser: *const OvbitsParser,
    slice: u16,
    list: u8,
    pocs: *mut i32,
    capacity: usize,
) -> usize {
    // SAFETY: promised by the caller.
    let state = unsafe { &*parser }.0.lock().unwrap_or_else(PoisonError::into_inner);
    let refs = state.last.as_ref().and_then(|last| last.picture.slice_refs.get(usize::from(slice)));
    let Some(entries) = refs.and_then(|refs| refs.lists.get(usize::from(list))) else { return 0 };
    for (index, entry) in entries.iter().enumerate().take(capacity) {
        // SAFETY: index is below capacity.
        unsafe { pocs.add(index).write(entry.poc) };
    }
    entries.len()
}

/// Puts an embedding on the wire: `count` values to two bytes each, a mask of `patches` bytes to bits. Returns the
/// largest magnitude of the values; NaN when one of them is not finite.
///
/// # Safety
/// `values` and `mask` point to as many readable, `halves` to `2 * count` and `bits` to `patches / 8` (rounded up)
/// writable elements; all of them are non-null and aligned.
#[no_mangle]
pub unsafe extern "C" fn ovbits_pack(
    values: *const f32,
    count: usize,
    mask: *const u8,
    patches: usize,
    halves: *mut u8,
    bits: *mut u8,
) -> f32 {
    // SAFETY: promised by the caller.
    let (values, mask, halves, bits) = unsafe {
        (
            std::slice::from_raw_parts(values, count),
            std::slice::from_raw_parts(mask, patches),
            std::slice::from_raw_parts_mut(halves, count * vectors::HALF_BYTES),
            std::slice::from_raw_parts_mut(bits, patches.div_ceil(8)),
        )
    };
    vectors::to_bits(mask, bits);
    vectors::to_halves(values, halves)
}

/// Takes an embedding off the wire, the reverse of `ovbits_pack`. Returns OVBITS_INVALID when a value is not finite.
///
/// # Safety
/// `halves` and `bits` point to `2 * count` and `patches / 8` (rounded up) readable, `values` and `mask` to as many
/// writable elements as said; all of them are non-null and aligned.
#[no_mangle]
pub unsafe extern "C" fn ovbits_unpack(
    halves: *const u8,
    count: usize,
    bits: *const u8,
    patches: usize,
    values: *mut f32,
    mask: *mut u8,
) -> i32 {
    // SAFETY: promised by the caller.
    let (halves, bits, values, mask) = unsafe {
        (
            std::slice::from_raw_parts(halves, count * vectors::HALF_BYTES),
            std::slice::from_raw_parts(bits, patches.div_ceil(8)),
            std::slice::from_raw_parts_mut(values, count),
            std::slice::from_raw_parts_mut(mask, patches),
        )
    };
    vectors::from_bits(bits, mask);
    if vectors::from_halves(halves, values) {
        OVBITS_OK
    } else {
        OVBITS_INVALID
    }
}

/// Copies where the reference indices of the last picture point: the end of each list (list 0 and 1 of each slice) and
/// the picture order counts of all their entries. Returns OVBITS_INVALID and copies nothing when the arrays are not
/// exactly as long.
///
/// # Safety
/// `parser` is alive; `ends` and `pocs` point to as many writable numbers as said (null when 0).
#[no_mangle]
pub unsafe extern "C" fn ovbits_copy_references(
    parser: *const OvbitsParser,
    ends: *mut u32,
    ends_count: usize,
    pocs: *mut i32,
    pocs_count: usize,
) -> i32 {
    // SAFETY: promised by the caller.
    let state = unsafe { &*parser }.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(last) = &state.last else { return OVBITS_INVALID };
    let lists = || last.picture.slice_refs.iter().flat_map(|refs| &refs.lists);
    if lists().count() != ends_count || entries(&last.picture).count() != pocs_count {
        return OVBITS_INVALID;
    }
    let mut end = 0;
    for (index, list) in lists().enumerate() {
        end += list.len() as u32;
        // SAFETY: as many as counted.
        unsafe { ends.add(index).write(end) };
    }
    for (index, entry) in entries(&last.picture).enumerate() {
        // SAFETY: as many as counted.
        unsafe { pocs.add(index).write(entry.poc) };
    }
    OVBITS_OK
}

/// # Safety
/// `target` has room for all of `source` (it may be null when `source` is empty).
unsafe fn copy_bytes<T: Copy>(source: &[T], target: *mut u8) {
    if !source.is_empty() {
        // SAFETY: promised by the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(
                source.as_ptr().cast::<u8>(),
                target,
                std::mem::size_of_val(source),
            );
        }
    }
}

impl CodecParser {
    fn parse(
        &mut self,
        access_unit: &[u8],
        framing: Framing,
        options: Options,
    ) -> Result<ParsedPicture, UnitError> {
        match self {
            Self::H264(parser) => parser.parse(access_unit, framing, options),
            Self::H265(parser) => parser.parse(access_unit, framing, options),
            Self::Vp8(parser) => parser.parse(access_unit, options),
        }
    }

    fn renew(&mut self, max_pixels: u64) {
        match self {
            Self::H264(parser) => **parser = Parser::new(max_pixels),
            Self::H265(parser) => **parser = h265::stream::Parser::new(max_pixels),
            Self::Vp8(parser) => **parser = vp8::stream::Parser::new(max_pixels),
        }
    }
}

impl State {
    fn parse(&mut self, access_unit: &[u8], nal_length_bytes: u8, options: &OvbitsOptions) {
        self.last = None;
        let framing = match nal_length_bytes {
            0 => Framing::AnnexB,
            bytes => Framing::LengthPrefixed(bytes),
        };
        let options = Options {
            want_energy: options.flags & OVBITS_ENERGY != 0,
            skip_intra: options.flags & OVBITS_SKIP_INTRA != 0,
            skip_inter: options.flags & OVBITS_SKIP_INTER != 0,
            every: options.every,
            max_bits_per_kilopixel: options.max_bits_per_kilopixel,
        };
        let parser = &mut self.parser;
        match catch_unwind(AssertUnwindSafe(|| parser.parse(access_unit, framing, options))) {
            Ok(Ok(picture)) => {
                self.error = to_c(picture.first_error.as_ref());
                self.last = Some(picture);
            }
            Ok(Err(error)) => self.error = to_c(Some(&error)),
            Err(_) => {
                self.parser.renew(self.max_pixels);
                let error = Error::invalid("internal error of the parser", 0);
                self.error = to_c(Some(&UnitError { error, nal_index: 0 }));
                self.error.status = OVBITS_INTERNAL;
            }
        }
    }
}

fn describe(parsed: &ParsedPicture) -> OvbitsPicture {
    OvbitsPicture {
        width: parsed.size.0,
        height: parsed.size.1,
        mb_cols: parsed.picture.mb_cols as u32,
        mb_rows: parsed.picture.mb_rows as u32,
        splits: parsed.picture.splits.len() as u32,
        covered: parsed.covered,
        missing_references: parsed.missing_references,
        errors: parsed.errors,
        poc: parsed.picture.poc,
        slice_type: match parsed.slice_type {
            SliceType::I => b'I',
            SliceType::P => b'P',
            SliceType::B => b'B',
        },
        keyframe: u8::from(parsed.keyframe),
        reference: u8::from(parsed.reference),
        sequence_changed: u8::from(parsed.sequence_changed),
        shown: u8::from(parsed.shown),
        unread: parsed.unread as u8,
        motion_exact: u8::from(parsed.motion_exact),
        content: parsed.content as u8,
        lists: 2 * parsed.picture.slice_refs.len() as u32,
        list_entries: entries(&parsed.picture).count() as u32,
    }
}

/// All entries of all reference lists, slice by slice.
fn entries(picture: &Picture) -> impl Iterator<Item = &RefEntry> {
    picture.slice_refs.iter().flat_map(|refs| &refs.lists).flatten()
}

fn to_c(error: Option<&UnitError>) -> OvbitsError {
    let mut element = [0; 96];
    let Some(UnitError { error, nal_index }) = error else {
        return OvbitsError { bit_offset: 0, nal_index: 0, status: OVBITS_OK, element };
    };
    let length = error.element.len().min(element.len() - 1);
    element[..length].copy_from_slice(&error.element.as_bytes()[..length]);
    let status = match error.kind {
        ErrorKind::Invalid => OVBITS_INVALID,
        ErrorKind::Unsupported => OVBITS_UNSUPPORTED,
    };
    OvbitsError { bit_offset: error.bit_offset, nal_index: *nal_index, status, element }
}
