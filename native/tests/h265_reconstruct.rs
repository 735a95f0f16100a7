//! Modes, motion vectors, merge and temporal candidates, reference lists and levels are right when the samples built from
//! them are: bit-exact against FFmpeg's pictures of clips without loop filters that `tests/native/reconstruct.py` makes.

mod clips;
mod h265;

use clips::{Picture, Rebuilt};
use h265::decoder::{Decoder, Frame};

fn rebuild(units: &[Vec<u8>]) -> Rebuilt {
    let mut decoder = Decoder::new();
    let mut error = None;
    for (index, unit) in units.iter().enumerate() {
        if let Err(reason) = decoder.decode(unit) {
            error = Some(format!("access unit {index}: {reason}"));
            break;
        }
    }
    let picture = |frame: &Frame| Picture {
        order: frame.order,
        luma: frame.bytes(),
        row_bytes: frame.window[2] << usize::from(frame.deep),
    };
    let pictures = decoder.frames.values().filter(|frame| frame.shown).map(picture).collect();
    Rebuilt { pictures, macroblocks: decoder.cells, error }
}

#[test]
#[ignore = "tests/native/reconstruct.py makes the clips and says where they are"]
fn clips_of_a_folder() {
    clips::of_folder(rebuild);
}
