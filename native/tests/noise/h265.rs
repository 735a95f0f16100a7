//! H.265 sequences with random tools.

use super::{Bits, Dice};

/// A sequence of 72x56 samples with random tools, so that noise reaches all of them.
pub struct Sequence {
    /// As Annex B NAL units.
    pub sets: Vec<u8>,
    sao: bool,
    entry_points: bool,
    weighted: bool,
}

/// Any format, depth and tool.
pub fn sequence(dice: &mut Dice) -> Sequence {
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
    let sets = [sps.nal(&[33 << 1, 1]), pps.nal(&[34 << 1, 1])].concat();
    Sequence { sets, sao: sao == 1, entry_points: sync == 1 || tiles == 1, weighted: weighted == 1 }
}

/// A picture of one slice (`poc` 0: IDR) with `data` behind its header.
pub fn picture(dice: &mut Dice, sequence: &Sequence, poc: u32, data: &[u8]) -> Vec<u8> {
    let (nal_unit_type, slice_type) = if poc == 0 { (19, 2) } else { (1, dice.roll(2) as u32) };
    let mut bits = Bits::default().u(1, 1);
    bits = if poc == 0 { bits.u(1, 0) } else { bits };
    bits = bits.ue(0).ue(slice_type);
    if poc > 0 {
        bits = bits.u(8, poc & 255).u(1, 1).u(1, 1);
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
    bits.align(true, false).bytes(data).nal(&[nal_unit_type << 1, 1])
}
