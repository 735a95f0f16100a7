//! Clips that Python makes, and what was rebuilt of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The visible luma samples of a frame.
pub struct Picture {
    /// Number of the sequence and order count in it: the order of display.
    pub order: (u32, i32),
    /// Row by row; two bytes a sample beyond eight bits.
    pub luma: Vec<u8>,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// What came of one stream.
#[derive(Default)]
pub struct Rebuilt {
    pub pictures: Vec<Picture>,
    pub macroblocks: usize,
    /// What kept the rest from being rebuilt.
    pub error: Option<String>,
}

impl Rebuilt {
    /// How many pictures equal the expected ones in the order of display, and the first difference.
    fn compare(&mut self, expected: &[u8]) -> (usize, String) {
        let mut notes: Vec<String> = self.error.take().into_iter().collect();
        let mut left = expected;
        let mut equal = 0;
        self.pictures.sort_by_key(|picture| picture.order);
        for (number, picture) in self.pictures.iter().enumerate() {
            let (theirs, rest) = left.split_at(picture.luma.len().min(left.len()));
            left = rest;
            if theirs == picture.luma {
                equal += 1;
                continue;
            }
            let unequal = picture.luma.iter().zip(theirs).enumerate().filter(|(_, (a, b))| a != b);
            let places: Vec<usize> = unequal.map(|(place, _)| place).collect();
            let first = places.first().copied().unwrap_or(theirs.len());
            let (x, y) = (first % picture.row_bytes, first / picture.row_bytes);
            let (count, order) = (places.len(), picture.order);
            notes.push(format!("frame {number} {order:?}: {count} bytes, first {x} of row {y}"));
        }
        if !left.is_empty() {
            notes.push(format!("{} bytes are missing", left.len()));
        }
        (equal, notes.into_iter().next().unwrap_or_default())
    }
}

/// Rebuilds the clips of the folder OVBITS_CLIPS: `NAME.units` (each access unit behind its length) and `NAME.luma` (in
/// the order of display); writes `results.tsv`.
pub fn of_folder(rebuild: impl Fn(&[Vec<u8>]) -> Rebuilt) {
    let folder = PathBuf::from(env::var_os("OVBITS_CLIPS").expect("OVBITS_CLIPS names a folder"));
    let mut results = String::new();
    for path in streams(&folder) {
        let expected = fs::read(path.with_extension("luma")).expect("samples");
        let mut rebuilt = rebuild(&with_lengths(&fs::read(&path).expect("access units")));
        let (equal, difference) = rebuilt.compare(&expected);
        let name = path.file_stem().expect("a name").to_string_lossy();
        let (frames, macroblocks) = (rebuilt.pictures.len(), rebuilt.macroblocks);
        results += &format!("{name}\t{frames}\t{equal}\t{macroblocks}\t{difference}\n");
    }
    fs::write(folder.join("results.tsv"), results).expect("a folder that can be written");
}

/// Rebuilds the clips of the folder OVBITS_CLIPS and writes their luma (`NAME.rebuilt`, in the order of display).
#[allow(dead_code)] // of use where FFmpeg is no judge
pub fn samples_of_folder(rebuild: impl Fn(&[Vec<u8>]) -> Rebuilt) {
    let folder = PathBuf::from(env::var_os("OVBITS_CLIPS").expect("OVBITS_CLIPS names a folder"));
    for path in streams(&folder) {
        let rebuilt = rebuild(&with_lengths(&fs::read(&path).expect("access units")));
        assert_eq!(rebuilt.error, None, "{}", path.display());
        let luma: Vec<u8> = rebuilt.pictures.into_iter().flat_map(|picture| picture.luma).collect();
        fs::write(path.with_extension("rebuilt"), luma).expect("a folder that can be written");
    }
}

fn streams(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_stream = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "units");
    let mut paths: Vec<PathBuf> = entries.filter(is_stream).collect();
    paths.sort();
    paths
}

/// Access units, each behind its length.
fn with_lengths(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let [a, b, c, d, rest @ ..] = file {
        let (unit, rest) = rest.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        units.push(unit.to_vec());
        file = rest;
    }
    units
}
