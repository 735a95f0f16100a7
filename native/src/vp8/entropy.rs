//! Probabilities that live from frame to frame (RFC 6386 9.9 to 9.11, 13.4, 17.2).

use super::{
    bool_decoder::BoolDecoder,
    coefficient_tables::DEFAULT_COEFFICIENT_PROBABILITIES,
    coefficient_update_tables::COEFFICIENT_UPDATE_PROBABILITIES,
    mode_tables::{
        DEFAULT_MV_PROBABILITIES, DEFAULT_UV_MODE_PROBABILITIES, DEFAULT_Y_MODE_PROBABILITIES,
        MV_UPDATE_PROBABILITIES,
    },
};

/// By block type, coefficient band, context of the coefficients before, node of the token tree.
pub(super) type CoefficientProbabilities = [[[[u8; 11]; 3]; 8]; 4];

/// MV contexts of the row and the column component: is_short, sign, 7 of the short tree, 10 long bits.
pub(super) type MvProbabilities = [[u8; 19]; 2];

/// All that `refresh_entropy_probs` keeps or gives back.
#[derive(Clone, Debug)]
pub(super) struct Entropy {
    pub coefficients: CoefficientProbabilities,
    pub mv: MvProbabilities,
    pub y_mode: [u8; 4],
    pub uv_mode: [u8; 3],
}

impl Default for Entropy {
    fn default() -> Self {
        Self {
            coefficients: DEFAULT_COEFFICIENT_PROBABILITIES,
            mv: DEFAULT_MV_PROBABILITIES,
            y_mode: DEFAULT_Y_MODE_PROBABILITIES,
            uv_mode: DEFAULT_UV_MODE_PROBABILITIES,
        }
    }
}

impl Entropy {
    // RFC 6386 13.4: token_prob_update()
    pub fn update_coefficients(&mut self, bits: &mut BoolDecoder) {
        let probabilities = self.coefficients.iter_mut().flatten().flatten().flatten();
        let updates = COEFFICIENT_UPDATE_PROBABILITIES.iter().flatten().flatten().flatten();
        for (probability, &update) in probabilities.zip(updates) {
            if bits.read_bool(update) {
                *probability = bits.read_probability();
            }
        }
    }

    // RFC 6386 9.10, 16.2: intra_16x16_prob_update_flag, intra_chroma_prob_update_flag
    pub fn update_intra_modes(&mut self, bits: &mut BoolDecoder) {
        if bits.read_flag() {
            self.y_mode = std::array::from_fn(|_| bits.read_probability());
        }
        if bits.read_flag() {
            self.uv_mode = std::array::from_fn(|_| bits.read_probability());
        }
    }

    // RFC 6386 17.2: mv_prob_update()
    pub fn update_mvs(&mut self, bits: &mut BoolDecoder) {
        let updates = MV_UPDATE_PROBABILITIES.iter().flatten();
        for (probability, &update) in self.mv.iter_mut().flatten().zip(updates) {
            if bits.read_bool(update) {
                *probability = match bits.read_literal(7) as u8 {
                    0 => 1,
                    x => x << 1,
                };
            }
        }
    }
}
