//! One layer of BERT with random weights; both parties start from shares of the preceding norm's output.

use anyhow::{Result, anyhow};
use sotto_models::bert::{Affine, BertLayer, BertWeights, Dense};
use sotto_net::Half;
use sotto_protocol::{Precision, activation::Activation, layer_norm, overflow_check, rms_norm};
use sotto_shares::Shape;

use super::{Case, Run, block_reference::linear, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// Inputs are below 2 in magnitude.
const BOUND: i64 = 2;

/// A layer as wide as BERT base, and how many tokens pass through it.
pub struct Bert {
    tokens: usize,
    width: usize,
    heads: usize,
    inner: usize,
    precision: Precision,
    layer: Option<BertLayer<sotto_protocol::linear::Weight>>,
}

impl Bert {
    /// By the case's name.
    pub fn parse(name: &str, precision: Precision) -> Option<Bert> {
        let tokens = name.strip_prefix("block/bert-base/")?.parse().ok().filter(|n| (1..=512).contains(n))?;
        Some(Bert { tokens, width: 768, heads: 12, inner: 3072, precision, layer: None })
    }

    fn shape(&self) -> Shape {
        Shape::new(self.tokens, self.width)
    }

    fn values(&self) -> Vec<i64> {
        let bound = BOUND << self.precision.frac();
        inputs::integers("x", self.shape().len(), -bound, bound)
    }

    fn weights(&self) -> BertWeights {
        let (d, inner) = (self.width, self.inner);
        BertWeights {
            heads: self.heads,
            eps: 1e-12,
            before: affine("before", d),
            qkv: ["query", "key", "value"].map(|name| dense(name, d, d)),
            output: dense("output", d, d),
            middle: affine("middle", d),
            intermediate: dense("intermediate", d, inner),
            down: dense("down", inner, d),
        }
    }
}

/// Evenly spread in `centre - bound .. centre + bound`.
fn numbers(what: &str, n: usize, centre: f64, bound: f64) -> Vec<f32> {
    let integers = inputs::integers(what, n, -(1 << 23), 1 << 23);
    integers.into_iter().map(|x| (centre + bound * x as f64 / f64::from(1 << 23)) as f32).collect()
}

fn affine(what: &str, d: usize) -> Affine {
    Affine { gain: numbers(what, d, 0.9, 0.2), bias: numbers(&format!("{what} bias"), d, 0.0, 0.1) }
}

fn dense(what: &str, inner: usize, outer: usize) -> Dense {
    let bound = (3.0 / inner as f64).sqrt();
    Dense {
        weight: numbers(what, inner * outer, 0.0, bound),
        bias: numbers(&format!("{what} bias"), outer, 0.0, 0.1),
    }
}

impl Case for Bert {
    fn about(&self) -> &'static str {
        "gains and biases of both norms included; error against f64 with unrounded weights"
    }

    fn elements(&self) -> usize {
        self.shape().len()
    }

    fn tolerance(&self) -> f64 {
        2e-2
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a block needs a session"))?;
            if self.layer.is_none() {
                self.layer = Some(BertLayer::new(0, &self.weights())?);
            }
            let layer = self.layer.as_ref().expect("the layer was just made");
            let (ring, frac) = (self.precision.linear(), self.precision.frac());
            let x = inputs::share(stage.party, "x", ring, frac, self.shape(), &self.values());
            stage.watch.start(me.ch(), Half::Online).await?;
            let y = match &mut *me {
                Me::Client(me) => layer.outline().forward(&mut **me, &x).await?,
                Me::Server(me) => layer.forward(&mut **me, &x).await?,
            };
            overflow_check::run(me.session()).await?;
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(y)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let w = self.weights();
        let x = scaled(&inputs::reals(&self.values(), self.precision.frac()), self.width, &w.before);
        let [q, k, v] = [0, 1, 2].map(|i| through(&x, &w.qkv[i]));
        let h = sum(&x, &through(&attention(&q, &k, &v, self.width, self.heads), &w.output));
        let x = scaled(&normed(&h, self.width, w.eps), self.width, &w.middle);
        let inside: Vec<f64> =
            through(&x, &w.intermediate).into_iter().map(|x| Activation::Gelu.real(x)).collect();
        Ok(normed(&sum(&x, &through(&inside, &w.down)), self.width, w.eps))
    }
}

fn through(x: &[f64], w: &Dense) -> Vec<f64> {
    let y = linear(x, &w.weight, w.weight.len() / w.bias.len());
    y.iter().zip(w.bias.iter().cycle()).map(|(y, &b)| y + f64::from(b)).collect()
}

/// A norm's output, less the factor that belongs to it, with gain and bias.
fn scaled(x: &[f64], width: usize, norm: &Affine) -> Vec<f64> {
    let x = x.iter().map(|x| x / rms_norm::factor(width));
    let affine = norm.gain.iter().zip(&norm.bias).cycle();
    x.zip(affine).map(|(x, (&g, &b))| x * f64::from(g) + f64::from(b)).collect()
}

fn normed(x: &[f64], width: usize, eps: f64) -> Vec<f64> {
    x.chunks(width).flat_map(|row| layer_norm::ideal(row, eps)).collect()
}

fn sum(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// Every row sees all rows.
fn attention(q: &[f64], k: &[f64], v: &[f64], width: usize, heads: usize) -> Vec<f64> {
    let size = width / heads;
    let mut out = vec![0.0; q.len()];
    for (t, q) in q.chunks(width).enumerate() {
        for head in 0..heads {
            let of = |x: &'_ [f64], row: usize| x[row * width + head * size..][..size].to_vec();
            let q = &q[head * size..][..size];
            let score =
                |row| q.iter().zip(of(k, row)).map(|(q, k)| q * k).sum::<f64>() / (size as f64).sqrt();
            let scores: Vec<f64> = (0..k.len() / width).map(score).collect();
            let weights: Vec<f64> = scores.iter().map(|s| s.exp()).collect();
            let total: f64 = weights.iter().sum();
            for (row, weight) in weights.iter().enumerate() {
                let out = &mut out[t * width + head * size..][..size];
                out.iter_mut().zip(of(v, row)).for_each(|(o, v)| *o += weight / total * v);
            }
        }
    }
    out
}
