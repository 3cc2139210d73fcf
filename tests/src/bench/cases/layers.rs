//! Functions of a layer: activations, softmax, norms.

use anyhow::{Result, anyhow};
use sotto_models::evaluator::RESIDUAL_FRAC;
use sotto_net::Half;
use sotto_protocol::{
    Error, Precision, Schedule, Session,
    activation::{self, Activation, activate},
    cost::CostModel,
    layer_norm, maximum, overflow_check,
    planner::{self, Need},
    reveal, rms_norm, softmax, top_k,
};
use sotto_shares::{Party, Ring, Shape, Share, encode};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

const EPS: f64 = 1e-5;

enum Function {
    /// Inputs from -12 to 12.
    Activation(Activation),
    /// Scores from -16 to 16 in base-2 units; every row sees all of itself.
    Softmax,
    /// Inputs from -4 to 4.
    RmsNorm,
    /// The same.
    LayerNorm,
    /// Logits from -60 to 60 as they are before they would be revealed.
    Argmax,
    /// The same; the [`LARGEST`] largest are revealed.
    TopK,
}

/// How many logits are revealed.
const LARGEST: usize = 50;

/// Fraction bits of a head's weights.
const HEAD_FRAC: u32 = 16;

struct Layer {
    function: Function,
    shape: Shape,
    precision: Precision,
}

/// The layer function `name` of this shape.
pub fn parse(name: &str, sizes: &[usize], precision: Precision) -> Option<Box<dyn Case>> {
    let layer = |function, rows, cols| -> Option<Box<dyn Case>> {
        Some(Box::new(Layer { function, shape: Shape::new(rows, cols), precision }))
    };
    match (name, sizes) {
        ("softmax", &[heads, rows, cols]) => layer(Function::Softmax, heads * rows, cols),
        ("rms_norm", &[rows, cols]) => layer(Function::RmsNorm, rows, cols),
        ("argmax", &[cols]) => layer(Function::Argmax, 1, cols),
        ("top_k", &[cols]) => layer(Function::TopK, 1, cols),
        ("layer_norm", &[rows, cols]) => layer(Function::LayerNorm, rows, cols),
        (name, &[rows, cols]) => {
            let activation = Activation::ALL.into_iter().find(|f| f.name() == name)?;
            layer(Function::Activation(activation), rows, cols)
        }
        _ => None,
    }
}

impl Layer {
    /// Ring and fraction bits of the input, and its bound.
    fn input(&self) -> (Ring, u32, i64) {
        let p = self.precision;
        match self.function {
            Function::Activation(_) => (p.linear(), p.frac(), 12),
            Function::Softmax => (p.score(), p.frac(), 16),
            Function::RmsNorm | Function::LayerNorm => (Ring::new(64), RESIDUAL_FRAC, 4),
            Function::Argmax => (reveal::RING, reveal::FRAC, 60),
            Function::TopK => (p.linear(), p.frac() + HEAD_FRAC, 60),
        }
    }

    fn values(&self) -> Vec<i64> {
        let (_, frac, bound) = self.input();
        inputs::integers("x", self.shape.len(), -bound << frac, bound << frac)
    }

    fn share(&self, party: Party) -> Share {
        let (ring, frac, _) = self.input();
        inputs::share(party, "x", ring, frac, self.shape, &self.values())
    }

    async fn evaluate(&self, s: &mut Session, x: &Share) -> Result<Vec<Share>, Error> {
        match self.function {
            Function::Activation(f) => Ok(vec![activate(s, f, x, self.precision.linear()).await?]),
            Function::Softmax => {
                let visible = vec![x.shape().cols; x.shape().rows];
                let softmax = softmax::softmax(s, x, &visible).await?;
                Ok(vec![softmax.numerators, softmax.reciprocal])
            }
            Function::RmsNorm => Ok(vec![rms_norm::rms_norm(s, x, EPS).await?]),
            Function::LayerNorm => Ok(vec![layer_norm::layer_norm(s, x, EPS).await?]),
            Function::Argmax => Ok(vec![maximum::row_argmax(s, x, &[x.shape().cols]).await?]),
            Function::TopK => {
                let mut shown = vec![0; x.len()];
                for (j, value) in top_k::top_to_client(s, x, LARGEST).await?.into_iter().flatten() {
                    shown[j] = encode(value, reveal::FRAC, reveal::RING);
                }
                Ok(vec![Share::new(reveal::RING, reveal::FRAC, x.shape(), shown)])
            }
        }
    }
}

