//! Context variables (H.265 9.3.2.2): where each syntax element has its own, and their initial values.

/// Context states, `pStateIdx << 1 | valMps`; a power of two so that masked indices need no check.
pub type Contexts = [u8; 256];

/// Offsets of the context variables of each syntax element.
pub mod at {
    pub(in crate::h265) const SAO_MERGE: usize = 0;
    pub(in crate::h265) const SAO_TYPE_IDX: usize = 1;
    pub(in crate::h265) const SPLIT_CU: usize = 2;
    pub(in crate::h265) const CU_TRANSQUANT_BYPASS: usize = 5;
    pub(in crate::h265) const CU_SKIP: usize = 6;
    pub(in crate::h265) const CU_QP_DELTA_ABS: usize = 9;
    pub(in crate::h265) const PRED_MODE: usize = 11;
    pub(in crate::h265) const PART_MODE: usize = 12;
    pub(in crate::h265) const PREV_INTRA_LUMA_PRED: usize = 16;
    pub(in crate::h265) const INTRA_CHROMA_PRED_MODE: usize = 17;
    pub(in crate::h265) const MERGE_FLAG: usize = 18;
    pub(in crate::h265) const MERGE_IDX: usize = 19;
    pub(in crate::h265) const INTER_PRED_IDC: usize = 20;
    pub(in crate::h265) const REF_IDX: usize = 25;
    pub(in crate::h265) const ABS_MVD_GREATER0: usize = 27;
    pub(in crate::h265) const ABS_MVD_GREATER1: usize = 28;
    pub(in crate::h265) const MVP_FLAG: usize = 29;
    pub(in crate::h265) const RQT_ROOT_CBF: usize = 30;
    pub(in crate::h265) const SPLIT_TRANSFORM: usize = 31;
    pub(in crate::h265) const CBF_LUMA: usize = 34;
    pub(in crate::h265) const CBF_CHROMA: usize = 36;
    pub(in crate::h265) const TRANSFORM_SKIP: usize = 41;
    pub(in crate::h265) const EXPLICIT_RDPCM: usize = 43;
    pub(in crate::h265) const EXPLICIT_RDPCM_DIR: usize = 45;
    pub(in crate::h265) const LAST_X_PREFIX: usize = 47;
    pub(in crate::h265) const LAST_Y_PREFIX: usize = 65;
    pub(in crate::h265) const CODED_SUB_BLOCK: usize = 83;
    pub(in crate::h265) const SIG_COEFF: usize = 87;
    pub(in crate::h265) const GREATER1: usize = 131;
    pub(in crate::h265) const GREATER2: usize = 155;
    pub(in crate::h265) const LOG2_RES_SCALE_ABS: usize = 161;
    pub(in crate::h265) const RES_SCALE_SIGN: usize = 169;
    pub(in crate::h265) const CU_CHROMA_QP_OFFSET_FLAG: usize = 171;
    pub(in crate::h265) const CU_CHROMA_QP_OFFSET_IDX: usize = 172;
    /// Number of context variables.
    pub(in crate::h265) const COUNT: usize = 173;
}

/// initValue of an element that the slice type does not have: any will do.
const UNUSED: u8 = 154;

