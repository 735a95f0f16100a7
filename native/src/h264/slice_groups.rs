//! Slice groups (flexible macroblock ordering, H.264 7.3.2.2 and 8.2.2).

use std::sync::Arc;

use super::{pps::Pps, slice_header::SliceHeader, sps::Sps};
use crate::{bits::BitReader, error::Result, picture::Picture};

/// How the macroblocks of a picture are dealt to slice groups (slice_group_map_type).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceGroups {
    /// 0: runs of macroblocks, by turns.
    Interleaved {
        /// Length of the run of each group, minus one.
        run_length_minus1: Vec<u32>,
    },
    /// 1: a pattern that keeps neighbours apart.
    Dispersed {
        /// Number of groups.
        groups: u32,
    },
    /// 2: rectangles in front of what is left over.
    Foreground {
        /// First and last macroblock of each rectangle; earlier ones lie in front.
        rectangles: Vec<[u32; 2]>,
    },
    /// 3 box-out, 4 raster scan, 5 wipe: two groups whose share changes from picture to picture.
    Changing {
        /// 3, 4 or 5.
        slice_group_map_type: u8,
        /// slice_group_change_direction_flag
        reverse: bool,
        /// SliceGroupChangeRate
        rate: u32,
    },
    /// 6: a number for every macroblock.
    Explicit {
        /// slice_group_id
        slice_group_id: Vec<u8>,
    },
}

impl SliceGroups {
    /// Reads what follows num_slice_groups_minus1 (1..=7).
    // H.264 7.3.2.2
    pub fn read(r: &mut BitReader<'_>, num_slice_groups_minus1: u8, sps: &Sps) -> Result<Self> {
        let size = (sps.mb_cols() * sps.map_unit_rows()) as u32;
        let count = u32::from(num_slice_groups_minus1);
        Ok(match r.ue_max(6, "slice_group_map_type")? {
            0 => Self::Interleaved {
                run_length_minus1: (0..=count)
                    .map(|_| r.ue_max(size - 1, "run_length_minus1"))
                    .collect::<Result<_>>()?,
            },
            1 => Self::Dispersed { groups: count + 1 },
            2 => Self::Foreground {
                rectangles: (0..count)
                    .map(|_| Ok([r.ue_max(size - 1, "top_left")?, r.ue_max(size - 1, "bottom_right")?]))
                    .collect::<Result<_>>()?,
            },
            6 => {
                if r.ue("pic_size_in_map_units_minus1")? != size - 1 {
                    return Err(r.invalid("pic_size_in_map_units_minus1"));
                }
                let bits = 32 - count.leading_zeros();
                let id = |_| {
                    let id = r.u(bits, "slice_group_id")?;
                    if id > count {
                        return Err(r.invalid("slice_group_id"));
                    }
                    Ok(id as u8)
                };
                Self::Explicit { slice_group_id: (0..size).map(id).collect::<Result<_>>()? }
            }
            changing => Self::Changing {
                slice_group_map_type: changing as u8,
                reverse: r.flag("slice_group_change_direction_flag")?,
                rate: r.ue_max(size - 1, "slice_group_change_rate_minus1")? + 1,
            },
        })
    }

    /// slice_group_change_cycle of a slice header; 0 where there is none.
    // H.264 7.4.3
    pub fn read_change_cycle(&self, r: &mut BitReader<'_>, sps: &Sps) -> Result<u32> {
        let Self::Changing { rate, .. } = self else { return Ok(0) };
        let cycles = ((sps.mb_cols() * sps.map_unit_rows()) as u32).div_ceil(*rate);
        let bits = 32 - cycles.leading_zeros();
        let cycle = r.u(bits, "slice_group_change_cycle")?;
        if cycle > cycles {
            return Err(r.invalid("slice_group_change_cycle"));
        }
        Ok(cycle)
    }

