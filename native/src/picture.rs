//! Result planes of one picture, the same for every codec.
//!
//! One compact 32-byte [`Block`] per 16x16 luma cell, in raster order; cells whose motion differs inside
//! point to a longer [`Split`] record. Everything else (4x4 planes) is expanded from these two on request.

/// How a 16x16 cell was coded. Values are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockClass {
    /// No slice covered this cell.
    Unknown = 0,
    /// Copied from a reference picture without residual (P_Skip, B_Skip).
    Skip = 1,
    /// Predicted from reference pictures.
    Inter = 2,
    /// Predicted from its own picture.
    Intra = 3,
    /// Raw samples.
    Pcm = 4,
}

/// Bits of [`Block::flags`].
pub mod flags {
    /// Motion differs inside the cell: `split` indexes the [`super::Split`] records.
    pub const SPLIT: u8 = 1;
    /// The residual uses the 8x8 transform.
    pub const TRANSFORM_8X8: u8 = 2;
    /// Motion was (partly) inferred by direct prediction.
    pub const DIRECT: u8 = 4;
    /// H.265: reference indices differ inside an 8x8 quadrant. They lie in the split record behind that of the
    /// motion, by 4x4 block: `mv[list][block][0]`.
    pub const FINE_REFERENCES: u8 = 8;
    /// H.264: a macroblock of a field, or a field macroblock of a frame (MBAFF); `ref_idx` counts fields.
    pub const FIELD: u8 = 16;
    /// H.264: predicted from its own picture as one block (Intra_16x16).
    pub const INTRA_16X16: u8 = 32;
}

/// In [`Block::split`]: an 8x8 quadrant of 4x4 blocks with several modes of intra prediction.
pub const MODES_DIFFER: u8 = 255;

/// One 16x16 cell. 32 bytes, part of the ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Block {
    /// Per list: motion vector (x, y) of the first 4x4 block, quarter luma samples; 0 when the list is not used.
    pub mv: [[i16; 2]; 2],
    /// Per list: reference index of the first 8x8 quadrant; -1 when the list is not used (intra: both -1). VP8 has
    /// one list: last, golden, altref.
    pub ref_idx: [i8; 2],
    /// [`BlockClass`] as a number.
    pub class: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Index into the split records when [`flags::SPLIT`] is set, else 0.
    /// H.265, intra: a byte per 8x8 quadrant from the lowest on, IntraPredModeY + 1 (0 where it is not intra, or PCM),
    /// [`MODES_DIFFER`] where its 4x4 blocks differ.
    pub split: u32,
    /// Squared dequantised coefficients (luma + chroma), scaled to squared sample units (Parseval), so that they
    /// compare across QP, scaling lists and transform sizes; samples of more than 8 bits count in 8-bit steps.
    pub residual_energy: f32,
    /// Bits that the macroblock took in the stream.
    pub bit_cost: u32,
    /// CodedBlockPatternLuma (4 bits) | CodedBlockPatternChroma << 4.
    pub cbp: u16,
    /// Number of non-zero transform coefficients.
    pub coefficients: u16,
    /// Luma quantiser QP_Y; below 0 with more than 8 bits. VP8: quantiser index, 0 to 127.
    pub qp: i8,
    /// mb_type as numbered in the tables of the slice type (I: 7-11, P: 7-13, B: 7-14; intra in P and B: + 5, + 23).
    /// H.265: log2 of the size of the coding unit << 4 | PartMode.
    /// VP8: [`crate::vp8::modes::MbMode`].
    pub mb_type: u8,
    /// Number of the slice inside the picture, from 0.
    pub slice: u16,
}

/// Motion of a cell that is not uniform. 136 bytes, part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Split {
    /// Per list, per 4x4 block in raster order: (x, y) in quarter luma samples.
    pub mv: [[[i16; 2]; 16]; 2],
    /// Per list, per 8x8 quadrant in raster order; -1 when the list is not used.
    pub ref_idx: [[i8; 4]; 2],
}

const _: () = assert!(std::mem::size_of::<Block>() == 32 && std::mem::size_of::<Split>() == 136);

/// Identity of a decoded picture inside one stream; never reused.
pub type PictureId = u32;

/// Reference lists of one slice as picture identities and order counts: what later pictures need for direct
/// prediction, and what a reader needs to know where a motion vector points.
#[derive(Clone, Debug, Default)]
pub struct SliceRefs {
    /// Per list: (picture, PicOrderCnt, long-term) of every entry.
    pub lists: [Vec<RefEntry>; 2],
}

/// A frame, or one of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// Both fields.
    #[default]
    Frame,
    /// The even lines, from 0.
    Top,
    /// The odd lines.
    Bottom,
}

impl Structure {
    /// Bit 0 the top field, bit 1 the bottom field.
    pub fn fields(self) -> u8 {
        match self {
            Self::Frame => 3,
            Self::Top => 1,
            Self::Bottom => 2,
        }
    }

    /// Not a frame.
    pub fn is_field(self) -> bool {
        self != Self::Frame
    }

    /// The other field.
    pub fn opposite(self) -> Self {
        match self {
            Self::Frame => Self::Frame,
            Self::Top => Self::Bottom,
            Self::Bottom => Self::Top,
        }
    }
}

/// One entry of a reference picture list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefEntry {
    /// Which picture; `None` when it is missing (lost, or the stream was joined in the middle).
    pub id: Option<PictureId>,
    /// PicOrderCnt of that picture.
    pub poc: i32,
    /// Marked "used for long-term reference".
    pub long_term: bool,
    /// Frame, or which field of it.
    pub structure: Structure,
}

/// One picture in the making, and afterwards the co-located picture of others.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Identity inside the stream.
    pub id: PictureId,
    /// Width in macroblocks.
    pub mb_cols: usize,
    /// Height in macroblocks.
    pub mb_rows: usize,
    /// PicOrderCnt.
    pub poc: i32,
    /// Frame, or which field.
    pub structure: Structure,
    /// All cells are known and their vectors right: others may infer theirs from them.
    pub motion_known: bool,
    /// A frame of macroblock pairs (MBAFF), each two rows of cells: two frame macroblocks one above the other, or
    /// the macroblock of the top field above that of the bottom field.
    pub mbaff: bool,
    /// `mb_cols * mb_rows` cells in raster order.
    pub blocks: Vec<Block>,
    /// Motion of the cells that are not uniform.
    pub splits: Vec<Split>,
    /// Macroblocks that slices brought, those that came before included (H.264): what reading cost so far.
    pub macroblocks_read: usize,
    /// Reference lists of each slice, indexed by [`Block::slice`].
    pub slice_refs: Vec<SliceRefs>,
}

impl Picture {
    /// Makes a blank picture of this one, keeping its memory.
    pub fn reset(&mut self, id: PictureId, mb_cols: usize, mb_rows: usize, poc: i32) {
        (self.id, self.mb_cols, self.mb_rows, self.poc) = (id, mb_cols, mb_rows, poc);
        self.structure = Structure::Frame;
        self.motion_known = true;
        self.mbaff = false;
        self.macroblocks_read = 0;
        self.blocks.clear();
        self.blocks.resize(mb_cols * mb_rows, Block::default());
        self.splits.clear();
        self.slice_refs.clear();
    }

    /// Cells that some slice covered.
    pub fn covered(&self) -> usize {
        self.blocks.iter().filter(|block| block.class != BlockClass::Unknown as u8).count()
    }
}
