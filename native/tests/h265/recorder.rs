//! Writes down everything that the metadata leaves out.

use std::cell::RefCell;

use ovbits::{
    h265::{
        coding_unit::Unit,
        param_sets::ActiveSets,
        sink::{CodedBlock, Sink},
        slice_data::SliceInput,
        slice_header::SliceHeader,
    },
    picture::Picture,
};

/// One thing that the stream said.
pub enum Event {
    Slice {
        index: u16,
        header: Box<SliceHeader>,
        sets: ActiveSets,
    },
    Unit(Unit),
    /// Luma samples of a PCM unit.
    Pcm(Vec<i32>),
    Leaf {
        x: u32,
        y: u32,
        log2_size: u32,
    },
    Block {
        block: CodedBlock,
        qp: i32,
        levels: Vec<(usize, usize, i32)>,
    },
}

/// One picture.
pub struct Coded {
    pub picture: Picture,
    pub events: Vec<Event>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
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

    fn push(&self, event: Event) {
        self.0.borrow_mut().events.push(event);
    }
}

impl Sink for &Recorder {
    const LISTENS: bool = true;

    fn slice(self, input: &SliceInput<'_>) {
        let (index, sets) = (input.slice_index, input.sets.clone());
        self.push(Event::Slice { index, header: Box::new(input.header.clone()), sets });
    }

    fn unit(self, unit: &Unit) {
        self.push(Event::Unit(*unit));
    }

    fn pcm(self, rbsp: &[u8], bit: u64) {
        let mut state = self.0.borrow_mut();
        let depth = state.events.iter().rev().find_map(|event| match event {
            Event::Slice { sets, .. } => sets.sps.pcm.map(|pcm| u64::from(pcm.bit_depth[0])),
            _ => None,
        });
        let Some(Event::Unit(unit)) = state.events.last() else { return };
        let (count, depth) = (1_u64 << (2 * unit.log2_size), depth.expect("PCM is on"));
        let at = |bit: u64| i32::from(rbsp[(bit / 8) as usize] >> (7 - bit % 8) & 1);
        let sample = |index: u64| (0..depth).fold(0, |value, i| value << 1 | at(bit + index * depth + i));
        let samples = (0..count).map(sample).collect();
        state.events.push(Event::Pcm(samples));
    }

    fn transform_unit(self, x: u32, y: u32, log2_size: u32) {
        self.push(Event::Leaf { x, y, log2_size });
    }

    fn block(self, block: CodedBlock, qp: i32) {
        self.push(Event::Block { block, qp, levels: Vec::new() });
    }

    fn level(self, x: usize, y: usize, level: i32) {
        if let Some(Event::Block { levels, .. }) = self.0.borrow_mut().events.last_mut() {
            levels.push((x, y, level));
        }
    }

    fn picture(self, picture: &Picture) {
        let state = &mut *self.0.borrow_mut();
        let events = std::mem::take(&mut state.events);
        state.pictures.push(Coded { picture: picture.clone(), events });
    }
}