/// initValue by initType 0 (I), 1 and 2 (P and B, swapped by cabac_init_flag); Tables 9-5 to 9-37 in the order of [`at`].
#[rustfmt::skip]
static INIT_VALUES: [[u8; at::COUNT]; 3] = [
    [
        // SAO, split, bypass
        153, 200, 139, 141, 157, 154,
        // cu_skip_flag, cu_qp_delta_abs, pred_mode_flag, part_mode
        UNUSED, UNUSED, UNUSED, 154, 154, UNUSED, 184, UNUSED, UNUSED, UNUSED,
        // intra modes
        184, 63,
        // merge, inter_pred_idc, ref_idx, mvd, mvp, rqt_root_cbf
        UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED,
        // split_transform_flag, cbf_luma, cbf of chroma
        153, 138, 138, 111, 141, 94, 138, 182, 154, 154,
        // transform_skip_flag, explicit_rdpcm
        139, 139, 139, 139, 139, 139,
        // last_sig_coeff_x_prefix and y
        110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123, 63,
        110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123, 63,
        // coded_sub_block_flag
        91, 171, 134, 141,
        // sig_coeff_flag: luma, chroma, the two of transform_skip_context_enabled_flag
        111, 111, 125, 110, 110, 94, 124, 108, 124, 107, 125, 141, 179, 153, 125, 107, 125, 141, 179, 153, 125,
        107, 125, 141, 179, 153, 125,
        140, 139, 182, 182, 152, 136, 152, 136, 153, 136, 139, 111, 136, 139, 111,
        141, 111,
        // coeff_abs_level_greater1_flag, greater2
        140, 92, 137, 138, 140, 152, 138, 139, 153, 74, 149, 92, 139, 107, 122, 152, 140, 179, 166, 182, 140, 227,
        122, 197,
        138, 153, 136, 167, 152, 152,
        // cross-component prediction, chroma offsets
        154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154,
    ],
    [
        153, 185, 107, 139, 126, 154,
        197, 185, 201, 154, 154, 149, 154, 139, 154, 154,
        154, 152,
        110, 122, 95, 79, 63, 31, 31, 153, 153, 140, 198, 168, 79,
        124, 138, 94, 153, 111, 149, 107, 167, 154, 154,
        139, 139, 139, 139, 139, 139,
        125, 110, 94, 110, 95, 79, 125, 111, 110, 78, 110, 111, 111, 95, 94, 108, 123, 108,
        125, 110, 94, 110, 95, 79, 125, 111, 110, 78, 110, 111, 111, 95, 94, 108, 123, 108,
        121, 140, 61, 154,
        155, 154, 139, 153, 139, 123, 123, 63, 153, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154,
        166, 183, 140, 136, 153, 154,
        170, 153, 123, 123, 107, 121, 107, 121, 167, 151, 183, 140, 151, 183, 140,
        140, 140,
        154, 196, 196, 167, 154, 152, 167, 182, 182, 134, 149, 136, 153, 121, 136, 137, 169, 194, 166, 167, 154, 167,
        137, 182,
        107, 167, 91, 122, 107, 167,
        154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154,
    ],
    [
        153, 160, 107, 139, 126, 154,
        197, 185, 201, 154, 154, 134, 154, 139, 154, 154,
        183, 152,
        154, 137, 95, 79, 63, 31, 31, 153, 153, 169, 198, 168, 79,
        224, 167, 122, 153, 111, 149, 92, 167, 154, 154,
        139, 139, 139, 139, 139, 139,
        125, 110, 124, 110, 95, 94, 125, 111, 111, 79, 125, 126, 111, 111, 79, 108, 123, 93,
        125, 110, 124, 110, 95, 94, 125, 111, 111, 79, 125, 126, 111, 111, 79, 108, 123, 93,
        121, 140, 61, 154,
        170, 154, 139, 153, 139, 123, 123, 63, 124, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154,
        166, 183, 140, 136, 153, 154,
        170, 153, 138, 138, 122, 121, 122, 121, 167, 151, 183, 140, 151, 183, 140,
        140, 140,
        154, 196, 167, 167, 154, 152, 167, 182, 182, 134, 149, 136, 153, 121, 136, 122, 169, 208, 166, 167, 154, 152,
        167, 182,
        107, 167, 91, 107, 107, 167,
        154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154, 154,
    ],
];

/// Initial states (`pStateIdx << 1 | valMps`) of all context variables.
// H.265 9.3.2.2, (9-4) to (9-6)
pub fn init_contexts(init_type: usize, slice_qp: i32) -> Contexts {
    let mut contexts = [0; 256];
    for (context, &value) in contexts.iter_mut().zip(&INIT_VALUES[init_type % 3]) {
        let slope = i32::from(value >> 4) * 5 - 45;
        let offset = (i32::from(value & 15) << 3) - 16;
        let state = (((slope * slice_qp.clamp(0, 51)) >> 4) + offset).clamp(1, 126);
        *context = if state <= 63 { (63 - state) << 1 } else { (state - 64) << 1 | 1 } as u8;
    }
    contexts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_start_near_the_middle_for_value_154() {
        // slopeIdx 9 and offsetIdx 10: slope 0, offset 64, which is state 0 with most probable symbol 1.
        let contexts = init_contexts(0, 30);
        assert_eq!(contexts[at::CU_TRANSQUANT_BYPASS], 1);
        // 153: offset 56 gives preCtxState 56, state 7, symbol 0.
        assert_eq!(contexts[at::SAO_MERGE], 7 << 1);
        assert!(contexts[at::COUNT..].iter().all(|&context| context == 0));
    }
}
