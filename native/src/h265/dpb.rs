//! Order counts, reference picture sets and reference lists (H.265 8.3).
//!
//! A compressed-domain parser outputs pictures in decoding order, so the buffer holds references alone; what the
//! set of a picture does not name is dropped at once, which bounds it to sixteen.

use std::sync::Arc;

use super::{
    nal_type::NalHeader,
    slice_header::{LongTerm, SliceHeader},
    sps::Sps,
};
use crate::{
    picture::{Picture, RefEntry, SliceRefs, Structure},
    unit::SliceType,
};

/// A picture that later ones may refer to.
#[derive(Clone, Debug)]
struct Reference {
    picture: Arc<Picture>,
    /// Marked "used for long-term reference".
    long_term: bool,
}

/// What the current picture refers to: RefPicSetStCurrBefore, RefPicSetStCurrAfter and RefPicSetLtCurr.
#[derive(Clone, Debug, Default)]
struct CurrentSet {
    before: Vec<RefEntry>,
    after: Vec<RefEntry>,
    long_term: Vec<RefEntry>,
}

/// References and order count state of one stream.
#[derive(Debug, Default)]
pub struct Dpb {
    references: Vec<Reference>,
    current: CurrentSet,
    /// PicOrderCntVal of prevTid0Pic.
    previous_tid0_poc: i32,
}

impl Dpb {
    /// Forgets all pictures.
    pub fn clear(&mut self) {
        self.references.clear();
    }

    /// PicOrderCntVal of a new picture; `restarts` when it begins a sequence (NoRaslOutputFlag).
    // H.265 8.3.1
    pub fn order_count(&mut self, nal: NalHeader, header: &SliceHeader, sps: &Sps, restarts: bool) -> i32 {
        let lsb = header.slice_pic_order_cnt_lsb as i32;
        let max_lsb = 1_i32 << sps.log2_max_pic_order_cnt_lsb;
        let previous_lsb = self.previous_tid0_poc & (max_lsb - 1);
        let previous_msb = self.previous_tid0_poc.wrapping_sub(previous_lsb);
        let msb = if restarts {
            0
        } else if lsb < previous_lsb && previous_lsb - lsb >= max_lsb / 2 {
            previous_msb.wrapping_add(max_lsb)
        } else if lsb > previous_lsb && lsb - previous_lsb > max_lsb / 2 {
            previous_msb.wrapping_sub(max_lsb)
        } else {
            previous_msb
        };
        let poc = msb.wrapping_add(lsb);
        if nal.temporal_id == 0 && !nal.is_leading() && !nal.is_sub_layer_non_reference() {
            self.previous_tid0_poc = poc;
        }
        poc
    }

    /// Derives the reference picture set of a picture and drops what it does not name.
    // H.265 8.3.2
    pub fn apply_set(&mut self, header: &SliceHeader, sps: &Sps, poc: i32) {
        let mut kept = Vec::new();
        let mut current = CurrentSet::default();
        for named in &header.long_term {
            let found = self.find_long_term(named, sps, poc);
            let entry = entry_of(found.as_ref(), long_term_poc(named, sps, poc), true);
            if named.used {
                current.long_term.push(entry);
            }
            kept.extend(found.map(|picture| Reference { picture, long_term: true }));
        }
        let set = &header.short_term;
        for (named, target) in [(&set.before, &mut current.before), (&set.after, &mut current.after)] {
            for one in named {
                let wanted = poc.wrapping_add(one.delta_poc);
                // A picture that became long-term stays so.
                let found = self
                    .references
                    .iter()
                    .find(|reference| !reference.long_term && reference.picture.poc == wanted)
                    .map(|reference| Arc::clone(&reference.picture));
                if one.used {
                    target.push(entry_of(found.as_ref(), wanted, false));
                }
                kept.extend(found.map(|picture| Reference { picture, long_term: false }));
            }
        }
        self.references = kept;
        self.current = current;
    }

    fn find_long_term(&self, named: &LongTerm, sps: &Sps, poc: i32) -> Option<Arc<Picture>> {
        let wanted = long_term_poc(named, sps, poc);
        let mask = match named.delta_poc_msb_cycle {
            Some(_) => -1,
            None => (1 << sps.log2_max_pic_order_cnt_lsb) - 1,
        };
        let matches = |reference: &&Reference| reference.picture.poc & mask == wanted & mask;
        self.references.iter().find(matches).map(|reference| Arc::clone(&reference.picture))
    }

