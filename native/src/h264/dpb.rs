//! Reference pictures of a progressive stream and their marking (H.264 8.2.5).

use std::sync::Arc;

use super::{
    poc::{OrderCounts, PocState},
    slice_header::{DecRefPicMarking, MemoryManagement, SliceHeader},
    sps::Sps,
};
use crate::picture::{Picture, PictureId};

/// One frame marked "used for reference".
#[derive(Clone, Debug)]
pub struct RefFrame {
    /// `None` for frames that never came: "non-existing" ones (8.2.5.2) and lost ones.
    pub motion: Option<Arc<Picture>>,
    /// frame_num of its slices.
    pub frame_num: u32,
    /// PicOrderCnt.
    pub poc: i32,
    /// LongTermFrameIdx when it is a long-term reference.
    pub long_term_frame_idx: Option<u32>,
}

impl RefFrame {
    /// Identity of the picture, if it came.
    pub fn id(&self) -> Option<PictureId> {
        self.motion.as_ref().map(|picture| picture.id)
    }

    /// FrameNumWrap, which is PicNum for frames (8-27).
    pub fn pic_num(&self, current_frame_num: u32, max_frame_num: u32) -> i32 {
        let wrap = if self.frame_num > current_frame_num { max_frame_num as i32 } else { 0 };
        self.frame_num as i32 - wrap
    }
}

/// The frames that slices may refer to; at most 16.
#[derive(Debug, Default)]
pub struct Dpb {
    frames: Vec<RefFrame>,
    /// PrevRefFrameNum; unknown until the first picture.
    prev_ref_frame_num: Option<u32>,
}

impl Dpb {
    /// All frames marked "used for reference", in no particular order.
    pub fn frames(&self) -> &[RefFrame] {
        &self.frames
    }

    /// Motion of a reference picture.
    pub fn motion(&self, id: PictureId) -> Option<&Arc<Picture>> {
        self.frames.iter().filter_map(|frame| frame.motion.as_ref()).find(|picture| picture.id == id)
    }

    /// Forgets everything: a new sequence begins.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Fills a gap in frame_num before the picture of `header` with frames that nobody has.
    ///
    /// Lost frames are treated like the intended gaps of 8.2.5.2: the ones that did arrive keep their indices.
    // H.264 8.2.5.2
    pub fn fill_gap(&mut self, sps: &Sps, header: &SliceHeader, poc: &mut PocState) {
        let Some(previous) = self.prev_ref_frame_num.filter(|_| !header.idr_pic_flag) else { return };
        let max = sps.max_frame_num();
        let distance = (header.frame_num + max - previous) % max;
        if distance < 2 {
            return;
        }
        // Frames older than the buffer is deep would fall out again at once.
        let missing = (distance - 1).min(capacity(sps) as u32);
        for back in (1..=missing).rev() {
            let frame_num = (header.frame_num + max - back) % max;
            let gap = SliceHeader { frame_num, nal_ref_idc: 1, ..SliceHeader::default() };
            let counts =
                if sps.pic_order_cnt_type == 0 { OrderCounts::default() } else { poc.next(sps, &gap) };
            self.slide_window(sps, &gap);
            self.frames.push(RefFrame {
                motion: None,
                frame_num,
                poc: counts.frame(),
                long_term_frame_idx: None,
            });
            self.prev_ref_frame_num = Some(frame_num);
        }
    }

    /// Marks the references after a picture and keeps the picture if it is one.
    // H.264 8.2.5.1
    pub fn mark(
        &mut self,
        sps: &Sps,
        header: &SliceHeader,
        picture: &Arc<Picture>,
        counts: OrderCounts,
        poc: &mut PocState,
    ) {
        if header.nal_ref_idc == 0 {
            return;
        }
        let mut current = RefFrame {
            motion: Some(Arc::clone(picture)),
            frame_num: header.frame_num,
            poc: counts.frame(),
            long_term_frame_idx: None,
        };
        match &header.dec_ref_pic_marking {
            DecRefPicMarking::Idr { long_term_reference_flag } => {
                self.frames.clear();
                current.long_term_frame_idx = long_term_reference_flag.then_some(0);
            }
            DecRefPicMarking::SlidingWindow => self.slide_window(sps, header),
            DecRefPicMarking::Adaptive(commands) => {
                for &command in commands {
                    self.apply(sps, header, command, &mut current);
                    if command == MemoryManagement::ForgetAll {
                        current.poc = poc.restart(counts).frame();
                    }
                }
                // Only a broken stream still has no room here.
                self.slide_window(sps, header);
            }
        }
        self.prev_ref_frame_num = Some(current.frame_num);
        self.frames.push(current);
    }

    // H.264 8.2.5.3
    fn slide_window(&mut self, sps: &Sps, header: &SliceHeader) {
        while self.frames.len() >= capacity(sps) {
            let age = |frame: &RefFrame| match frame.long_term_frame_idx {
                None => (false, frame.pic_num(header.frame_num, sps.max_frame_num())),
                Some(index) => (true, index as i32),
            };
            let Some(oldest) = (0..self.frames.len()).min_by_key(|&i| age(&self.frames[i])) else { return };
            self.frames.swap_remove(oldest);
        }
    }

