//! Runs of P_Skip macroblocks that stand still: most of what a fixed camera sends.
//!
//! Once one has no motion, neither have those that follow it in the run: its right neighbour takes over the motion of
//! A, and where A or B is not available there is none (H.264 8.4.1.1).

use super::{cabac::Engine, cabac_syntax::CabacReader, macroblock::SliceParser, sink::Sink, syntax::Syntax};
use crate::{
    error::{Error, Result},
    picture::{Block, BlockClass},
};

/// Context of mb_skip_flag in P slices whose neighbours A and B were skipped or are not available.
pub(super) const P_SKIP_CONTEXT: usize = 11;

/// How many macroblocks the first look at the row above takes in; each further look takes in twice as many.
const FIRST_LOOK: usize = 8;
/// The longest look.
const LONGEST_LOOK: usize = 128;

/// What ended a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The mb_skip_flag that comes next has another context, or the picture is over.
    Open,
    /// mb_skip_flag 0 was read.
    Coded,
    /// end_of_slice_flag 1 was read.
    Slice,
}

impl<S: Syntax> SliceParser<'_, S, false> {
    /// Makes `count` macroblocks from `address` on P_Skip without motion; the first takes all bits up to `position`.
    #[inline(always)]
    pub fn fill_still(&mut self, address: usize, count: usize, position: u64) {
        let block = Block { ref_idx: [0, -1], ..self.skipped };
        *self.macroblocks_read = self.macroblocks_read.wrapping_add(count);
        if let Some(run) = self.blocks.get_mut(address..address.wrapping_add(count)) {
            run.fill(block);
            if let Some(first) = run.first_mut() {
                first.bit_cost = position.wrapping_sub(self.position) as u32;
                self.position = position;
            }
        }
    }

    /// How many of the next `most` macroblocks lie below one that was skipped, or below none of this slice.
    fn below_skipped(&self, address: usize, most: usize) -> usize {
        let columns = self.columns.len();
        let end = address.wrapping_add(most).min(self.mb_count());
        let with_above = address.max(self.first.wrapping_add(columns)).min(end);
        // What this run has not reached yet is looked at next time.
        let above = with_above.wrapping_sub(columns)..end.wrapping_sub(columns).min(address);
        let known = match self.blocks.get(above) {
            Some(above) if with_above < end => {
                above.iter().take_while(|block| block.class == BlockClass::Skip as u8).count()
            }
            _ => 0,
        };
        with_above.wrapping_sub(address).wrapping_add(known)
    }
}

impl<K: Sink> SliceParser<'_, CabacReader<'_, K>, false> {
    /// Reads mb_skip_flag and end_of_slice_flag from `address` on, where the macroblock before was skipped and stands
    /// still, for as long as the context stays the same. Returns how many macroblocks were skipped.
    ///
    /// # Errors
    /// The slice data is over.
    #[inline(never)]
    pub fn still_run(&mut self, shared: &mut Engine<'_>, address: usize) -> Result<(usize, RunEnd)> {
        // A copy stays in registers.
        let mut engine = *shared;
        let mut state = self.syntax.contexts[P_SKIP_CONTEXT];
        let (mut at, mut look) = (address, FIRST_LOOK);
        let mut end = RunEnd::Open;
        while end == RunEnd::Open {
            let sure = self.below_skipped(at, look);
            if sure == 0 {
                break;
            }
            look = (2 * look).min(LONGEST_LOOK);
            *self.macroblocks_read = self.macroblocks_read.wrapping_add(sure);
            let count;
            (count, end) = self.still_stretch(&mut engine, &mut state, at, sure)?;
            at = at.wrapping_add(count);
        }
        self.syntax.contexts[P_SKIP_CONTEXT] = state;
        *shared = engine;
        Ok((at.wrapping_sub(address), end))
    }

    /// The same for `most` macroblocks whose context is known.
    #[inline(always)]
    fn still_stretch(
        &mut self,
        engine: &mut Engine<'_>,
        state: &mut u8,
        address: usize,
        most: usize,
    ) -> Result<(usize, RunEnd)> {
        let block = Block { ref_idx: [0, -1], ..self.skipped };
        let stop = self.syntax.end;
        let mut position = self.position;
        let mut slots = self.blocks.get_mut(address..address.wrapping_add(most)).unwrap_or_default();
        let mut end = RunEnd::Open;
        while !slots.is_empty() && end == RunEnd::Open {
            let free = engine.free_pairs(*state, slots.len());
            if free == 0 && !engine.decide(state) {
                end = RunEnd::Coded;
                break;
            }
            let now = engine.position();
            if now > stop {
                return Err(Error::invalid("mb_skip_flag", now));
            }
            let (filled, rest) = std::mem::take(&mut slots).split_at_mut(free.max(1));
            filled.fill(block);
            filled[0].bit_cost = now.wrapping_sub(position) as u32;
            position = now;
            slots = rest;
            if free == 0 && engine.terminate() {
                end = RunEnd::Slice;
            }
        }
        self.position = position;
        Ok((most.wrapping_sub(slots.len()), end))
    }
}
