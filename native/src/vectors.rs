//! What embeddings look like on the wire: numbers of 16 bits (IEEE 754 binary16, little-endian) and masks of bits.
//!
//! The instructions that processors have for it are the only unsafe code outside of `abi`.
#![allow(unsafe_code)]

/// Bytes of a binary16.
pub const HALF_BYTES: usize = 2;
/// Magnitudes from here on are infinite in binary16 (before rounding up to it).
const HALF_LIMIT: u32 = (127 + 16) << 23;
/// The smallest normal number of binary16, as binary32.
const HALF_NORMAL: u32 = (127 - 14) << 23;
const INFINITY: u32 = 0xff << 23;

/// Rounds to the nearest binary16, ties to even.
///
/// Returns the largest magnitude in `values`; NaN when one of them is not finite.
///
/// # Panics
/// When `out` has not two bytes for each value.
pub fn to_halves(values: &[f32], out: &mut [u8]) -> f32 {
    assert_eq!(values.len() * HALF_BYTES, out.len());
    #[cfg(target_arch = "x86_64")]
    if x86::available() {
        // SAFETY: the processor has these instructions.
        return unsafe { x86::to_halves(values, out) };
    }
    portable::to_halves(values, out)
}

/// Widens binary16 to binary32; returns whether all are finite.
///
/// # Panics
/// When `halves` has not two bytes for each value.
pub fn from_halves(halves: &[u8], out: &mut [f32]) -> bool {
    assert_eq!(out.len() * HALF_BYTES, halves.len());
    #[cfg(target_arch = "x86_64")]
    if x86::available() {
        // SAFETY: the processor has these instructions.
        return unsafe { x86::from_halves(halves, out) };
    }
    portable::from_halves(halves, out)
}

/// Eight bytes of a mask to a bit, lowest first; bits beyond the mask are 0.
///
/// # Panics
/// When `bits` has not the right length.
pub fn to_bits(mask: &[u8], bits: &mut [u8]) {
    assert_eq!(mask.len().div_ceil(8), bits.len());
    for (eight, byte) in mask.chunks(8).zip(bits) {
        *byte = eight.iter().enumerate().fold(0, |sum, (index, &one)| sum | u8::from(one != 0) << index);
    }
}

/// The mask of these bits: bytes of 0 and 1.
///
/// # Panics
/// When `bits` has not the right length.
pub fn from_bits(bits: &[u8], mask: &mut [u8]) {
    assert_eq!(mask.len().div_ceil(8), bits.len());
    for (eight, byte) in mask.chunks_mut(8).zip(bits) {
        for (index, one) in eight.iter_mut().enumerate() {
            *one = byte >> index & 1;
        }
    }
}

mod portable {
    use super::{HALF_BYTES, HALF_LIMIT, HALF_NORMAL, INFINITY};

    pub fn to_halves(values: &[f32], out: &mut [u8]) -> f32 {
        let mut peak = 0;
        for (value, half) in values.iter().zip(out.chunks_exact_mut(HALF_BYTES)) {
            peak = peak.max(value.to_bits() & !(1 << 31));
            half.copy_from_slice(&narrow(*value).to_le_bytes());
        }
        if peak < INFINITY {
            f32::from_bits(peak)
        } else {
            f32::NAN
        }
    }

    pub fn from_halves(halves: &[u8], out: &mut [f32]) -> bool {
        let mut finite = true;
        for (half, value) in halves.chunks_exact(HALF_BYTES).zip(out) {
            *value = widen(u16::from_le_bytes([half[0], half[1]]));
            finite &= value.is_finite();
        }
        finite
    }

    fn narrow(value: f32) -> u16 {
        let bits = value.to_bits();
        let (sign, size) = ((bits >> 16 & 0x8000) as u16, bits & !(1 << 31));
        let half = if size > INFINITY {
            0x7e00 // NaN
        } else if size >= HALF_LIMIT {
            0x7c00
        } else if size < HALF_NORMAL {
            // Added to 0.5, the last bit of the sum is that of a subnormal: the addition rounds.
            (f32::from_bits(size) + 0.5).to_bits() - 0.5_f32.to_bits()
        } else {
            // Exponent biased anew; half of what is cut off, and one more to a tie above an odd number, rounds up.
            (size - ((127 - 15) << 23) + 0xfff + (size >> 13 & 1)) >> 13
        };
        sign | half as u16
    }

