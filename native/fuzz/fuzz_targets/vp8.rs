//! Property: any sequence of frames gives pictures or errors, and the same ones every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovbits::{h264::stream::Options, vp8::stream::Parser};

fuzz_target!(|data: &[u8]| {
    let Some((&first, stream)) = data.split_first() else { return };
    let options = Options { want_energy: first & 1 != 0, skip_intra: first & 2 != 0 };
    // 0xff cuts the input into frames.
    let mut parsers = [Parser::new(1 << 20), Parser::new(1 << 20)];
    for frame in stream.split(|&byte| byte == 0xff) {
        let [a, b] = &mut parsers;
        let result = |parser: &mut Parser| {
            let parsed = parser.parse(frame, options);
            parsed.map(|parsed| (parsed.picture.blocks.clone(), parsed.picture.splits.clone(), parsed.errors))
        };
        assert_eq!(result(a), result(b));
    }
});
