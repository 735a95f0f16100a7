//! Any bytes give a picture or an error: damaged copies of real VP8 frames, without any fuzzer.

use std::{fs, path::Path};

use ovbits::{
    picture::{flags, Block, BlockClass},
    unit::{Options, ParsedPicture},
    vp8::stream::Parser,
};

const FULL: Options = Options::FULL;
const MOTION: Options = Options::MOTION;

/// Small numbers without a crate; the tests need variety, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn options(&mut self) -> Options {
        Options { want_energy: self.roll(2) == 0, skip_intra: self.roll(4) == 0, ..Options::MOTION }
    }
}

/// The frames of one clip beside the reconstruction test.
fn clip(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vp8/clips").join(name);
    let file = fs::read(path).expect("a clip");
    let mut frames = Vec::new();
    let mut rest = &file[32..];
    while !rest.is_empty() {
        let size = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        frames.push(rest[12..12 + size].to_vec());
        rest = &rest[12 + size..];
    }
    frames
}

/// Parses, and checks what must hold for any bytes.
fn feed(parser: &mut Parser, data: &[u8], options: Options) -> Option<ParsedPicture> {
    match parser.parse(data, options) {
        Ok(parsed) => {
            let covered = parsed.covered as usize;
            assert!(covered <= parsed.picture.blocks.len());
            assert!(parsed.errors > 0 || covered == parsed.picture.blocks.len());
            assert_eq!(parsed.errors > 0, parsed.first_error.is_some());
            for block in &parsed.picture.blocks {
                let is_split = block.flags & flags::SPLIT != 0;
                assert!(!is_split || (block.split as usize) < parsed.picture.splits.len());
                assert!((-1..3).contains(&block.ref_idx[0]) && block.ref_idx[1] <= 0);
                assert!(block.qp >= 0 && block.mb_type <= 9);
                assert!(block.residual_energy.is_finite() && block.residual_energy >= 0.0);
            }
            // One macroblock never costs more than its modes, 16 motion vectors and 400 tokens of 11 extra bits.
            let bits: u64 = parsed.picture.blocks.iter().map(|block| u64::from(block.bit_cost)).sum();
            assert!(bits <= 8 * data.len() as u64);
            Some(parsed)
        }
        Err(error) => {
            assert!(!error.error.element.is_empty());
            assert!(error.error.bit_offset <= 8 * data.len() as u64 + 48);
            None
        }
    }
}

fn motion(blocks: &[Block]) -> impl Iterator<Item = ([[i16; 2]; 2], [i8; 2], u8, u8, u32, i8)> + '_ {
    blocks.iter().map(|block| (block.mv, block.ref_idx, block.mb_type, block.flags, block.split, block.qp))
}

#[test]
fn every_truncation() {
    for name in ["good.ivf", "resilient.ivf", "odd_size_8_partitions.ivf"] {
        let frames = clip(name);
        for victim in 0..4 {
            for length in 0..frames[victim].len() {
                let mut parser = Parser::new(1 << 20);
                for (number, frame) in frames.iter().take(6).enumerate() {
                    let frame = if number == victim { &frame[..length] } else { frame };
                    feed(&mut parser, frame, FULL);
                }
            }
        }
    }
}

#[test]
fn a_cut_frame_keeps_what_came_before_the_cut() {
    let frames = clip("good.ivf");
    let whole = feed(&mut Parser::new(1 << 20), &frames[0], FULL).expect("a picture");
    let mut before = 0;
    for length in (0..frames[0].len()).step_by(7) {
        let Some(cut) = feed(&mut Parser::new(1 << 20), &frames[0][..length], FULL) else { continue };
        let covered = cut.covered as usize;
        assert!(covered >= before, "more bytes, fewer macroblocks");
        before = covered;
        // Zeros behind the cut may make up at most the last macroblock.
        for (ours, exact) in
            cut.picture.blocks.iter().zip(&whole.picture.blocks).take(covered.saturating_sub(1))
        {
            assert_eq!((ours.mb_type, ours.qp), (exact.mb_type, exact.qp));
        }
        assert!(cut.errors > 0);
    }
    assert_eq!(before, whole.picture.blocks.len());
}

