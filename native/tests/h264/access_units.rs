//! Cuts a stream into its access units (H.264 7.4.1.2.3, 7.4.1.2.4).

use ovbits::{
    h264::{param_sets::ParameterSets, slice_header::SliceHeader},
    nal::{self, Framing},
};

/// The access units of a stream with start codes, each with start codes again.
pub fn split(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = vec![Vec::new()];
    let mut sets = ParameterSets::new(u64::MAX);
    let mut rbsp = Vec::new();
    let mut previous: Option<SliceHeader> = None;
    for nal in nal::split(stream, Framing::AnnexB) {
        nal::unescape(nal, &mut rbsp);
        let nal_unit_type = nal[0] & 0x1f;
        let mut header = None;
        match nal_unit_type {
            1 | 2 | 5 => {
                header = SliceHeader::parse(nal[0], &rbsp, &mut sets).ok().map(|slice| slice.header);
            }
            7 => drop(sets.put_sps(&rbsp)),
            8 => drop(sets.put_pps(&rbsp)),
            _ => {}
        }
        let starts = match (&previous, &header) {
            (Some(previous), Some(header)) => header.starts_new_picture(previous),
            (Some(_), None) => matches!(nal_unit_type, 6..=9),
            (None, _) => false,
        };
        if starts {
            units.push(Vec::new());
            previous = None;
        }
        previous = header.or(previous);
        let unit = units.last_mut().expect("at least one");
        unit.extend_from_slice(&[0, 0, 1]);
        unit.extend_from_slice(nal);
    }
    units
}
