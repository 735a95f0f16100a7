//! The loops in which the time goes, written once over `Simd` and compiled for each kind of processor.
#![allow(unsafe_code)]
// The compiler is new enough where this is built at all; tiles are indexed to be unrolled.
#![allow(clippy::incompatible_msrv, clippy::needless_range_loop, clippy::type_complexity)]

use std::ops::Range;

use super::{
    model::{PANEL, ROWS},
    simd::{Avx512, Simd},
};

/// Bytes between what is read and what is asked for: weights and caches come from far away.
pub(crate) const AHEAD: usize = 8192;

/// Rows of activations, rounded to bytes with a scale and an offset each: x = scale * (q - zero).
#[derive(Default)]
pub(crate) struct Rounded {
    /// (rows / 16, inputs / 4, 16) words of four signed bytes.
    pub words: Vec<i32>,
    pub scales: Vec<f32>,
    pub zeros: Vec<f32>,
    /// -128 times the sum of the bytes: what weights + 128 add to a product.
    pub starts: Vec<i32>,
}

/// One matrix of int8 weights, see `model::Matrix`.
#[derive(Clone, Copy)]
pub(crate) struct Int8<'a> {
    pub panels: &'a [u8],
    pub sums: &'a [f32],
    pub scales: &'a [f32],
    pub bias: &'a [f32],
}

/// Where a product goes: (rows, columns), replaced or added to.
pub(crate) struct Target<'a> {
    pub out: &'a mut [f32],
    pub columns: usize,
    pub add: bool,
}

/// Queries of some tokens, up to 16, and what they look at, for one head.
pub(crate) struct Look<'a> {
    /// (rows, stride), of which `width` numbers from `start` on.
    pub queries: &'a [f32],
    pub stride: usize,
    pub start: usize,
    pub width: usize,
    /// (N, width).
    pub keys: &'a [f32],
    pub values: &'a [f32],
    /// (N,), added to the scores.
    pub mask: &'a [f32],
}

/// Room for scores, kept between calls.
#[derive(Default)]
pub(crate) struct Scratch {
    pub queries: Vec<f32>,
    pub scores: Vec<f32>,
    /// Pairs of bfloat16, of `coarse` alone.
    pub query_pairs: Vec<u32>,
    pub key_pairs: Vec<u32>,
    pub weight_pairs: Vec<u32>,
}

/// The kernels of a processor.
///
/// # Safety
/// For all of them: the processor has the instructions that they were compiled for.
pub(crate) struct Kernels {
    /// LayerNorm of rows as long as `weight`.
    pub norm: unsafe fn(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]),
    /// Rounds rows of `inputs` numbers.
    pub round: unsafe fn(x: &[f32], inputs: usize, to: &mut Rounded),
    /// Multiplies rounded rows.
    pub int8: unsafe fn(x: &Rounded, rows: usize, matrix: Int8, to: Target),
    /// Multiplies rows of `inputs` numbers; `packed` is room.
    pub float:
        unsafe fn(x: &[f32], inputs: usize, panels: &[f32], bias: &[f32], packed: &mut Vec<f32>, to: Target),
    /// Turns a head by the cosines and sines of its position, and scales it.
    pub turn: unsafe fn(x: &[f32], turn: &[f32], scale: f32, out: &mut [f32]),
    /// The exact GELU, in place.
    pub gelu: unsafe fn(x: &mut [f32]),
    /// Attention; `out` has the layout of the queries.
    pub attend: Attend,
}

/// See `Kernels`.
pub(crate) type Attend = unsafe fn(look: &Look, room: &mut Scratch, out: &mut [f32]);

