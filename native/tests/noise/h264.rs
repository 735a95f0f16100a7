//! H.264 sequences of 5x4 macroblocks with random tools.

use super::{Bits, Dice};

/// Parameter sets, and what slice headers need to know of them.
pub struct Sequence {
    /// As Annex B NAL units.
    pub sets: Vec<u8>,
    cabac: bool,
    extended: bool,
    frames_only: bool,
    /// Bits of slice_group_change_cycle.
    cycle_bits: u32,
    chroma: bool,
    lists: [u32; 2],
    weighted: [bool; 2],
}

impl Sequence {
    /// Entropy coding of the slices.
    pub fn is_cabac(&self) -> bool {
        self.cabac
    }
}

/// Any profile and chroma format, CAVLC or CABAC, frames, fields or pairs, slice groups, partitions, three references.
pub fn sequence(dice: &mut Dice) -> Sequence {
    let high = dice.roll(3) > 0;
    let profile = if high { 244 } else { [66, 77, 88][dice.roll(3)] };
    let extended = profile == 88;
    let format = if high { dice.roll(4) as u32 } else { 1 };
    let mut sps = Bits::default().u(8, profile).u(8, 0).u(8, 40);
    sps = sps.ue(0);
    if high {
        sps = sps.ue(format);
        sps = if format == 3 { sps.u(1, 0) } else { sps };
        sps = sps.ue(dice.roll(7) as u32).ue(dice.roll(7) as u32).u(1, dice.bit()).u(1, 0);
    }
    let frames_only = dice.roll(3) > 0;
    sps = sps.many(&[0, 0, 4, 3]).u(1, 0).ue(4).ue(if frames_only { 3 } else { 1 });
    sps = sps.u(1, u32::from(frames_only));
    sps = if frames_only { sps.u(1, dice.bit()) } else { sps.u(1, dice.bit()).u(1, 1) };
    sps = sps.u(2, 0);

    let cabac = dice.bit() == 1 && !extended;
    let lists = [dice.roll(4) as u32, dice.roll(3) as u32];
    let (weighted, bipred) = (dice.bit() == 1, dice.roll(3) as u32);
    let mut pps = Bits::default().many(&[0, 0]).u(1, u32::from(cabac)).u(1, 0);
    let mut cycle_bits = 0;
    if cabac || dice.bit() == 0 {
        pps = pps.ue(0);
    } else {
        let kind = dice.roll(6) as u32;
        pps = pps.many(&[1, kind]);
        pps = match kind {
            0 => pps.many(&[dice.roll(4) as u32, dice.roll(4) as u32]),
            1 => pps,
            2 => pps.many(&[dice.roll(5) as u32, 5 + dice.roll(5) as u32]),
            _ => pps.u(1, dice.bit()).ue(0),
        };
        cycle_bits = if kind < 3 { 0 } else { 4 + u32::from(frames_only) };
    }
    pps = pps.many(&lists);
    pps = pps.u(1, u32::from(weighted)).u(2, bipred).se(dice.roll(40) as i32 - 20).se(0);
    pps = pps.se(dice.roll(25) as i32 - 12).u(1, 0).u(1, dice.bit()).u(1, 0);
    if high {
        pps = pps.u(1, dice.bit()).u(1, 0).se(dice.roll(25) as i32 - 12);
    }
    let weighted = [weighted, bipred == 1];
    let chroma = format > 0;
    let sets = [sps.nal(&[0x67]), pps.nal(&[0x68])].concat();
    Sequence { sets, cabac, extended, frames_only, cycle_bits, chroma, lists, weighted }
}

/// A slice of picture `number` (0 is an IDR picture) from `first_mb` on, with `data` behind its header.
pub fn slice(dice: &mut Dice, sequence: &Sequence, number: u32, first_mb: u32, data: &[u8]) -> Vec<u8> {
    let idr = number == 0;
    // 0 P, 1 B, 2 I
    let slice_type = if idr { 2 } else { dice.roll(3) as u32 };
    let mut bits = Bits::default().many(&[first_mb, slice_type, 0]).u(4, number & 15);
    if !sequence.frames_only {
        let field = dice.bit();
        bits = if field == 1 { bits.u(1, 1).u(1, dice.bit()) } else { bits.u(1, 0) };
    }
    bits = if idr { bits.ue(0) } else { bits };
    bits = bits.u(8, (number * 4) & 255);
    bits = if slice_type == 1 { bits.u(1, dice.bit()) } else { bits };
    let lists = [1, 2, 0][slice_type as usize];
    bits = if lists > 0 { bits.u(1, 0) } else { bits };
    bits = (0..lists).fold(bits, |bits, _| bits.u(1, 0));
    if slice_type < 2 && sequence.weighted[slice_type as usize] {
        bits = bits.ue(0);
        bits = if sequence.chroma { bits.ue(0) } else { bits };
        let entries = sequence.lists[..lists].iter().map(|last| last + 1).sum::<u32>();
        bits = bits.u(entries * if sequence.chroma { 2 } else { 1 }, 0);
    }
    bits = if idr { bits.u(2, 0) } else { bits.u(1, 0) };
    bits = if sequence.cabac && slice_type < 2 { bits.ue(dice.roll(3) as u32) } else { bits };
    bits = bits.se(dice.roll(21) as i32 - 10);
    bits = bits.u(sequence.cycle_bits, dice.roll(10) as u32);
    if sequence.extended && !idr && dice.bit() == 1 {
        return partitions(dice, bits, data);
    }
    bits = if sequence.cabac { bits.align(true, true) } else { bits };
    bits.bytes(data).nal(&[if idr { 0x65 } else { 0x41 }])
}

/// Three partitions behind a slice header, or two.
fn partitions(dice: &mut Dice, header: Bits, data: &[u8]) -> Vec<u8> {
    let third = data.len() / 3;
    let mut unit = header.ue(0).bytes(&data[..third]).nal(&[0x42]);
    let others = [(0x43, &data[third..2 * third]), (0x44, &data[2 * third..])];
    for (header, data) in others {
        if dice.roll(4) > 0 {
            unit.extend(Bits::default().ue(0).bytes(data).nal(&[header]));
        }
    }
    unit
}
