//! Parses a raw H.264 file (Annex B) and reports damage and speed: `parse FILE [PASSES]`.
//!
//! The throughput is that of one core on this very stream: bits of slice data per second and time per macroblock.

use std::{env, fs, process::ExitCode, time::Instant};

use ovbits::{
    h264::{param_sets::ParameterSets, slice_header::SliceHeader, stream::Parser},
    nal::{self, Framing},
    unit::Options,
};

/// The access units of a stream, each in Annex B again (H.264 7.4.1.2.3, 7.4.1.2.4).
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = vec![Vec::new()];
    let mut sets = ParameterSets::new(u64::MAX);
    let mut rbsp = Vec::new();
    let mut previous: Option<SliceHeader> = None;
    for nal in nal::split(stream, Framing::AnnexB) {
        nal::unescape(nal, &mut rbsp);
        let mut starts = previous.is_some();
        let mut header = None;
        match nal[0] & 0x1f {
            1 | 5 => {
                header = SliceHeader::parse(nal[0], &rbsp, &mut sets).ok().map(|slice| slice.header);
                starts = match (&previous, &header) {
                    (Some(previous), Some(header)) => header.starts_new_picture(previous),
                    _ => starts && nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
                };
            }
            // What cannot be read will be reported when it is parsed.
            7 => drop(sets.put_sps(&rbsp)),
            8 => drop(sets.put_pps(&rbsp)),
            6 | 9 => {}
            _ => starts = false,
        }
        if starts {
            units.push(Vec::new());
            previous = None;
        }
        previous = header.or(previous);
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
    let options = Options::FULL;
    for pass in 0..passes {
        let mut parser = Parser::new(1 << 26);
        let (mut bits, mut macroblocks, mut covered, mut damaged) = (0_u64, 0_usize, 0_u64, 0_usize);
        let start = Instant::now();
        for (index, unit) in units.iter().enumerate() {
            let error = match parser.parse(unit, Framing::AnnexB, options) {
                Ok(parsed) => {
                    bits += parsed.slice_bits;
                    macroblocks += parsed.picture.blocks.len();
                    covered += u64::from(parsed.covered);
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
            "{} access units ({damaged} damaged), {:.1} % of macroblocks known, {:.0} per second, {:.1} Mbit/s, {:.1} ns per macroblock",
            units.len(),
            covered as f64 * 100.0 / macroblocks.max(1) as f64,
            units.len() as f64 / seconds,
            bits as f64 / seconds / 1e6,
            seconds * 1e9 / macroblocks.max(1) as f64,
        );
    }
    ExitCode::SUCCESS
}
