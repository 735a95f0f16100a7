//! Any bytes give a picture or an error: noise as slice data of every kind of H.265 sequence, and damaged copies.

mod noise;

use noise::{
    h265::{picture, sequence, Sequence},
    Dice,
};
use ovbits::{
    h265::stream::Parser,
    nal::Framing,
    picture::{flags, BlockClass},
    unit::Options,
};

/// One picture whose slice data is noise.
fn noise_picture(dice: &mut Dice, sequence: &Sequence, poc: u32) -> Vec<u8> {
    let length = 40 + dice.roll(900);
    let data = dice.bytes(length);
    picture(dice, sequence, poc, &data)
}

/// Cells that were known.
fn feed(parser: &mut Parser, data: &[u8], options: Options) -> u32 {
    let parsed = match parser.parse(data, Framing::AnnexB, options) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.error.element.is_empty());
            return 0;
        }
    };
    let splits = &parsed.picture.splits;
    for block in &parsed.picture.blocks {
        let records = usize::from(block.flags & flags::SPLIT != 0)
            + usize::from(block.flags & flags::FINE_REFERENCES != 0);
        assert!(records == 0 || block.split as usize + records <= splits.len());
        assert!(block.class == BlockClass::Unknown as u8 || (-48..=51).contains(&block.qp));
        assert!(block.ref_idx.iter().all(|&index| (-1..16).contains(&index)));
        assert!(block.residual_energy.is_finite());
    }
    assert!(splits.len() <= 2 * parsed.picture.blocks.len());
    parsed.covered
}

fn options(dice: &mut Dice) -> Options {
    Options { want_energy: dice.roll(2) == 0, skip_intra: dice.roll(4) == 0, ..Options::MOTION }
}

#[test]
fn noise_as_slice_data() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut covered = 0;
    for _ in 0..1500 {
        let mut parser = Parser::new(1 << 20);
        let sequence = sequence(&mut dice);
        let mut data = sequence.sets.clone();
        for poc in 0..6 {
            data.extend(noise_picture(&mut dice, &sequence, poc));
            covered += feed(&mut parser, &data, options(&mut dice));
            data.clear();
        }
    }
    // Else the noise would never get beyond the headers.
    assert!(covered > 20_000, "{covered}");
}

#[test]
fn every_truncation_and_flip() {
    let mut dice = Dice(42);
    let sequence = sequence(&mut dice);
    let whole = [sequence.sets.clone(), noise_picture(&mut dice, &sequence, 0)].concat();
    let full = Options::FULL;
    for length in 0..whole.len() {
        feed(&mut Parser::new(1 << 20), &whole[..length], full);
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut parser = Parser::new(1 << 20);
        feed(&mut parser, &damaged, full);
        feed(&mut parser, &whole, Options { want_energy: false, skip_intra: true, ..Options::MOTION });
    }
}

#[test]
fn a_parser_has_no_memory_of_what_it_refused() {
    for seed in 1..40 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let sequence = sequence(&mut dice);
        let whole = [sequence.sets.clone(), noise_picture(&mut dice, &sequence, 0)].concat();
        let blocks = |parser: &mut Parser| {
            let parsed = parser.parse(&whole, Framing::AnnexB, Options::FULL);
            parsed.map(|parsed| (parsed.picture.blocks.clone(), parsed.picture.splits.clone()))
        };
        let fresh = blocks(&mut Parser::new(1 << 20));
        let mut used = Parser::new(1 << 20);
        for number in 1..20 {
            let garbage = match number % 3 {
                0 => dice.bytes(300),
                // Slices that break off inside a tree block.
                _ => noise_picture(&mut dice, &sequence, number),
            };
            feed(&mut used, &garbage, Options::FULL);
            assert_eq!(blocks(&mut used), fresh, "after {number}");
        }
    }
}
