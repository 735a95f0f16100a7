//! Splitting finds every start code, whatever the framing around it.

use ovbits::nal::{split, unescape, Framing};

/// Property: splitting and unescaping lose no start code and make no bytes.
pub fn framing(data: &[u8]) {
    let starts = data.windows(3).filter(|window| *window == [0, 0, 1]).count();
    let nals: Vec<&[u8]> = split(data, Framing::AnnexB).collect();
    assert!(nals.len() <= starts);
    let mut rbsp = Vec::new();
    for nal in nals {
        assert!(!nal.is_empty() && !nal.ends_with(&[0]));
        unescape(nal, &mut rbsp);
        assert!(rbsp.len() < nal.len());
    }
    for bytes in 1..=4 {
        let total: usize = split(data, Framing::LengthPrefixed(bytes)).map(<[u8]>::len).sum();
        assert!(total <= data.len());
    }
}
