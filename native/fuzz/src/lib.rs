//! What libFuzzer calls: chooses a driver by name, bounds the memory of each run.

mod bounds;
mod nal;
#[path = "../../tests/noise/mod.rs"]
mod noise;
mod pieces;
mod units;
mod vp8;

use std::{ffi::c_int, sync::OnceLock};

/// Tries one input; a broken property panics, which ends the process.
type Driver = fn(&[u8]);

const DRIVERS: [(&str, Driver); 11] = [
    ("h264_sets", pieces::parameter_sets::<units::H264>),
    ("h264_slices", pieces::slices::<units::H264>),
    ("h264_units", units::units::<units::H264>),
    ("h264_split", units::split::<units::H264>),
    ("h265_sets", pieces::parameter_sets::<units::H265>),
    ("h265_slices", pieces::slices::<units::H265>),
    ("h265_units", units::units::<units::H265>),
    ("h265_split", units::split::<units::H265>),
    ("vp8_units", units::units::<units::Vp8>),
    ("vp8_partitions", vp8::partitions),
    ("nal", nal::framing),
];

static DRIVER: OnceLock<Driver> = OnceLock::new();

fn chosen() -> Driver {
    let name = std::env::var("OVBITS_FUZZ").unwrap_or_default();
    match DRIVERS.iter().find(|(known, _)| *known == name) {
        Some((_, driver)) => *driver,
        None => {
            let names: Vec<&str> = DRIVERS.iter().map(|(name, _)| *name).collect();
            eprintln!("OVBITS_FUZZ must be one of {}", names.join(", "));
            std::process::exit(2);
        }
    }
}

/// Called by libFuzzer with every input.
///
/// # Safety
/// `data` points to `size` readable bytes.
#[no_mangle]
pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    // SAFETY: promised by libFuzzer, which may pass null when there is nothing.
    let data = if size == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    bounds::bounded(|| DRIVER.get_or_init(chosen)(data));
    0
}