#[test]
fn flipped_bits_and_noise() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for name in ["good.ivf", "realtime.ivf", "resilient.ivf", "fine.ivf", "resize.ivf", "profile_3.ivf"] {
        let frames = clip(name);
        for round in 0..60 {
            let mut parser = Parser::new(1 << 20);
            for frame in &frames {
                let mut damaged = frame.clone();
                for _ in 0..[1, 3, 30][round % 3] {
                    // Headers are worth more attention than tokens.
                    let reach = if dice.roll(2) == 0 { damaged.len() } else { damaged.len().min(40) };
                    let bit = dice.roll(8 * reach);
                    damaged[bit / 8] ^= 1 << (bit % 8);
                }
                let options = dice.options();
                feed(&mut parser, &damaged, options);
            }
        }
    }
    for _ in 0..3000 {
        let mut parser = Parser::new(1 << 20);
        for _ in 0..4 {
            let mut noise: Vec<u8> = (0..dice.roll(400)).map(|_| dice.roll(256) as u8).collect();
            if noise.len() > 10 && dice.roll(2) == 0 {
                // A key frame of 5 x 4 macroblocks whose first partition is all the noise there is.
                let tag = (noise.len() as u32 - 10) << 5 | 0x10;
                noise[..3].copy_from_slice(&tag.to_le_bytes()[..3]);
                noise[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 80, 0, 64, 0]);
            }
            let options = dice.options();
            feed(&mut parser, &noise, options);
        }
    }
}

#[test]
fn a_keyframe_heals_everything() {
    let mut dice = Dice(7);
    let frames = clip("resize.ivf");
    let mut fresh = Parser::new(1 << 20);
    let expected: Vec<_> =
        frames.iter().map(|frame| feed(&mut fresh, frame, FULL).expect("a picture")).collect();
    let mut used = Parser::new(1 << 20);
    for _ in 0..200 {
        let mut damaged = frames[dice.roll(frames.len())].clone();
        let index = dice.roll(damaged.len());
        damaged[index] ^= 0x55;
        feed(&mut used, &damaged, FULL);
    }
    for (frame, expected) in frames.iter().zip(&expected) {
        let found = feed(&mut used, frame, FULL).expect("a picture");
        assert_eq!(found.picture.blocks, expected.picture.blocks);
        assert_eq!(found.picture.splits, expected.picture.splits);
    }
}

#[test]
fn levels_differ_in_residuals_only() {
    for name in ["good.ivf", "realtime.ivf", "resilient.ivf", "odd_size_8_partitions.ivf", "hidden.ivf"] {
        let mut parsers = [Parser::new(1 << 20), Parser::new(1 << 20), Parser::new(1 << 20)];
        for frame in clip(name) {
            let [full, motion_only, no_intra] = &mut parsers;
            let full = feed(full, &frame, FULL).expect("a picture");
            let cheap = feed(motion_only, &frame, MOTION).expect("a picture");
            assert!(motion(&full.picture.blocks).eq(motion(&cheap.picture.blocks)));
            assert_eq!(full.picture.splits, cheap.picture.splits);
            assert!(cheap
                .picture
                .blocks
                .iter()
                .all(|block| block.coefficients == 0 && block.residual_energy == 0.0));
            let skipping = Options { want_energy: true, skip_intra: true, ..Options::MOTION };
            let unread = feed(no_intra, &frame, skipping).expect("a picture");
            if full.keyframe {
                assert!(unread.picture.blocks.iter().all(|block| block.class == BlockClass::Intra as u8));
            } else {
                assert_eq!(full.picture.blocks, unread.picture.blocks);
            }
        }
    }
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let mut huge = clip("one_macroblock.ivf")[0].clone();
    huge[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let mut parser = Parser::new(1 << 20);
    assert!(feed(&mut parser, &clip("good.ivf")[0], FULL).is_some());
    let error = parser.parse(&huge, FULL).expect_err("too large");
    assert_eq!(error.error.kind, ovbits::error::ErrorKind::Unsupported);
    // What follows belongs to the stream that was refused.
    assert!(parser.parse(&clip("good.ivf")[1], FULL).is_err());
    assert!(parser.parse(&[], FULL).is_err());
    // Within the limit, a header of a few bytes costs the picture's records and no time.
    let parsed = feed(&mut Parser::new(1 << 28), &huge, FULL).expect("a picture");
    assert!(parsed.errors > 0 && parsed.covered < 1 << 16);
}

#[test]
fn an_empty_frame_repeats_the_last() {
    let frames = clip("good.ivf");
    let mut parser = Parser::new(1 << 20);
    assert!(parser.parse(&[], FULL).is_err());
    feed(&mut parser, &frames[0], FULL);
    let repeated = feed(&mut parser, &[], FULL).expect("a picture");
    assert!(repeated.picture.blocks.iter().all(|block| block.class == BlockClass::Skip as u8));
    assert!(!repeated.reference && !repeated.keyframe && repeated.errors == 0);
    let after = feed(&mut parser, &frames[1], FULL).expect("a picture");
    let mut without = Parser::new(1 << 20);
    feed(&mut without, &frames[0], FULL);
    assert_eq!(after.picture.blocks, feed(&mut without, &frames[1], FULL).expect("a picture").picture.blocks);
}
