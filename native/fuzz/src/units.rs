//! Whole access units, and streams that are cut anywhere.

use std::sync::OnceLock;

use ovbits::{
    h264, h265,
    nal::Framing,
    picture::{flags, Block, BlockClass},
    unit::{Options, ParsedPicture, UnitError},
    vp8,
};

/// Largest picture, in luma samples: runs stay short.
pub const MAX_PIXELS: u64 = 1 << 16;

type Parsed = Result<ParsedPicture, UnitError>;

/// A codec with its parser.
pub trait Codec {
    /// A whole keyframe with its parameter sets.
    const KEYFRAME: &'static [u8];
    /// What a parser reads of it that has seen nothing else.
    fn fresh() -> &'static [Block];
    /// A parser that has seen nothing.
    fn new() -> Self;
    /// Parses one access unit.
    fn parse(&mut self, unit: &[u8], framing: Framing, options: Options) -> Parsed;
}

macro_rules! codec {
    ($name:ident, $parser:path, $keyframe:literal, |$self:ident, $unit:ident, $framing:ident, $options:ident| $parse:expr) => {
        pub struct $name($parser);

        impl Codec for $name {
            const KEYFRAME: &'static [u8] = include_bytes!($keyframe);

            fn fresh() -> &'static [Block] {
                static FRESH: OnceLock<Vec<Block>> = OnceLock::new();
                FRESH.get_or_init(|| {
                    let parsed = Self::new().parse(Self::KEYFRAME, Framing::AnnexB, Options::FULL);
                    parsed.expect("a keyframe").picture.blocks.clone()
                })
            }

            fn new() -> Self {
                Self(<$parser>::new(MAX_PIXELS))
            }

            fn parse(&mut $self, $unit: &[u8], $framing: Framing, $options: Options) -> Parsed {
                $parse
            }
        }
    };
}

codec!(H264, h264::stream::Parser, "../keyframes/h264", |self, unit, framing, options| {
    self.0.parse(unit, framing, options)
});
codec!(H265, h265::stream::Parser, "../keyframes/h265", |self, unit, framing, options| {
    self.0.parse(unit, framing, options)
});
codec!(Vp8, vp8::stream::Parser, "../keyframes/vp8", |self, unit, _framing, options| {
    self.0.parse(unit, options)
});

/// Between access units of an input: no NAL unit holds these bytes.
const SEPARATOR: [u8; 3] = [0, 0, 2];

/// Property: any sequence of access units gives pictures or errors, the same ones every time, and the next keyframe
/// parses again.
pub fn units<C: Codec>(data: &[u8]) {
    let Some((&choices, stream)) = data.split_first() else { return };
    try_units::<C>(choices, cut_at_separators(stream));
}

/// Property: the same for a stream that is cut where the first bytes say.
pub fn split<C: Codec>(data: &[u8]) {
    let Some((head, mut stream)) = data.split_first_chunk::<8>() else { return };
    let mut pieces = Vec::new();
    for &length in &head[1..] {
        let (piece, rest) = stream.split_at(stream.len().min(usize::from(length)));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    try_units::<C>(head[0], pieces);
}

fn cut_at_separators(stream: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut rest = stream;
    while let Some(at) = rest.windows(3).position(|window| *window == SEPARATOR) {
        units.push(&rest[..at]);
        rest = &rest[at + 3..];
    }
    units.push(rest);
    units
}

fn try_units<C: Codec>(choices: u8, units: Vec<&[u8]>) {
    let options = options(choices);
    let framing = if choices & 32 == 0 { Framing::AnnexB } else { Framing::LengthPrefixed(choices >> 6) };
    let mut parser = C::new();
    let mut twin = (choices & 16 != 0).then(C::new);
    for unit in units {
        let parsed = parser.parse(unit, framing, options);
        check(&parsed);
        if let Some(twin) = &mut twin {
            assert_eq!(records(&parsed), records(&twin.parse(unit, framing, options)));
        }
    }
    let healed = parser.parse(C::KEYFRAME, Framing::AnnexB, Options::FULL).expect("a keyframe");
    assert_eq!((healed.keyframe, healed.errors), (true, 0));
    assert_eq!(healed.picture.blocks, C::fresh());
}

/// What the lowest bits of a byte of the input ask for.
pub fn options(choices: u8) -> Options {
    Options {
        want_energy: choices & 1 != 0,
        skip_intra: choices & 2 != 0,
        every: if choices & 4 != 0 { 2 } else { 1 },
        max_bits_per_kilopixel: if choices & 8 != 0 { 500 } else { 0 },
        ..Options::MOTION
    }
}

/// What must hold for any bytes.
pub fn check(parsed: &Parsed) {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return assert!(!error.error.element.is_empty()),
    };
    let picture = &parsed.picture;
    assert!(parsed.covered as usize <= picture.blocks.len());
    assert!(picture.blocks.len() as u64 <= MAX_PIXELS / 16);
    for block in &picture.blocks {
        let records =
            [flags::SPLIT, flags::FINE_REFERENCES].iter().filter(|&flag| block.flags & flag != 0).count();
        assert!(records == 0 || block.split as usize + records <= picture.splits.len());
        assert!(block.class == BlockClass::Unknown as u8 || (-48..=127).contains(&block.qp));
        assert!(block.ref_idx.iter().all(|&index| (-1..32).contains(&index)));
        assert!(block.residual_energy >= 0.0 && block.residual_energy.is_finite());
    }
    assert!(picture.splits.len() <= 2 * picture.blocks.len());
}

type Records = (Vec<Block>, Vec<ovbits::picture::Split>, u32);

fn records(parsed: &Parsed) -> Result<Records, &UnitError> {
    parsed
        .as_ref()
        .map(|parsed| (parsed.picture.blocks.clone(), parsed.picture.splits.clone(), parsed.errors))
}