macro_rules! compile {
    ($name:ident, $simd:ty, $features:literal) => {
        pub(crate) static $name: Kernels = {
            #[target_feature(enable = $features)]
            unsafe fn norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
                norm_rows::<$simd>(x, weight, bias, epsilon, out);
            }
            #[target_feature(enable = $features)]
            unsafe fn round(x: &[f32], inputs: usize, to: &mut Rounded) {
                round_rows::<$simd>(x, inputs, to);
            }
            #[target_feature(enable = $features)]
            unsafe fn int8(x: &Rounded, rows: usize, matrix: Int8, to: Target) {
                int8_product::<$simd>(x, rows, matrix, to);
            }
            #[target_feature(enable = $features)]
            unsafe fn float(
                x: &[f32],
                inputs: usize,
                panels: &[f32],
                bias: &[f32],
                packed: &mut Vec<f32>,
                to: Target,
            ) {
                float_product::<$simd>(x, inputs, panels, bias, packed, to);
            }
            #[target_feature(enable = $features)]
            unsafe fn turn(x: &[f32], turn: &[f32], scale: f32, out: &mut [f32]) {
                turn_head::<$simd>(x, turn, scale, out);
            }
            #[target_feature(enable = $features)]
            unsafe fn gelu(x: &mut [f32]) {
                gelu_all::<$simd>(x);
            }
            #[target_feature(enable = $features)]
            unsafe fn attend(look: &Look, room: &mut Scratch, out: &mut [f32]) {
                attention::<$simd>(look, room, out);
            }
            Kernels { norm, round, int8, float, turn, gelu, attend }
        };
    };
}

compile!(AVX512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma");

/// Whether this processor has what `AVX512` needs.
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("fma")
}

#[inline(always)]
fn sixteen(x: &[f32]) -> &[f32; PANEL] {
    x.try_into().expect("a vector")
}

#[inline(always)]
fn sixteen_mut(x: &mut [f32]) -> &mut [f32; PANEL] {
    x.try_into().expect("a vector")
}

/// The sum of a vector, always in the same order.
#[inline(always)]
unsafe fn total<S: Simd>(x: S::F) -> f32 {
    let mut lanes = [0.0; PANEL];
    S::store(x, &mut lanes);
    let mut width = PANEL / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
unsafe fn norm_rows<S: Simd>(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weight.len();
    let share = 1.0 / width as f32;
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mut sum = S::splat(0.0);
        for part in row.chunks_exact(PANEL) {
            sum = S::add(sum, S::load(sixteen(part)));
        }
        let mean = S::splat(total::<S>(sum) * share);
        let mut squares = S::splat(0.0);
        for part in row.chunks_exact(PANEL) {
            let centred = S::sub(S::load(sixteen(part)), mean);
            squares = S::fma(centred, centred, squares);
        }
        let scale = S::splat(1.0 / (total::<S>(squares) * share + epsilon).sqrt());
        let parts = row.chunks_exact(PANEL).zip(out.chunks_exact_mut(PANEL));
        for ((part, out), (weight, bias)) in
            parts.zip(weight.chunks_exact(PANEL).zip(bias.chunks_exact(PANEL)))
        {
            let normal = S::mul(S::sub(S::load(sixteen(part)), mean), scale);
            let turned = S::fma(normal, S::load(sixteen(weight)), S::load(sixteen(bias)));
            S::store(turned, sixteen_mut(out));
        }
    }
}

/// Smallest and largest number of a row, and 0.
#[inline(always)]
unsafe fn range<S: Simd>(row: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = (S::splat(0.0), S::splat(0.0));
    let parts = row.chunks_exact(PANEL);
    let rest = parts.remainder();
    for part in parts {
        let x = S::load(sixteen(part));
        (low, high) = (S::min(low, x), S::max(high, x));
    }
    let (mut lows, mut highs) = ([0.0_f32; PANEL], [0.0_f32; PANEL]);
    S::store(low, &mut lows);
    S::store(high, &mut highs);
    let (mut least, mut most) = (0.0_f32, 0.0_f32);
    for &x in lows.iter().chain(rest) {
        least = least.min(x);
    }
    for &x in highs.iter().chain(rest) {
        most = most.max(x);
    }
    (least, most)
}

