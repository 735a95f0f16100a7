//! Modes, motion vectors, tokens and quantisers are right when the pixels built from them are: bit-exact against the
//! digests of the VP8 test vectors where they are on the machine, and of the small clips in `tests/vp8/clips`.

mod digest;
mod vp8;

use std::{
    fs,
    path::{Path, PathBuf},
};

use ovbits::unit::ParsedPicture;
use vp8::{decoder::Decoder, ivf};

/// Real streams by others, not part of the project.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/vp8");
    folder.is_dir().then_some(folder)
}

/// Coding tools that were met: a proof of nothing else would be worth nothing.
#[derive(Default)]
struct Seen {
    mb_types: [bool; 10],
    references: [bool; 3],
    split_motion: bool,
    hidden: bool,
}

impl Seen {
    fn note(&mut self, parsed: &ParsedPicture) {
        self.hidden |= !parsed.shown;
        self.split_motion |= !parsed.picture.splits.is_empty();
        for block in &parsed.picture.blocks {
            self.mb_types[usize::from(block.mb_type)] = true;
            if let Ok(reference) = usize::try_from(block.ref_idx[0]) {
                self.references[reference] = true;
            }
        }
    }
}

/// Digests of the shown frames, in hexadecimal.
fn digests(stream: &Path, seen: &mut Seen) -> Vec<String> {
    let file = fs::read(stream).expect("a stream");
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for (index, frame) in ivf::frames(&file).iter().enumerate() {
        let decoded = decoder.decode(frame);
        let parsed = &decoded.parsed;
        assert_eq!(parsed.errors, 0, "{} frame {index}: {:?}", stream.display(), parsed.first_error);
        assert_eq!(parsed.covered as usize, parsed.picture.blocks.len());
        seen.note(parsed);
        if parsed.shown {
            found.push(digest::hex(&decoded.i420()));
        }
    }
    found
}

/// Compares with a file of digests, one a line.
fn check(stream: &Path, sums: &Path, seen: &mut Seen) {
    let text = fs::read_to_string(sums).expect("digests");
    let expected: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let found = digests(stream, seen);
    let first = expected.iter().zip(&found).position(|(a, b)| a != b);
    assert_eq!((first, found.len()), (None, expected.len()), "first difference in {}", stream.display());
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path())
}

#[test]
fn test_vectors() {
    let Some(folder) = corpus() else {
        println!("skipped: no corpus on this machine");
        return;
    };
    let mut seen = Seen::default();
    for sums in files(&folder.join("md5")) {
        let stream = folder.join(sums.file_stem().expect("a name"));
        if stream.is_file() {
            check(&stream, &sums, &mut seen);
        }
    }
    assert_eq!((seen.mb_types, seen.references, seen.split_motion), ([true; 10], [true; 3], true));
}

#[test]
fn clips() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vp8/clips");
    let mut seen = Seen::default();
    for stream in files(&folder).filter(|path| path.extension().is_some_and(|suffix| suffix == "ivf")) {
        check(&stream, &stream.with_extension("md5"), &mut seen);
    }
    assert_eq!((seen.mb_types, seen.split_motion, seen.hidden), ([true; 10], true, true));
}
