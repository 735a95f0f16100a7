//! The macroblocks of one frame: headers from the first partition, tokens from the others (RFC 6386 9.5, 19.3).

use super::{
    bool_decoder::BoolDecoder,
    energy::{self, Factors},
    frame_header::{Context, FrameHeader},
    modes::{ModeReader, RowContext},
    sink::Sink,
    tokens::{TokenContext, TokenRow},
};
use crate::{
    error::Error,
    picture::{Block, BlockClass, Picture},
    unit::{Options, UnitError, Unread},
};

/// Memory that outlives a frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    rows: RowContext,
    tokens: TokenContext,
    /// mb_skip_coeff of one row.
    skips: Vec<bool>,
}

/// A frame behind its header.
pub(super) struct FrameInput<'a> {
    /// The first partition, from the first macroblock header on.
    pub bits: BoolDecoder<'a>,
    /// All that follows the first partition.
    pub token_data: &'a [u8],
    pub context: &'a Context,
    pub header: &'a FrameHeader,
    /// Quantiser index by segment.
    pub quantizers: [u8; 4],
    pub options: Options,
    /// Leave the macroblocks unread, where the stream allows it.
    pub leave: Unread,
}

/// Partitions that are cut off.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    pub errors: u32,
    pub first: Option<UnitError>,
}

impl Damage {
    fn add(&mut self, element: &'static str, partition: usize, bit_offset: u64) {
        self.errors += 1;
        let error = Error::invalid(element, bit_offset);
        self.first.get_or_insert(UnitError { error, nal_index: partition as u32 });
    }
}

/// Reads all macroblocks that the partitions hold; the rest stays unknown.
pub(super) fn read<S: Sink>(
    input: FrameInput,
    picture: &mut Picture,
    segment_map: &mut [u8],
    scratch: &mut Scratch,
    sink: &mut S,
) -> Damage {
    let FrameInput { bits, token_data, context, header, quantizers, options, leave } = input;
    let mut damage = Damage::default();
    let mut partitions = split(token_data, header.partitions, &mut damage);
    // A segment map must be read even from a frame that nobody wants to know about: it stays.
    if leave != Unread::Nothing && !context.segmentation.update_map {
        if header.inter.is_none() {
            let (class, qp) = (BlockClass::Intra as u8, quantizers[0] as i8);
            picture.blocks.fill(Block { ref_idx: [-1; 2], class, qp, ..Block::default() });
        }
        return damage;
    }
    let mut wants_tokens = options.want_energy && leave == Unread::Nothing;
    let factors = energy::factors(quantizers, &header.quant_indices);
    let factors: [(u8, Factors); 4] = std::array::from_fn(|segment| (quantizers[segment], factors[segment]));
    let mb_cols = picture.mb_cols;
    scratch.rows.reset(mb_cols);
    if wants_tokens {
        scratch.tokens.reset(mb_cols, &context.entropy.coefficients);
    }
    scratch.skips.clear();
    scratch.skips.resize(mb_cols, false);
    let mut modes = ModeReader { bits, context, header, quantizers, segment_map, rows: &mut scratch.rows };
    for mb_y in 0..picture.mb_rows {
        let known = modes.read_row(mb_y, picture, &mut scratch.skips, sink);
        if wants_tokens {
            let index = mb_y % partitions.len();
            let blocks = &mut picture.blocks[mb_y * mb_cols..][..known];
            let mut row = TokenRow { context: &mut scratch.tokens, factors: &factors, mb_y, mb_cols };
            if !row.read(&mut partitions[index], blocks, &scratch.skips, sink) {
                // The contexts of all rows below hang on these tokens, whatever partition they are in.
                wants_tokens = false;
                damage.add("dct_tokens (partition ends)", 1 + index, partitions[index].total_bits());
            }
        }
        if known < mb_cols {
            damage.add("macroblock_header (first partition ends)", 0, modes.bits.total_bits());
            break;
        }
    }
    damage
}

// RFC 6386 9.5: sizes of all token partitions but the last, then the partitions
fn split<'a>(data: &'a [u8], count: usize, damage: &mut Damage) -> Vec<BoolDecoder<'a>> {
    let sizes_bytes = 3 * (count - 1);
    let (sizes, mut rest) = data.split_at(sizes_bytes.min(data.len()));
    let mut partitions = Vec::with_capacity(count);
    for index in 0..count {
        let size = match sizes.get(3 * index..3 * index + 3) {
            _ if index + 1 == count => rest.len(),
            Some(bytes) => usize::from(bytes[0]) | usize::from(bytes[1]) << 8 | usize::from(bytes[2]) << 16,
            None => usize::MAX,
        };
        if size > rest.len() {
            damage.add("partition_size (frame ends)", 1 + index, 0);
        }
        let (partition, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        partitions.push(BoolDecoder::new(partition));
    }
    partitions
}
