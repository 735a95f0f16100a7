//! Property: any sequence of H.265 access units gives pictures or errors, and the same ones every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovbits::{h264::stream::Options, h265::stream::Parser, nal::Framing};

fuzz_target!(|data: &[u8]| {
    let Some((&first, stream)) = data.split_first() else { return };
    let options = Options { want_energy: first & 1 != 0, skip_intra: first & 2 != 0 };
    // 0xff cuts the input into access units.
    let units = || stream.split(|&byte| byte == 0xff);
    let mut parsers = [Parser::new(1 << 20), Parser::new(1 << 20)];
    for unit in units() {
        let [a, b] = &mut parsers;
        let result = |parser: &mut Parser| {
            let parsed = parser.parse(unit, Framing::AnnexB, options);
            parsed.map(|parsed| (parsed.picture.blocks.clone(), parsed.picture.splits.clone(), parsed.errors))
        };
        assert_eq!(result(a), result(b));
    }
});
