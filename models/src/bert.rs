//! A layer of BERT, written once over any [`Evaluator`]: attention to both sides, norms after the sums, GELU.
//!
//! A norm's gain and bias belong to what follows it: the next matrix, and the residual stream. So the matrices behind a norm have, beside their own
//! outputs, a diagonal one that gives the stream; a layer takes and gives what a norm puts out, without gain and bias. On the stream the
//! product's error has deviation `2^-14`, and gains are rounded to three bits fewer than weights.
//! There is no reader of such checkpoints yet.

use sotto_protocol::{
    Error, Precision, Schedule,
    activation::Activation,
    kv_cache::Heads,
    linear::{Exactness, Weight, WeightShape},
    planner::{Attention, Function, Kind, Part, Step},
    rms_norm,
};
use sotto_shares::{Shape, Share};

use crate::{
    RealMatrix,
    attention::{attention, visible},
    error::Error as LoadError,
    evaluator::{Evaluator, RESIDUAL, RESIDUAL_FRAC},
    quantize::MAX_FRAC,
};

/// The stream's diagonal is divided by `2^DIAGONAL`, so that its gains take no fraction bits from the other weights.
const DIAGONAL: u32 = 4;

/// The fewest fraction bits of a matrix: the stream keeps 18 of those of its product with a diagonal.
const FEWEST_FRAC: u32 = 10;

/// Biases stay below this, as sums of the linear layers' ring do.
const BIAS_BOUND: f64 = 1024.0;

/// A layer as one side knows it: with matrices of integers, or with shapes alone.
pub struct BertLayer<W> {
    heads: Heads,
    eps: f64,
    /// Width between intermediate and down.
    inner: usize,
    qkv: W,
    output: W,
    intermediate: W,
    down: W,
}

/// A matrix `[out, in]` and its bias `[out]`.
pub struct Dense {
    /// Row-major.
    pub weight: Vec<f32>,
    /// One an output.
    pub bias: Vec<f32>,
}

/// A norm's gain and bias.
pub struct Affine {
    /// One a column.
    pub gain: Vec<f32>,
    /// One a column.
    pub bias: Vec<f32>,
}

/// A layer's numbers, and the gain and bias of the norm in front of it. The layer's last norm belongs to the next layer.
pub struct BertWeights {
    /// Heads, all of them with keys of their own.
    pub heads: usize,
    /// Added to a norm's variance.
    pub eps: f64,
    /// The norm in front.
    pub before: Affine,
    /// Queries, keys, values.
    pub qkv: [Dense; 3],
    /// Behind the heads.
    pub output: Dense,
    /// The norm behind attention.
    pub middle: Affine,
    /// To the inner width.
    pub intermediate: Dense,
    /// Back from it.
    pub down: Dense,
}

impl<W> BertLayer<W> {
    /// From the preceding norm's output `[T, d]` to that of the layer's own second norm, both without gain and bias.
    ///
    /// # Errors
    /// What the peer or the network does.
    pub async fn forward<E: Evaluator<Weight = W>>(&self, e: &mut E, x: &Share) -> Result<Share, Error> {
        let (rows, d, p) = (x.shape.rows, x.shape.cols, e.precision());
        let mut caches = [e.cache(self.heads)];
        e.enter_part(&self.step(p, x.shape), 0, &mut caches).await?;
        let [cache] = &mut caches;
        let all = e.linear(&self.qkv, x).await?;
        let stream = stream(e, &all.columns(3 * d..4 * d)).await?;
        let qkv = all.columns(0..3 * d);
        let qkv = e.truncate(&qkv, qkv.frac - p.frac(), p.sums()).await?;
        let [q, k, v] = [0, 1, 2].map(|i| qkv.columns(i * d..(i + 1) * d));
        let means = attention(e, self.heads, cache, [&q, &k, &v], |_| rows).await?;
        let y = e.linear(&self.output, &means).await?;
        let h = &stream + &e.truncate(&y, y.frac - RESIDUAL_FRAC, RESIDUAL).await?;
        let x = e.layer_norm(&h, self.eps).await?;

        let all = e.linear(&self.intermediate, &x).await?;
        let inner = all.shape.cols - d;
        let stream = self::stream(e, &all.columns(inner..inner + d)).await?;
        let inside = e.truncate(&all.columns(0..inner), all.frac - p.frac(), p.argument()).await?;
        let inside = e.activate(Activation::Gelu, &inside, p.linear()).await?;
        e.watch(&inside).await?;
        let y = e.linear(&self.down, &inside).await?;
        let h = &stream + &e.truncate(&y, y.frac - RESIDUAL_FRAC, RESIDUAL).await?;
        e.layer_norm(&h, self.eps).await
    }
}

