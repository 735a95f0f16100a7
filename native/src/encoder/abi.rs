//! The C ABI of the encoder; as in `crate::abi` pointers become slices, and panics a status.
#![allow(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::{
    model::{Model, Shape},
    run::{self, Stream},
};
use crate::abi::{OVBITS_INTERNAL, OVBITS_INVALID, OVBITS_OK};

/// A vision transformer: its shape, and its weights as the kernels read them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OvbitsModel {
    /// Numbers of a token.
    pub hidden: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Attention heads.
    pub heads: u32,
    /// Numbers of a hidden layer.
    pub mlp: u32,
    /// Numbers of a patch.
    pub patch_values: u32,
    /// Rows of the tables of cosines and sines: positions are below.
    pub places: u32,
    /// Of every norm.
    pub epsilon: f32,
    /// 1: a norm follows the patch embedding.
    pub pre_norm: u8,
    /// 1: the patch embedding adds a vector.
    pub patch_bias: u8,
    /// 1: with a last norm and a pooling head.
    pub pooled: u8,
    /// What is not a rounded matrix.
    pub floats: *const f32,
    /// Length of `floats`.
    pub floats_count: usize,
    /// Rounded matrices.
    pub bytes: *const u8,
    /// Length of `bytes`.
    pub bytes_count: usize,
    /// For each matrix: 0 float32, 1 rounded.
    pub kinds: *const u8,
    /// Length of `kinds`.
    pub kinds_count: usize,
    /// Axis of a position for each number of a head.
    pub axes: *const u8,
}

/// A stream: its caches of `slots` tokens, and how many of the tokens of a run are its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OvbitsStream {
    /// (layers, heads, slots, head_dim)
    pub keys: *mut f32,
    /// (layers, heads, slots, head_dim)
    pub values: *mut f32,
    /// (heads, slots, head_dim); null without a pooling head
    pub head_keys: *mut f32,
    /// (heads, slots, head_dim); null without a pooling head
    pub head_values: *mut f32,
    /// (slots, hidden)
    pub tokens: *mut f32,
    /// (hidden,)
    pub scene: *mut f32,
    /// (slots,), added to the scores of attention
    pub mask: *const f32,
    /// Tokens that the caches hold.
    pub slots: u32,
    /// Tokens of this run.
    pub count: u32,
}

/// 1 where `ovbits_encode` can run: this processor has AVX-512 with VNNI, and the compiler knew it.
#[no_mangle]
pub extern "C" fn ovbits_encode_supported() -> u8 {
    u8::from(run::supported())
}

/// Encodes tokens of some streams, the tokens of the first stream first. Returns OVBITS_INVALID and changes nothing when
/// sizes do not fit each other, a position or a slot is out of range, or `ovbits_encode_supported` is 0.
///
/// # Safety
/// `model` and its arrays are readable; `streams` are `streams_count` readable records, whose arrays have the shapes that
/// they and the model tell and do not overlap; `patches` are (tokens, patch_values), `positions` (tokens, 3) and `slots`
/// (tokens,) readable numbers, tokens being the sum of all counts; all of it is aligned.
#[no_mangle]
pub unsafe extern "C" fn ovbits_encode(
    model: *const OvbitsModel,
    streams: *const OvbitsStream,
    streams_count: usize,
    patches: *const f32,
    positions: *const i64,
    slots: *const i64,
) -> i32 {
    // SAFETY: promised by the caller.
    let work = || unsafe { encode(&*model, readable(streams, streams_count), patches, positions, slots) };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(true) => OVBITS_OK,
        Ok(false) => OVBITS_INVALID,
        Err(_) => OVBITS_INTERNAL,
    }
}

/// # Safety
/// As of `ovbits_encode`.
unsafe fn encode(
    model: &OvbitsModel,
    streams: &[OvbitsStream],
    patches: *const f32,
    positions: *const i64,
    slots: *const i64,
) -> bool {
    let shape = Shape {
        hidden: model.hidden as usize,
        layers: model.layers as usize,
        heads: model.heads as usize,
        mlp: model.mlp as usize,
        patch_values: model.patch_values as usize,
        places: model.places as usize,
        epsilon: model.epsilon,
        pre_norm: model.pre_norm != 0,
        patch_bias: model.patch_bias != 0,
        pooled: model.pooled != 0,
    };
    let (hidden, layers) = (shape.hidden, shape.layers);
    // SAFETY: promised by the caller.
    unsafe {
        let floats = readable(model.floats, model.floats_count);
        let bytes = readable(model.bytes, model.bytes_count);
        let kinds = readable(model.kinds, model.kinds_count);
        let axes = readable(model.axes, hidden / shape.heads.max(1));
        let Some(model) = Model::new(shape, floats, bytes, kinds, axes) else { return false };
        let mut first = 0;
        let mut own = Vec::with_capacity(streams.len());
        for stream in streams {
            let (held, count) = (stream.slots as usize, stream.count as usize);
            let head = if shape.pooled { held * hidden } else { 0 };
            own.push(Stream {
                keys: writable(stream.keys, layers * held * hidden),
                values: writable(stream.values, layers * held * hidden),
                head_keys: writable(stream.head_keys, head),
                head_values: writable(stream.head_values, head),
                tokens: writable(stream.tokens, held * hidden),
                scene: writable(stream.scene, hidden),
                mask: readable(stream.mask, held),
                slots: readable(slots.add(first), count),
            });
            first += count;
        }
        let (patches, positions) =
            (readable(patches, first * shape.patch_values), readable(positions, 3 * first));
        run::encode(&model, &mut own, patches, positions)
    }
}

/// # Safety
/// `data` points to `count` readable values (it may be null when there are none).
unsafe fn readable<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(data, count) }
}

/// # Safety
/// `data` points to `count` writable values that nobody else uses (it may be null when there are none).
unsafe fn writable<'a, T>(data: *mut T, count: usize) -> &'a mut [T] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts_mut(data, count) }
}
