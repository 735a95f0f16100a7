//! One pass over the layers.

use super::model::{Model, Shape};

/// A stream whose tokens take part, with N slots.
pub(crate) struct Stream<'a> {
    /// (layers, heads, N, head_dim).
    pub keys: &'a mut [f32],
    pub values: &'a mut [f32],
    /// (heads, N, head_dim); empty without a pooling head.
    pub head_keys: &'a mut [f32],
    pub head_values: &'a mut [f32],
    /// (N, D).
    pub tokens: &'a mut [f32],
    /// (D,).
    pub scene: &'a mut [f32],
    /// (N,).
    pub mask: &'a [f32],
    /// (n,), places of its tokens.
    pub slots: &'a [i64],
}

/// Whether there are kernels for this processor.
pub(crate) fn supported() -> bool {
    #[cfg(all(target_arch = "x86_64", ovbits_avx512))]
    return super::kernels::has_avx512();
    #[cfg(not(all(target_arch = "x86_64", ovbits_avx512)))]
    false
}

/// Encodes tokens: `patches` (n, P), `positions` (n, 3), stream by stream. False when nothing ran: sizes that do not fit
/// each other, places out of range, or no kernels.
pub(crate) fn encode(model: &Model, streams: &mut [Stream], patches: &[f32], positions: &[i64]) -> bool {
    if !fits(&model.shape, streams, patches, positions) {
        return false;
    }
    #[cfg(all(target_arch = "x86_64", ovbits_avx512))]
    if super::kernels::has_avx512() {
        x86::Pass::new(model, &super::kernels::AVX512).run(streams, patches, positions);
        return true;
    }
    false
}

fn fits(shape: &Shape, streams: &[Stream], patches: &[f32], positions: &[i64]) -> bool {
    let tokens: usize = streams.iter().map(|stream| stream.slots.len()).sum();
    tokens > 0
        && patches.len() == tokens * shape.patch_values
        && positions.len() == 3 * tokens
        && positions.iter().all(|&position| usize::try_from(position).is_ok_and(|place| place < shape.places))
        && streams.iter().all(|stream| {
            let slots = stream.mask.len();
            let cache = slots * shape.hidden;
            let head = if shape.pooled { cache } else { 0 };
            !stream.slots.is_empty()
                && stream.slots.iter().all(|&slot| usize::try_from(slot).is_ok_and(|slot| slot < slots))
                && [stream.keys.len(), stream.values.len()] == [shape.layers * cache; 2]
                && [stream.head_keys.len(), stream.head_values.len()] == [head; 2]
                && stream.tokens.len() == cache
                && stream.scene.len() == shape.hidden
        })
}

#[cfg(all(target_arch = "x86_64", ovbits_avx512))]
mod x86 {
    #![allow(unsafe_code)]

    use super::{
        super::{
            coarse,
            kernels::{Attend, Int8, Kernels, Look, Rounded, Scratch, Target},
            model::{Head, Layer, Linear, Matrix, Model, Norm, ROWS},
        },
        Stream,
    };

    /// Rows that go through a matrix before the next one: few enough for the second-level cache.
    const BLOCK: usize = 64;