impl Case for Layer {
    fn about(&self) -> &'static str {
        match self.function {
            Function::Activation(_) => "inputs from -12 to 12",
            // Attention multiplies by the reciprocal after the values: 64 products a row, not 128.
            // They count in the blocks.
            Function::Softmax => {
                "numerators and the reciprocal of their sum; the product with it belongs to attention"
            }
            Function::RmsNorm | Function::LayerNorm => "without gains, which are part of the next weights",
            Function::Argmax => "logits of 16 bits, the position stays shared",
            Function::TopK => "50 of them go to the client, truncation included",
        }
    }

    fn elements(&self) -> usize {
        self.shape.len()
    }

    fn tolerance(&self) -> f64 {
        let finer = match self.precision {
            Precision::Default => 1.0,
            Precision::High => 4.0,
        };
        match self.function {
            // At the window's edges, whatever the precision.
            Function::Activation(Activation::Silu) => 3.1e-3,
            Function::Activation(Activation::Tanh) => 1.2e-3,
            Function::Activation(_) => 1.2e-3f64.min(1.6e-3 / finer),
            Function::Softmax => 1.2e-3 / finer,
            Function::RmsNorm | Function::LayerNorm => 1.5e-3 / finer,
            Function::Argmax | Function::TopK => 0.0,
        }
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a layer function needs a session"))?;
            let x = self.share(stage.party);
            stage.watch.start(me.ch(), Half::Online).await?;
            if let Function::RmsNorm | Function::LayerNorm = self.function {
                let shape = rms_norm::row_shape(self.precision, x.shape().cols);
                match me {
                    Me::Client(me) => {
                        planner::ensure(&mut **me, vec![Need::rows(shape, x.shape().rows)]).await?
                    }
                    Me::Server(me) => {
                        planner::ensure(&mut **me, vec![Need::rows(shape, x.shape().rows)]).await?
                    }
                }
            }
            let s = me.session();
            let outputs = self.evaluate(s, &x).await?;
            overflow_check::run(s).await?;
            stage.watch.stop(&mut s.ch);
            Ok(outputs.into_iter().map(Tensor::Sum).collect())
        })
    }

    fn answer(&self, opened: Vec<Vec<f64>>) -> Vec<f64> {
        match (&self.function, &opened[..]) {
            (Function::Softmax, [numerators, reciprocals]) => {
                let rows = numerators.chunks(self.shape.cols).zip(reciprocals);
                rows.flat_map(|(row, r)| row.iter().map(move |x| x * r)).collect()
            }
            _ => opened.concat(),
        }
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.function, Function::RmsNorm | Function::LayerNorm)
    }

    fn stated(&self, schedule: Schedule) -> Option<CostModel> {
        let (Shape { rows, cols }, p) = (self.shape, self.precision);
        Some(match self.function {
            Function::Activation(f) => activation::cost(f, p, schedule, self.shape.len(), p.linear().bits()),
            Function::Softmax => {
                softmax::cost(p, schedule, &vec![cols; rows]) + overflow_check::cost(&[(6, rows * cols)])
            }
            Function::RmsNorm => rms_norm::cost(p, schedule, self.shape, EPS),
            Function::LayerNorm => layer_norm::cost(p, schedule, self.shape, EPS),
            Function::Argmax => maximum::argmax_cost(schedule, &[cols], reveal::RING.bits()),
            Function::TopK => top_k::cost(cols, p.frac() + HEAD_FRAC - reveal::FRAC),
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let x = inputs::reals(&self.values(), self.input().1);
        let rows = x.chunks(self.shape.cols);
        Ok(match self.function {
            Function::Activation(f) => x.iter().map(|&x| f.real(x)).collect(),
            Function::Softmax => rows.flat_map(softmax::ideal).collect(),
            Function::RmsNorm => rows.flat_map(|row| rms_norm::ideal(row, EPS)).collect(),
            Function::LayerNorm => rows.flat_map(|row| layer_norm::ideal(row, EPS)).collect(),
            Function::Argmax => {
                let first = |row: &[f64]| (0..row.len()).rev().max_by(|&i, &j| row[i].total_cmp(&row[j]));
                rows.filter_map(first).map(|i| i as f64).collect()
            }
            Function::TopK => {
                let mut shown = vec![0.0; x.len()];
                top_k::ideal(&x, LARGEST).into_iter().for_each(|(j, value)| shown[j] = value);
                shown
            }
        })
    }
}