    /// Slice group of every map unit of a picture of `columns` by `rows`.
    // H.264 8.2.2.1 to 8.2.2.7
    pub fn map(&self, columns: usize, rows: usize, slice_group_change_cycle: u32) -> Vec<u8> {
        let size = columns * rows;
        match self {
            Self::Interleaved { run_length_minus1 } => {
                let runs = run_length_minus1.iter().enumerate().cycle();
                let groups = runs.flat_map(|(group, &run)| (0..=run).map(move |_| group as u8));
                groups.take(size).collect()
            }
            Self::Dispersed { groups } => {
                let groups = *groups as usize;
                (0..size).map(|i| ((i % columns + i / columns * groups / 2) % groups) as u8).collect()
            }
            Self::Foreground { rectangles } => foreground(rectangles, columns, rows),
            Self::Changing { slice_group_map_type, reverse, rate } => {
                let first = (slice_group_change_cycle as usize * *rate as usize).min(size);
                if *slice_group_map_type == 3 {
                    return box_out(columns, rows, *reverse, first);
                }
                let upper_left = if *reverse { size - first } else { first };
                let group = |i: usize| u8::from((i < upper_left) == *reverse);
                match slice_group_map_type {
                    4 => (0..size).map(group).collect(),
                    _ => (0..size).map(|i| group(i % columns * rows + i / columns)).collect(),
                }
            }
            Self::Explicit { slice_group_id } => slice_group_id.iter().copied().take(size).collect(),
        }
    }
}

/// The last map that was made: the slices of a picture share it.
#[derive(Debug, Default)]
pub struct MapCache(Option<CachedMap>);

#[derive(Debug)]
struct CachedMap {
    groups: SliceGroups,
    key: MapKey,
    map: Arc<[u8]>,
}

/// What a map depends on besides the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MapKey {
    slice_group_change_cycle: u32,
    columns: usize,
    map_unit_rows: usize,
    /// A frame beside fields: two rows share the map units of one.
    doubled: bool,
}

/// Making a map costs what reading one macroblock in so many costs.
const COST_OF_MAP: usize = 8;

impl MapCache {
    /// Slice group of every macroblock of the picture that a slice belongs to, of every pair where there are pairs;
    /// `None` without slice groups. A map that has to be made counts as macroblocks read.
    pub fn map_of(
        &mut self,
        sps: &Sps,
        pps: &Pps,
        header: &SliceHeader,
        picture: &mut Picture,
    ) -> Option<Arc<[u8]>> {
        let groups = pps.slice_groups.as_ref()?;
        let key = MapKey::new(sps, header);
        if let Some(cached) = self.0.as_ref().filter(|cached| cached.key == key && cached.groups == *groups) {
            return Some(Arc::clone(&cached.map));
        }
        picture.macroblocks_read += picture.blocks.len() / COST_OF_MAP;
        let map: Arc<[u8]> = key.map(groups).into();
        self.0 = Some(CachedMap { groups: groups.clone(), key, map: Arc::clone(&map) });
        Some(map)
    }
}

impl MapKey {
    fn new(sps: &Sps, header: &SliceHeader) -> Self {
        let of_frame = !header.structure.is_field() && !header.mbaff_frame_flag;
        Self {
            slice_group_change_cycle: header.slice_group_change_cycle,
            columns: sps.mb_cols(),
            map_unit_rows: sps.map_unit_rows(),
            doubled: of_frame && !sps.frame_mbs_only_flag,
        }
    }

    // H.264 8.2.2.8
    fn map(&self, groups: &SliceGroups) -> Vec<u8> {
        let units = groups.map(self.columns, self.map_unit_rows, self.slice_group_change_cycle);
        if !self.doubled {
            return units;
        }
        units.chunks(self.columns).flat_map(|row| [row, row]).flatten().copied().collect()
    }
}

// H.264 8.2.2.3
fn foreground(rectangles: &[[u32; 2]], columns: usize, rows: usize) -> Vec<u8> {
    let mut map = vec![rectangles.len() as u8; columns * rows];
    for (group, rectangle) in rectangles.iter().enumerate().rev() {
        let [(left, top), (right, bottom)] =
            rectangle.map(|corner| (corner as usize % columns, corner as usize / columns));
        for row in map.chunks_mut(columns).skip(top).take((bottom + 1).saturating_sub(top)) {
            row.iter_mut()
                .skip(left)
                .take((right + 1).saturating_sub(left))
                .for_each(|cell| *cell = group as u8);
        }
    }
    map
}

