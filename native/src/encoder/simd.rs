//! Sixteen numbers at a time.
#![allow(unsafe_code, clippy::incompatible_msrv)]

use std::arch::x86_64::*;

/// What the kernels need of a processor. Every function needs the instructions of the implementation.
pub(crate) trait Simd {
    /// 16 floats.
    type F: Copy;
    /// 16 int32.
    type I: Copy;
    /// 64 weights.
    type W: Copy;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(x: &[f32; 16]) -> Self::F;
    unsafe fn store(x: Self::F, to: &mut [f32; 16]);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To the nearest integer.
    unsafe fn round(x: Self::F) -> Self::F;
    /// x * 2^n for an integral n; underflows to 0.
    unsafe fn scale(x: Self::F, n: Self::F) -> Self::F;
    unsafe fn int_splat(x: i32) -> Self::I;
    unsafe fn weights(x: &[u8; 64]) -> Self::W;
    /// Adds to each sum the products of four weights with the four signed bytes of `x`.
    unsafe fn dot(sums: Self::I, weights: Self::W, x: i32) -> Self::I;
    unsafe fn to_floats(x: Self::I) -> Self::F;
    /// Integers in -128..=127 as bytes, four to a word.
    unsafe fn to_words(x: Self::F) -> [i32; 4];
    /// Asks for the cache line at an address, which may lie anywhere.
    fn fetch<T>(address: *const T);
}

/// AVX-512 with VNNI.
pub(crate) struct Avx512;

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type W = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> __m512 {
        _mm512_loadu_ps(x.as_ptr())
    }
    #[inline(always)]
    unsafe fn store(x: __m512, to: &mut [f32; 16]) {
        _mm512_storeu_ps(to.as_mut_ptr(), x);
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(x)
    }
    #[inline(always)]
    unsafe fn scale(x: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(x, n)
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn weights(x: &[u8; 64]) -> __m512i {
        _mm512_loadu_si512(x.as_ptr().cast())
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, weights: __m512i, x: i32) -> __m512i {
        _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn to_floats(x: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(x)
    }
    #[inline(always)]
    unsafe fn to_words(x: __m512) -> [i32; 4] {
        let mut words = [0; 4];
        _mm_storeu_si128(words.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
        words
    }
    #[inline(always)]
    fn fetch<T>(address: *const T) {
        // SAFETY: a hint, which touches nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}
