//! The IVF container: a header of 32 bytes, then frames behind headers of 12.

/// The frames of a file.
pub fn frames(file: &[u8]) -> Vec<&[u8]> {
    assert!(file.starts_with(b"DKIF"), "not an IVF file");
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while rest.len() >= 12 {
        let (header, data) = rest.split_at(12);
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (frame, behind) = data.split_at(size.min(data.len()));
        frames.push(frame);
        rest = behind;
    }
    frames
}