#[inline(always)]
unsafe fn round_rows<S: Simd>(x: &[f32], inputs: usize, to: &mut Rounded) {
    let rows = x.len() / inputs;
    let words = inputs.div_ceil(4);
    to.words.resize(rows.div_ceil(ROWS) * words * ROWS, 0);
    to.scales.clear();
    to.zeros.clear();
    to.starts.clear();
    for (index, row) in x.chunks_exact(inputs).enumerate() {
        let (low, high) = range::<S>(row);
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        let zero = (-128.0 - low / scale).round().clamp(-128.0, 127.0);
        let (inverse, offset) = (S::splat(1.0 / scale), S::splat(zero));
        let (least, most) = (S::splat(-128.0), S::splat(127.0));
        let tile = &mut to.words[index / ROWS * words * ROWS..][..words * ROWS];
        let mut sum = S::splat(0.0);
        for (part, out) in row.chunks(PANEL).zip(tile.chunks_mut(4 * ROWS)) {
            let rounded = if let Ok(part) = part.try_into() {
                S::round(S::fma(S::load(part), inverse, offset))
            } else {
                let mut full = [0.0; PANEL];
                for (full, x) in full.iter_mut().zip(part) {
                    *full = (x / scale + zero).round_ties_even();
                }
                S::load(&full)
            };
            let rounded = S::max(least, S::min(most, rounded));
            sum = S::add(sum, rounded);
            for (word, out) in S::to_words(rounded).into_iter().zip(out.chunks_exact_mut(ROWS)) {
                out[index % ROWS] = word;
            }
        }
        to.scales.push(scale);
        to.zeros.push(zero);
        to.starts.push(-128 * total::<S>(sum) as i32);
    }
}

/// R rows of one panel: (R, 16) sums of products.
#[inline(always)]
unsafe fn int8_tile<S: Simd, const R: usize>(panel: &[u8], words: &[i32], starts: &[i32]) -> [S::I; R] {
    let mut sums = [S::int_splat(0); R];
    for row in 0..R.min(starts.len()) {
        sums[row] = S::int_splat(starts[row]);
    }
    for (weights, x) in panel.chunks_exact(4 * PANEL).zip(words.chunks_exact(ROWS)) {
        S::fetch(weights.as_ptr().wrapping_add(AHEAD));
        let weights = S::weights(weights.try_into().expect("64 weights"));
        for row in 0..R {
            sums[row] = S::dot(sums[row], weights, x[row]);
        }
    }
    sums
}

/// Rows of a tile times one panel.
#[inline(always)]
unsafe fn int8_rows<S: Simd, const R: usize>(
    x: &Rounded,
    rows: Range<usize>,
    words: usize,
    panel: &[u8],
    column: usize,
    matrix: Int8,
    to: &mut Target,
) {
    let tile = &x.words[rows.start / ROWS * words..][..words];
    let sums = int8_tile::<S, R>(panel, tile, &x.starts[rows.clone()]);
    let weight_sums = S::load(sixteen(&matrix.sums[column..column + PANEL]));
    let scales = S::load(sixteen(&matrix.scales[column..column + PANEL]));
    let bias = part_of::<S>(matrix.bias, column);
    for row in 0..R {
        let number = rows.start + row;
        if number < rows.end {
            let place = number * to.columns + column;
            let out = sixteen_mut(&mut to.out[place..place + PANEL]);
            let product = S::fma(S::splat(-x.zeros[number]), weight_sums, S::to_floats(sums[row]));
            let start = if to.add { S::add(S::load(out), bias) } else { bias };
            let scaled = S::mul(product, S::splat(x.scales[number]));
            S::store(S::fma(scaled, scales, start), out);
        }
    }
}

