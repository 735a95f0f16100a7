//! Weights as the caller packed them: two arrays that are read from front to back.

/// Columns that a product computes at a time; matrices are stored in panels of as many.
pub(crate) const PANEL: usize = 16;
/// Rows of activations that are packed side by side.
pub(crate) const ROWS: usize = 16;

/// Shape of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub mlp: usize,
    pub patch_values: usize,
    pub places: usize,
    pub epsilon: f32,
    pub pre_norm: bool,
    pub patch_bias: bool,
    pub pooled: bool,
}

/// A matrix of `inputs` x `outputs`, and what is added to a product with it.
pub(crate) struct Linear<'a> {
    pub inputs: usize,
    pub outputs: usize,
    pub matrix: Matrix<'a>,
    /// (outputs,); empty: nothing.
    pub bias: &'a [f32],
}

/// How the numbers of a matrix are held, panel by panel.
pub(crate) enum Matrix<'a> {
    /// (outputs / 16, inputs / 4, 16, 4) weights + 128, `inputs` filled up to a multiple of 4 with 128.
    Int8 { panels: &'a [u8], sums: &'a [f32], scales: &'a [f32] },
    /// (outputs / 16, inputs, 16).
    Float { panels: &'a [f32] },
}

/// Weight and bias of a LayerNorm, (D,) each.
pub(crate) struct Norm<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
}

pub(crate) struct Layer<'a> {
    pub before: Norm<'a>,
    pub qkv: Linear<'a>,
    pub out: Linear<'a>,
    pub between: Norm<'a>,
    pub fc1: Linear<'a>,
    pub fc2: Linear<'a>,
}

/// The pooling head.
pub(crate) struct Head<'a> {
    /// (D,), scaled.
    pub query: &'a [f32],
    pub kv: Linear<'a>,
    pub out: Linear<'a>,
    pub norm: &'a [f32],
    pub fc1: Linear<'a>,
    pub fc2: Linear<'a>,
}

pub(crate) struct Model<'a> {
    pub shape: Shape,
    /// (places, head_dim).
    pub cos: &'a [f32],
    /// As `cos`; with the sign of the partner.
    pub sin: &'a [f32],
    /// (head_dim,), the axis of a position that turns a number.
    pub axes: &'a [u8],
    pub embed: Linear<'a>,
    pub first: Option<Norm<'a>>,
    pub layers: Vec<Layer<'a>>,
    pub last: Option<Norm<'a>>,
    pub head: Option<Head<'a>>,
}

/// What is left of the arrays.
struct Packed<'a> {
    floats: &'a [f32],
    bytes: &'a [u8],
    kinds: &'a [u8],
}

impl Shape {
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Whether the kernels can do it: whole panels, heads of whole vectors.
    fn fits(&self) -> bool {
        let sides = [self.hidden, self.layers, self.heads, self.mlp, self.patch_values, self.places];
        sides.iter().all(|&side| (1..1 << 16).contains(&side))
            && self.hidden % self.heads == 0
            && self.head_dim() % (2 * PANEL) == 0
            && self.mlp % PANEL == 0
    }
}

impl<'a> Packed<'a> {
    fn floats(&mut self, count: usize) -> Option<&'a [f32]> {
        let front = self.floats.get(..count)?;
        self.floats = &self.floats[count..];
        Some(front)
    }

    fn norm(&mut self, count: usize) -> Option<Norm<'a>> {
        Some(Norm { weight: self.floats(count)?, bias: self.floats(count)? })
    }

    fn linear(&mut self, inputs: usize, outputs: usize, biased: bool) -> Option<Linear<'a>> {
        let (&kind, kinds) = self.kinds.split_first()?;
        self.kinds = kinds;
        let matrix = if kind == 0 {
            Matrix::Float { panels: self.floats(inputs * outputs)? }
        } else {
            let length = inputs.next_multiple_of(4) * outputs;
            let panels = self.bytes.get(..length)?;
            self.bytes = &self.bytes[length..];
            Matrix::Int8 { panels, sums: self.floats(outputs)?, scales: self.floats(outputs)? }
        };
        let bias = self.floats(if biased { outputs } else { 0 })?;
        Some(Linear { inputs, outputs, matrix, bias })
    }

    fn layer(&mut self, d: usize, mlp: usize) -> Option<Layer<'a>> {
        Some(Layer {
            before: self.norm(d)?,
            qkv: self.linear(d, 3 * d, true)?,
            out: self.linear(d, d, true)?,
            between: self.norm(d)?,
            fc1: self.linear(d, mlp, true)?,
            fc2: self.linear(mlp, d, true)?,
        })
    }

    fn head(&mut self, d: usize, mlp: usize) -> Option<Head<'a>> {
        Some(Head {
            query: self.floats(d)?,
            kv: self.linear(d, 2 * d, true)?,
            out: self.linear(d, d, true)?,
            norm: self.floats(d)?,
            fc1: self.linear(d, mlp, true)?,
            fc2: self.linear(mlp, d, true)?,
        })
    }
}

impl<'a> Model<'a> {
    /// Cuts the arrays up; None when they are not exactly as long as the shape says, or the shape is not supported.
    pub fn new(
        shape: Shape,
        floats: &'a [f32],
        bytes: &'a [u8],
        kinds: &'a [u8],
        axes: &'a [u8],
    ) -> Option<Self> {
        if !shape.fits() || axes.len() != shape.head_dim() || axes.iter().any(|&axis| axis > 2) {
            return None;
        }
        let mut packed = Packed { floats, bytes, kinds };
        let (d, mlp) = (shape.hidden, shape.mlp);
        let model = Model {
            shape,
            cos: packed.floats(shape.places * shape.head_dim())?,
            sin: packed.floats(shape.places * shape.head_dim())?,
            axes,
            embed: packed.linear(shape.patch_values, d, shape.patch_bias)?,
            first: if shape.pre_norm { Some(packed.norm(d)?) } else { None },
            layers: (0..shape.layers).map(|_| packed.layer(d, mlp)).collect::<Option<_>>()?,
            last: if shape.pooled { Some(packed.norm(d)?) } else { None },
            head: if shape.pooled { Some(packed.head(d, mlp)?) } else { None },
        };
        (packed.floats.is_empty() && packed.bytes.is_empty() && packed.kinds.is_empty()).then_some(model)
    }

    /// Whether the keys of the layers come from rounded products.
    pub fn is_rounded(&self) -> bool {
        self.layers.iter().all(|layer| matches!(layer.qkv.matrix, Matrix::Int8 { .. }))
    }
}