/// A spiral from the middle: `first` macroblocks of group 0.
// H.264 8.2.2.4
fn box_out(columns: usize, rows: usize, reverse: bool, first: usize) -> Vec<u8> {
    let (width, height, turn) = (columns as i32, rows as i32, i32::from(reverse));
    let mut map = vec![1_u8; columns * rows];
    let (mut x, mut y) = ((width - turn) / 2, (height - turn) / 2);
    let (mut left, mut right, mut top, mut bottom) = (x, x, y, y);
    let (mut x_step, mut y_step) = (turn - 1, turn);
    let mut placed = 0;
    while placed < first {
        if let Some(cell) = map.get_mut((y * width + x) as usize) {
            placed += usize::from(*cell);
            *cell = 0;
        }
        if x_step == -1 && x == left {
            left = (left - 1).max(0);
            x = left;
            (x_step, y_step) = (0, 2 * turn - 1);
        } else if x_step == 1 && x == right {
            right = (right + 1).min(width - 1);
            x = right;
            (x_step, y_step) = (0, 1 - 2 * turn);
        } else if y_step == -1 && y == top {
            top = (top - 1).max(0);
            y = top;
            (x_step, y_step) = (1 - 2 * turn, 0);
        } else if y_step == 1 && y == bottom {
            bottom = (bottom + 1).min(height - 1);
            y = bottom;
            (x_step, y_step) = (2 * turn - 1, 0);
        } else {
            (x, y) = (x + x_step, y + y_step);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Block;

    fn changing(slice_group_map_type: u8, reverse: bool) -> SliceGroups {
        SliceGroups::Changing { slice_group_map_type, reverse, rate: 1 }
    }

    #[test]
    fn runs_take_turns() {
        let groups = SliceGroups::Interleaved { run_length_minus1: vec![1, 0] };
        assert_eq!(groups.map(4, 2, 0), [0, 0, 1, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn dispersed_neighbours_differ() {
        assert_eq!(SliceGroups::Dispersed { groups: 2 }.map(3, 2, 0), [0, 1, 0, 1, 0, 1]);
        let map = SliceGroups::Dispersed { groups: 4 }.map(6, 6, 0);
        assert!((0..36).all(|i| (i % 6 == 5 || map[i] != map[i + 1]) && (i >= 30 || map[i] != map[i + 6])));
    }

    #[test]
    fn earlier_rectangles_lie_in_front() {
        let groups = SliceGroups::Foreground { rectangles: vec![[0, 3], [0, 7]] };
        assert_eq!(groups.map(3, 3, 0), [0, 1, 2, 0, 1, 2, 1, 1, 2]);
    }

    #[test]
    fn frames_beside_fields_share_map_units_of_two_rows() {
        let sps = Sps { pic_width_in_mbs_minus1: 1, pic_height_in_map_units_minus1: 1, ..Sps::default() };
        let groups = SliceGroups::Explicit { slice_group_id: vec![0, 1, 1, 2] };
        let of = |header: SliceHeader| MapKey::new(&sps, &header).map(&groups);
        assert_eq!(of(SliceHeader::default()), [0, 1, 0, 1, 1, 2, 1, 2]);
        let pairs = SliceHeader { mbaff_frame_flag: true, ..SliceHeader::default() };
        assert_eq!(of(pairs), [0, 1, 1, 2]);
    }

    #[test]
    fn a_map_is_made_once_and_counts() {
        let sps = Sps { pic_width_in_mbs_minus1: 7, pic_height_in_map_units_minus1: 3, ..Sps::default() };
        let pps = Pps { slice_groups: Some(changing(3, false)), ..Pps::default() };
        let mut picture = Picture { blocks: vec![Block::default(); 64], ..Picture::default() };
        let mut cache = MapCache::default();
        let mut maps = |cycle| {
            let header = SliceHeader { slice_group_change_cycle: cycle, ..SliceHeader::default() };
            let map = cache.map_of(&sps, &pps, &header, &mut picture).unwrap();
            (map.iter().filter(|&&group| group == 0).count(), picture.macroblocks_read)
        };
        assert_eq!([maps(3), maps(3), maps(4), maps(3)], [(6, 8), (6, 8), (8, 16), (6, 24)]);
    }

    #[test]
    fn changing_groups_grow_by_the_cycle() {
        assert_eq!(changing(4, false).map(2, 2, 3), [0, 0, 0, 1]);
        assert_eq!(changing(4, true).map(2, 2, 3), [1, 0, 0, 0]);
        assert_eq!(changing(5, false).map(2, 2, 2), [0, 1, 0, 1]);
        for reverse in [false, true] {
            for (columns, rows) in [(5, 4), (1, 6), (6, 1), (1, 1)] {
                for cycle in 0..=columns * rows {
                    let map = changing(3, reverse).map(columns, rows, cycle as u32);
                    assert_eq!(map.iter().filter(|&&group| group == 0).count(), cycle);
                }
            }
        }
        assert_eq!(changing(3, false).map(3, 3, 1)[4], 0);
    }
}