/// A panel goes over all rows before the next one: matrices come from far away, activations are near.
#[inline(always)]
unsafe fn int8_product<S: Simd>(x: &Rounded, rows: usize, matrix: Int8, mut to: Target) {
    let words = x.words.len() / rows.div_ceil(ROWS);
    for (number, panel) in matrix.panels.chunks_exact(words / ROWS * 4 * PANEL).enumerate() {
        let column = number * PANEL;
        for first in (0..rows).step_by(ROWS) {
            let tile = first..rows.min(first + ROWS);
            match tile.len() {
                1 => int8_rows::<S, 1>(x, tile, words, panel, column, matrix, &mut to),
                2 => int8_rows::<S, 2>(x, tile, words, panel, column, matrix, &mut to),
                3..=4 => int8_rows::<S, 4>(x, tile, words, panel, column, matrix, &mut to),
                5..=8 => int8_rows::<S, 8>(x, tile, words, panel, column, matrix, &mut to),
                9..=12 => int8_rows::<S, 12>(x, tile, words, panel, column, matrix, &mut to),
                _ => int8_rows::<S, 16>(x, tile, words, panel, column, matrix, &mut to),
            }
        }
    }
}

/// Sixteen numbers of a vector that may be absent.
#[inline(always)]
unsafe fn part_of<S: Simd>(vector: &[f32], start: usize) -> S::F {
    if vector.is_empty() {
        S::splat(0.0)
    } else {
        S::load(sixteen(&vector[start..start + PANEL]))
    }
}

#[inline(always)]
unsafe fn float_rows<S: Simd, const R: usize>(
    tile: &[f32],
    rows: Range<usize>,
    panel: &[f32],
    column: usize,
    bias: S::F,
    to: &mut Target,
) {
    let mut sums = [S::splat(0.0); R];
    for (weights, x) in panel.chunks_exact(PANEL).zip(tile.chunks_exact(ROWS)) {
        S::fetch(weights.as_ptr().cast::<u8>().wrapping_add(AHEAD));
        let weights = S::load(sixteen(weights));
        for row in 0..R {
            sums[row] = S::fma(S::splat(x[row]), weights, sums[row]);
        }
    }
    for row in 0..R {
        let number = rows.start + row;
        if number < rows.end {
            let place = number * to.columns + column;
            let out = sixteen_mut(&mut to.out[place..place + PANEL]);
            let start = if to.add { S::add(S::load(out), bias) } else { bias };
            S::store(S::add(sums[row], start), out);
        }
    }
}

#[inline(always)]
unsafe fn float_product<S: Simd>(
    x: &[f32],
    inputs: usize,
    panels: &[f32],
    bias: &[f32],
    packed: &mut Vec<f32>,
    mut to: Target,
) {
    let rows = x.len() / inputs;
    let length = inputs * ROWS;
    packed.resize(rows.div_ceil(ROWS) * length, 0.0);
    for (x, tile) in x.chunks(length).zip(packed.chunks_exact_mut(length)) {
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            for (out, &x) in tile.chunks_exact_mut(ROWS).zip(x) {
                out[row] = x;
            }
        }
    }
    for (number, panel) in panels.chunks_exact(inputs * PANEL).enumerate() {
        let column = number * PANEL;
        let bias = part_of::<S>(bias, column);
        for (first, x) in (0..rows).step_by(ROWS).zip(packed.chunks_exact(length)) {
            let tile = first..rows.min(first + ROWS);
            match tile.len() {
                1 => float_rows::<S, 1>(x, tile, panel, column, bias, &mut to),
                2 => float_rows::<S, 2>(x, tile, panel, column, bias, &mut to),
                3..=4 => float_rows::<S, 4>(x, tile, panel, column, bias, &mut to),
                5..=8 => float_rows::<S, 8>(x, tile, panel, column, bias, &mut to),
                9..=12 => float_rows::<S, 12>(x, tile, panel, column, bias, &mut to),
                _ => float_rows::<S, 16>(x, tile, panel, column, bias, &mut to),
            }
        }
    }
}