    // H.264 8.2.5.4
    fn apply(&mut self, sps: &Sps, header: &SliceHeader, command: MemoryManagement, current: &mut RefFrame) {
        let is_short = |frame: &RefFrame, difference_minus1: u32| {
            let pic_num = header.frame_num as i32 - (difference_minus1 as i32 + 1);
            frame.long_term_frame_idx.is_none()
                && frame.pic_num(header.frame_num, sps.max_frame_num()) == pic_num
        };
        match command {
            MemoryManagement::ForgetShortTerm { difference_of_pic_nums_minus1: difference } => {
                self.frames.retain(|frame| !is_short(frame, difference));
            }
            MemoryManagement::ForgetLongTerm { long_term_pic_num } => self.free_index(long_term_pic_num),
            MemoryManagement::MakeLongTerm { difference_of_pic_nums_minus1, long_term_frame_idx } => {
                self.free_index(long_term_frame_idx);
                let found =
                    self.frames.iter_mut().find(|frame| is_short(frame, difference_of_pic_nums_minus1));
                if let Some(frame) = found {
                    frame.long_term_frame_idx = Some(long_term_frame_idx);
                }
            }
            MemoryManagement::TrimLongTerm { max_long_term_frame_idx_plus1: end } => {
                self.frames.retain(|frame| frame.long_term_frame_idx.map_or(true, |index| index < end));
            }
            MemoryManagement::ForgetAll => {
                self.frames.clear();
                current.frame_num = 0;
            }
            MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx } => {
                self.free_index(long_term_frame_idx);
                current.long_term_frame_idx = Some(long_term_frame_idx);
            }
        }
    }

    /// LongTermFrameIdx, which is LongTermPicNum for frames, belongs to nobody afterwards.
    fn free_index(&mut self, long_term_frame_idx: u32) {
        self.frames.retain(|frame| frame.long_term_frame_idx != Some(long_term_frame_idx));
    }
}

/// Frames that fit besides the current one when it is a reference itself.
fn capacity(sps: &Sps) -> usize {
    usize::from(sps.max_num_ref_frames.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stream {
        sps: Sps,
        dpb: Dpb,
        poc: PocState,
        next_id: PictureId,
    }

    impl Stream {
        fn new(max_num_ref_frames: u8) -> Self {
            let sps = Sps { max_num_ref_frames, pic_order_cnt_type: 2, ..Sps::default() };
            Self { sps, dpb: Dpb::default(), poc: PocState::default(), next_id: 0 }
        }

        fn push(&mut self, frame_num: u32, dec_ref_pic_marking: DecRefPicMarking) {
            let idr_pic_flag = matches!(dec_ref_pic_marking, DecRefPicMarking::Idr { .. });
            let header = SliceHeader {
                frame_num,
                nal_ref_idc: 1,
                idr_pic_flag,
                dec_ref_pic_marking,
                ..Default::default()
            };
            self.dpb.fill_gap(&self.sps, &header, &mut self.poc);
            let counts = self.poc.next(&self.sps, &header);
            let picture = Arc::new(Picture { id: self.next_id, ..Picture::default() });
            self.next_id += 1;
            self.dpb.mark(&self.sps, &header, &picture, counts, &mut self.poc);
        }

        /// (frame_num, came, long-term index) sorted.
        fn state(&self) -> Vec<(u32, bool, Option<u32>)> {
            let mut state: Vec<_> = self
                .dpb
                .frames
                .iter()
                .map(|f| (f.frame_num, f.motion.is_some(), f.long_term_frame_idx))
                .collect();
            state.sort_unstable();
            state
        }
    }

    use DecRefPicMarking::{Adaptive, Idr, SlidingWindow};

    #[test]
    fn the_window_slides_over_the_wrap() {
        let mut stream = Stream::new(2);
        for frame_num in [13, 14, 15, 0] {
            stream.push(frame_num, SlidingWindow);
        }
        assert_eq!(stream.state(), [(0, true, None), (15, true, None)]);
    }

    #[test]
    fn gaps_become_missing_frames() {
        let mut stream = Stream::new(4);
        stream.push(0, Idr { long_term_reference_flag: false });
        stream.push(3, SlidingWindow);
        assert_eq!(stream.state(), [(0, true, None), (1, false, None), (2, false, None), (3, true, None)]);
        stream.push(2, SlidingWindow);
        assert_eq!(stream.state().iter().filter(|frame| frame.1).count(), 1);
    }

    #[test]
    fn joining_in_the_middle_is_no_gap() {
        let mut stream = Stream::new(4);
        stream.push(9, SlidingWindow);
        assert_eq!(stream.state(), [(9, true, None)]);
    }

    #[test]
    fn memory_management_operations() {
        let mut stream = Stream::new(4);
        stream.push(0, Idr { long_term_reference_flag: true });
        stream.push(1, SlidingWindow);
        stream.push(
            2,
            Adaptive(vec![
                MemoryManagement::TrimLongTerm { max_long_term_frame_idx_plus1: 3 },
                MemoryManagement::MakeLongTerm { difference_of_pic_nums_minus1: 0, long_term_frame_idx: 2 },
            ]),
        );
        assert_eq!(stream.state(), [(0, true, Some(0)), (1, true, Some(2)), (2, true, None)]);
        stream
            .push(3, Adaptive(vec![MemoryManagement::ForgetShortTerm { difference_of_pic_nums_minus1: 0 }]));
        stream.push(4, Adaptive(vec![MemoryManagement::ForgetLongTerm { long_term_pic_num: 2 }]));
        assert_eq!(stream.state(), [(0, true, Some(0)), (3, true, None), (4, true, None)]);
        stream.push(5, Adaptive(vec![MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx: 0 }]));
        assert_eq!(stream.state(), [(3, true, None), (4, true, None), (5, true, Some(0))]);
        stream.push(6, Adaptive(vec![MemoryManagement::ForgetAll]));
        assert_eq!(stream.state(), [(0, true, None)]);
    }

    #[test]
    fn a_broken_stream_cannot_overfill() {
        let mut stream = Stream::new(3);
        for frame_num in 0..10 {
            stream.push(
                frame_num,
                Adaptive(vec![MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx: frame_num }]),
            );
            assert!(stream.dpb.frames.len() <= 3);
        }
    }
}
