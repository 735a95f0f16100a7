//! Reference pictures and their marking (H.264 8.2.5).

use std::sync::Arc;

use super::{
    poc::{OrderCounts, PocState},
    slice_header::{DecRefPicMarking, MemoryManagement, SliceHeader},
    sps::Sps,
};
use crate::picture::{Picture, PictureId, RefEntry, Structure};

/// One frame of which at least a field is marked "used for reference".
#[derive(Clone, Debug, Default)]
pub struct RefFrame {
    /// Identity of the frame; its fields share it.
    pub frame_id: PictureId,
    /// Motion of a picture coded as frame. All three are `None` for frames that never came: "non-existing" ones
    /// (8.2.5.2) and lost ones.
    pub motion: Option<Arc<Picture>>,
    /// Motion of fields coded as fields, top and bottom.
    pub fields: [Option<Arc<Picture>>; 2],
    /// frame_num of its slices.
    pub frame_num: u32,
    /// TopFieldOrderCnt and BottomFieldOrderCnt; `i32::MAX` of a field that did not come yet.
    pub counts: OrderCounts,
    /// Fields that are references ([`Structure::fields`]).
    pub used: u8,
    /// Those of them that are long-term references.
    pub long: u8,
    /// LongTermFrameIdx when a field is a long-term reference.
    pub long_term_frame_idx: Option<u32>,
}

impl RefFrame {
    /// Identity of the picture, if it came.
    pub fn id(&self) -> Option<PictureId> {
        let came = self.motion.is_some() || self.fields.iter().any(Option::is_some);
        came.then_some(self.frame_id)
    }

    /// PicOrderCnt of the frame, or of the field that is there.
    pub fn poc(&self) -> i32 {
        self.counts.frame()
    }

    /// Whether all of `fields` are short-term references.
    pub fn is_short(&self, fields: u8) -> bool {
        self.used & !self.long & fields == fields
    }

    /// Whether all of `fields` are long-term references.
    pub fn is_long(&self, fields: u8) -> bool {
        self.used & self.long & fields == fields
    }

    /// Whether the bottom field is at least as near to order count `poc` as the top field.
    pub fn bottom_is_nearer(&self, poc: i32) -> bool {
        let distance = |count: i32| count.wrapping_sub(poc).wrapping_abs();
        distance(self.counts.top) >= distance(self.counts.bottom)
    }

    /// FrameNumWrap (8-27).
    pub fn frame_num_wrap(&self, current_frame_num: u32, max_frame_num: u32) -> i32 {
        let wrap = if self.frame_num > current_frame_num { max_frame_num as i32 } else { 0 };
        self.frame_num as i32 - wrap
    }

    /// Takes `fields` out of the references.
    fn forget(&mut self, fields: u8) {
        self.used &= !fields;
        self.long &= !fields;
        if self.long == 0 {
            self.long_term_frame_idx = None;
        }
    }
}

