//! slice_data() of frames with macroblock pairs (MBAFF, H.264 7.3.4).

use std::sync::Arc;

use super::{
    cabac_syntax::CabacReader, cavlc::SkipRuns, macroblock::SliceParser, mv_prediction::Surroundings,
    sink::Sink, syntax::Syntax,
};
use crate::{
    error::{Error, Result},
    picture::{flags, Block},
    unit::SliceType,
};

impl<S: Syntax> SliceParser<'_, S, true> {
    /// P_Skip or B_Skip: `position` is where the macroblock ends in the stream.
    fn skip_in_pair(&mut self, position: u64) {
        let field = if self.pairs.place.field { flags::FIELD } else { 0 };
        let mut block = Block { flags: field, ..self.skipped };
        if self.input.header.slice_type == SliceType::P {
            block.ref_idx[0] = 0;
            block.ref_idx[1] = -1;
            block.mv[0] = self.pair_field().p_skip();
        } else {
            block.flags |= flags::DIRECT;
            let motion = self.infer_direct();
            self.set_motion(&mut block, &motion);
        }
        self.store(block, position);
    }

    fn pair_count(&self) -> usize {
        self.mb_count() / 2
    }
}

impl<K: Sink> SliceParser<'_, CabacReader<'_, K>, true> {
    /// Reads the slice; returns its number of macroblocks.
    pub fn cabac_pairs(&mut self) -> Result<u32> {
        let mut pair = self.first;
        loop {
            self.go_to_pair(pair);
            if self.input.header.slice_type == SliceType::I {
                self.read_field_flag();
                for bottom in [false, true] {
                    self.select(bottom);
                    self.macroblock()?;
                }
            } else {
                self.inter_pair()?;
            }
            pair += 1;
            if self.syntax.engine.terminate() {
                break;
            }
            if pair >= self.pair_count() {
                return Err(self.invalid("end_of_slice_flag"));
            }
        }
        self.check_end(self.syntax.engine)?;
        Ok(2 * (pair - self.first) as u32)
    }

    fn inter_pair(&mut self) -> Result<()> {
        let top_skipped = self.skip_flag(false, false);
        let after_top = self.syntax.position();
        let mut bottom_skipped = false;
        if top_skipped {
            // The pair is what its lower macroblock says, unless that is skipped, too.
            bottom_skipped = self.skip_flag(true, true);
        }
        if !(top_skipped && bottom_skipped) {
            self.read_field_flag();
        }
        self.select(false);
        if top_skipped {
            self.skip_in_pair(after_top);
        } else {
            self.macroblock()?;
            bottom_skipped = self.skip_flag(true, false);
        }
        self.select(true);
        if bottom_skipped {
            self.syntax.no_mb_qp_delta();
            self.skip_in_pair(self.syntax.position());
        } else {
            if top_skipped {
                self.syntax.no_mb_qp_delta();
            }
            self.macroblock()?;
        }
        if self.syntax.is_exhausted() {
            return Err(self.invalid("mb_skip_flag"));
        }
        Ok(())
    }

    fn skip_flag(&mut self, bottom: bool, top_skipped: bool) -> bool {
        let first = if self.input.header.slice_type == SliceType::P { 11 } else { 24 };
        let inc = self.unskipped_in_pair(bottom, top_skipped);
        self.syntax.engine.decision(&mut self.syntax.contexts, first + inc)
    }

    fn read_field_flag(&mut self) {
        let inc = self.field_pairs_around();
        self.pairs.place.field = self.syntax.engine.decision(&mut self.syntax.contexts, 70 + inc);
    }
}

/// What comes next in slice data in CAVLC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// mb_skip_run
    Run,
    /// So many skipped macroblocks.
    Skipped(u32),
    /// A macroblock that is not skipped.
    Coded,
    /// Trailing bits.
    End,
}

impl<S: SkipRuns> SliceParser<'_, S, true> {
    /// Reads a slice of one slice group; returns its number of macroblocks.
    pub fn pairs_of_group(&mut self, groups: Arc<[u8]>) -> Result<u32> {
        self.pairs.groups = Some(groups);
        self.cavlc_pairs()
    }

    /// Reads the slice; returns its number of macroblocks.
    pub fn cavlc_pairs(&mut self) -> Result<u32> {
        let first_of = if self.input.header.slice_type == SliceType::I { Next::Coded } else { Next::Run };
        let mut next = first_of;
        let mut pair = self.first;
        let mut count = 0;
        loop {
            self.go_to_pair(pair);
            for bottom in [false, true] {
                if next == Next::Run {
                    next = self.run()?;
                }
                let position = self.syntax.position();
                match next {
                    Next::Skipped(left) => {
                        next = self.after(if left > 1 { Next::Skipped(left - 1) } else { Next::Coded });
                        if !bottom && next == Next::Coded {
                            self.pairs.place.field = self.syntax.mb_field_decoding_flag();
                        }
                        self.select(bottom);
                        self.skip_in_pair(position);
                    }
                    Next::Coded => {
                        // In a pair whose upper macroblock was skipped the flag has been read.
                        if !bottom {
                            self.pairs.place.field = self.syntax.mb_field_decoding_flag();
                        }
                        self.select(bottom);
                        self.macroblock()?;
                        next = self.after(first_of);
                    }
                    Next::Run | Next::End => return Err(self.invalid("mb_skip_run (half a pair)")),
                }
            }
            pair = self.next_pair(pair);
            count += 2;
            if next == Next::End {
                return Ok(count);
            }
            if pair >= self.pair_count() {
                return Err(self.invalid("rbsp_slice_trailing_bits"));
            }
        }
    }

    fn run(&mut self) -> Result<Next> {
        let run = self.syntax.mb_skip_run();
        if self.syntax.is_exhausted() || run as usize > self.mb_count() {
            return Err(Error::invalid("mb_skip_run", self.syntax.position()));
        }
        Ok(if run > 0 { Next::Skipped(run) } else { Next::Coded })
    }

    /// `next`, unless the slice ends here.
    fn after(&self, next: Next) -> Next {
        match next {
            Next::Skipped(_) => next,
            _ if self.syntax.more_rbsp_data() => next,
            _ => Next::End,
        }
    }
}
