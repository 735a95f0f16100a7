//! Writes down everything that the metadata leaves out.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use ovbits::{
    h264::{
        poc::OrderCounts, pps::Pps, sink::Sink, slice_data::SliceInput, slice_header::SliceHeader, sps::Sps,
    },
    picture::{Picture, SliceRefs},
};

/// A residual block: its kind and its levels by index of the scan.
pub struct ResidualBlock {
    pub kind: usize,
    pub levels: Vec<(usize, i32)>,
}

/// What a macroblock that is not skipped says.
#[derive(Default)]
pub struct Macroblock {
    pub switching_intra: bool,
    pub intra_modes: Vec<Option<u8>>,
    pub intra_chroma_mode: u8,
    pub pcm: Vec<u8>,
    pub blocks: Vec<ResidualBlock>,
}

/// One slice with its parameter sets.
pub struct Slice {
    pub header: SliceHeader,
    pub sps: Sps,
    pub pps: Pps,
    /// What field macroblocks of B slices refer to (MBAFF), by parity.
    pub field_refs: Option<[SliceRefs; 2]>,
}

/// One frame or field.
pub struct Coded {
    pub picture: Picture,
    pub counts: OrderCounts,
    pub slices: BTreeMap<u16, Slice>,
    /// By raster address.
    pub macroblocks: HashMap<usize, Macroblock>,
}

#[derive(Default)]
struct State {
    slices: BTreeMap<u16, Slice>,
    macroblocks: HashMap<usize, Macroblock>,
    current: Option<usize>,
    pictures: Vec<Coded>,
}

/// Listens to the parser.
#[derive(Default)]
pub struct Recorder(RefCell<State>);

impl Recorder {
    /// The pictures that were completed since the last call.
    pub fn take(&self) -> Vec<Coded> {
        std::mem::take(&mut self.0.borrow_mut().pictures)
    }

    fn with(&self, note: impl FnOnce(&mut Macroblock)) {
        let state = &mut *self.0.borrow_mut();
        if let Some(address) = state.current {
            note(state.macroblocks.entry(address).or_default());
        }
    }
}

impl Sink for &Recorder {
    const LISTENS: bool = true;

    fn slice(self, input: &SliceInput<'_>) {
        let slice = Slice {
            header: input.header.clone(),
            sps: input.sps.clone(),
            pps: input.pps.clone(),
            field_refs: input.fields.map(|fields| fields.refs.clone()),
        };
        let state = &mut *self.0.borrow_mut();
        state.slices.insert(input.slice_index, slice);
        state.current = None;
    }

    fn macroblock(self, address: usize) {
        let state = &mut *self.0.borrow_mut();
        state.macroblocks.insert(address, Macroblock::default());
        state.current = Some(address);
    }

    fn switching_intra(self) {
        self.with(|mb| mb.switching_intra = true);
    }

    fn intra_mode(self, rem: Option<u8>) {
        self.with(|mb| mb.intra_modes.push(rem));
    }

    fn intra_chroma_mode(self, mode: u8) {
        self.with(|mb| mb.intra_chroma_mode = mode);
    }

    fn pcm(self, bytes: &[u8]) {
        self.with(|mb| mb.pcm = bytes.to_vec());
    }

    fn block(self, kind: usize) {
        self.with(|mb| mb.blocks.push(ResidualBlock { kind, levels: Vec::new() }));
    }

    fn level(self, index: usize, level: i32) {
        self.with(|mb| {
            if let Some(block) = mb.blocks.last_mut() {
                block.levels.push((index, level));
            }
        });
    }

    fn picture(self, picture: &Picture, counts: OrderCounts) {
        let state = &mut *self.0.borrow_mut();
        let coded = Coded {
            picture: picture.clone(),
            counts,
            slices: std::mem::take(&mut state.slices),
            macroblocks: std::mem::take(&mut state.macroblocks),
        };
        state.pictures.push(coded);
        state.current = None;
    }
}
