//! Cuts files into access units.

use ovbits::{
    h264::{param_sets::ParameterSets, slice_header::SliceHeader},
    nal::{self, Framing},
};

/// The access units of an H.264 stream, each in Annex B again (H.264 7.4.1.2.3, 7.4.1.2.4).
pub fn h264(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Units::default();
    let mut sets = ParameterSets::new(u64::MAX);
    let mut rbsp = Vec::new();
    let mut previous: Option<SliceHeader> = None;
    for nal in nal::split(stream, Framing::AnnexB) {
        nal::unescape(nal, &mut rbsp);
        let mut starts = previous.is_some();
        let mut header = None;
        match nal[0] & 0x1f {
            1 | 5 => {
                header = SliceHeader::parse(nal[0], &rbsp, &mut sets).ok().map(|slice| slice.header);
                starts = match (&previous, &header) {
                    (Some(previous), Some(header)) => header.starts_new_picture(previous),
                    _ => starts && nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
                };
            }
            // What cannot be read will be reported when it is parsed.
            7 => drop(sets.put_sps(&rbsp)),
            8 => drop(sets.put_pps(&rbsp)),
            6 | 9 => {}
            _ => starts = false,
        }
        if starts {
            previous = None;
        }
        previous = header.or(previous);
        units.push(nal, starts);
    }
    units.0
}

/// The access units of an H.265 stream, each in Annex B again (H.265 7.4.2.4.4).
pub fn h265(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Units::default();
    let mut has_slice = false;
    for nal in nal::split(stream, Framing::AnnexB) {
        let nal_unit_type = nal[0] >> 1;
        let starts = match nal_unit_type {
            // first_slice_segment_in_pic_flag
            0..=31 => nal.get(2).is_some_and(|byte| byte & 0x80 != 0),
            // Parameter sets, delimiters and messages.
            32..=35 | 39 => true,
            _ => false,
        };
        units.push(nal, has_slice && starts);
        has_slice = nal_unit_type < 32 || (has_slice && !starts);
    }
    units.0
}

/// The frames of an IVF file: a header of 32 bytes, then frames behind headers of 12.
pub fn ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = file.get(32..).unwrap_or_default();
    while let [a, b, c, d, _, _, _, _, _, _, _, _, data @ ..] = rest {
        let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let (frame, behind) = data.split_at(size.min(data.len()));
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

#[derive(Default)]
struct Units(Vec<Vec<u8>>);

impl Units {
    fn push(&mut self, nal: &[u8], starts: bool) {
        if starts || self.0.is_empty() {
            self.0.push(Vec::new());
        }
        if let Some(unit) = self.0.last_mut() {
            unit.extend_from_slice(&[0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
}
