//! A batch of products of two shared matrices, activations with 12 fraction bits.

use anyhow::{Result, anyhow};
use sotto_net::Half;
use sotto_protocol::matmul::{self, RING};
use sotto_shares::{Party, Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

const FRAC: u32 = 12;
/// Inputs are below 4 in magnitude.
const BOUND: i64 = 4 << FRAC;

/// `batch` products of `[rows, inner]` and `[inner, cols]`.
pub struct Matmul {
    /// Products.
    pub batch: usize,
    /// Rows of the left factor.
    pub rows: usize,
    /// Its columns.
    pub inner: usize,
    /// Columns of the right factor.
    pub cols: usize,
}

impl Matmul {
    fn left(&self) -> Vec<i64> {
        inputs::integers("left", self.batch * self.rows * self.inner, -BOUND, BOUND)
    }

    fn right(&self) -> Vec<i64> {
        inputs::integers("right", self.batch * self.inner * self.cols, -BOUND, BOUND)
    }

    fn pairs(&self, party: Party) -> Vec<(Share, Share)> {
        let stack = |what, rows, cols, values: &[i64]| {
            inputs::share(party, what, RING, FRAC, Shape::new(self.batch * rows, cols), values)
        };
        let left = stack("left", self.rows, self.inner, &self.left());
        let right = stack("right", self.inner, self.cols, &self.right());
        let part = |share: &Share, rows: usize, i: usize| share.rows(i * rows..(i + 1) * rows);
        (0..self.batch).map(|i| (part(&left, self.rows, i), part(&right, self.inner, i))).collect()
    }
}

impl Case for Matmul {
    fn about(&self) -> &'static str {
        "both halves; the result is not truncated"
    }

    fn elements(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// Nine deviations of two cross terms.
    fn tolerance(&self) -> f64 {
        9.0 * 2f64.powi(7 - 2 * FRAC as i32)
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a product needs a session"))?;
            let pairs = self.pairs(stage.party);
            stage.watch.start(me.ch(), Half::Online).await?;
            let products = match me {
                Me::Client(me) => matmul::client(me, &pairs).await?,
                Me::Server(me) => matmul::server(me, &pairs).await?,
            };
            stage.watch.stop(me.ch());
            Ok(products.into_iter().map(Tensor::Sum).collect())
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let (x, y) = (inputs::reals(&self.left(), FRAC), inputs::reals(&self.right(), FRAC));
        let pairs = x.chunks(self.rows * self.inner).zip(y.chunks(self.inner * self.cols));
        let mut out = vec![];
        for (x, y) in pairs {
            for row in x.chunks(self.inner) {
                let entry =
                    |j: usize| -> f64 { row.iter().zip(y.chunks(self.cols)).map(|(x, y)| x * y[j]).sum() };
                out.extend((0..self.cols).map(entry));
            }
        }
        Ok(out)
    }
}
