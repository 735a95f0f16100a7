//! Parses a raw H.265 file (Annex B) and reports damage and speed: `parse_h265 FILE [PASSES]`.
//!
//! The throughput is that of one core on this very stream: time per bit of slice data.

use std::{env, fs, process::ExitCode, time::Instant};

use ovbits::{
    h265::stream::Parser,
    nal::{self, Framing},
    unit::Options,
};

/// The access units of a stream, each in Annex B again (H.265 7.4.2.4.4).
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units = vec![Vec::new()];
    let mut has_slice = false;
    for nal in nal::split(stream, Framing::AnnexB) {
        let nal_unit_type = nal[0] >> 1;
        let starts = match nal_unit_type {
            // first_slice_segment_in_pic_flag
            0..=31 => nal.get(2).is_some_and(|byte| byte & 0x80 != 0),
            // Parameter sets, delimiters and messages.
            32..=35 | 39 => true,
            _ => false,
        };
        if has_slice && starts {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= nal_unit_type < 32;
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
        eprintln!("usage: parse_h265 FILE [PASSES]");
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
        let (mut bits, mut cells, mut covered, mut damaged) = (0_u64, 0_usize, 0_u64, 0_usize);
        let start = Instant::now();
        for (index, unit) in units.iter().enumerate() {
            let error = match parser.parse(unit, Framing::AnnexB, options) {
                Ok(parsed) => {
                    bits += parsed.slice_bits;
                    cells += parsed.picture.blocks.len();
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
            "{} access units ({damaged} damaged, {covered} of {cells} cells known), {:.0} per second, {:.1} Mbit/s, {:.2} ns per bit",
            units.len(),
            units.len() as f64 / seconds,
            bits as f64 / seconds / 1e6,
            seconds * 1e9 / bits.max(1) as f64,
        );
    }
    ExitCode::SUCCESS
}