/// Numbers of frames in frames, of fields in fields: twice the frame's, and one more of the same parity (8-28 to 8-33).
///
/// Returns the number of the frame and which fields are meant.
pub fn frame_of_number(number: i32, structure: Structure) -> (i32, u8) {
    if !structure.is_field() {
        return (number, 3);
    }
    let same = number & 1 == 1;
    (number >> 1, if same { structure.fields() } else { structure.opposite().fields() })
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

    /// Motion of a reference picture as direct prediction in a picture of order count `poc` sees it (8.4.1.2.1): of a
    /// frame coded as two fields, the field that is nearer.
    pub fn motion(&self, entry: &RefEntry, poc: i32) -> Option<&Arc<Picture>> {
        let frame = self.frame(entry)?;
        if let Some(motion) = &frame.motion {
            return Some(motion);
        }
        let bottom = match entry.structure {
            Structure::Frame => frame.bottom_is_nearer(poc),
            field => field == Structure::Bottom,
        };
        frame.fields[usize::from(bottom)].as_ref()
    }

    /// The frame that a list entry is, or is a field of; `None` when it never came.
    pub fn frame(&self, entry: &RefEntry) -> Option<&RefFrame> {
        self.frames.iter().find(|frame| frame.id().is_some() && frame.id() == entry.id)
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
            self.frames.push(RefFrame { frame_num, counts, used: 3, ..RefFrame::default() });
            self.prev_ref_frame_num = Some(frame_num);
        }
    }

    /// Marks the references after a picture and keeps the picture if it is one; `second` of two fields joins the first.
    // H.264 8.2.5.1
    pub fn mark(
        &mut self,
        sps: &Sps,
        header: &SliceHeader,
        picture: &Arc<Picture>,
        counts: OrderCounts,
        poc: &mut PocState,
        second: bool,
    ) {
        if header.nal_ref_idc == 0 {
            return;
        }
        let fields = header.structure.fields();
        let mut current = match self.frames.iter().position(|frame| second && frame.id() == Some(picture.id))
        {
            Some(first) => self.frames.swap_remove(first),
            None => RefFrame {
                frame_id: picture.id,
                frame_num: header.frame_num,
                counts: OrderCounts { top: i32::MAX, bottom: i32::MAX },
                ..RefFrame::default()
            },
        };
        let joins = current.used != 0;
        match header.structure {
            Structure::Frame => (current.motion, current.counts) = (Some(Arc::clone(picture)), counts),
            Structure::Top => {
                (current.fields[0], current.counts.top) = (Some(Arc::clone(picture)), counts.top)
            }
            Structure::Bottom => {
                (current.fields[1], current.counts.bottom) = (Some(Arc::clone(picture)), counts.bottom);
            }
        }
        current.used |= fields;
        match &header.dec_ref_pic_marking {
            DecRefPicMarking::Idr { long_term_reference_flag } => {
                if !second {
                    self.frames.clear();
                }
                if *long_term_reference_flag {
                    current.long |= fields;
                    current.long_term_frame_idx = Some(0);
                }
            }
            // The first field made room for both.
            DecRefPicMarking::SlidingWindow if joins => {}
            DecRefPicMarking::SlidingWindow => self.slide_window(sps, header),
            DecRefPicMarking::Adaptive(commands) => {
                for &command in commands {
                    self.apply(sps, header, command, &mut current);
                    if command == MemoryManagement::ForgetAll {
                        current.counts = poc.restart(counts);
                    }
                }
                // Only a broken stream still has no room here.
                if !joins {
                    self.slide_window(sps, header);
                }
            }
        }
        self.prev_ref_frame_num = Some(current.frame_num);
        self.frames.push(current);
    }

    // H.264 8.2.5.3
    fn slide_window(&mut self, sps: &Sps, header: &SliceHeader) {
        while self.frames.len() >= capacity(sps) {
            let age = |frame: &RefFrame| match frame.long_term_frame_idx {
                None => (false, frame.frame_num_wrap(header.frame_num, sps.max_frame_num())),
                Some(index) => (true, index as i32),
            };
            let Some(oldest) = (0..self.frames.len()).min_by_key(|&i| age(&self.frames[i])) else { return };
            self.frames.swap_remove(oldest);
        }
    }

    // H.264 8.2.5.4
    fn apply(&mut self, sps: &Sps, header: &SliceHeader, command: MemoryManagement, current: &mut RefFrame) {
        // The first field of the current frame may be meant, too.
        let first_field = current.used & !header.structure.fields();
        let short_of = |difference_minus1: u32| {
            let scale = if header.structure.is_field() { 2 * header.frame_num + 1 } else { header.frame_num };
            frame_of_number(scale as i32 - (difference_minus1 as i32 + 1), header.structure)
        };
        let is_short = |frame: &RefFrame, (number, fields): (i32, u8)| {
            frame.is_short(fields) && frame.frame_num_wrap(header.frame_num, sps.max_frame_num()) == number
        };
        match command {
            MemoryManagement::ForgetShortTerm { difference_of_pic_nums_minus1: difference } => {
                let meant = short_of(difference);
                if meant.1 == first_field && is_short(current, meant) {
                    current.forget(meant.1);
                } else if let Some(frame) = self.frames.iter_mut().find(|frame| is_short(frame, meant)) {
                    frame.forget(meant.1);
                }
            }
            MemoryManagement::ForgetLongTerm { long_term_pic_num } => {
                let (index, fields) = frame_of_number(long_term_pic_num as i32, header.structure);
                let frames = self.frames.iter_mut().chain([&mut *current]);
                frames
                    .filter(|frame| {
                        frame.long_term_frame_idx.map(|i| i as i32) == Some(index) && frame.is_long(fields)
                    })
                    .for_each(|frame| frame.forget(fields));
            }
            MemoryManagement::MakeLongTerm { difference_of_pic_nums_minus1, long_term_frame_idx } => {
                let meant = short_of(difference_of_pic_nums_minus1);
                let in_current = meant.1 == first_field && is_short(current, meant);
                let position = self.frames.iter().position(|frame| is_short(frame, meant));
                let keep = if in_current { None } else { position.map(|i| self.frames[i].frame_id) };
                self.free_index(long_term_frame_idx, keep);
                let found = match (in_current, position) {
                    (true, _) => Some(&mut *current),
                    (false, Some(_)) => self.frames.iter_mut().find(|frame| is_short(frame, meant)),
                    (false, None) => None,
                };
                if let Some(frame) = found {
                    frame.long |= meant.1;
                    frame.long_term_frame_idx = Some(long_term_frame_idx);
                }
            }
            MemoryManagement::TrimLongTerm { max_long_term_frame_idx_plus1: end } => {
                let frames = self.frames.iter_mut().chain([&mut *current]);
                frames
                    .filter(|frame| frame.long_term_frame_idx.is_some_and(|index| index >= end))
                    .for_each(|frame| frame.forget(frame.long));
            }
            MemoryManagement::ForgetAll => {
                self.frames.clear();
                current.forget(first_field);
                current.frame_num = 0;
            }
            MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx } => {
                self.free_index(long_term_frame_idx, None);
                current.long |= header.structure.fields();
                current.long_term_frame_idx = Some(long_term_frame_idx);
            }
        }
        self.frames.retain(|frame| frame.used != 0);
    }

    /// A LongTermFrameIdx belongs to nobody afterwards, but to the frame that keeps it.
    fn free_index(&mut self, long_term_frame_idx: u32, keep: Option<PictureId>) {
        let frames = self.frames.iter_mut().filter(|frame| Some(frame.frame_id) != keep);
        frames
            .filter(|frame| frame.long_term_frame_idx == Some(long_term_frame_idx))
            .for_each(|frame| frame.forget(frame.long));
        self.frames.retain(|frame| frame.used != 0);
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
            self.dpb.mark(&self.sps, &header, &picture, counts, &mut self.poc, false);
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
