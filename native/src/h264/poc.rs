//! Picture order count (H.264 8.2.1).

use super::{slice_header::SliceHeader, sps::Sps};
use crate::picture::Structure;

/// What the next picture's order count is counted from.
#[derive(Clone, Debug, Default)]
pub struct PocState {
    prev_pic_order_cnt_msb: i32,
    prev_pic_order_cnt_lsb: i32,
    prev_frame_num: u32,
    prev_frame_num_offset: i32,
}

/// TopFieldOrderCnt and BottomFieldOrderCnt; of a field picture the other one is `i32::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// TopFieldOrderCnt
    pub top: i32,
    /// BottomFieldOrderCnt
    pub bottom: i32,
}

impl OrderCounts {
    /// PicOrderCnt of the frame (8-1).
    pub fn frame(self) -> i32 {
        self.top.min(self.bottom)
    }

    /// Those of a field alone.
    fn of(self, structure: Structure) -> Self {
        match structure {
            Structure::Frame => self,
            Structure::Top => Self { bottom: i32::MAX, ..self },
            Structure::Bottom => Self { top: i32::MAX, ..self },
        }
    }
}

impl PocState {
    /// Order counts of the picture that `header` begins; remembers it as the previous one.
    ///
    /// Counts wrap around on hostile input instead of overflowing.
    pub fn next(&mut self, sps: &Sps, header: &SliceHeader) -> OrderCounts {
        if header.idr_pic_flag {
            *self = Self::default();
        }
        if sps.pic_order_cnt_type == 0 {
            return self.next_from_lsb(sps, header).of(header.structure);
        }
        let wrapped = self.prev_frame_num > header.frame_num;
        let step = if wrapped { sps.max_frame_num() as i32 } else { 0 };
        let frame_num_offset = self.prev_frame_num_offset.wrapping_add(step);
        self.prev_frame_num = header.frame_num;
        self.prev_frame_num_offset = frame_num_offset;
        let number = frame_num_offset.wrapping_add(header.frame_num as i32);
        let counts = if sps.pic_order_cnt_type == 1 {
            from_cycle(sps, header, number)
        } else {
            from_decoding_order(header, number)
        };
        counts.of(header.structure)
    }

    /// After a memory_management_control_operation 5: the picture counts as the start (8.2.1, last paragraphs).
    pub fn restart(&mut self, counts: OrderCounts) -> OrderCounts {
        let first = counts.frame();
        let shifted = |count: i32| if count == i32::MAX { count } else { count.wrapping_sub(first) };
        let counts = OrderCounts { top: shifted(counts.top), bottom: shifted(counts.bottom) };
        let prev_pic_order_cnt_lsb = if counts.top == i32::MAX { 0 } else { counts.top };
        *self = Self { prev_pic_order_cnt_lsb, ..Self::default() };
        counts
    }

    // H.264 8.2.1.1
    fn next_from_lsb(&mut self, sps: &Sps, header: &SliceHeader) -> OrderCounts {
        let max_lsb = sps.max_pic_order_cnt_lsb();
        let lsb = header.pic_order_cnt_lsb as i32;
        let behind = self.prev_pic_order_cnt_lsb.wrapping_sub(lsb);
        let step = if behind >= max_lsb / 2 {
            max_lsb
        } else if behind < -max_lsb / 2 {
            -max_lsb
        } else {
            0
        };
        let msb = self.prev_pic_order_cnt_msb.wrapping_add(step);
        let top = msb.wrapping_add(lsb);
        if header.nal_ref_idc != 0 {
            self.prev_pic_order_cnt_msb = msb;
            self.prev_pic_order_cnt_lsb = lsb;
        }
        OrderCounts { top, bottom: top.wrapping_add(header.delta_pic_order_cnt_bottom) }
    }
}

