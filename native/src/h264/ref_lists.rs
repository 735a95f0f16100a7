//! Reference picture lists of a slice (H.264 8.2.4).

use std::cmp::Reverse;

use super::{
    dpb::{frame_of_number, Dpb, RefFrame},
    slice_header::{Modification, SliceHeader},
    sps::Sps,
};
use crate::{
    picture::{RefEntry, SliceRefs, Structure},
    unit::SliceType,
};

/// What a list holds where no picture is.
const MISSING: RefEntry = RefEntry { id: None, poc: 0, long_term: false, structure: Structure::Frame };

/// A reference: a frame, or a field of it.
type Reference<'a> = (&'a RefFrame, Structure);

/// RefPicList0 and RefPicList1 of a slice whose picture has order count `poc`.
// H.264 8.2.4
pub fn build(dpb: &Dpb, sps: &Sps, header: &SliceHeader, poc: i32) -> SliceRefs {
    let initial = match header.slice_type {
        SliceType::I => return SliceRefs::default(),
        SliceType::P => [initial_p(dpb, sps, header), Vec::new()],
        SliceType::B => initial_b(dpb, sps, header, poc),
    };
    let mut refs = SliceRefs::default();
    for (list, initial) in initial.into_iter().enumerate().take(header.lists()) {
        let length = usize::from(header.num_ref_idx_active_minus1[list]) + 1;
        let modified = modify(initial, length, &header.ref_pic_list_modification[list], dpb, sps, header);
        refs.lists[list] = modified.into_iter().map(|reference| reference.map_or(MISSING, entry)).collect();
    }
    refs
}

/// Reference lists of the field macroblocks of one parity in a frame (MBAFF): of each frame the field of the own
/// parity, then the other one.
// H.264 8.4.2.1
pub fn of_field_macroblocks(dpb: &Dpb, refs: &SliceRefs, parity: Structure) -> SliceRefs {
    let fields = |entry: &RefEntry| {
        [parity, parity.opposite()].map(|structure| {
            let counts = dpb.frame(entry).map(|frame| frame.counts).unwrap_or_default();
            let poc = if structure == Structure::Top { counts.top } else { counts.bottom };
            RefEntry { structure, poc, ..*entry }
        })
    };
    SliceRefs { lists: [0, 1].map(|list: usize| refs.lists[list].iter().flat_map(fields).collect()) }
}

fn entry((frame, structure): Reference<'_>) -> RefEntry {
    let poc = match structure {
        Structure::Frame => frame.poc(),
        Structure::Top => frame.counts.top,
        Structure::Bottom => frame.counts.bottom,
    };
    RefEntry { id: frame.id(), poc, long_term: frame.is_long(structure.fields()), structure }
}

/// Frames that a picture of `structure` may take references from: both fields for a frame, any for a field.
fn candidates(dpb: &Dpb, structure: Structure, long_term: bool) -> Vec<&RefFrame> {
    let any = [Structure::Top, Structure::Bottom];
    let wanted = if structure.is_field() { &any[..] } else { &[Structure::Frame] };
    let is_candidate = |frame: &&RefFrame| {
        wanted.iter().any(|structure| {
            let fields = structure.fields();
            if long_term {
                frame.is_long(fields)
            } else {
                frame.is_short(fields)
            }
        })
    };
    dpb.frames().iter().filter(is_candidate).collect()
}

fn long_term(dpb: &Dpb, structure: Structure) -> Vec<&RefFrame> {
    let mut frames = candidates(dpb, structure, true);
    frames.sort_by_key(|frame| frame.long_term_frame_idx);
    frames
}

