//! Reference picture lists of a slice (H.264 8.2.4), frames only.

use std::cmp::Reverse;

use super::{
    dpb::{Dpb, RefFrame},
    slice_header::{Modification, SliceHeader, SliceType},
    sps::Sps,
};
use crate::picture::{RefEntry, SliceRefs};

/// What a list holds where no picture is.
const MISSING: RefEntry = RefEntry { id: None, poc: 0, long_term: false };

/// RefPicList0 and RefPicList1 of a slice whose picture has order count `poc`.
// H.264 8.2.4
pub fn build(dpb: &Dpb, sps: &Sps, header: &SliceHeader, poc: i32) -> SliceRefs {
    let initial = match header.slice_type {
        SliceType::I => return SliceRefs::default(),
        SliceType::P => [initial_p(dpb, sps, header), Vec::new()],
        SliceType::B => initial_b(dpb, sps, poc),
    };
    let mut refs = SliceRefs::default();
    for (list, initial) in initial.into_iter().enumerate().take(header.lists()) {
        let length = usize::from(header.num_ref_idx_active_minus1[list]) + 1;
        let modified = modify(initial, length, &header.ref_pic_list_modification[list], dpb, sps, header);
        refs.lists[list] = modified.into_iter().map(|frame| frame.map_or(MISSING, entry)).collect();
    }
    refs
}

fn entry(frame: &RefFrame) -> RefEntry {
    RefEntry { id: frame.id(), poc: frame.poc, long_term: frame.long_term_frame_idx.is_some() }
}

fn long_term(dpb: &Dpb) -> Vec<&RefFrame> {
    let mut frames: Vec<_> =
        dpb.frames().iter().filter(|frame| frame.long_term_frame_idx.is_some()).collect();
    frames.sort_by_key(|frame| frame.long_term_frame_idx);
    frames
}

// H.264 8.2.4.2.1
fn initial_p<'a>(dpb: &'a Dpb, sps: &Sps, header: &SliceHeader) -> Vec<&'a RefFrame> {
    let mut list: Vec<_> = dpb.frames().iter().filter(|frame| frame.long_term_frame_idx.is_none()).collect();
    list.sort_by_key(|frame| Reverse(frame.pic_num(header.frame_num, sps.max_frame_num())));
    list.extend(long_term(dpb));
    list
}

// H.264 8.2.4.2.3
fn initial_b<'a>(dpb: &'a Dpb, sps: &Sps, poc: i32) -> [Vec<&'a RefFrame>; 2] {
    // Frames of a gap have an order count unless it is written in slice headers.
    let usable = |frame: &&RefFrame| sps.pic_order_cnt_type != 0 || frame.motion.is_some();
    let short = dpb.frames().iter().filter(|frame| frame.long_term_frame_idx.is_none()).filter(usable);
    let (mut before, mut after): (Vec<_>, Vec<_>) = short.partition(|frame| frame.poc <= poc);
    before.sort_by_key(|frame| Reverse(frame.poc));
    after.sort_by_key(|frame| frame.poc);
    let long = long_term(dpb);
    let list0 = [&before[..], &after, &long].concat();
    let mut list1 = [&after[..], &before, &long].concat();
    let same = list0.iter().zip(&list1).all(|(a, b)| std::ptr::eq(*a, *b));
    if list1.len() > 1 && same {
        list1.swap(0, 1);
    }
    [list0, list1]
}

/// Cuts or fills `initial` to `length` and moves the named pictures to the front.
// H.264 8.2.4.3
fn modify<'a>(
    initial: Vec<&'a RefFrame>,
    length: usize,
    commands: &[Modification],
    dpb: &'a Dpb,
    sps: &Sps,
    header: &SliceHeader,
) -> Vec<Option<&'a RefFrame>> {
    let mut list: Vec<Option<&RefFrame>> = initial.into_iter().map(Some).collect();
    list.resize(length, None);
    let max_pic_num = sps.max_frame_num() as i32;
    let mut pic_num_pred = header.frame_num as i32;
    for (index, &command) in commands.iter().enumerate().take(length) {
        let picture = match command {
            Modification::PicNum(difference) => {
                pic_num_pred = (pic_num_pred + difference).rem_euclid(max_pic_num);
                let wrap = if pic_num_pred > header.frame_num as i32 { max_pic_num } else { 0 };
                find_short(dpb, sps, header, pic_num_pred - wrap)
            }
            Modification::LongTerm(number) => {
                dpb.frames().iter().find(|frame| frame.long_term_frame_idx == Some(number))
            }
        };
        list.insert(index, picture);
        if let Some(picture) = picture {
            let mut position = 0;
            list.retain(|other| {
                position += 1;
                position <= index + 1 || !other.is_some_and(|other| std::ptr::eq(other, picture))
            });
        }
        list.resize(length, None);
    }
    list
}