// H.264 8.2.1.2
fn from_cycle(sps: &Sps, header: &SliceHeader, number: i32) -> OrderCounts {
    let sum = |offsets: &[i32]| offsets.iter().fold(0i32, |sum, &offset| sum.wrapping_add(offset));
    let cycle = sps.offset_for_ref_frame.len() as i32;
    let mut abs_frame_num = if cycle == 0 { 0 } else { number };
    if header.nal_ref_idc == 0 && abs_frame_num > 0 {
        abs_frame_num -= 1;
    }
    let mut expected = 0;
    if abs_frame_num > 0 {
        let (cycles, frame) = ((abs_frame_num - 1) / cycle, (abs_frame_num - 1) % cycle);
        expected = cycles.wrapping_mul(sum(&sps.offset_for_ref_frame));
        expected = expected.wrapping_add(sum(&sps.offset_for_ref_frame[..=frame as usize]));
    }
    if header.nal_ref_idc == 0 {
        expected = expected.wrapping_add(sps.offset_for_non_ref_pic);
    }
    let top = expected.wrapping_add(header.delta_pic_order_cnt[0]);
    let bottom =
        top.wrapping_add(sps.offset_for_top_to_bottom_field).wrapping_add(header.delta_pic_order_cnt[1]);
    OrderCounts { top, bottom }
}

// H.264 8.2.1.3
fn from_decoding_order(header: &SliceHeader, number: i32) -> OrderCounts {
    let doubled = number.wrapping_mul(2);
    let count = if header.idr_pic_flag {
        0
    } else if header.nal_ref_idc == 0 {
        doubled.wrapping_sub(1)
    } else {
        doubled
    };
    OrderCounts { top: count, bottom: count }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(frame_num: u32, pic_order_cnt_lsb: u32, nal_ref_idc: u8) -> SliceHeader {
        SliceHeader { frame_num, pic_order_cnt_lsb, nal_ref_idc, ..SliceHeader::default() }
    }

    #[test]
    fn type_0_wraps_both_ways() {
        let sps = Sps::default();
        let mut state = PocState::default();
        let idr = SliceHeader { idr_pic_flag: true, ..header(0, 0, 1) };
        let lsbs = [9, 4, 0, 12, 6];
        assert_eq!(state.next(&sps, &idr).frame(), 0);
        let counts: Vec<i32> = lsbs
            .iter()
            .enumerate()
            .map(|(i, &lsb)| state.next(&sps, &header(i as u32, lsb, 1)).frame())
            .collect();
        assert_eq!(counts, [-7, -12, -16, -20, -26]);
        let mut state = PocState::default();
        let counts: Vec<i32> =
            [6, 12, 2, 8, 14, 4].iter().map(|&lsb| state.next(&sps, &header(0, lsb, 1)).frame()).collect();
        assert_eq!(counts, [6, 12, 18, 24, 30, 36]);
    }

    #[test]
    fn type_0_ignores_pictures_nobody_refers_to() {
        let sps = Sps::default();
        let mut state = PocState::default();
        state.next(&sps, &header(0, 7, 1));
        assert_eq!(state.next(&sps, &header(1, 14, 0)).frame(), 14);
        assert_eq!(state.next(&sps, &header(1, 13, 1)).frame(), 13);
    }

    #[test]
    fn type_1_follows_the_cycle() {
        let sps = Sps {
            pic_order_cnt_type: 1,
            offset_for_ref_frame: vec![2, 4],
            offset_for_non_ref_pic: -1,
            ..Sps::default()
        };
        let mut state = PocState::default();
        let counts: Vec<i32> = (0..6).map(|n| state.next(&sps, &header(n, 0, 1)).frame()).collect();
        assert_eq!(counts, [0, 2, 6, 8, 12, 14]);
        assert_eq!(state.next(&sps, &header(6, 0, 0)).frame(), 13);
    }

    #[test]
    fn type_2_is_decoding_order_across_the_wrap() {
        let sps = Sps { pic_order_cnt_type: 2, ..Sps::default() };
        let mut state = PocState::default();
        let frames = [(14, 1), (15, 1), (0, 0), (0, 1)];
        let counts: Vec<i32> =
            frames.iter().map(|&(n, idc)| state.next(&sps, &header(n, 0, idc)).frame()).collect();
        assert_eq!(counts, [28, 30, 31, 32]);
    }

    #[test]
    fn operation_5_restarts_at_zero() {
        let sps = Sps::default();
        let mut state = PocState::default();
        let counts = state.next(&sps, &header(3, 6, 1));
        assert_eq!(state.restart(counts).frame(), 0);
        assert_eq!(state.next(&sps, &header(1, 2, 1)).frame(), 2);
    }
}
