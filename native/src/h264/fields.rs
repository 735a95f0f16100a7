//! Fields and frames of both kinds of macroblocks, as one grid of cells; what field macroblocks refer to.

use std::sync::Arc;

use super::{dpb::Dpb, poc::OrderCounts, ref_lists, slice_data::FieldRefs, slice_header::SliceHeader};
use crate::{
    picture::{flags, Block, BlockClass, Picture, RefEntry, SliceRefs, Split, Structure},
    unit::SliceType,
};

/// Writes fields into a frame: macroblock row r of the top field becomes row 2 r of the frame, that of the bottom field
/// row 2 r + 1; both lie in the same 32 lines. Vertical motion is doubled: it counts in lines of the frame.
pub fn weave<'a>(fields: impl Iterator<Item = &'a Picture>, frame: &mut Picture) {
    for (index, field) in fields.enumerate() {
        if index == 0 {
            frame.reset(field.id, field.mb_cols, 2 * field.mb_rows, field.poc);
            frame.structure = Structure::Frame;
        }
        frame.poc = frame.poc.min(field.poc);
        let (first_split, first_slice) = (frame.splits.len() as u32, frame.slice_refs.len() as u16);
        frame.slice_refs.extend_from_slice(&field.slice_refs);
        frame.splits.extend(
            field
                .splits
                .iter()
                .map(|split| Split { mv: split.mv.map(|cells| cells.map(to_frame_lines)), ..*split }),
        );
        let parity = usize::from(field.structure == Structure::Bottom);
        let columns = field.mb_cols.max(1);
        let rows = frame.blocks.chunks_mut(columns).skip(parity).step_by(2);
        for (cell, block) in rows.flatten().zip(&field.blocks) {
            if block.class == BlockClass::Unknown as u8 {
                continue;
            }
            let is_split = block.flags & flags::SPLIT != 0;
            *cell = Block {
                mv: block.mv.map(to_frame_lines),
                flags: block.flags | flags::FIELD,
                split: if is_split { block.split + first_split } else { 0 },
                slice: block.slice.wrapping_add(first_slice),
                ..*block
            };
        }
    }
}

/// Copies a frame of macroblock pairs; vertical motion of field macroblocks is doubled.
pub fn in_frame_lines(pairs: &Picture, frame: &mut Picture) {
    frame.reset(pairs.id, pairs.mb_cols, pairs.mb_rows, pairs.poc);
    frame.mbaff = true;
    frame.blocks.clone_from(&pairs.blocks);
    frame.splits.clone_from(&pairs.splits);
    frame.slice_refs.clone_from(&pairs.slice_refs);
    for block in frame.blocks.iter_mut().filter(|block| block.flags & flags::FIELD != 0) {
        block.mv = block.mv.map(to_frame_lines);
        if let Some(split) =
            frame.splits.get_mut(block.split as usize).filter(|_| block.flags & flags::SPLIT != 0)
        {
            split.mv = split.mv.map(|cells| cells.map(to_frame_lines));
        }
    }
}

/// What field macroblocks of a slice refer to, if it has any.
pub fn field_refs<'a>(
    dpb: &'a Dpb,
    header: &SliceHeader,
    refs: &SliceRefs,
    counts: OrderCounts,
) -> Option<FieldRefs<'a>> {
    if !header.mbaff_frame_flag || header.slice_type != SliceType::B {
        return None;
    }
    let parities = [Structure::Top, Structure::Bottom];
    let first = refs.lists[1].first();
    Some(FieldRefs {
        refs: parities.map(|parity| ref_lists::of_field_macroblocks(dpb, refs, parity)),
        colocated: parities.map(|structure| {
            let motion = dpb.motion(&RefEntry { structure, ..*first? }, counts.frame());
            motion.map(Arc::as_ref)
        }),
        pocs: [counts.top, counts.bottom],
        bottom_is_nearer: first
            .and_then(|entry| dpb.frame(entry))
            .is_some_and(|frame| frame.bottom_is_nearer(counts.frame())),
    })
}

fn to_frame_lines([x, y]: [i16; 2]) -> [i16; 2] {
    [x, y.wrapping_mul(2)]
}