impl<W> BertLayer<W> {
    /// What it will take.
    fn step(&self, precision: Precision, shape: Shape) -> Step<&W> {
        let rows = shape.rows;
        let matrices = [&self.qkv, &self.output, &self.intermediate, &self.down].map(|w| (w, rows)).into();
        let attention = Some(Attention { cache: 0, heads: self.heads, positions: rows });
        let norm = Function::LayerNorm(shape, self.eps);
        let softmax = Function::Softmax(visible(self.heads, rows, |_| rows));
        let inside = Function::Activation(Activation::Gelu, rows * self.inner, precision.linear());
        let functions = vec![(norm, 2), (softmax, 1), (inside, 1)];
        let part = Part { kind: Kind::Layer, matrices, attention, functions };
        Step { parts: vec![part], schedule: Schedule::default(), tokens: rows, tokens_after: 0 }
    }
}

/// The diagonal's outputs in the residual stream; local.
async fn stream<E: Evaluator>(e: &mut E, y: &Share) -> Result<Share, Error> {
    let frac = y.frac - DIAGONAL;
    e.truncate(&y.duplicate().with_frac(frac), frac - RESIDUAL_FRAC, RESIDUAL).await
}

impl BertLayer<Weight> {
    /// Folds and quantises a layer's numbers; its four matrices are numbered from `first` on, differently in every layer of a model.
    ///
    /// # Errors
    /// A weight or bias is no number, or too large for 16 bits of which at least ten are fraction.
    ///
    /// # Panics
    /// If the numbers' counts do not fit together.
    pub fn new(first: u32, w: &BertWeights) -> Result<BertLayer<Weight>, LoadError> {
        let d = w.before.gain.len();
        let width = d / w.heads;
        let scale = std::f64::consts::LOG2_E / (width as f64).sqrt();
        let [q, k, v] = &w.qkv;
        let qkv = after_norm("query, key, value", &[(q, scale), (k, 1.0), (v, 1.0)], &w.before, first)?;
        let intermediate = after_norm("intermediate", &[(&w.intermediate, 1.0)], &w.middle, first + 2)?;
        Ok(BertLayer {
            heads: Heads { key_value: w.heads, group: 1, width },
            eps: w.eps,
            inner: w.intermediate.bias.len(),
            qkv,
            output: matrix("output", &w.output.weight, &w.output.bias, d, first + 1)?,
            intermediate,
            down: matrix("down", &w.down.weight, &w.down.bias, w.intermediate.bias.len(), first + 3)?,
        })
    }

    /// The layer as the client knows it.
    pub fn outline(&self) -> BertLayer<WeightShape> {
        BertLayer {
            heads: self.heads,
            eps: self.eps,
            inner: self.inner,
            qkv: self.qkv.shape,
            output: self.output.shape,
            intermediate: self.intermediate.shape,
            down: self.down.shape,
        }
    }
}

/// Matrices behind a norm, each times a factor, and the stream's diagonal: `W (g x + b) + c` and `g x + b`.
fn after_norm(name: &str, parts: &[(&Dense, f64)], norm: &Affine, id: u32) -> Result<Weight, LoadError> {
    let d = norm.gain.len();
    // What the norm multiplies by is divided out.
    let gains: Vec<f32> = norm.gain.iter().map(|&g| (f64::from(g) / rms_norm::factor(d)) as f32).collect();
    let (mut weights, mut bias) = (vec![], vec![]);
    for (part, factor) in parts {
        for (row, own) in part.weight.chunks(d).zip(&part.bias) {
            let shift: f64 = row.iter().zip(&norm.bias).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
            bias.push(((shift + f64::from(*own)) * factor) as f32);
            weights.extend(row.iter().zip(&gains).map(|(w, g)| (f64::from(w * g) * factor) as f32));
        }
    }
    let divisor = (1 << DIAGONAL) as f32;
    for (i, (gain, shift)) in gains.iter().zip(&norm.bias).enumerate() {
        weights.extend((0..d).map(|j| if i == j { gain / divisor } else { 0.0 }));
        bias.push(shift / divisor);
    }
    matrix(name, &weights, &bias, d, id)
}

fn matrix(name: &str, weights: &[f32], bias: &[f32], inner: usize, id: u32) -> Result<Weight, LoadError> {
    let quantised = RealMatrix::new(name, weights, [bias.len(), inner]).quantize(MAX_FRAC)?;
    let (outer, frac) = (bias.len(), quantised.frac());
    let largest = bias.iter().fold(0f64, |largest, b| largest.max(f64::from(b.abs())));
    let finite = bias.iter().all(|b| b.is_finite());
    if frac < FEWEST_FRAC || !finite || largest >= BIAS_BOUND {
        let bound = f64::from(i16::MAX) * (-f64::from(frac)).exp2();
        let actual = if frac < FEWEST_FRAC {
            bound
        } else if finite {
            largest
        } else {
            f64::NAN
        };
        return Err(LoadError::WeightTooLarge { matrix: name.into(), actual });
    }
    let shape = WeightShape { id, inner, outer, frac, exactness: Exactness::Rounded };
    Ok(Weight {
        shape,
        data: quantised.into_data().into(),
        bias: bias.iter().map(|&b| f64::from(b)).collect(),
    })
}
