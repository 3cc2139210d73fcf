//! `[T, K]` shares by the server's `[K, M]`: activations, weights of the whole 16-bit range.

use anyhow::{Result, anyhow};
use sotto_net::Half;
use sotto_protocol::{
    Precision,
    linear::{self, Exactness, Weight, WeightShape},
    planner::{self, Need},
};
use sotto_shares::{Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

const WEIGHT_FRAC: u32 = 16;
/// Inputs are below 4 in magnitude.
const BOUND: i64 = 4;

/// The shape of a product.
pub struct Linear {
    /// `T`.
    pub rows: usize,
    /// `K`.
    pub inner: usize,
    /// `M`.
    pub outer: usize,
    /// Of the activations.
    pub precision: Precision,
}

impl Linear {
    fn weight(&self) -> WeightShape {
        let Linear { inner, outer, .. } = *self;
        WeightShape { id: 0, inner, outer, frac: WEIGHT_FRAC, exactness: Exactness::Rounded }
    }

    fn input(&self) -> Vec<i64> {
        let bound = BOUND << self.precision.frac();
        inputs::integers("x", self.rows * self.inner, -bound, bound)
    }
}

impl Case for Linear {
    fn about(&self) -> &'static str {
        "both halves; the result is not truncated"
    }

    fn elements(&self) -> usize {
        self.rows * self.outer
    }

    /// Nine deviations.
    fn tolerance(&self) -> f64 {
        9.0 * 2f64.powi(-18)
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a product needs a session"))?;
            let shape = Shape::new(self.rows, self.inner);
            let (ring, frac) = (self.precision.linear(), self.precision.frac());
            let x: Share = inputs::share(stage.party, "x", ring, frac, shape, &self.input());
            let shape = self.weight();
            let y = match me {
                Me::Client(me) => {
                    stage.watch.start(&mut me.session.ch, Half::Online).await?;
                    planner::ensure(&mut **me, vec![Need::linear(&shape, self.rows)]).await?;
                    linear::client(me, &shape, &x).await?
                }
                Me::Server(me) => {
                    let weight = Weight::new(shape, inputs::weights(self.inner, self.outer), vec![]);
                    stage.watch.start(&mut me.session.ch, Half::Online).await?;
                    planner::ensure(&mut **me, vec![Need::linear(&weight, self.rows)]).await?;
                    linear::server(me, &weight, &x).await?
                }
            };
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(y)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let x = inputs::reals(&self.input(), self.precision.frac());
        let w = inputs::weights(self.inner, self.outer);
        let unit = 2f64.powi(-(WEIGHT_FRAC as i32));
        let mut y = vec![0.0; self.elements()];
        for (x, y) in x.chunks(self.inner).zip(y.chunks_mut(self.outer)) {
            for (x, w) in x.iter().zip(w.rows()) {
                y.iter_mut().zip(w).for_each(|(y, w)| *y += x * unit * f64::from(w));
            }
        }
        Ok(y)
    }
}