/// The initial list: frames as they are, or their fields by turns.
fn references<'a>(short: &[&'a RefFrame], long: &[&'a RefFrame], structure: Structure) -> Vec<Reference<'a>> {
    if structure.is_field() {
        let mut fields = alternate(short, structure, RefFrame::is_short);
        fields.extend(alternate(long, structure, RefFrame::is_long));
        return fields;
    }
    short.iter().chain(long).map(|&frame| (frame, Structure::Frame)).collect()
}

/// Fields by turns, beginning with the parity of the current one; when one parity is used up, the rest follows.
// H.264 8.2.4.2.5
fn alternate<'a>(
    frames: &[&'a RefFrame],
    structure: Structure,
    is_marked: fn(&RefFrame, u8) -> bool,
) -> Vec<Reference<'a>> {
    let of = |parity: Structure| {
        let fields = frames.iter().filter(move |frame| is_marked(frame, parity.fields()));
        fields.map(move |&frame| (frame, parity))
    };
    let (mut same, mut other) = (of(structure), of(structure.opposite()));
    let mut fields = Vec::new();
    loop {
        let Some(field) = same.next() else {
            fields.extend(other);
            return fields;
        };
        fields.push(field);
        let Some(field) = other.next() else {
            fields.extend(same);
            return fields;
        };
        fields.push(field);
    }
}

// H.264 8.2.4.2.1, 8.2.4.2.2
fn initial_p<'a>(dpb: &'a Dpb, sps: &Sps, header: &SliceHeader) -> Vec<Reference<'a>> {
    let mut short = candidates(dpb, header.structure, false);
    short.sort_by_key(|frame| Reverse(frame.frame_num_wrap(header.frame_num, sps.max_frame_num())));
    references(&short, &long_term(dpb, header.structure), header.structure)
}

// H.264 8.2.4.2.3, 8.2.4.2.4
fn initial_b<'a>(dpb: &'a Dpb, sps: &Sps, header: &SliceHeader, poc: i32) -> [Vec<Reference<'a>>; 2] {
    // Frames of a gap have an order count unless it is written in slice headers.
    let usable = |frame: &&RefFrame| sps.pic_order_cnt_type != 0 || frame.id().is_some();
    let short = candidates(dpb, header.structure, false).into_iter().filter(usable);
    let (mut before, mut after): (Vec<_>, Vec<_>) = short.partition(|frame| frame.poc() <= poc);
    before.sort_by_key(|frame| Reverse(frame.poc()));
    after.sort_by_key(|frame| frame.poc());
    let long = long_term(dpb, header.structure);
    let list0 = references(&[&before[..], &after].concat(), &long, header.structure);
    let mut list1 = references(&[&after[..], &before].concat(), &long, header.structure);
    if list1.len() > 1 && list0.iter().zip(&list1).all(|(a, b)| is_same(*a, *b)) {
        list1.swap(0, 1);
    }
    [list0, list1]
}

fn is_same(a: Reference<'_>, b: Reference<'_>) -> bool {
    std::ptr::eq(a.0, b.0) && a.1 == b.1
}

/// Cuts or fills `initial` to `length` and moves the named pictures to the front.
// H.264 8.2.4.3
fn modify<'a>(
    initial: Vec<Reference<'a>>,
    length: usize,
    commands: &[Modification],
    dpb: &'a Dpb,
    sps: &Sps,
    header: &SliceHeader,
) -> Vec<Option<Reference<'a>>> {
    let mut list: Vec<Option<Reference<'_>>> = initial.into_iter().map(Some).collect();
    list.resize(length, None);
    let field = i32::from(header.structure.is_field());
    let max_pic_num = (sps.max_frame_num() as i32) << field;
    let curr_pic_num = ((header.frame_num as i32) << field) + field;
    let mut pic_num_pred = curr_pic_num;
    for (index, &command) in commands.iter().enumerate().take(length) {
        let picture = match command {
            Modification::PicNum(difference) => {
                pic_num_pred = (pic_num_pred + difference).rem_euclid(max_pic_num);
                let wrap = if pic_num_pred > curr_pic_num { max_pic_num } else { 0 };
                find_short(dpb, sps, header, pic_num_pred - wrap)
            }
            Modification::LongTerm(number) => find_long(dpb, header, number),
        };
        list.insert(index, picture);
        if let Some(picture) = picture {
            let mut position = 0;
            list.retain(|other| {
                position += 1;
                position <= index + 1 || !other.is_some_and(|other| is_same(other, picture))
            });
        }
        list.resize(length, None);
    }
    list
}

