//! VP8 behind a valid frame tag.

use ovbits::vp8::stream::Parser;

use crate::units::{check, options, MAX_PIXELS};

const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Property: whatever the partitions of a key frame and of frames behind it hold, there are pictures or errors.
pub fn partitions(data: &[u8]) {
    let Some((head, mut stream)) = data.split_first_chunk::<4>() else { return };
    let [choices, width, height, cut] = *head;
    let mut parser = Parser::new(MAX_PIXELS);
    let mut key = true;
    while !stream.is_empty() {
        let (frame, rest) = stream.split_at(stream.len().min(16 + 4 * usize::from(cut)));
        stream = rest;
        // Half of the bytes or all but a few are the first partition; version by choice.
        let first = if choices & 4 == 0 { frame.len() / 2 } else { frame.len().saturating_sub(9) };
        let tag = (first as u32) << 5 | 0x10 | u32::from(choices >> 3 & 3) << 1 | u32::from(!key);
        let mut bytes = tag.to_le_bytes()[..3].to_vec();
        if key {
            bytes.extend(START_CODE);
            bytes.extend([width % 96 + 1, 0, height % 96 + 1, 0]);
        }
        bytes.extend(frame);
        check(&parser.parse(&bytes, options(choices & 3)));
        key = false;
    }
}
