//! Order of coding tree blocks and their tiles (H.265 6.5.1), made when a pair of parameter sets is first used.

use super::{
    pps::{Pps, Tiles},
    sps::Sps,
};
use crate::error::{Error, Result};

/// Positions of coding tree blocks in raster scan and in tile scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// PicWidthInCtbsY
    pub ctb_cols: usize,
    /// PicHeightInCtbsY
    pub ctb_rows: usize,
    /// CtbAddrTsToRs
    pub ts_to_rs: Vec<u32>,
    /// CtbAddrRsToTs
    pub rs_to_ts: Vec<u32>,
    /// TileId by raster address.
    pub tile_id: Vec<u16>,
}

impl Geometry {
    /// Positions for a picture; the sequence must be supported (its size is bounded there).
    pub fn new(sps: &Sps, pps: &Pps) -> Result<Self> {
        let ctbs = |samples: u32| (samples.div_ceil(1 << sps.log2_ctb)) as usize;
        let (ctb_cols, ctb_rows) =
            (ctbs(sps.pic_width_in_luma_samples), ctbs(sps.pic_height_in_luma_samples));
        let (columns, rows) = match &pps.tiles {
            None => (vec![0, ctb_cols], vec![0, ctb_rows]),
            Some(Tiles::Uniform { columns, rows }) => {
                (uniform(*columns as usize, ctb_cols), uniform(*rows as usize, ctb_rows))
            }
            Some(Tiles::Explicit { widths, heights }) => {
                (explicit(widths, ctb_cols)?, explicit(heights, ctb_rows)?)
            }
        };
        if columns.len() > ctb_cols + 1 || rows.len() > ctb_rows + 1 {
            return Err(Error::invalid("num_tile_columns_minus1, num_tile_rows_minus1", 0));
        }
        let count = ctb_cols * ctb_rows;
        let mut geometry = Self {
            ctb_cols,
            ctb_rows,
            ts_to_rs: Vec::with_capacity(count),
            rs_to_ts: vec![0; count],
            tile_id: vec![0; count],
        };
        let mut tile = 0;
        for row in rows.windows(2) {
            for column in columns.windows(2) {
                geometry.add_tile(tile, column[0]..column[1], row[0]..row[1]);
                tile += 1;
            }
        }
        Ok(geometry)
    }

    fn add_tile(&mut self, tile: u16, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) {
        for y in rows {
            for x in columns.clone() {
                let rs = y * self.ctb_cols + x;
                self.rs_to_ts[rs] = self.ts_to_rs.len() as u32;
                self.tile_id[rs] = tile;
                self.ts_to_rs.push(rs as u32);
            }
        }
    }

    /// Number of coding tree blocks.
    pub fn count(&self) -> usize {
        self.ts_to_rs.len()
    }
}

/// Boundaries of tiles of nearly the same size, (6-3) and (6-4).
fn uniform(tiles: usize, ctbs: usize) -> Vec<usize> {
    (0..=tiles).map(|index| index * ctbs / tiles).collect()
}

fn explicit(sizes: &[u32], ctbs: usize) -> Result<Vec<usize>> {
    let mut bounds = vec![0];
    let mut at = 0;
    for &size in sizes {
        at += size as usize;
        bounds.push(at);
    }
    bounds.push(ctbs);
    if at >= ctbs {
        return Err(Error::invalid("column_width_minus1, row_height_minus1", 0));
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sps(width: u32, height: u32) -> Sps {
        let (pic_width_in_luma_samples, pic_height_in_luma_samples) = (width, height);
        Sps { pic_width_in_luma_samples, pic_height_in_luma_samples, log2_ctb: 4, ..Sps::default() }
    }

    #[test]
    fn tiles_are_visited_one_after_the_other() {
        let pps = Pps { tiles: Some(Tiles::Uniform { columns: 2, rows: 1 }), ..Pps::default() };
        let geometry = Geometry::new(&sps(80, 32), &pps).unwrap();
        assert_eq!(geometry.ts_to_rs, [0, 1, 5, 6, 2, 3, 4, 7, 8, 9]);
        assert_eq!(geometry.tile_id, [0, 0, 1, 1, 1, 0, 0, 1, 1, 1]);
        assert!((0..10).all(|rs| geometry.ts_to_rs[geometry.rs_to_ts[rs] as usize] as usize == rs));
    }

    #[test]
    fn tiles_larger_than_the_picture_are_refused() {
        let tiles = |widths: &[u32]| Tiles::Explicit { widths: widths.to_vec(), heights: Vec::new() };
        let with = |tiles| Geometry::new(&sps(80, 32), &Pps { tiles: Some(tiles), ..Pps::default() });
        assert_eq!(with(tiles(&[3])).unwrap().tile_id[..5], [0, 0, 0, 1, 1]);
        assert!(with(tiles(&[5])).is_err());
        assert!(with(Tiles::Uniform { columns: 6, rows: 1 }).is_err());
    }
}