    fn widen(half: u16) -> f32 {
        let (sign, size) = (u32::from(half >> 15) << 31, u32::from(half & 0x7fff));
        let bits = match size >> 10 {
            0 => (size as f32 * 2.0_f32.powi(-24)).to_bits(), // a subnormal counts in steps of 2^-24
            0x1f => size << 13 | INFINITY,
            _ => (size << 13) + ((127 - 15) << 23),
        };
        f32::from_bits(sign | bits)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_half_survives() {
            for half in 0..=u16::MAX {
                let wide = widen(half);
                if wide.is_nan() {
                    assert!(half & 0x7c00 == 0x7c00 && half & 0x3ff != 0);
                } else {
                    assert_eq!(narrow(wide), half, "{wide}");
                }
            }
        }

        #[test]
        fn what_lies_between_two_halves_goes_to_the_nearer_one_and_ties_to_even() {
            for half in 0..0x7bff_u16 {
                let (low, high) = (f64::from(widen(half)), f64::from(widen(half + 1)));
                let middle = ((low + high) / 2.0) as f32;
                let even = half + (half & 1);
                assert_eq!(narrow(middle), even);
                assert_eq!(narrow(f32::from_bits(middle.to_bits() - 1)), half);
                assert_eq!(narrow(-f32::from_bits(middle.to_bits() + 1)), 0x8000 | (half + 1));
            }
            assert_eq!(narrow(65_519.0), 0x7bff);
            assert_eq!(narrow(65_520.0), 0x7c00);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{portable, HALF_BYTES};

    const LANES: usize = 8;

    pub fn available() -> bool {
        is_x86_feature_detected!("avx") && is_x86_feature_detected!("f16c")
    }

    /// # Safety
    /// The processor has AVX and F16C; `out` has two bytes for each value.
    #[target_feature(enable = "avx,f16c")]
    pub unsafe fn to_halves(values: &[f32], out: &mut [u8]) -> f32 {
        let whole = values.len() - values.len() % LANES;
        let (first, rest) = out.split_at_mut(whole * HALF_BYTES);
        let (infinity, no_sign) = (_mm256_set1_ps(f32::INFINITY), _mm256_set1_ps(-0.0));
        let (mut peaks, mut bad) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        for (eight, halves) in values.chunks_exact(LANES).zip(first.chunks_exact_mut(LANES * HALF_BYTES)) {
            // SAFETY: both hold eight numbers; the instructions need no alignment.
            unsafe {
                let wide = _mm256_loadu_ps(eight.as_ptr());
                let size = _mm256_andnot_ps(no_sign, wide);
                peaks = _mm256_max_ps(size, peaks); // a NaN is left out
                bad = _mm256_or_ps(bad, _mm256_cmp_ps::<_CMP_NLT_UQ>(size, infinity));
                let narrow = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
                _mm_storeu_si128(halves.as_mut_ptr().cast(), narrow);
            }
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight numbers.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), peaks) };
        let peak =
            lanes.iter().fold(portable::to_halves(&values[whole..], rest), |a, &b| if b > a { b } else { a });
        if _mm256_movemask_ps(bad) == 0 {
            peak
        } else {
            f32::NAN
        }
    }

    /// # Safety
    /// The processor has AVX and F16C; `halves` has two bytes for each value.
    #[target_feature(enable = "avx,f16c")]
    pub unsafe fn from_halves(halves: &[u8], out: &mut [f32]) -> bool {
        let whole = out.len() - out.len() % LANES;
        let (first, rest) = halves.split_at(whole * HALF_BYTES);
        let (infinity, no_sign) = (_mm256_set1_ps(f32::INFINITY), _mm256_set1_ps(-0.0));
        let mut bad = _mm256_setzero_ps();
        for (eight, values) in first.chunks_exact(LANES * HALF_BYTES).zip(out.chunks_exact_mut(LANES)) {
            // SAFETY: both hold eight numbers; the instructions need no alignment.
            unsafe {
                let wide = _mm256_cvtph_ps(_mm_loadu_si128(eight.as_ptr().cast()));
                let size = _mm256_andnot_ps(no_sign, wide);
                bad = _mm256_or_ps(bad, _mm256_cmp_ps::<_CMP_NLT_UQ>(size, infinity));
                _mm256_storeu_ps(values.as_mut_ptr(), wide);
            }
        }
        portable::from_halves(rest, &mut out[whole..]) & (_mm256_movemask_ps(bad) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, from a small generator (Knuth's MMIX).
    fn numbers(count: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from_bits((state >> 32) as u32)
        };
        std::iter::repeat_with(next)
            .map(|one| one.clamp(-7e4, 7e4))
            .filter(|one| !one.is_nan())
            .take(count)
            .collect()
    }

    #[test]
    fn instructions_and_arithmetic_agree() {
        let values = numbers(20_011);
        let (mut fast, mut plain) = (vec![0; 2 * values.len()], vec![0; 2 * values.len()]);
        assert_eq!(to_halves(&values, &mut fast), portable::to_halves(&values, &mut plain));
        assert_eq!(fast, plain);
        let (mut back, mut plainly) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        assert!(!from_halves(&fast, &mut back)); // some are infinite
        assert!(!portable::from_halves(&fast, &mut plainly));
        assert_eq!(back, plainly);
    }

    #[test]
    fn what_is_not_finite_is_told_wherever_it_stands() {
        for count in [1, 7, 8, 9, 16, 29] {
            let mut halves = vec![0; 2 * count];
            assert_eq!(to_halves(&vec![-1.5; count], &mut halves), 1.5);
            assert!(from_halves(&halves, &mut vec![0.0; count]));
            for at in 0..count {
                for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![2.0; count];
                    values[at] = odd;
                    assert!(to_halves(&values, &mut halves).is_nan());
                    assert!(!from_halves(&halves, &mut values));
                }
            }
        }
        assert_eq!(to_halves(&[], &mut []), 0.0);
    }

    #[test]
    fn masks_come_back() {
        for count in 0..40_usize {
            let mask: Vec<u8> = (0..count).map(|index| u8::from(index % 3 == 1)).collect();
            let mut bits = vec![0xff; count.div_ceil(8)];
            to_bits(&mask, &mut bits);
            let mut back = vec![9; count];
            from_bits(&bits, &mut back);
            assert_eq!(back, mask);
        }
        let mut bits = [0; 2];
        to_bits(&[1, 0, 0, 0, 0, 0, 0, 7, 1], &mut bits);
        assert_eq!(bits, [0x81, 1]);
    }
}