/// The halves of a head are the firsts and the seconds of all pairs.
#[inline(always)]
unsafe fn turn_head<S: Simd>(x: &[f32], turn: &[f32], scale: f32, out: &mut [f32]) {
    let scale = S::splat(scale);
    let (cos, sin) = turn.split_at(x.len());
    for (half, out) in out.chunks_exact_mut(x.len() / 2).enumerate() {
        let start = half * out.len();
        let own = x[start..].chunks_exact(PANEL).zip(x[out.len() - start..].chunks_exact(PANEL));
        let turns = cos[start..].chunks_exact(PANEL).zip(sin[start..].chunks_exact(PANEL));
        for (((own, other), (cos, sin)), out) in own.zip(turns).zip(out.chunks_exact_mut(PANEL)) {
            let crossed = S::mul(S::load(sixteen(other)), S::load(sixteen(sin)));
            let turned = S::fma(S::load(sixteen(own)), S::load(sixteen(cos)), crossed);
            S::store(S::mul(turned, scale), sixteen_mut(out));
        }
    }
}

/// exp(x) for x <= 0, to about 2 ulp; 0 from -104 down. Cody-Waite reduction, the polynomial of Cephes' expf.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    let x = S::max(x, S::splat(-104.0));
    let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    let r = S::fma(n, S::splat(-0.693_359_4), x);
    let r = S::fma(n, S::splat(2.121_944_4e-4), r);
    let mut p = S::splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = S::fma(p, r, S::splat(c));
    }
    let p = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
    S::scale(p, n)
}

/// erf by a rational approximation on -4..4 (as in Eigen), to about 3e-7.
#[inline(always)]
unsafe fn erf<S: Simd>(x: S::F) -> S::F {
    let x = S::max(S::splat(-4.0), S::min(S::splat(4.0), x));
    let square = S::mul(x, x);
    let mut over = S::splat(-2.726_142_3e-10);
    for c in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        over = S::fma(over, square, S::splat(c));
    }
    let mut under = S::splat(-1.456_607_2e-5);
    for c in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        under = S::fma(under, square, S::splat(c));
    }
    S::div(S::mul(x, over), under)
}

#[inline(always)]
unsafe fn gelu_all<S: Simd>(x: &mut [f32]) {
    for part in x.chunks_exact_mut(PANEL) {
        let part = sixteen_mut(part);
        let x = S::load(part);
        let half = S::mul(x, S::splat(0.5));
        let bent = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        S::store(S::fma(half, bent, half), part);
    }
}

/// Scores of T slots for 16 queries, (T, 16).
#[inline(always)]
unsafe fn scores<S: Simd, const T: usize>(queries: &[f32], keys: &[f32], mask: &[f32], out: &mut [f32]) {
    let width = queries.len() / ROWS;
    let mut sums = [S::splat(0.0); T];
    let ahead = keys.as_ptr().cast::<u8>().wrapping_add(AHEAD);
    let keys = &keys[..T * width];
    for (index, query) in queries.chunks_exact(ROWS).enumerate() {
        S::fetch(ahead.wrapping_add(64 * index));
        let query = S::load(sixteen(query));
        for slot in 0..T {
            // SAFETY: index < width, so the place is inside T * width.
            let key = *keys.get_unchecked(slot * width + index);
            sums[slot] = S::fma(S::splat(key), query, sums[slot]);
        }
    }
    for ((sum, mask), out) in sums.into_iter().zip(&mask[..T]).zip(out.chunks_exact_mut(ROWS)) {
        S::store(S::add(sum, S::splat(*mask)), sixteen_mut(out));
    }
}

