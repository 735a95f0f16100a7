//! Parses a file and reports damage and speed: `parse FILE [PASSES] [motion]`.
//!
//! Raw H.264, raw H.265 (`.265`, `.h265`, `.hevc`) or VP8 (`.ivf`). The speed is that of one core on this very stream; the
//! last line shares the time of each picture out to its bits and its skipped cells (least squares).

mod units;

use std::{env, fs, path::Path, process::ExitCode, time::Instant};

use ovbits::{
    h264, h265,
    nal::Framing,
    picture::BlockClass,
    unit::{Options, ParsedPicture, UnitError},
    vp8,
};

const MAX_PIXELS: u64 = 1 << 26;

/// Parses access units of one stream.
type Parse = Box<dyn FnMut(&[u8], Options) -> Result<ParsedPicture, UnitError>>;

/// What one access unit held and took.
#[derive(Clone, Copy, Default)]
struct Cost {
    bits: f64,
    skipped: f64,
    nanoseconds: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(path) = arguments.first() else {
        eprintln!("usage: parse FILE [PASSES] [motion]");
        return ExitCode::FAILURE;
    };
    let passes = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let options = Options { want_energy: arguments.get(2).is_none(), ..Options::MOTION };
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let suffix = Path::new(path).extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let (units, new): (_, fn() -> Parse) = match suffix.as_str() {
        "265" | "h265" | "hevc" => (units::h265(&file), || {
            let mut parser = h265::stream::Parser::new(MAX_PIXELS);
            Box::new(move |unit, options| parser.parse(unit, Framing::AnnexB, options))
        }),
        "ivf" => (units::ivf(&file), || {
            let mut parser = vp8::stream::Parser::new(MAX_PIXELS);
            Box::new(move |unit, options| parser.parse(unit, options))
        }),
        _ => (units::h264(&file), || {
            let mut parser = h264::stream::Parser::new(MAX_PIXELS);
            Box::new(move |unit, options| parser.parse(unit, Framing::AnnexB, options))
        }),
    };
    let mut best = vec![Cost { nanoseconds: f64::INFINITY, ..Cost::default() }; units.len()];
    for pass in 0..passes {
        measure(&mut new(), &units, options, pass == 0, &mut best);
    }
    let [per_bit, per_skipped] = fit(&best);
    println!("{per_bit:.2} ns per bit and {per_skipped:.2} ns per skipped cell, best of all passes");
    ExitCode::SUCCESS
}

/// One pass over all units; keeps the best time of each.
fn measure(parse: &mut Parse, units: &[Vec<u8>], options: Options, tell: bool, best: &mut [Cost]) {
    let (mut bits, mut cells, mut covered, mut damaged) = (0_u64, 0_usize, 0_u64, 0_usize);
    let mut nanoseconds = 0.0;
    for (index, (unit, best)) in units.iter().zip(best).enumerate() {
        let start = Instant::now();
        let parsed = parse(unit, options);
        let taken = start.elapsed().as_nanos() as f64;
        nanoseconds += taken;
        best.nanoseconds = best.nanoseconds.min(taken);
        let error = match parsed {
            Ok(parsed) => {
                let skipped = |block: &&ovbits::picture::Block| block.class == BlockClass::Skip as u8;
                best.skipped = parsed.picture.blocks.iter().filter(skipped).count() as f64;
                best.bits = parsed.slice_bits as f64;
                bits += parsed.slice_bits;
                cells += parsed.picture.blocks.len();
                covered += u64::from(parsed.covered);
                parsed.first_error
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            damaged += 1;
            if tell {
                println!("unit {index}, NAL unit or partition {}: {}", error.nal_index, error.error);
            }
        }
    }
    println!(
        "{} units ({damaged} damaged), {covered} of {cells} cells known, {:.0} per second, {:.1} Mbit/s, {:.1} ns per cell, {:.2} ns per bit",
        units.len(),
        units.len() as f64 / nanoseconds * 1e9,
        bits as f64 / nanoseconds * 1e3,
        nanoseconds / cells.max(1) as f64,
        nanoseconds / bits.max(1) as f64,
    );
}

/// Nanoseconds per bit and per skipped cell that explain the costs best.
fn fit(costs: &[Cost]) -> [f64; 2] {
    let sum = |value: fn(&Cost) -> f64| costs.iter().map(value).sum::<f64>();
    let (bb, ss, bs) =
        (sum(|c| c.bits * c.bits), sum(|c| c.skipped * c.skipped), sum(|c| c.bits * c.skipped));
    let (bt, st) = (sum(|c| c.bits * c.nanoseconds), sum(|c| c.skipped * c.nanoseconds));
    let determinant = bb * ss - bs * bs;
    [(bt * ss - st * bs) / determinant, (st * bb - bt * bs) / determinant]
}
