//! Modes, motion vectors, reference lists and levels are right when the samples built from them are: bit-exact against
//! the digests of conformance streams where they are on the machine, and against FFmpeg's pictures of clips that
//! `tests/native/reconstruct.py` makes.

mod clips;
mod digest;
mod h264;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use clips::{Picture, Rebuilt};
use h264::{access_units, decoder::Decoder};

/// Decodes a stream, as far as it goes; `plain` reads SP and SI as P and I.
fn decode(units: &[Vec<u8>], plain: bool) -> (Decoder, Option<String>) {
    let mut decoder = Decoder::new(plain);
    for (index, unit) in units.iter().enumerate() {
        if let Err(error) = decoder.decode(unit) {
            return (decoder, Some(format!("access unit {index}: {error}")));
        }
    }
    (decoder, None)
}

fn rebuild(units: &[Vec<u8>], plain: bool) -> Rebuilt {
    let (decoder, error) = decode(units, plain);
    let picture = |frame: &&h264::decoder::Frame| Picture {
        order: frame.order,
        luma: frame.bytes(false),
        row_bytes: frame.window[2] << usize::from(frame.deep),
    };
    let pictures = decoder.displayed().iter().map(picture).collect();
    Rebuilt { pictures, macroblocks: decoder.macroblocks, error }
}

#[test]
#[ignore = "tests/native/reconstruct.py makes the clips and says where they are"]
fn clips_of_a_folder() {
    clips::of_folder(|units| rebuild(units, true));
}

#[test]
#[ignore = "tests/native/test_switching.py says where the clips are"]
fn samples_of_a_folder() {
    clips::samples_of_folder(|units| rebuild(units, false));
}

/// Streams of at most so many bytes are rebuilt by every run.
const SMALL: u64 = 15_000;

/// Conformance streams of 4:2:0 or 4:0:0 with the digest of all their samples: (file, MD5).
fn corpus() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let Ok(manifest) = fs::read_to_string(folder.join("manifest.tsv")) else { return Vec::new() };
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let column = |name: &str| header.iter().position(|&found| found == name).expect("a column");
    let (file, md5, pix) = (column("file"), column("yuv_md5_ref"), column("pix"));
    let has_chroma_rebuilt = |pix: &str| !pix.contains("422p") && !pix.contains("444p");
    lines
        .filter(|row| row[file].starts_with("conformance-h264/") && row[md5].len() == 32)
        .filter(|row| has_chroma_rebuilt(row[pix]))
        .map(|row| (folder.join(row[file]), row[md5].to_string()))
        .collect()
}

/// Rebuilds a conformance stream with chroma: frames, macroblocks and what differs.
fn check(path: &Path, md5: &str) -> (usize, usize, Option<String>) {
    let units = access_units::split(&fs::read(path).expect("a stream"));
    let (decoder, error) = decode(&units, false);
    let samples: Vec<u8> = decoder.displayed().iter().flat_map(|frame| frame.bytes(true)).collect();
    let differs = (digest::hex(&samples) != md5).then(|| "another digest".to_string());
    (decoder.frames.len(), decoder.macroblocks, error.or(differs))
}

#[test]
fn small_conformance_streams() {
    for (path, md5) in corpus() {
        if fs::metadata(&path).expect("a stream").len() <= SMALL {
            let (frames, _, difference) = check(&path, &md5);
            assert_eq!(difference, None, "{}", path.display());
            assert!(frames > 0);
        }
    }
}

/// All conformance streams whose name contains OVBITS_ONLY.
#[test]
#[ignore = "takes minutes; for docs/syntax-coverage.md"]
fn the_whole_corpus() {
    let only = env::var("OVBITS_ONLY").unwrap_or_default();
    for (path, md5) in corpus().iter().filter(|(path, _)| path.to_string_lossy().contains(&only)) {
        let (frames, macroblocks, difference) = check(path, md5);
        let name = path.file_name().expect("a name").to_string_lossy();
        println!("rebuilt\t{name}\t{frames}\t{macroblocks}\t{}", difference.unwrap_or_default());
    }
}