/// Weighted means of values: R rows from `first` on, 16 * C numbers from `column` on.
#[inline(always)]
unsafe fn weigh<S: Simd, const R: usize, const C: usize>(
    weights: &[f32],
    first: usize,
    look: &Look,
    column: usize,
    norms: &[f32; ROWS],
    out: &mut [f32],
) {
    let mut sums = [[S::splat(0.0); C]; R];
    for (weights, values) in weights.chunks_exact(ROWS).zip(look.values.chunks_exact(look.width)) {
        let (weights, values) = (&weights[first..first + R], &values[column..column + C * PANEL]);
        for line in 0..C {
            S::fetch(values.as_ptr().cast::<u8>().wrapping_add(AHEAD + 64 * line));
        }
        let mut parts = [S::splat(0.0); C];
        for c in 0..C {
            parts[c] = S::load(sixteen(&values[c * PANEL..(c + 1) * PANEL]));
        }
        for row in 0..R {
            let weight = S::splat(weights[row]);
            for c in 0..C {
                sums[row][c] = S::fma(weight, parts[c], sums[row][c]);
            }
        }
    }
    for row in 0..R {
        let place = (first + row) * look.stride + look.start + column;
        if let Some(out) = out.get_mut(place..place + C * PANEL) {
            let norm = S::splat(norms[first + row]);
            for c in 0..C {
                S::store(S::mul(sums[row][c], norm), sixteen_mut(&mut out[c * PANEL..(c + 1) * PANEL]));
            }
        }
    }
}

/// Queries of a head side by side: (width, 16).
pub(crate) fn gather(look: &Look, room: &mut Scratch) {
    room.queries.clear();
    room.queries.resize(look.width * ROWS, 0.0);
    for (row, query) in look.queries.chunks(look.stride).enumerate() {
        for (out, &x) in room.queries.chunks_exact_mut(ROWS).zip(&query[look.start..look.start + look.width])
        {
            out[row] = x;
        }
    }
}

/// Turns scores, (N, 16), into weights; what these must be multiplied by for a sum of 1.
#[inline(always)]
pub(crate) unsafe fn soften<S: Simd>(scores: &mut [f32]) -> [f32; ROWS] {
    let mut peak = S::splat(f32::MIN);
    for part in scores.chunks_exact(ROWS) {
        peak = S::max(peak, S::load(sixteen(part)));
    }
    let mut sum = S::splat(0.0);
    for part in scores.chunks_exact_mut(ROWS) {
        let part = sixteen_mut(part);
        let weight = exp::<S>(S::sub(S::load(part), peak));
        sum = S::add(sum, weight);
        S::store(weight, part);
    }
    let mut norms = [0.0; ROWS];
    S::store(S::div(S::splat(1.0), sum), &mut norms);
    norms
}

#[inline(always)]
unsafe fn attention<S: Simd>(look: &Look, room: &mut Scratch, out: &mut [f32]) {
    let (width, slots) = (look.width, look.mask.len());
    let rows = look.queries.len().div_ceil(look.stride);
    gather(look, room);
    room.scores.resize(slots * ROWS, 0.0);
    let mut slot = 0;
    while slot < slots {
        let (keys, mask) = (&look.keys[slot * width..], &look.mask[slot..]);
        let to = &mut room.scores[slot * ROWS..];
        slot += match slots - slot {
            16.. => {
                scores::<S, 16>(&room.queries, keys, mask, to);
                16
            }
            4.. => {
                scores::<S, 4>(&room.queries, keys, mask, to);
                4
            }
            _ => {
                scores::<S, 1>(&room.queries, keys, mask, to);
                1
            }
        };
    }
    let norms = soften::<S>(&mut room.scores);
    for first in (0..rows).step_by(4) {
        let mut column = 0;
        while column < width {
            if width - column >= 4 * PANEL {
                weigh::<S, 4, 4>(&room.scores, first, look, column, &norms, out);
                column += 4 * PANEL;
            } else {
                weigh::<S, 4, 2>(&room.scores, first, look, column, &norms, out);
                column += 2 * PANEL;
            }
        }
    }
}
