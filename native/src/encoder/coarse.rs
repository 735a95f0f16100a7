//! Attention with factors rounded to bfloat16, two products at a time: for models whose other products are int8, where
//! it is the finer rounding of both.
#![allow(unsafe_code)]
#![allow(clippy::incompatible_msrv, clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{
    kernels::{gather, soften, Look, Scratch, AHEAD},
    model::{PANEL, ROWS},
    simd::{Avx512, Simd},
};

/// Whether this processor has what `attend` needs beside that of `kernels::AVX512`.
pub(crate) fn has_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// As `Kernels::attend`.
///
/// # Safety
/// The processor has AVX-512 with VNNI and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
pub(crate) unsafe fn attend(look: &Look, room: &mut Scratch, out: &mut [f32]) {
    let (width, slots) = (look.width, look.mask.len());
    let rows = look.queries.len().div_ceil(look.stride);
    gather(look, room);
    room.query_pairs.clear();
    for two in room.queries.chunks_exact(2 * ROWS) {
        room.query_pairs.extend(paired(&two[..ROWS], &two[ROWS..]));
    }
    room.scores.resize(slots * ROWS, 0.0);
    let mut slot = 0;
    while slot < slots {
        let (keys, mask) = (&look.keys[slot * width..], &look.mask[slot..]);
        let to = &mut room.scores[slot * ROWS..];
        slot += match slots - slot {
            16.. => {
                scores::<16>(&room.query_pairs, keys, mask, &mut room.key_pairs, to);
                16
            }
            4.. => {
                scores::<4>(&room.query_pairs, keys, mask, &mut room.key_pairs, to);
                4
            }
            _ => {
                scores::<1>(&room.query_pairs, keys, mask, &mut room.key_pairs, to);
                1
            }
        };
    }
    let norms = soften::<Avx512>(&mut room.scores);
    room.scores.resize(slots.next_multiple_of(2) * ROWS, 0.0);
    room.weight_pairs.clear();
    for two in room.scores.chunks_exact(2 * ROWS) {
        room.weight_pairs.extend(paired(&two[..ROWS], &two[ROWS..]));
    }
    for first in (0..rows).step_by(8) {
        for column in (0..width).step_by(2 * PANEL) {
            match rows - first {
                1 => weigh::<1>(&room.weight_pairs, first, look, column, &norms, out),
                2 => weigh::<2>(&room.weight_pairs, first, look, column, &norms, out),
                3..=4 => weigh::<4>(&room.weight_pairs, first, look, column, &norms, out),
                _ => weigh::<8>(&room.weight_pairs, first, look, column, &norms, out),
            }
        }
    }
}

/// Sixteen words: the first of two numbers in the lower half, the second in the upper one.
#[inline(always)]
unsafe fn paired(low: &[f32], high: &[f32]) -> [u32; ROWS] {
    let both = interleaved(low, high);
    let mut words = [0; ROWS];
    _mm512_storeu_si512(words.as_mut_ptr().cast(), both);
    words
}

#[inline(always)]
unsafe fn interleaved(low: &[f32], high: &[f32]) -> __m512i {
    let (low, high) = (sixteen(low), sixteen(high));
    let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18,
        2, 17, 1, 16, 0,
    );
    _mm512_permutexvar_epi16(order, both)
}

#[inline(always)]
unsafe fn sixteen(x: &[f32]) -> __m512 {
    Avx512::load(x.try_into().expect("a vector"))
}

#[inline(always)]
unsafe fn products(sums: __m512, a: __m512i, b: __m512i) -> __m512 {
    _mm512_dpbf16_ps(
        sums,
        std::mem::transmute::<__m512i, __m512bh>(a),
        std::mem::transmute::<__m512i, __m512bh>(b),
    )
}

/// Scores of T slots for 16 queries, (T, 16).
#[inline(always)]
unsafe fn scores<const T: usize>(
    queries: &[u32],
    keys: &[f32],
    mask: &[f32],
    pairs: &mut Vec<u32>,
    out: &mut [f32],
) {
    let width = queries.len() / ROWS;
    pairs.resize(T * width, 0);
    for (keys, words) in keys.chunks_exact(2 * PANEL).zip(pairs.chunks_exact_mut(PANEL)) {
        let ahead = keys.as_ptr().cast::<u8>().wrapping_add(AHEAD);
        Avx512::fetch(ahead);
        Avx512::fetch(ahead.wrapping_add(64));
        let both = _mm512_cvtne2ps_pbh(sixteen(&keys[PANEL..]), sixteen(&keys[..PANEL]));
        _mm512_storeu_si512(words.as_mut_ptr().cast(), std::mem::transmute::<__m512bh, __m512i>(both));
    }
    let mut sums = [_mm512_setzero_ps(); T];
    for (index, query) in queries.chunks_exact(ROWS).enumerate() {
        let query = _mm512_loadu_si512(query.as_ptr().cast());
        for slot in 0..T {
            // SAFETY: index < width, so the place is inside T * width.
            let key = *pairs.get_unchecked(slot * width + index);
            sums[slot] = products(sums[slot], _mm512_set1_epi32(key as i32), query);
        }
    }
    for ((sum, mask), out) in sums.into_iter().zip(&mask[..T]).zip(out.chunks_exact_mut(ROWS)) {
        Avx512::store(Avx512::add(sum, Avx512::splat(*mask)), out.try_into().expect("a vector"));
    }
}

/// Weighted means of values: R rows from `first` on, 32 numbers from `column` on.
#[inline(always)]
unsafe fn weigh<const R: usize>(
    weights: &[u32],
    first: usize,
    look: &Look,
    column: usize,
    norms: &[f32; ROWS],
    out: &mut [f32],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (weights, values) in weights.chunks_exact(ROWS).zip(look.values.chunks(2 * look.width)) {
        let weights = &weights[first..first + R];
        // An odd last slot stands beside itself, with a weight of 0.
        let (low, high) =
            (&values[column..][..2 * PANEL], &values[values.len() - look.width + column..][..2 * PANEL]);
        for line in [low, high] {
            let ahead = line.as_ptr().cast::<u8>().wrapping_add(AHEAD);
            Avx512::fetch(ahead);
            Avx512::fetch(ahead.wrapping_add(64));
        }
        let left = interleaved(&low[..PANEL], &high[..PANEL]);
        let right = interleaved(&low[PANEL..], &high[PANEL..]);
        for row in 0..R {
            let weight = _mm512_set1_epi32(weights[row] as i32);
            sums[row][0] = products(sums[row][0], weight, left);
            sums[row][1] = products(sums[row][1], weight, right);
        }
    }
    for row in 0..R {
        let place = (first + row) * look.stride + look.start + column;
        if let Some(out) = out.get_mut(place..place + 2 * PANEL) {
            let norm = Avx512::splat(norms[first + row]);
            for (sum, out) in sums[row].into_iter().zip(out.chunks_exact_mut(PANEL)) {
                Avx512::store(Avx512::mul(sum, norm), out.try_into().expect("a vector"));
            }
        }
    }
}
