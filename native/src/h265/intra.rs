//! Intra prediction modes (H.265 7.3.8.5, 8.4.2, 8.4.3): coefficient scans depend on them.

use super::{
    coding_unit::{part_mode, Unit},
    contexts::at,
    sink::Sink,
    slice_data::SliceParser,
};

/// INTRA_PLANAR
const PLANAR: u8 = 0;
/// INTRA_DC
pub(super) const DC: u8 = 1;
/// INTRA_ANGULAR10
const HORIZONTAL: u8 = 10;
/// INTRA_ANGULAR26
const VERTICAL: u8 = 26;

/// Mode of 4:2:2 chroma by modeIdc (Table 8-3).
const MODES_422: [u8; 35] = [
    0, 1, 2, 2, 2, 2, 3, 5, 7, 8, 10, 11, 13, 15, 16, 18, 19, 20, 21, 22, 23, 23, 24, 24, 25, 25, 26, 27, 27,
    28, 28, 29, 29, 30, 31,
];

/// Whether implicit RDPCM applies to a mode: exactly horizontal or vertical.
pub fn is_straight(mode: u8) -> bool {
    matches!(mode, HORIZONTAL | VERTICAL)
}

/// candModeList (8.4.2).
fn candidates(left: u8, above: u8) -> [u8; 3] {
    match (left, above) {
        (a, b) if a == b && a < 2 => [PLANAR, DC, VERTICAL],
        (a, b) if a == b => [a, 2 + (a + 29) % 32, 2 + (a - 1) % 32],
        (a, b) => {
            let third = [PLANAR, DC, VERTICAL].into_iter().find(|mode| *mode != a && *mode != b);
            [a, b, third.unwrap_or(VERTICAL)]
        }
    }
}

/// IntraPredModeY from rem_intra_luma_pred_mode.
fn remaining(mut candidates: [u8; 3], rem: u8) -> u8 {
    candidates.sort_unstable();
    candidates.into_iter().fold(rem, |mode, candidate| mode + u8::from(mode >= candidate))
}

impl<K: Sink> SliceParser<'_, K> {
    /// Reads and derives the modes of an intra unit.
    pub(super) fn intra_modes_of(&mut self, unit: &mut Unit) {
        self.has_intra_modes = true;
        let parts = if unit.part_mode == part_mode::NXN { 4 } else { 1 };
        let mut from_candidates = [false; 4];
        for flag in &mut from_candidates[..parts] {
            *flag = self.decision(at::PREV_INTRA_LUMA_PRED);
        }
        let size = 1_usize << unit.log2_size >> (2 + usize::from(parts == 4));
        for (part, &from_candidates) in from_candidates.iter().enumerate().take(parts) {
            let column = ((unit.x >> 2 & 15) as usize + (part & 1) * size) & 15;
            let row = ((unit.y >> 2 & 15) as usize + (part >> 1) * size) & 15;
            let candidates = candidates(self.intra_modes[0][row], self.intra_modes[1][column]);
            let mode = if from_candidates {
                let mpm_idx = usize::from(self.engine.bypass());
                let mpm_idx = if mpm_idx == 1 { 1 + usize::from(self.engine.bypass()) } else { 0 };
                candidates[mpm_idx]
            } else {
                remaining(candidates, (self.engine.bypass_bits(5) & 31) as u8)
            };
            unit.luma_modes[part] = mode;
            self.intra_modes[0][row..row + size].fill(mode);
            self.intra_modes[1][column..column + size].fill(mode);
        }
        let chroma_parts = match self.chroma_array_type {
            0 => 0,
            3 => parts,
            _ => 1,
        };
        for part in 0..chroma_parts {
            self.intra_chroma_pred_mode(unit, part);
        }
    }

    // H.265 8.4.3
    fn intra_chroma_pred_mode(&mut self, unit: &mut Unit, part: usize) {
        let luma = unit.luma_modes[part];
        let mode = if self.decision(at::INTRA_CHROMA_PRED_MODE) {
            let mode = [PLANAR, VERTICAL, HORIZONTAL, DC][(self.engine.bypass_bits(2) & 3) as usize];
            if mode == luma {
                34
            } else {
                mode
            }
        } else {
            unit.chroma_as_luma[part] = true;
            luma
        };
        let is_422 = self.chroma_array_type == 2;
        unit.chroma_modes[part] = if is_422 { MODES_422[usize::from(mode.min(34))] } else { mode };
    }

    /// A unit without intra mode counts as DC for its neighbours.
    pub(super) fn forget_intra_modes(&mut self, unit: &Unit) {
        if !self.has_intra_modes {
            return;
        }
        let size = 1_usize << unit.log2_size >> 2;
        for (line, along) in [(0, unit.y), (1, unit.x)] {
            let start = (along >> 2 & 15) as usize;
            self.intra_modes[line][start..start + size].fill(DC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_three_different_modes() {
        for left in 0..35 {
            for above in 0..35 {
                let [a, b, c] = candidates(left, above);
                assert!(a != b && b != c && a != c && a.max(b).max(c) < 35);
                let mut modes: Vec<u8> = (0..32).map(|rem| remaining([a, b, c], rem)).collect();
                modes.extend([a, b, c]);
                modes.sort_unstable();
                assert!(modes.into_iter().eq(0..35));
            }
        }
        assert_eq!(candidates(26, 26), [26, 25, 27]);
        assert_eq!(candidates(2, 2), [2, 33, 3]);
    }
}