fn find_short<'a>(dpb: &'a Dpb, sps: &Sps, header: &SliceHeader, pic_num: i32) -> Option<Reference<'a>> {
    let (number, fields) = frame_of_number(pic_num, header.structure);
    let found = dpb.frames().iter().find(|frame| {
        frame.is_short(fields) && frame.frame_num_wrap(header.frame_num, sps.max_frame_num()) == number
    });
    found.map(|frame| (frame, structure_of(fields)))
}

fn find_long<'a>(dpb: &'a Dpb, header: &SliceHeader, long_term_pic_num: u32) -> Option<Reference<'a>> {
    let (index, fields) = frame_of_number(i32::try_from(long_term_pic_num).ok()?, header.structure);
    let found = dpb.frames().iter().find(|frame| {
        frame.is_long(fields) && frame.long_term_frame_idx.map(i64::from) == Some(i64::from(index))
    });
    found.map(|frame| (frame, structure_of(fields)))
}

fn structure_of(fields: u8) -> Structure {
    match fields {
        1 => Structure::Top,
        2 => Structure::Bottom,
        _ => Structure::Frame,
    }
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
            dpb.mark(&sps, &header, &picture, counts, &mut PocState::default(), false);
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

    /// Frames as pairs of fields; the last frame has its top field only.
    fn dpb_of_fields(frames: u32) -> (Dpb, Sps) {
        let sps = Sps { max_num_ref_frames: 8, ..Sps::default() };
        let mut dpb = Dpb::default();
        for field in 0..2 * frames - 1 {
            let structure = if field % 2 == 0 { Structure::Top } else { Structure::Bottom };
            let header =
                SliceHeader { frame_num: field / 2, nal_ref_idc: 1, structure, ..SliceHeader::default() };
            let picture = Arc::new(Picture { id: field / 2, structure, ..Picture::default() });
            let count = field as i32;
            let counts = crate::h264::poc::OrderCounts {
                top: if field % 2 == 0 { count } else { i32::MAX },
                bottom: if field % 2 == 1 { count } else { i32::MAX },
            };
            dpb.mark(&sps, &header, &picture, counts, &mut PocState::default(), field % 2 == 1);
        }
        (dpb, sps)
    }

    fn fields(refs: &SliceRefs, list: usize) -> Vec<(u32, Structure)> {
        refs.lists[list].iter().map(|entry| (entry.id.unwrap(), entry.structure)).collect()
    }

    #[test]
    fn fields_take_turns_from_the_own_parity_on() {
        use Structure::{Bottom, Top};
        let (dpb, sps) = dpb_of_fields(2);
        let mut header = SliceHeader { structure: Bottom, ..header(SliceType::P, 1, 3) };
        // The second field refers to the first one of its own frame.
        assert_eq!(fields(&build(&dpb, &sps, &header, 3), 0), [(0, Bottom), (1, Top), (0, Top)]);
        // CurrPicNum is 3, PicNum of the opposite parity even: 3 - 1 = 2 is the top field of frame 1.
        header.ref_pic_list_modification[0] = vec![Modification::PicNum(-1), Modification::PicNum(-2)];
        assert_eq!(fields(&build(&dpb, &sps, &header, 3), 0), [(1, Top), (0, Top), (0, Bottom)]);
    }

    #[test]
    fn frames_need_both_fields() {
        let (dpb, sps) = dpb_of_fields(3);
        let refs = build(&dpb, &sps, &header(SliceType::P, 3, 2), 6);
        assert_eq!(fields(&refs, 0), [(1, Structure::Frame), (0, Structure::Frame)]);
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
