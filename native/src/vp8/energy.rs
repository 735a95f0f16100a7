//! Dequantisation factors, and the energy of a residual without its inverse transforms (RFC 6386 9.6, 14.1).
//!
//! Both inverse transforms are orthogonal with one norm for all basis functions: of the 4x4 transform 16 before it
//! divides by 8, so that a squared coefficient is worth 16 / 64 squared samples; the Walsh-Hadamard transform of
//! Y2 hands 16 / 64 of a squared coefficient on to the DC coefficients, which is 1 / 16 squared samples.

use super::{
    frame_header::{QuantIndices, Segmentation},
    quant_tables::{AC_FACTORS, DC_FACTORS},
};

/// Squared samples per squared coefficient of Y, U and V.
const WEIGHT: f32 = 1.0 / 4.0;
/// Squared samples per squared coefficient of Y2.
const Y2_WEIGHT: f32 = 1.0 / 16.0;

/// Dequantisation factors of one segment: (DC, AC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Factors {
    /// Luma; its DC is in Y2 unless the mode is B_PRED or SPLITMV.
    pub y: (u16, u16),
    /// Second-order luma.
    pub y2: (u16, u16),
    /// Chroma.
    pub uv: (u16, u16),
}

impl Factors {
    // RFC 6386 14.1
    fn new(quantizer: u8, indices: &QuantIndices) -> Self {
        let index = |delta: i8| usize::from((i16::from(quantizer) + i16::from(delta)).clamp(0, 127) as u8);
        let dc = |delta| DC_FACTORS[index(delta)];
        let ac = |delta| AC_FACTORS[index(delta)];
        Self {
            y: (dc(indices.y_dc_delta), ac(0)),
            y2: (dc(indices.y2_dc_delta) * 2, (u32::from(ac(indices.y2_ac_delta)) * 155 / 100).max(8) as u16),
            uv: (dc(indices.uv_dc_delta).min(132), ac(indices.uv_ac_delta)),
        }
    }
}

/// RFC 6386 9.3, 9.6: quantiser index of each segment.
pub fn quantizers(indices: &QuantIndices, segmentation: &Segmentation) -> [u8; 4] {
    segmentation.quantizer.map(|value| match (segmentation.enabled, segmentation.absolute) {
        (false, _) => indices.y_ac_qi,
        (true, true) => value.clamp(0, 127) as u8,
        (true, false) => (i16::from(indices.y_ac_qi) + i16::from(value)).clamp(0, 127) as u8,
    })
}

/// Dequantisation factors by quantiser index of a segment.
pub fn factors(quantizers: [u8; 4], indices: &QuantIndices) -> [Factors; 4] {
    quantizers.map(|quantizer| Factors::new(quantizer, indices))
}

/// Sums of squared levels of one macroblock: (DC, AC).
///
/// 400 levels of at most 2^11 + 66 fit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SquaredLevels {
    pub y: (u32, u32),
    pub y2: (u32, u32),
    pub uv: (u32, u32),
}

impl SquaredLevels {
    /// Squared samples of the residual.
    pub fn energy(&self, factors: &Factors) -> f32 {
        let plane = |levels: (u32, u32), (dc, ac): (u16, u16)| {
            let (dc, ac) = (f32::from(dc), f32::from(ac));
            levels.0 as f32 * dc * dc + levels.1 as f32 * ac * ac
        };
        WEIGHT * (plane(self.y, factors.y) + plane(self.uv, factors.uv))
            + Y2_WEIGHT * plane(self.y2, factors.y2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_stay_in_their_ranges() {
        let indices =
            QuantIndices { y2_ac_delta: -15, uv_dc_delta: 15, y_dc_delta: -15, ..Default::default() };
        let low = Factors::new(0, &indices);
        assert_eq!((low.y, low.y2, low.uv), ((4, 4), (8, 8), (17, 4)));
        let high = Factors::new(127, &indices);
        assert_eq!((high.y, high.y2, high.uv), ((122, 284), (314, 330), (132, 284)));
    }

    #[test]
    fn segments_add_or_replace() {
        let indices = QuantIndices { y_ac_qi: 100, ..Default::default() };
        let mut segmentation = Segmentation { quantizer: [0, 60, -120, -1], ..Default::default() };
        assert_eq!(quantizers(&indices, &segmentation), [100; 4]);
        segmentation.enabled = true;
        assert_eq!(quantizers(&indices, &segmentation), [100, 127, 0, 99]);
        segmentation.absolute = true;
        assert_eq!(quantizers(&indices, &segmentation), [0, 60, 0, 0]);
    }
}
