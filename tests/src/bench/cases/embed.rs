//! Private lookup of tokens in the server's table.

use anyhow::{Result, anyhow};
use sotto_models::{
    Tokens,
    evaluator::{Evaluator, FixedPoint, Plan, Progress, Scales, TwoParty, two_party::Caches},
};
use sotto_net::Half;
use sotto_protocol::{
    Role,
    linear::{Exactness, Weight, WeightShape},
    planner::{self, Need},
};
use sotto_shares::Share;

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

const WEIGHT_FRAC: u32 = 16;

/// The lookup's size.
pub struct Embed {
    /// Tokens looked up.
    pub tokens: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Its columns.
    pub width: usize,
}

impl Embed {
    fn table(&self) -> WeightShape {
        let Embed { vocabulary: inner, width: outer, .. } = *self;
        WeightShape { id: 0, inner, outer, frac: WEIGHT_FRAC, exactness: Exactness::Rounded }
    }

    fn ids(&self) -> Vec<u32> {
        let ids = inputs::integers("tokens", self.tokens, 0, self.vocabulary as i64 - 1);
        ids.into_iter().map(|id| id as u32).collect()
    }
}

/// The lookup alone.
async fn embed<R: Role<Weight: Clone>>(me: &mut R, table: &R::Weight, tokens: Tokens<'_>) -> Result<Share> {
    let (scales, mut caches) = (Scales::default(), Caches::default());
    planner::ensure(me, vec![Need::linear(table, tokens.count())]).await?;
    let (precision, schedule) = (me.session().precision(), me.session().schedule());
    let plan = Plan::new(0, precision, &scales);
    let mut e = FixedPoint::new(TwoParty::new(me, &mut caches, plan, Progress::alone(schedule)), &scales);
    Ok(e.embed(table, tokens).await?.share)
}

impl Case for Embed {
    fn about(&self) -> &'static str {
        "a product with one-hot rows, in the residual ring"
    }

    fn elements(&self) -> usize {
        self.tokens * self.width
    }

    fn tolerance(&self) -> f64 {
        2f64.powi(-17)
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a lookup needs a session"))?;
            let shape = self.table();
            let rows = match me {
                Me::Client(me) => {
                    let ids = self.ids();
                    stage.watch.start(&mut me.session.ch, Half::Online).await?;
                    embed(&mut **me, &shape, Tokens::Known(&ids)).await?
                }
                Me::Server(me) => {
                    let table = Weight::new(shape, inputs::weights(self.vocabulary, self.width), vec![]);
                    stage.watch.start(&mut me.session.ch, Half::Online).await?;
                    embed(&mut **me, &table, Tokens::Hidden(self.tokens)).await?
                }
            };
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(rows)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let table = inputs::weights(self.vocabulary, self.width);
        let unit = 2f64.powi(-(WEIGHT_FRAC as i32));
        let places = self.ids().into_iter().map(|id| id as usize * self.width);
        let rows = places.flat_map(|first| (first..first + self.width).map(|place| table.at(place)));
        Ok(rows.map(|w| w as f64 * unit).collect())
    }
}
