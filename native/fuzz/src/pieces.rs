//! H.264 and H.265 below whole access units.

use ovbits::{h264, h265, nal::Framing};

use crate::{
    noise::{self, Dice},
    units::{check, options, Codec, H264, H265, MAX_PIXELS},
};

/// A codec with parameter sets and slices.
pub trait Pieces: Codec {
    /// A valid sequence of random tools.
    type Sequence;
    /// Makes one.
    fn sequence(dice: &mut Dice) -> Self::Sequence;
    /// Its parameter sets.
    fn sets(sequence: &Self::Sequence) -> Vec<u8>;
    /// A slice with these slice data.
    fn slice(dice: &mut Dice, sequence: &Self::Sequence, number: u32, data: &[u8]) -> Vec<u8>;
    /// Takes bytes for parameter sets and messages.
    fn put_sets(first: &[u8], second: &[u8]);
}

macro_rules! pieces {
    ($name:ident, $codec:ident, |$dice:ident, $sequence:ident, $number:ident, $data:ident| $slice:expr, $message:expr) => {
        impl Pieces for $name {
            type Sequence = noise::$codec::Sequence;

            fn sequence(dice: &mut Dice) -> Self::Sequence {
                noise::$codec::sequence(dice)
            }

            fn sets(sequence: &Self::Sequence) -> Vec<u8> {
                sequence.sets.clone()
            }

            fn slice($dice: &mut Dice, $sequence: &Self::Sequence, $number: u32, $data: &[u8]) -> Vec<u8> {
                $slice
            }

            fn put_sets(first: &[u8], second: &[u8]) {
                let mut sets = $codec::param_sets::ParameterSets::new(MAX_PIXELS);
                let _ = sets.put_sps(first);
                let _ = sets.put_pps(second);
                let _ = sets.put_sps(second);
                let _ = $message(second);
                for id in 0..=u8::MAX {
                    let _ = sets.get(id);
                }
            }
        }
    };
}

pieces!(
    H264,
    h264,
    |dice, sequence, number, data| noise::h264::slice(dice, sequence, number, 0, data),
    h264::sei::read
);
pieces!(
    H265,
    h265,
    |dice, sequence, number, data| noise::h265::picture(dice, sequence, number, data),
    |_: &[u8]| ()
);

/// Property: any bytes as parameter sets and messages give sets or errors.
pub fn parameter_sets<C: Pieces>(data: &[u8]) {
    let Some((&split, rest)) = data.split_first() else { return };
    let (first, second) = rest.split_at(rest.len().min(usize::from(split)));
    C::put_sets(first, second);
}

/// Property: whatever slices of a valid sequence hold, there are pictures or errors.
pub fn slices<C: Pieces>(data: &[u8]) {
    let Some((head, stream)) = data.split_first_chunk::<4>() else { return };
    let [choices, low, high, cut] = *head;
    let mut dice = Dice(u64::from(u16::from_le_bytes([low, high])) << 8 | 1);
    let sequence = C::sequence(&mut dice);
    let mut parser = C::new();
    let mut unit = C::sets(&sequence);
    for (number, piece) in stream.chunks(16 + 2 * usize::from(cut)).enumerate() {
        unit.extend(C::slice(&mut dice, &sequence, number as u32, piece));
        check(&parser.parse(&unit, Framing::AnnexB, options(choices)));
        unit.clear();
    }
}
