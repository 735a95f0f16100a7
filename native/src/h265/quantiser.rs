//! Quantisation parameters (H.265 8.6.1) and what a squared level is worth in squared sample units (8.6.2 to 8.6.4).

use super::{pps::Pps, slice_header::SliceHeader, sps::Sps};

/// levelScale by qP % 6 (8.6.3).
const LEVEL_SCALE: [f32; 6] = [40.0, 45.0, 51.0, 57.0, 64.0, 72.0];

/// QpC by qPi from 30 on in 4:2:0 (Table 8-10).
const CHROMA_QP: [i32; 14] = [29, 30, 31, 32, 33, 33, 34, 34, 35, 35, 36, 36, 37, 37];

/// Quantiser state of a slice segment.
#[derive(Clone, Debug)]
pub struct Quantiser {
    /// QpY of the current unit.
    pub qp: i32,
    /// QpY of the unit before in decoding order (qPY_PREV).
    pub last_qp: i32,
    /// qPY_PRED
    predicted: i32,
    /// IsCuQpDeltaCoded
    pub delta_coded: bool,
    /// IsCuChromaQpOffsetCoded
    pub chroma_offset_coded: bool,
    /// CuQpOffsetCb, CuQpOffsetCr
    pub cu_chroma_offsets: [i32; 2],
    /// Log2MinCuQpDeltaSize; `None` when the quantiser cannot change.
    pub log2_group: Option<u32>,
    /// Log2MinCuChromaQpOffsetSize, when units have offsets.
    pub log2_chroma_group: Option<u32>,
    /// Of the picture and the slice, for Cb and Cr.
    chroma_offsets: [i32; 2],
    /// QpBdOffsetY, QpBdOffsetC
    bd_offsets: [i32; 2],
    is_420: bool,
    /// QpY to the left and above, by 8 samples of the tree block.
    around: [[i8; 8]; 2],
}

impl Quantiser {
    /// State at the start of a segment; `last_qp` is that of the segment before.
    pub fn new(sps: &Sps, pps: &Pps, header: &SliceHeader, last_qp: i32) -> Self {
        let chroma_list =
            pps.chroma_qp_offset_list.as_ref().filter(|_| header.cu_chroma_qp_offset_enabled_flag);
        Self {
            qp: header.slice_qp,
            last_qp,
            predicted: header.slice_qp,
            delta_coded: false,
            chroma_offset_coded: false,
            cu_chroma_offsets: [0; 2],
            log2_group: pps.diff_cu_qp_delta_depth.map(|depth| sps.log2_ctb - depth),
            log2_chroma_group: chroma_list.map(|(depth, _)| sps.log2_ctb - depth),
            chroma_offsets: [0, 1]
                .map(|plane| pps.chroma_qp_offsets[plane] + header.chroma_qp_offsets[plane]),
            bd_offsets: [sps.qp_bd_offset(false), sps.qp_bd_offset(true)],
            is_420: sps.chroma_array_type() == 1,
            around: [[0; 8]; 2],
        }
    }

    /// Begins a quantisation group at a place inside the tree block (in luma samples).
    // H.265 8.6.1, qPY_PRED
    pub fn begin_group(&mut self, x: u32, y: u32) {
        let neighbour = |line: usize, inside: u32, along: u32| match inside {
            // Of another tree block: the unit before stands in.
            0 => self.last_qp,
            _ => i32::from(self.around[line][(along >> 3 & 7) as usize]),
        };
        self.predicted = (neighbour(0, x, y) + neighbour(1, y, x) + 1) >> 1;
        self.qp = self.predicted;
        self.delta_coded = false;
    }

    /// Takes CuQpDeltaVal.
    // H.265 (8-283)
    pub fn add_delta(&mut self, delta: i32) {
        let offset = self.bd_offsets[0];
        self.qp = (self.predicted + delta + 52 + 2 * offset).rem_euclid(52 + offset) - offset;
        self.delta_coded = true;
    }

    /// Whether a CuQpDeltaVal is allowed (7.4.9.14).
    pub fn is_delta_in_range(&self, delta: i32) -> bool {
        let half = self.bd_offsets[0] / 2;
        (-(26 + half)..=25 + half).contains(&delta)
    }

