//! H.264 below whole access units.

use ovbits::{
    h264::{param_sets::ParameterSets, sei, stream::Parser},
    nal::Framing,
};

use crate::{
    noise::{h264, Dice},
    units::{check, options, MAX_PIXELS},
};

/// Property: any bytes as parameter sets and messages give sets or errors.
pub fn parameter_sets(data: &[u8]) {
    let Some((&split, rest)) = data.split_first() else { return };
    let mut sets = ParameterSets::new(MAX_PIXELS);
    let (first, second) = rest.split_at(rest.len().min(usize::from(split)));
    let _ = sets.put_sps(first);
    let _ = sets.put_pps(second);
    let _ = sets.put_sps(second);
    sei::read(second);
    for id in 0..=u8::MAX {
        let _ = sets.get(id);
    }
}

/// Property: whatever slices of a valid sequence hold, there are pictures or errors.
pub fn slices(data: &[u8]) {
    let Some((head, stream)) = data.split_first_chunk::<4>() else { return };
    let [choices, low, high, cut] = *head;
    let mut dice = Dice(u64::from(u16::from_le_bytes([low, high])) << 8 | 1);
    let sequence = h264::sequence(&mut dice);
    let mut parser = Parser::new(MAX_PIXELS);
    let mut unit = sequence.sets.clone();
    for (number, piece) in stream.chunks(16 + 2 * usize::from(cut)).enumerate() {
        unit.extend(h264::slice(&mut dice, &sequence, number as u32, 0, piece));
        check(&parser.parse(&unit, Framing::AnnexB, options(choices)));
        unit.clear();
    }
}
