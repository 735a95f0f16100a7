//! Weighted sample prediction (H.264 8.4.2.3).

use ovbits::{h264::slice_header::SliceHeader, picture::RefEntry};

/// How one or two predictions become one, in one plane.
#[derive(Clone, Copy, Debug)]
pub enum Weighting {
    /// The prediction, or the mean of two.
    Default,
    /// Weights and offsets by list, and logWD.
    Weights { weights: [i32; 2], offsets: [i32; 2], log_wd: u32 },
}

impl Weighting {
    /// Explicit weights (8.4.2.3, explicit mode) at indices into the lists of the slice; -1 where a list is not used.
    pub fn explicit(header: &SliceHeader, ref_idx: [i32; 2], plane: usize, bit_depth: u32) -> Self {
        let table = &header.pred_weight_table;
        let of = |list: usize| {
            let index = usize::try_from(ref_idx[list]).ok();
            index.map_or((0, 0), |index| table.weights[list][index][plane])
        };
        let both = [of(0), of(1)];
        Self::Weights {
            weights: both.map(|(weight, _)| weight.into()),
            offsets: both.map(|(_, offset)| i32::from(offset) << (bit_depth - 8)),
            log_wd: table.log2_weight_denom[usize::from(plane > 0)].into(),
        }
    }

    /// Implicit weights of two references of a picture with order count `poc`.
    // H.264 8.4.2.3, (8-280) to (8-283)
    pub fn implicit(poc: i32, first: &RefEntry, second: &RefEntry) -> Self {
        let equal = [32, 32];
        let (tb, td) = ((poc - first.poc).clamp(-128, 127), (second.poc - first.poc).clamp(-128, 127));
        let weights = if td == 0 || first.long_term || second.long_term {
            equal
        } else {
            let tx = (16384 + (td / 2).abs()) / td;
            let scale = ((tb * tx + 32) >> 6).clamp(-1024, 1023) >> 2;
            if (-64..=128).contains(&scale) {
                [64 - scale, scale]
            } else {
                equal
            }
        };
        Self::Weights { weights, offsets: [0, 0], log_wd: 5 }
    }

    /// The sample of one or two predictions.
    pub fn sample(self, predictions: [Option<i32>; 2], max: i32) -> i32 {
        let value = match (self, predictions) {
            (Self::Default, [Some(a), Some(b)]) => (a + b + 1) >> 1,
            (Self::Default, [Some(one), None] | [None, Some(one)]) => one,
            (Self::Weights { weights: [v, w], offsets, log_wd }, [Some(a), Some(b)]) => {
                ((a * v + b * w + (1 << log_wd)) >> (log_wd + 1)) + ((offsets[0] + offsets[1] + 1) >> 1)
            }
            (Self::Weights { weights, offsets, log_wd }, [first, second]) => {
                let list = usize::from(first.is_none());
                let scaled = first.or(second).expect("a prediction") * weights[list];
                let rounded = if log_wd > 0 { (scaled + (1 << (log_wd - 1))) >> log_wd } else { scaled };
                rounded + offsets[list]
            }
            (Self::Default, [None, None]) => panic!("no prediction"),
        };
        value.clamp(0, max)
    }
}
