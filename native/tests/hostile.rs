//! Any bytes give a picture or an error: damaged copies of a tiny synthetic stream, without any fuzzer.

mod noise;

use noise::{
    h264::{sequence, slice, Sequence},
    Dice,
};
use ovbits::{h264::stream::Parser, nal::Framing, unit::Options};

const CABAC: bool = true;

/// A sequence of the wanted entropy coding.
fn chosen(dice: &mut Dice, cabac: bool) -> Sequence {
    loop {
        let sequence = sequence(dice);
        if sequence.is_cabac() == cabac {
            return sequence;
        }
    }
}

/// One picture whose slice data is noise.
fn noise_picture(dice: &mut Dice, sequence: &Sequence, number: u32) -> Vec<u8> {
    let length = 40 + dice.roll(400);
    let data = dice.bytes(length);
    slice(dice, sequence, number, 0, &data)
}

/// Cells that were known.
fn feed(parser: &mut Parser, data: &[u8], options: Options) -> u32 {
    match parser.parse(data, Framing::AnnexB, options) {
        Ok(parsed) => {
            assert!(parsed.covered as usize <= parsed.picture.blocks.len());
            for block in &parsed.picture.blocks {
                let is_split = block.flags & ovbits::picture::flags::SPLIT != 0;
                assert!(!is_split || (block.split as usize) < parsed.picture.splits.len());
                assert!(block.ref_idx.iter().all(|&index| (-1..32).contains(&index)));
                assert!((-36..=51).contains(&block.qp));
                assert!(block.residual_energy.is_finite());
            }
            parsed.covered
        }
        Err(error) => {
            assert!(!error.error.element.is_empty());
            0
        }
    }
}

fn options(dice: &mut Dice) -> Options {
    Options { want_energy: dice.roll(2) == 0, skip_intra: dice.roll(4) == 0, ..Options::MOTION }
}

#[test]
fn noise_as_slice_data() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut covered = 0;
    for _ in 0..600 {
        let mut parser = Parser::new(1 << 20);
        let sequence = sequence(&mut dice);
        let mut data = sequence.sets.clone();
        for number in 0..8 {
            data.extend(noise_picture(&mut dice, &sequence, number));
            covered += feed(&mut parser, &data, options(&mut dice));
            data.clear();
        }
    }
    // Else the noise would never get beyond the headers.
    assert!(covered > 10_000, "{covered}");
}

#[test]
fn every_truncation_and_flip() {
    let mut dice = Dice(42);
    let sequence = chosen(&mut dice, !CABAC);
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
    let mut dice = Dice(7);
    let sequence = chosen(&mut dice, CABAC);
    let whole = [sequence.sets.clone(), noise_picture(&mut dice, &sequence, 0)].concat();
    let full = Options::FULL;
    let blocks = |parser: &mut Parser| {
        parser.parse(&whole, Framing::AnnexB, full).map(|parsed| parsed.picture.blocks.clone())
    };
    let fresh = blocks(&mut Parser::new(1 << 20));
    let mut used = Parser::new(1 << 20);
    for number in 1..200 {
        let garbage = match number % 3 {
            0 => dice.bytes(300),
            _ => noise_picture(&mut dice, &sequence, number),
        };
        feed(&mut used, &garbage, full);
        assert_eq!(blocks(&mut used), fresh, "after {number}");
    }
}
