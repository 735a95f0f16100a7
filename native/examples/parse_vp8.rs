//! Parses a VP8 file (IVF) and reports damage and speed: `parse_vp8 FILE [PASSES] [motion]`.
//!
//! The throughput is that of one core on this very stream: bits of it per second and time per macroblock.

use std::{env, fs, process::ExitCode, time::Instant};

use ovbits::{unit::Options, vp8::stream::Parser};

/// The frames of an IVF file: a header of 32 bytes, then frames behind headers of 12.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = file.get(32..).unwrap_or_default();
    while let [a, b, c, d, _, _, _, _, _, _, _, _, data @ ..] = rest {
        let size = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let (frame, behind) = data.split_at(size.min(data.len()));
        frames.push(frame);
        rest = behind;
    }
    frames
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(path) = arguments.first() else {
        eprintln!("usage: parse_vp8 FILE [PASSES] [motion]");
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
    let frames = frames(&file);
    for pass in 0..passes {
        let mut parser = Parser::new(1 << 26);
        let (mut bits, mut macroblocks, mut damaged) = (0_u64, 0_usize, 0_usize);
        let start = Instant::now();
        for (index, frame) in frames.iter().enumerate() {
            let error = match parser.parse(frame, options) {
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
                    println!("frame {index}, partition {}: {}", error.nal_index, error.error);
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{} frames ({damaged} damaged), {:.0} per second, {:.1} Mbit/s, {:.1} ns per macroblock",
            frames.len(),
            frames.len() as f64 / seconds,
            bits as f64 / seconds / 1e6,
            seconds * 1e9 / macroblocks.max(1) as f64,
        );
    }
    ExitCode::SUCCESS
}
