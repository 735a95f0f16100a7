//! Counts what is allocated and how long it takes, so that a run that takes more than it may is a finding.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_long,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

extern "C" {
    /// CPU time of this process in microseconds (POSIX). libFuzzer's own limit is wall time, which on a busy machine says
    /// nothing.
    fn clock() -> c_long;
}

/// Longest run.
const MAX_MICROSECONDS: usize = 1_000_000;
static LONGEST: AtomicUsize = AtomicUsize::new(1000);

/// Most bytes that one run may hold at once. Drivers allow pictures of 2^16 samples: 256 records of 32 bytes, at most
/// twice as many longer ones, and 16 references of that size.
const MAX_BYTES: usize = 16 << 20;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed to the system's allocator unchanged; counting needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `work` and checks that it never held more than it may, and was over in time.
pub fn bounded(work: impl FnOnce()) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let begin = now();
    work();
    let taken = now().saturating_sub(begin);
    if taken > LONGEST.fetch_max(taken, Relaxed) {
        eprintln!("longest run: {taken} us of CPU");
    }
    assert!(taken <= MAX_MICROSECONDS, "{taken} us of CPU");
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    if peak > HIGHEST.fetch_max(peak, Relaxed) {
        eprintln!("peak allocation: {peak} bytes");
    }
    assert!(peak <= MAX_BYTES, "{peak} bytes allocated");
}

fn now() -> usize {
    // SAFETY: takes nothing and always returns.
    unsafe { clock() as usize }
}