fn find_short<'a>(dpb: &'a Dpb, sps: &Sps, header: &SliceHeader, pic_num: i32) -> Option<&'a RefFrame> {
    dpb.frames().iter().find(|frame| {
        frame.long_term_frame_idx.is_none() && frame.pic_num(header.frame_num, sps.max_frame_num()) == pic_num
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        h264::{poc::PocState, slice_header::DecRefPicMarking, slice_header::MemoryManagement},
        picture::Picture,
    };

    /// References 0 to n-1 in decoding order with the given order counts; frame_num = id.
    fn dpb_of(pocs: &[i32], marking: impl Fn(usize) -> DecRefPicMarking) -> (Dpb, Sps) {
        let sps = Sps { max_num_ref_frames: 8, ..Sps::default() };
        let mut dpb = Dpb::default();
        for (i, &poc) in pocs.iter().enumerate() {
            let header = SliceHeader {
                frame_num: i as u32,
                nal_ref_idc: 1,
                dec_ref_pic_marking: marking(i),
                ..SliceHeader::default()
            };
            let picture = Arc::new(Picture { id: i as u32, ..Picture::default() });
            let counts = crate::h264::poc::OrderCounts { top: poc, bottom: poc };
            dpb.mark(&sps, &header, &picture, counts, &mut PocState::default());
        }
        (dpb, sps)
    }

    fn header(slice_type: SliceType, frame_num: u32, length: u8) -> SliceHeader {
        SliceHeader {
            slice_type,
            frame_num,
            num_ref_idx_active_minus1: [length - 1; 2],
            ..SliceHeader::default()
        }
    }

    fn ids(refs: &SliceRefs, list: usize) -> Vec<i64> {
        refs.lists[list].iter().map(|entry| entry.id.map_or(-1, i64::from)).collect()
    }

    #[test]
    fn p_lists_go_back_in_decoding_order_and_are_filled() {
        let (dpb, sps) = dpb_of(&[0, 8, 4], |_| DecRefPicMarking::SlidingWindow);
        let refs = build(&dpb, &sps, &header(SliceType::P, 3, 5), 12);
        assert_eq!(ids(&refs, 0), [2, 1, 0, -1, -1]);
        assert!(refs.lists[1].is_empty());
    }

    #[test]
    fn b_lists_go_away_from_the_current_picture() {
        let (dpb, sps) = dpb_of(&[0, 8, 4, 12], |_| DecRefPicMarking::SlidingWindow);
        let refs = build(&dpb, &sps, &header(SliceType::B, 4, 4), 6);
        assert_eq!(ids(&refs, 0), [2, 0, 1, 3]);
        assert_eq!(ids(&refs, 1), [1, 3, 2, 0]);
    }

    #[test]
    fn equal_b_lists_swap_before_they_are_cut() {
        let (dpb, sps) = dpb_of(&[0, 8], |_| DecRefPicMarking::SlidingWindow);
        let refs = build(&dpb, &sps, &header(SliceType::B, 2, 1), 20);
        assert_eq!((ids(&refs, 0), ids(&refs, 1)), (vec![1], vec![0]));
    }

    #[test]
    fn long_term_pictures_come_last_by_index() {
        let (dpb, sps) = dpb_of(&[0, 2, 4], |i| {
            let index = 5 - i as u32;
            DecRefPicMarking::Adaptive(if i < 2 {
                vec![MemoryManagement::MakeCurrentLongTerm { long_term_frame_idx: index }]
            } else {
                Vec::new()
            })
        });
        let refs = build(&dpb, &sps, &header(SliceType::P, 3, 3), 6);
        assert_eq!(ids(&refs, 0), [2, 1, 0]);
        assert_eq!(
            refs.lists[0].iter().map(|entry| entry.long_term).collect::<Vec<_>>(),
            [false, true, true]
        );
    }

    #[test]
    fn modification_moves_and_wraps() {
        let (dpb, sps) = dpb_of(&[0, 2, 4, 6], |_| DecRefPicMarking::SlidingWindow);
        let mut header = header(SliceType::P, 4, 4);
        // 4 - 4 = 0, then 0 - 1 = -1 (missing), then -1 - 13 = -14 -> 2
        let steps = [-4, -1, -13].map(Modification::PicNum);
        header.ref_pic_list_modification[0] = steps[..1].to_vec();
        assert_eq!(ids(&build(&dpb, &sps, &header, 8), 0), [0, 3, 2, 1]);
        header.ref_pic_list_modification[0] = steps.to_vec();
        assert_eq!(ids(&build(&dpb, &sps, &header, 8), 0), [0, -1, 2, 3]);
    }

    #[test]
    fn the_same_picture_may_stand_twice() {
        let (dpb, sps) = dpb_of(&[0, 2], |_| DecRefPicMarking::SlidingWindow);
        let mut header = header(SliceType::P, 2, 3);
        // 2 - 1 = 1, then 1 - 16 = 1 again: the copy x264 makes for weighted prediction
        header.ref_pic_list_modification[0] = vec![Modification::PicNum(-1), Modification::PicNum(-16)];
        assert_eq!(ids(&build(&dpb, &sps, &header, 4), 0), [1, 1, 0]);
    }
}
