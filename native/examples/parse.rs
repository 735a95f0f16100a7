//! Parses a raw H.264 file (Annex B) and reports damage and speed: `parse FILE [PASSES]`.
//!
//! The throughput is that of one core on this very stream: bits of slice data per second and time per macroblock.

use std::{env, fs, process::ExitCode, time::Instant};

use ovbits::{
    h264::stream::{Options, Parser},
    nal::{self, Framing},
};

/// Slice and IDR slice NAL units.
fn is_slice(nal: &[u8]) -> bool {
    matches!(nal[0] & 0x1f, 1 | 5)
}

/// Whether a NAL unit starts an access unit when slices came before: parameter sets and messages do, and slices
/// with first_mb_in_slice 0.
fn starts_access_unit(nal: &[u8]) -> bool {
    match nal[0] & 0x1f {
        6..=9 => true,
        1 | 5 => nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
        _ => false,
    }
}

/// The access units of a stream, each in Annex B again.
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = vec![Vec::new()];
    let mut has_slice = false;
    for nal in nal::split(stream, Framing::AnnexB) {
        if has_slice && starts_access_unit(nal) {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= is_slice(nal);
        if let Some(unit) = units.last_mut() {
            unit.extend_from_slice(&[0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
    units
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: parse FILE [PASSES]");
        return ExitCode::FAILURE;
    };
    let passes = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let units = match fs::read(&path) {
        Ok(stream) => access_units(&stream),
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options { want_energy: true, skip_intra: false };
    for pass in 0..passes {
        let mut parser = Parser::new(1 << 26);
        let (mut bits, mut macroblocks, mut damaged) = (0_u64, 0_usize, 0_usize);
        let start = Instant::now();
        for (index, unit) in units.iter().enumerate() {
            let error = match parser.parse(unit, Framing::AnnexB, options) {
                Ok(parsed) => {
                    bits += parsed.slice_bits;
                    macroblocks += parsed.picture.blocks.len();
                    parsed.first_error
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                damaged += 1;
                if pass == 0 {
                    println!("access unit {index}, NAL unit {}: {}", error.nal_index, error.error);
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{} access units ({damaged} damaged), {:.0} per second, {:.1} Mbit/s, {:.1} ns per macroblock",
            units.len(),
            units.len() as f64 / seconds,
            bits as f64 / seconds / 1e6,
            seconds * 1e9 / macroblocks.max(1) as f64,
        );
    }
    ExitCode::SUCCESS
}