    /// Ends a unit at a place inside the tree block.
    pub fn end_unit(&mut self, x: u32, y: u32, size: u32) {
        let qp = self.qp as i8;
        for (line, along) in [(0, y), (1, x)] {
            let start = (along >> 3 & 7) as usize;
            let end = (start + (size >> 3) as usize).min(8);
            self.around[line][start..end].fill(qp);
        }
        self.last_qp = self.qp;
    }

    /// QpY, QpCb or QpCr: without the offset of the bit depth.
    fn plane_qp(&self, plane: usize) -> i32 {
        if plane == 0 {
            return self.qp;
        }
        let offset = self.chroma_offsets[plane - 1] + self.cu_chroma_offsets[plane - 1];
        let index = (self.qp + offset).clamp(-self.bd_offsets[1], 57);
        match index {
            ..=29 => index,
            30..=43 if self.is_420 => CHROMA_QP[(index - 30) as usize],
            44.. if self.is_420 => index - 6,
            _ => index.min(51),
        }
    }

    /// Energy per squared level with a scaling factor of 16, in squared steps of 8-bit samples.
    ///
    /// Level times m times levelScale is a coefficient of an orthonormal transform in units of 2^-10, whatever the
    /// size and the bit depth: the shifts of scaling and transform cancel out. Deeper samples have finer steps by
    /// just as much as QpBdOffset makes the quantiser coarser.
    pub fn energy_per_level(&self, plane: usize) -> f32 {
        let qp = self.plane_qp(plane);
        let step = LEVEL_SCALE[qp.rem_euclid(6) as usize] / 64.0 * 2_f32.powi(qp.div_euclid(6));
        step * step
    }

    /// The same for levels that are samples (cu_transquant_bypass_flag).
    pub fn energy_of_samples(&self, plane: usize) -> f32 {
        let deeper = self.bd_offsets[plane.min(1)] / 6;
        2_f32.powi(-2 * deeper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiser(bit_depth: u8) -> Quantiser {
        let sps = Sps { bit_depth: [bit_depth; 2], chroma_format_idc: 1, log2_ctb: 6, ..Sps::default() };
        let pps = Pps { diff_cu_qp_delta_depth: Some(2), ..Pps::default() };
        Quantiser::new(&sps, &pps, &SliceHeader { slice_qp: 30, ..SliceHeader::default() }, 30)
    }

    #[test]
    fn groups_are_predicted_from_the_left_and_above() {
        let mut quantiser = quantiser(8);
        quantiser.begin_group(0, 0);
        quantiser.add_delta(4);
        quantiser.end_unit(0, 0, 16);
        assert_eq!((quantiser.qp, quantiser.log2_group), (34, Some(4)));
        quantiser.begin_group(16, 0);
        assert_eq!(quantiser.qp, 34);
        quantiser.add_delta(-7);
        quantiser.end_unit(16, 0, 16);
        quantiser.begin_group(0, 16);
        // Left: the unit before (27); above: 34.
        assert_eq!(quantiser.qp, 31);
        quantiser.add_delta(-26);
        assert_eq!(quantiser.qp, 5);
        quantiser.begin_group(0, 16);
        quantiser.add_delta(25);
        assert_eq!(quantiser.qp, 31 + 25 - 52);
    }

    #[test]
    fn a_level_is_one_quantiser_step() {
        let mut quantiser = quantiser(8);
        quantiser.qp = 4;
        assert_eq!(quantiser.energy_per_level(0), 1.0);
        quantiser.qp = 28;
        assert_eq!(quantiser.energy_per_level(0), 256.0);
        quantiser.qp = 51;
        assert_eq!(quantiser.plane_qp(1), 45);
        quantiser.qp = 34;
        assert_eq!(quantiser.plane_qp(2), 33);
    }

    #[test]
    fn deeper_samples_count_in_steps_of_8_bits() {
        let mut quantiser = quantiser(10);
        quantiser.qp = -8;
        assert_eq!(quantiser.energy_per_level(0), 1.0 / 16.0);
        assert_eq!(quantiser.energy_of_samples(0), 1.0 / 16.0);
    }
}
