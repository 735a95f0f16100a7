//! Any bytes give a picture or an error: noise as slice data of every kind of H.265 sequence, and damaged copies.

use ovbits::{
    h264::stream::Options,
    h265::stream::Parser,
    nal::Framing,
    picture::{flags, BlockClass},
};

/// Writes codes bit by bit and closes as an Annex B NAL unit.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn u(mut self, width: u32, value: u32) -> Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn ue(self, value: u32) -> Self {
        let width = 32 - (value + 1).leading_zeros();
        self.u(width - 1, 0).u(width, value + 1)
    }

    fn many(self, values: &[u32]) -> Self {
        values.iter().fold(self, |bits, &value| bits.ue(value))
    }

    /// One bit and zeros up to the next byte.
    fn align(mut self) -> Self {
        self.0.push(true);
        self.0.resize(self.0.len().div_ceil(8) * 8, false);
        self
    }

    fn nal(self, nal_unit_type: u8) -> Vec<u8> {
        let mut nal = vec![0, 0, 1, nal_unit_type << 1, 1];
        let mut zeros = 0;
        for chunk in self.align().0.chunks(8) {
            let byte = chunk.iter().enumerate().fold(0, |byte, (i, &bit)| byte | u8::from(bit) << (7 - i));
            if zeros == 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

/// Small numbers without a crate; the tests need variety, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn bit(&mut self) -> u32 {
        self.roll(2) as u32
    }
}

const SPS: u8 = 33;
const PPS: u8 = 34;

/// A sequence of 72x56 samples with random tools, so that noise reaches all of them.
struct Sequence {
    sets: Vec<u8>,
    sao: bool,
    entry_points: bool,
    weighted: bool,
}

fn sequence(dice: &mut Dice) -> Sequence {
    let format = dice.roll(4) as u32;
    let mut sps = Bits::default().u(4, 0).u(3, 0).u(1, 1).u(8, 4).u(32, 0).u(32, 0).u(16, 0).u(8, 93);
    sps = sps.many(&[0, format]);
    sps = if format == 3 { sps.u(1, 0) } else { sps };
    let depth = dice.roll(9) as u32;
    sps = sps.many(&[72, 56]).u(1, 0).many(&[depth, depth, 4]).u(1, 1).many(&[4, 0, 0]);
    // Smallest unit 8, tree blocks of 16 to 64, transforms of 4 to 16 (or 32).
    let ctb = 1 + dice.roll(3) as u32;
    sps = sps.many(&[0, ctb, 0, 2 + u32::from(ctb > 1), 1, 1]);
    let scaling = dice.bit();
    sps = sps.u(1, scaling);
    sps = if scaling == 1 { sps.u(1, 0) } else { sps };
    let (sao, pcm) = (dice.bit(), dice.bit());
    sps = sps.u(1, dice.bit()).u(1, sao).u(1, pcm);
    sps = if pcm == 1 { sps.u(8, 0x77).many(&[0, 1]).u(1, 0) } else { sps };
    // One short-term set: the picture before.
    sps = sps.ue(1).many(&[1, 0]).many(&[0]).u(1, 1).u(1, 0).u(1, 1).u(1, 1).u(1, 0);
    // Range extension without extended precision and bypass alignment.
    sps = sps.u(1, 1).u(8, 0x80).u(4, dice.roll(16) as u32).u(1, 0).u(2, dice.roll(4) as u32);
    sps = sps.u(1, dice.bit()).u(1, 0);

    let (sync, tiles, weighted) = (dice.bit(), dice.bit(), dice.bit());
    let mut pps = Bits::default().many(&[0, 0]).u(2, 0).u(3, 0).u(1, dice.bit()).u(1, 0).many(&[0, 0]);
    let skip = dice.bit();
    pps = pps.ue(0).u(1, 0).u(1, skip).u(1, 1).ue(dice.roll(2) as u32).many(&[0, 0]).u(1, 0);
    pps = pps.u(1, weighted).u(1, weighted).u(1, dice.bit()).u(1, tiles).u(1, sync);
    pps = if tiles == 1 { pps.many(&[1, 0]).u(1, 1).u(1, 0) } else { pps };
    pps = pps.u(1, 0).u(1, 0).u(1, 0).u(1, 0).ue(dice.roll(3) as u32).u(1, 0).u(1, 1).u(8, 0x80);
    pps = if skip == 1 { pps.ue(dice.roll(4) as u32) } else { pps };
    pps = pps.u(1, u32::from(format == 3) * dice.bit()).u(1, 0).many(&[0, 0]);
    let sets = [sps.nal(SPS), pps.nal(PPS)].concat();
    Sequence { sets, sao: sao == 1, entry_points: sync == 1 || tiles == 1, weighted: weighted == 1 }
}

/// One picture whose slice data is noise; `poc` 0 is an IDR picture.
fn noise_picture(dice: &mut Dice, sequence: &Sequence, poc: u32) -> Vec<u8> {
    let (nal_unit_type, slice_type) = if poc == 0 { (19, 2) } else { (1, dice.roll(2) as u32) };
    let mut bits = Bits::default().u(1, 1);
    bits = if poc == 0 { bits.u(1, 0) } else { bits };
    bits = bits.ue(0).ue(slice_type);
    if poc > 0 {
        bits = bits.u(8, poc).u(1, 1).u(1, 1);
    }
    bits = if sequence.sao { bits.u(2, 3) } else { bits };
    if slice_type < 2 {
        bits = bits.u(1, 0);
        bits = if slice_type == 0 { bits.u(1, dice.bit()).u(1, dice.bit()) } else { bits };
        // Weights are noise like the rest: most of them end in an error.
        bits = if sequence.weighted { bits.ue(3).u(1, 1).u(6, 0) } else { bits };
        bits = bits.ue(dice.roll(5) as u32);
    }
    bits = bits.ue(0);
    bits = if sequence.entry_points { bits.ue(0) } else { bits };
    let length = 40 + dice.roll(900);
    let bits = bits.align();
    (0..length).fold(bits, |bits, _| bits.u(8, dice.roll(256) as u32)).nal(nal_unit_type)
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
    Options { want_energy: dice.roll(2) == 0, skip_intra: dice.roll(4) == 0 }
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
    let full = Options { want_energy: true, skip_intra: false };
    for length in 0..whole.len() {
        feed(&mut Parser::new(1 << 20), &whole[..length], full);
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut parser = Parser::new(1 << 20);
        feed(&mut parser, &damaged, full);
        feed(&mut parser, &whole, Options { want_energy: false, skip_intra: true });
    }
}

#[test]
fn a_parser_has_no_memory_of_what_it_refused() {
    let mut dice = Dice(7);
    let sequence = sequence(&mut dice);
    let whole = [sequence.sets.clone(), noise_picture(&mut dice, &sequence, 0)].concat();
    let full = Options { want_energy: true, skip_intra: false };
    let blocks = |parser: &mut Parser| {
        parser.parse(&whole, Framing::AnnexB, full).map(|parsed| parsed.picture.blocks.clone())
    };
    let fresh = blocks(&mut Parser::new(1 << 20));
    let mut used = Parser::new(1 << 20);
    for _ in 0..50 {
        let garbage: Vec<u8> = (0..300).map(|_| dice.roll(256) as u8).collect();
        feed(&mut used, &garbage, full);
    }
    assert_eq!(blocks(&mut used), fresh);
}
