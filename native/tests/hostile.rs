//! Any bytes give a picture or an error: damaged copies of a tiny synthetic stream, without any fuzzer.

use ovbits::{
    h264::stream::{Options, Parser},
    nal::Framing,
};

/// Writes codes bit by bit and closes as an Annex B NAL unit.
#[derive(Default)]
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

    fn nal(mut self, header: u8) -> Vec<u8> {
        self.0.push(true);
        let mut nal = vec![0, 0, 1, header];
        let mut zeros = 0;
        for chunk in self.0.chunks(8) {
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
}

const MAIN: u32 = 77;

/// 3x3 macroblocks, Main profile, pic_order_cnt_type 0, three references.
fn parameter_sets(cabac: bool) -> Vec<u8> {
    let sps = Bits::default().u(8, MAIN).u(8, 0).u(8, 40).many(&[0, 0, 0, 4, 3]).u(1, 0).many(&[2, 2]);
    let pps = Bits::default().many(&[0, 0]).u(1, u32::from(cabac)).u(1, 0).many(&[0, 1, 1]).u(3, 0);
    [sps.u(4, 0b1100).nal(0x67), pps.many(&[0, 0, 0]).u(3, 0).nal(0x68)].concat()
}

/// One picture whose slice data is noise: `slice_type` 0 P, 1 B, 2 I.
fn noise_picture(dice: &mut Dice, slice_type: u32, frame_num: u32) -> Vec<u8> {
    let mut bits = Bits::default().many(&[0, slice_type, 0]).u(4, frame_num).u(8, frame_num * 4);
    if slice_type == 1 {
        bits = bits.u(1, dice.roll(2) as u32);
    }
    let lists = [1, 2, 0][slice_type as usize];
    bits = if lists > 0 { bits.u(1, 0) } else { bits };
    bits = (0..lists).fold(bits, |bits, _| bits.u(1, 0)).u(1, 0);
    // cabac_init_idc is one more ue(v) when CABAC is on; noise either way.
    bits = bits.ue(0).ue(0);
    let length = 40 + dice.roll(400);
    (0..length).fold(bits, |bits, _| bits.u(8, dice.roll(256) as u32)).nal(0x41)
}

fn feed(parser: &mut Parser, data: &[u8], options: Options) {
    match parser.parse(data, Framing::AnnexB, options) {
        Ok(parsed) => {
            assert!(parsed.covered as usize <= parsed.picture.blocks.len());
            for block in &parsed.picture.blocks {
                let is_split = block.flags & ovbits::picture::flags::SPLIT != 0;
                assert!(!is_split || (block.split as usize) < parsed.picture.splits.len());
                assert!(block.ref_idx.iter().all(|&index| (-1..32).contains(&index)));
                assert!((0..=51).contains(&block.qp));
                assert!(block.residual_energy.is_finite());
            }
        }
        Err(error) => assert!(!error.error.element.is_empty()),
    }
}

fn options(dice: &mut Dice) -> Options {
    Options { want_energy: dice.roll(2) == 0, skip_intra: dice.roll(4) == 0 }
}

#[test]
fn noise_as_slice_data() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..600 {
        let mut parser = Parser::new(1 << 20);
        feed(&mut parser, &parameter_sets(round % 2 == 0), options(&mut dice));
        for frame_num in 0..8 {
            let slice_type = [2, 0, 1, 0, 1, 1, 0, 1][frame_num as usize];
            let picture = noise_picture(&mut dice, slice_type, frame_num);
            let options = options(&mut dice);
            feed(&mut parser, &picture, options);
        }
    }
}

#[test]
fn every_truncation_and_flip() {
    let mut dice = Dice(42);
    let whole = [parameter_sets(false), noise_picture(&mut dice, 2, 0)].concat();
    for length in 0..whole.len() {
        feed(&mut Parser::new(1 << 20), &whole[..length], Options { want_energy: true, skip_intra: false });
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut parser = Parser::new(1 << 20);
        feed(&mut parser, &damaged, Options { want_energy: true, skip_intra: false });
        feed(&mut parser, &whole, Options { want_energy: false, skip_intra: true });
    }
}

#[test]
fn a_parser_has_no_memory_of_what_it_refused() {
    let mut dice = Dice(7);
    let whole = [parameter_sets(true), noise_picture(&mut dice, 2, 0)].concat();
    let options = Options { want_energy: true, skip_intra: false };
    let fresh = Parser::new(1 << 20)
        .parse(&whole, Framing::AnnexB, options)
        .map(|parsed| parsed.picture.blocks.clone());
    let mut used = Parser::new(1 << 20);
    for _ in 0..50 {
        let garbage: Vec<u8> = (0..300).map(|_| dice.roll(256) as u8).collect();
        feed(&mut used, &garbage, options);
    }
    assert_eq!(
        used.parse(&whole, Framing::AnnexB, options).map(|parsed| parsed.picture.blocks.clone()),
        fresh
    );
}