    /// RefPicList0 and RefPicList1 of a slice.
    // H.265 8.3.4
    pub fn build_lists(&self, header: &SliceHeader) -> SliceRefs {
        let CurrentSet { before, after, long_term } = &self.current;
        let mut refs = SliceRefs::default();
        let lists = match header.slice_type {
            SliceType::I => 0,
            SliceType::P => 1,
            SliceType::B => 2,
        };
        for list in 0..lists {
            let (first, second) = if list == 0 { (before, after) } else { (after, before) };
            let initial: Vec<RefEntry> = first.iter().chain(second).chain(long_term).copied().collect();
            if initial.is_empty() {
                continue;
            }
            refs.lists[list] = (0..header.num_ref_idx_active[list] as usize)
                .map(|index| match &header.list_entries[list] {
                    Some(entries) => initial[usize::from(entries[index]) % initial.len()],
                    None => initial[index % initial.len()],
                })
                .collect();
        }
        refs
    }

    /// The motion of a reference, for temporal prediction.
    pub fn motion(&self, entry: RefEntry) -> Option<&Arc<Picture>> {
        let id = entry.id?;
        self.references.iter().map(|reference| &reference.picture).find(|picture| picture.id == id)
    }

    /// Makes a finished picture a short-term reference.
    pub fn insert(&mut self, picture: &Arc<Picture>) {
        self.references.push(Reference { picture: Arc::clone(picture), long_term: false });
    }

    /// Pictures held.
    pub fn len(&self) -> usize {
        self.references.len()
    }

    /// Whether no picture is held.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }
}

/// pocLt: the whole order count when its high bits are sent, else the low bits.
fn long_term_poc(named: &LongTerm, sps: &Sps, poc: i32) -> i32 {
    let lsb = named.poc_lsb as i32;
    let Some(cycle) = named.delta_poc_msb_cycle else { return lsb };
    let max_lsb = 1_i32 << sps.log2_max_pic_order_cnt_lsb;
    let msb = poc & !(max_lsb - 1);
    msb.wrapping_sub((cycle as i32).wrapping_mul(max_lsb)).wrapping_add(lsb)
}

fn entry_of(found: Option<&Arc<Picture>>, wanted: i32, long_term: bool) -> RefEntry {
    RefEntry {
        id: found.map(|picture| picture.id),
        poc: found.map_or(wanted, |picture| picture.poc),
        long_term,
        structure: Structure::Frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h265::ref_pic_set::{ShortTerm, ShortTermSet};

    fn sps() -> Sps {
        Sps { log2_max_pic_order_cnt_lsb: 4, ..Sps::default() }
    }

    fn trail(lsb: u32) -> SliceHeader {
        SliceHeader { slice_pic_order_cnt_lsb: lsb, ..SliceHeader::default() }
    }

    const TRAIL_R: NalHeader = NalHeader { nal_unit_type: 1, nuh_layer_id: 0, temporal_id: 0 };

    #[test]
    fn order_counts_go_on_where_their_low_bits_wrap() {
        let mut dpb = Dpb::default();
        let counts: Vec<i32> =
            [0, 8, 4, 12, 2, 14, 1].map(|lsb| dpb.order_count(TRAIL_R, &trail(lsb), &sps(), false)).into();
        assert_eq!(counts, [0, 8, 4, 12, 18, 14, 17]);
        assert_eq!(dpb.order_count(TRAIL_R, &trail(3), &sps(), true), 3);
    }

    #[test]
    fn lists_repeat_the_set_and_follow_entries() {
        let mut dpb = Dpb::default();
        for (id, poc) in [(1, 0), (2, 4), (3, 8)] {
            dpb.insert(&Arc::new(Picture { id, poc, ..Picture::default() }));
        }
        let one = |delta_poc| ShortTerm { delta_poc, used: true };
        let mut header = SliceHeader {
            slice_type: SliceType::B,
            short_term: ShortTermSet { before: vec![one(-2)], after: vec![one(2), one(5)] },
            long_term: vec![LongTerm { poc_lsb: 0, delta_poc_msb_cycle: None, used: true }],
            num_ref_idx_active: [5, 2],
            ..SliceHeader::default()
        };
        dpb.apply_set(&header, &sps(), 6);
        let pocs =
            |refs: &SliceRefs| refs.lists.clone().map(|list| list.iter().map(|e| e.poc).collect::<Vec<_>>());
        let refs = dpb.build_lists(&header);
        assert_eq!(pocs(&refs), [vec![4, 8, 11, 0, 4], vec![8, 11]]);
        assert_eq!(refs.lists[0].iter().filter(|entry| entry.id.is_none()).count(), 1);
        assert!(refs.lists[0][3].long_term);
        header.list_entries[1] = Some(vec![3, 0]);
        assert_eq!(pocs(&dpb.build_lists(&header))[1], [0, 8]);
        assert_eq!(dpb.len(), 3);
        dpb.apply_set(&SliceHeader::default(), &sps(), 7);
        assert!(dpb.is_empty());
    }
}
