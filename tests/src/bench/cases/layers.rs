//! Functions of a layer: SiLU, softmax, RMSNorm.

use anyhow::{Result, anyhow};
use sotto_models::evaluator::{ACTIVATION, ACTIVATION_FRAC, RESIDUAL, RESIDUAL_FRAC};
use sotto_net::Half;
use sotto_protocol::{Error, Session, activation, exp2, rms_norm, rows, softmax};
use sotto_shares::{Party, Ring, Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

const EPS: f64 = 1e-5;

enum Function {
    /// Inputs from -12 to 12.
    Silu,
    /// Scores from -16 to 16 in base-2 units; every row sees all of itself.
    Softmax,
    /// Inputs from -4 to 4.
    RmsNorm,
}

struct Layer {
    function: Function,
    shape: Shape,
}

/// The layer function `name` of this shape.
pub fn parse(name: &str, sizes: &[usize]) -> Option<Box<dyn Case>> {
    let layer = |function, rows, cols| -> Option<Box<dyn Case>> {
        Some(Box::new(Layer { function, shape: Shape::new(rows, cols) }))
    };
    match (name, sizes) {
        ("silu", &[rows, cols]) => layer(Function::Silu, rows, cols),
        ("softmax", &[heads, rows, cols]) => layer(Function::Softmax, heads * rows, cols),
        ("rms_norm", &[rows, cols]) => layer(Function::RmsNorm, rows, cols),
        _ => None,
    }
}

impl Layer {
    /// Ring and fraction bits of the input, and its bound.
    fn input(&self) -> (Ring, u32, i64) {
        match self.function {
            Function::Silu => (ACTIVATION, ACTIVATION_FRAC, 12),
            Function::Softmax => (exp2::ARGUMENT, exp2::ARGUMENT_FRAC, 16),
            Function::RmsNorm => (RESIDUAL, RESIDUAL_FRAC, 4),
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
            Function::Silu => Ok(vec![activation::silu(s, x, ACTIVATION).await?]),
            Function::Softmax => {
                let visible = vec![x.shape.cols; x.shape.rows];
                let softmax = softmax::softmax(s, x, &visible, ACTIVATION).await?;
                Ok(vec![softmax.numerators, softmax.reciprocal])
            }
            Function::RmsNorm => Ok(vec![rms_norm::rms_norm(s, x, EPS, ACTIVATION, ACTIVATION_FRAC).await?]),
        }
    }
}

impl Case for Layer {
    fn about(&self) -> &'static str {
        match self.function {
            Function::Silu => "inputs from -12 to 12",
            // Attention multiplies by the reciprocal after the values: 64 products a row, not 128. They count in the blocks.
            Function::Softmax => {
                "numerators and the reciprocal of their sum; the product with it belongs to attention"
            }
            Function::RmsNorm => "without gains, which are part of the next weights",
        }
    }

    fn elements(&self) -> usize {
        self.shape.len()
    }

    fn tolerance(&self) -> f64 {
        match self.function {
            Function::Silu => 3.1e-3,
            Function::Softmax => 1.2e-3,
            Function::RmsNorm => 1.5e-3,
        }
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a layer function needs a session"))?;
            let x = self.share(stage.party);
            stage.watch.start(me.ch(), Half::Online).await?;
            if let Function::RmsNorm = self.function {
                let shape = rms_norm::row_shape(x.shape.cols);
                match me {
                    Me::Client(me) => rows::client(me, shape, x.shape.rows).await?,
                    Me::Server(me) => rows::server(me, shape, x.shape.rows).await?,
                }
            }
            let s = me.session();
            let outputs = self.evaluate(s, &x).await?;
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

    fn expected(&self) -> Result<Vec<f64>> {
        let x = inputs::reals(&self.values(), self.input().1);
        let rows = x.chunks(self.shape.cols);
        Ok(match self.function {
            Function::Silu => x.iter().map(|x| x / (1.0 + (-x).exp())).collect(),
            Function::Softmax => rows.flat_map(softmax::ideal).collect(),
            Function::RmsNorm => rows.flat_map(|row| rms_norm::ideal(row, EPS)).collect(),
        })
    }
}
