//! One layer of BERT with random weights; both parties start from shares of the preceding norm's
//! output.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, anyhow};
use sotto_models::{
    Checkpoint,
    evaluator::{
        Evaluator, FixedPoint, Float, Part, Plan, Progress, Scaled, Scales, TwoParty, float::Rows, immediate,
        two_party::Caches,
    },
    layers::{EncoderLayer, LayerNames, LayerShape},
    random::write_random_tensors,
    weights::{At, Listing, Outline, Quantised, Real, Source},
};
use sotto_net::Half;
use sotto_protocol::{
    Precision, Role,
    activation::Activation,
    linear::{Weight, WeightShape},
    overflow_check, rms_norm,
};
use sotto_shares::{Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// Inputs are below 2 in magnitude.
const BOUND: i64 = 2;

/// The checkpoint's folder inside the scratch folder.
const FOLDER: &str = "layer";

/// A layer as wide as BERT base, and how many tokens pass through it.
pub struct Bert {
    tokens: usize,
    shape: LayerShape,
    precision: Precision,
    folder: std::path::PathBuf,
    known: Option<Known>,
}

enum Known {
    Shapes(EncoderLayer<WeightShape>),
    Weights(EncoderLayer<Weight>),
}

impl Bert {
    /// By the case's name.
    pub fn parse(name: &str, precision: Precision) -> Option<Bert> {
        let tokens = name.strip_prefix("block/bert-base/")?.parse().ok().filter(|n| (1..=512).contains(n))?;
        let shape = LayerShape { width: 768, heads: 12, inner: 3072, function: Activation::Gelu, eps: 1e-12 };
        Some(Bert { tokens, shape, precision, folder: "".into(), known: None })
    }

    fn input(&self) -> Shape {
        Shape::new(self.tokens, self.shape.width)
    }

    fn values(&self) -> Vec<i64> {
        let bound = BOUND << self.precision.frac();
        inputs::integers("x", self.input().len(), -bound, bound)
    }

    fn load<S: Source>(&self, source: &S) -> Result<EncoderLayer<S::Weight>> {
        let layer = At::root(source).at("encoder.layer.0");
        let before = self.shape.norm("embeddings.LayerNorm");
        Ok(EncoderLayer::load(self.shape, &layer, LayerNames::BERT, &before)?)
    }

    /// The layer as a party knows it. Fraction bits, which the server would tell, the client reads
    /// for itself.
    fn meet(&self, me: &Me, scratch: &Path) -> Result<Known> {
        let (checkpoint, caps) = (Checkpoint::open(&scratch.join(FOLDER))?, BTreeMap::new());
        let source = Quantised::new(&checkpoint, &caps);
        let layer = self.load(&source)?;
        Ok(match me {
            Me::Server(_) => Known::Weights(layer),
            Me::Client(_) => {
                let fractions = source.fractions();
                Known::Shapes(self.load(&Outline::new(&fractions).context("fraction bits of matrices")?)?)
            }
        })
    }
}

/// The layer, from one norm's output to the next.
async fn layer<R: Role<Weight: Clone>>(
    me: &mut R,
    layer: &EncoderLayer<R::Weight>,
    x: Share,
) -> Result<Share> {
    let (scales, mut caches, schedule) = (Scales::default(), Caches::default(), me.session().schedule());
    let mut plan = Plan::new(0, me.session().precision(), &scales);
    plan.rows = x.shape().rows;
    for part in [Part::Embedding, Part::Layer(0)] {
        plan.enter(part).await?;
    }
    layer.forward(&mut plan, 0, &x.shape()).await?;
    plan.enter(Part::Head).await?;
    let mut e = FixedPoint::new(TwoParty::new(me, &mut caches, plan, Progress::alone(schedule)), &scales);
    e.enter(Part::Layer(0)).await?;
    Ok(layer.forward(&mut e, 0, &Scaled::from(x)).await?.share)
}

impl Case for Bert {
    fn about(&self) -> &'static str {
        "gains and biases of both norms included; error against f32 with unrounded weights"
    }

    fn elements(&self) -> usize {
        self.input().len()
    }

    fn tolerance(&self) -> f64 {
        2e-2
    }

    fn provide(&mut self, scratch: &Path) -> Result<()> {
        let listing = Listing::default();
        self.load(&listing)?;
        self.folder = scratch.join(FOLDER);
        Ok(write_random_tensors(&self.folder, listing.tensors(), 1)?)
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a block needs a session"))?;
            if self.known.is_none() {
                self.known = Some(self.meet(me, &stage.scratch)?);
            }
            let known = self.known.as_ref().context("the layer was just met")?;
            let (ring, frac) = (self.precision.linear(), self.precision.frac());
            let x = inputs::share(stage.party, "x", ring, frac, self.input(), &self.values());
            stage.watch.start(me.ch(), Half::Online).await?;
            let y = match (&mut *me, known) {
                (Me::Client(me), Known::Shapes(known)) => layer(&mut **me, known, x).await?,
                (Me::Server(me), Known::Weights(known)) => layer(&mut **me, known, x).await?,
                _ => unreachable!("a party meets the layer in its own role"),
            };
            overflow_check::run(me.session()).await?;
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(y)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let checkpoint = Checkpoint::open(&self.folder)?;
        let layer = self.load(&Real(&checkpoint))?;
        // A norm's output comes multiplied by a public factor.
        let factor = rms_norm::factor(self.shape.width);
        let x = inputs::reals(&self.values(), self.precision.frac());
        let x = x.into_iter().map(|x| (x / factor) as f32).collect();
        let mut float = Float::default();
        immediate(float.enter(Part::Layer(0)))?;
        let y = immediate(layer.forward(&mut float, 0, &Rows::new(x, self.shape.width)))?;
        Ok(y.data.into_iter().map(|y| f64::from(y) * factor).collect())
    }
}