    /// Rooms of a pass. The processor has the instructions of `kernels`: whoever makes one has looked.
    pub(super) struct Pass<'a> {
        model: &'a Model<'a>,
        kernels: &'static Kernels,
        /// Of the layers: as coarse as their other products.
        attend: Attend,
        rounded: Rounded,
        packed: Vec<f32>,
        scratch: Scratch,
        /// (block, D).
        normal: Vec<f32>,
        /// (block, wide): 3 D or that of the MLP.
        wide: Vec<f32>,
    }

    /// Which tokens of a pass belong to a stream.
    #[derive(Clone, Copy)]
    struct Place {
        stream: usize,
        slot: usize,
    }

    impl<'a> Pass<'a> {
        pub fn new(model: &'a Model<'a>, kernels: &'static Kernels) -> Self {
            Self {
                model,
                kernels,
                attend: if model.is_rounded() && coarse::has_bf16() {
                    coarse::attend
                } else {
                    kernels.attend
                },
                rounded: Rounded::default(),
                packed: Vec::new(),
                scratch: Scratch::default(),
                normal: Vec::new(),
                wide: Vec::new(),
            }
        }

        /// See `encode`, which has checked all sizes.
        pub fn run(&mut self, streams: &mut [Stream], patches: &[f32], positions: &[i64]) {
            let model = self.model;
            let d = model.shape.hidden;
            let places: Vec<Place> = streams
                .iter()
                .enumerate()
                .flat_map(|(stream, one)| {
                    one.slots.iter().map(move |&slot| Place { stream, slot: slot as usize })
                })
                .collect();
            let turns = self.turns(positions);
            let mut x = vec![0.0; places.len() * d];
            let mut queries = vec![0.0; places.len() * d];
            self.linear(&model.embed, patches, &mut x, false);
            if let Some(norm) = &model.first {
                let given = x.clone();
                self.norm(norm, &given, &mut x);
            }
            for (index, layer) in model.layers.iter().enumerate() {
                self.layer(index, layer, streams, &places, &turns, &mut x, &mut queries);
            }
            if let Some(norm) = &model.last {
                let given = x.clone();
                self.norm(norm, &given, &mut x);
            }
            for (row, place) in x.chunks_exact(d).zip(&places) {
                streams[place.stream].tokens[place.slot * d..][..d].copy_from_slice(row);
            }
            match &model.head {
                Some(head) => self.pool(head, streams, &places, &x),
                None => streams.iter_mut().for_each(mean),
            }
        }

        /// (n, 2, head_dim): cosines and sines of each token.
        fn turns(&self, positions: &[i64]) -> Vec<f32> {
            let width = self.model.shape.head_dim();
            let mut turns = Vec::with_capacity(positions.len() / 3 * 2 * width);
            for position in positions.chunks_exact(3) {
                for table in [self.model.cos, self.model.sin] {
                    let axes = self.model.axes.iter().enumerate();
                    turns.extend(
                        axes.map(|(i, &axis)| table[position[usize::from(axis)] as usize * width + i]),
                    );
                }
            }
            turns
        }

        #[allow(clippy::too_many_arguments)]
        fn layer(
            &mut self,
            index: usize,
            layer: &Layer,
            streams: &mut [Stream],
            places: &[Place],
            turns: &[f32],
            x: &mut [f32],
            queries: &mut [f32],
        ) {
            let d = self.model.shape.hidden;
            let turn = 2 * self.model.shape.head_dim();
            let blocks = places.chunks(BLOCK).zip(x.chunks(BLOCK * d)).zip(queries.chunks_mut(BLOCK * d));
            for (((places, x), queries), turns) in blocks.zip(turns.chunks(BLOCK * turn)) {
                let mut normal = std::mem::take(&mut self.normal);
                let mut wide = std::mem::take(&mut self.wide);
                normal.resize(x.len(), 0.0);
                wide.resize(3 * x.len(), 0.0);
                self.norm(&layer.before, x, &mut normal);
                self.linear(&layer.qkv, &normal, &mut wide, false);
                self.place(index, streams, places, turns, &wide, queries);
                (self.normal, self.wide) = (normal, wide);
            }
            let blocks = places.chunks(BLOCK).zip(x.chunks_mut(BLOCK * d)).zip(queries.chunks(BLOCK * d));
            for ((places, x), queries) in blocks {
                let mut normal = std::mem::take(&mut self.normal);
                let mut wide = std::mem::take(&mut self.wide);
                normal.resize(x.len(), 0.0);
                wide.resize(places.len() * layer.fc1.outputs, 0.0);
                self.look(index, streams, places, queries, &mut normal);
                self.linear(&layer.out, &normal, x, true);
                self.norm(&layer.between, x, &mut normal);
                self.linear(&layer.fc1, &normal, &mut wide, false);
                // SAFETY: see `Pass`.
                unsafe { (self.kernels.gelu)(&mut wide) };
                self.linear(&layer.fc2, &wide, x, true);
                (self.normal, self.wide) = (normal, wide);
            }
        }

        /// Turns queries and keys, and writes keys and values into the caches.
        fn place(
            &self,
            layer: usize,
            streams: &mut [Stream],
            places: &[Place],
            turns: &[f32],
            qkv: &[f32],
            queries: &mut [f32],
        ) {
            let (d, heads, width) =
                (self.model.shape.hidden, self.model.shape.heads, self.model.shape.head_dim());
            let scale = 1.0 / (width as f32).sqrt();
            let rows =
                qkv.chunks_exact(3 * d).zip(turns.chunks_exact(2 * width)).zip(queries.chunks_exact_mut(d));
            for (((row, turn), queries), place) in rows.zip(places) {
                let stream = &mut streams[place.stream];
                let slots = stream.mask.len();
                for head in 0..heads {
                    let own = head * width..(head + 1) * width;
                    let at = ((layer * heads + head) * slots + place.slot) * width;
                    // SAFETY: see `Pass`.
                    unsafe {
                        (self.kernels.turn)(&row[own.clone()], turn, scale, &mut queries[own.clone()]);
                        (self.kernels.turn)(
                            &row[d..][own.clone()],
                            turn,
                            1.0,
                            &mut stream.keys[at..at + width],
                        );
                    }
                    stream.values[at..at + width].copy_from_slice(&row[2 * d..][own]);
                }
            }
        }

        /// Attention of tokens over the caches of their streams, before the projection.
        fn look(
            &mut self,
            layer: usize,
            streams: &[Stream],
            places: &[Place],
            queries: &[f32],
            out: &mut [f32],
        ) {
            let shape = &self.model.shape;
            let (d, heads, width) = (shape.hidden, shape.heads, shape.head_dim());
            let mut first = 0;
            while first < places.len() {
                let stream = places[first].stream;
                let same =
                    places[first..].iter().take(ROWS).take_while(|place| place.stream == stream).count();
                let rows = first * d..(first + same) * d;
                let one = &streams[stream];
                let cache = one.mask.len() * width;
                for head in 0..heads {
                    let at = (layer * heads + head) * cache;
                    let look = Look {
                        queries: &queries[rows.clone()],
                        stride: d,
                        start: head * width,
                        width,
                        keys: &one.keys[at..at + cache],
                        values: &one.values[at..at + cache],
                        mask: one.mask,
                    };
                    // SAFETY: see `Pass`.
                    unsafe { (self.attend)(&look, &mut self.scratch, &mut out[rows.clone()]) };
                }
                first += same;
            }
        }

        /// Keys and values of the pooling head, and what its query makes of them: the scenes.
        fn pool(&mut self, head: &Head, streams: &mut [Stream], places: &[Place], x: &[f32]) {
            let shape = self.model.shape;
            let (d, heads, width) = (shape.hidden, shape.heads, shape.head_dim());
            for (places, x) in places.chunks(BLOCK).zip(x.chunks(BLOCK * d)) {
                let mut kv = vec![0.0; 2 * x.len()];
                self.linear(&head.kv, x, &mut kv, false);
                for (row, place) in kv.chunks_exact(2 * d).zip(places) {
                    let stream = &mut streams[place.stream];
                    let slots = stream.mask.len();
                    for number in 0..heads {
                        let at = (number * slots + place.slot) * width;
                        let own = number * width..(number + 1) * width;
                        stream.head_keys[at..at + width].copy_from_slice(&row[own.clone()]);
                        stream.head_values[at..at + width].copy_from_slice(&row[d..][own]);
                    }
                }
            }
            let mut seen = vec![0.0; streams.len() * d];
            for (stream, out) in streams.iter().zip(seen.chunks_exact_mut(d)) {
                let cache = stream.mask.len() * width;
                for number in 0..heads {
                    let look = Look {
                        queries: head.query,
                        stride: d,
                        start: number * width,
                        width,
                        keys: &stream.head_keys[number * cache..(number + 1) * cache],
                        values: &stream.head_values[number * cache..(number + 1) * cache],
                        mask: stream.mask,
                    };
                    // SAFETY: see `Pass`.
                    unsafe { (self.kernels.attend)(&look, &mut self.scratch, out) };
                }
            }
            let mut y = vec![0.0; seen.len()];
            self.linear(&head.out, &seen, &mut y, false);
            let normal = root_mean_square(&y, head.norm, shape.epsilon);
            let mut wide = vec![0.0; streams.len() * shape.mlp];
            self.linear(&head.fc1, &normal, &mut wide, false);
            // SAFETY: see `Pass`.
            unsafe { (self.kernels.gelu)(&mut wide) };
            self.linear(&head.fc2, &wide, &mut y, true);
            for (stream, scene) in streams.iter_mut().zip(y.chunks_exact(d)) {
                stream.scene.copy_from_slice(scene);
            }
        }

        fn norm(&self, norm: &Norm, x: &[f32], out: &mut [f32]) {
            // SAFETY: see `Pass`.
            unsafe { (self.kernels.norm)(x, norm.weight, norm.bias, self.model.shape.epsilon, out) };
        }

        /// Rows times a matrix; `add` adds them to `out`.
        fn linear(&mut self, linear: &Linear, x: &[f32], out: &mut [f32], add: bool) {
            let blocks = x.chunks(BLOCK * linear.inputs).zip(out.chunks_mut(BLOCK * linear.outputs));
            for (x, out) in blocks {
                let to = Target { out, columns: linear.outputs, add };
                match linear.matrix {
                    Matrix::Int8 { panels, sums, scales } => {
                        let matrix = Int8 { panels, sums, scales, bias: linear.bias };
                        // SAFETY: see `Pass`.
                        unsafe {
                            (self.kernels.round)(x, linear.inputs, &mut self.rounded);
                            (self.kernels.int8)(&self.rounded, x.len() / linear.inputs, matrix, to);
                        }
                    }
                    Matrix::Float { panels } => {
                        // SAFETY: see `Pass`.
                        unsafe {
                            (self.kernels.float)(x, linear.inputs, panels, linear.bias, &mut self.packed, to);
                        }
                    }
                }
            }
        }
    }

    /// RMSNorm of rows as long as `weight`.
    fn root_mean_square(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(weight.len()) {
            let square = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            let scale = 1.0 / (square + epsilon).sqrt();
            out.extend(row.iter().zip(weight).map(|(x, weight)| x * scale * weight));
        }
        out
    }

    /// The scene of a model without a pooling head: the mean of the living tokens.
    fn mean(stream: &mut Stream) {
        let living = stream.mask.iter().filter(|&&mask| mask == 0.0).count().max(1);
        stream.scene.fill(0.0);
        for (token, _) in
            stream.tokens.chunks_exact(stream.scene.len()).zip(stream.mask).filter(|(_, &mask)| mask == 0.0)
        {
            for (sum, x) in stream.scene.iter_mut().zip(token) {
                *sum += x;
            }
        }
        for sum in stream.scene.iter_mut() {
            *sum /= living as f32;
        }
    }
}
