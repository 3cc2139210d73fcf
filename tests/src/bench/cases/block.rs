//! One transformer block of a random model; both parties start from shares of the residual stream.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sotto_models::{
    Config, Fields, Folder, Model, Texts,
    architectures::llama,
    evaluator::{
        Evaluator, FixedPoint, Float, Part, Plan, Progress, RESIDUAL_FRAC, Scaled, Scales, TwoParty,
        float::Rows, immediate, two_party::Caches,
    },
    layers::Layer,
    network::AnyNetwork,
    random::{Precision, RandomFolder},
    service::{self, Policy, RemoteModel, TokenizerSource},
    weights::Real,
};
use sotto_net::Half;
use sotto_protocol::{Role, overflow_check};
use sotto_shares::{Ring, Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    model,
    stage::{Me, Stage},
    tensor::Tensor,
};

/// Inputs are below 2 in magnitude.
const BOUND: i64 = 2 << RESIDUAL_FRAC;

/// The model's folder inside the scratch folder.
const FOLDER: &str = "model";

enum Known {
    Shapes(Box<RemoteModel>),
    Weights(Box<Model>),
}

/// A block and how many tokens pass through it at once, from an empty cache.
pub struct Block {
    fields: Fields,
    tokens: usize,
    folder: PathBuf,
    model: Option<Known>,
}

impl Block {
    /// By the case's name.
    pub fn parse(name: &str) -> Option<Block> {
        let (model, tokens) = name.rsplit_once('/')?;
        let fields = match model {
            "block/llama-768" => fields(768, 12, 2048),
            "layer/llama-7b" => fields(4096, 32, 11008),
            _ => return None,
        };
        // One token is a decode step, which has a cache behind it: another case, not yet written.
        let tokens = tokens.parse().ok().filter(|n| (2..=fields.max_position_embeddings).contains(n))?;
        Some(Block { fields, tokens, folder: PathBuf::new(), model: None })
    }

    fn shape(&self) -> Shape {
        Shape::new(self.tokens, self.fields.hidden_size)
    }

    fn values(&self) -> Vec<i64> {
        inputs::integers("h", self.shape().len(), -BOUND, BOUND)
    }

    /// The model as this party knows it: the server reads it and offers it, as the program does.
    async fn meet(&self, me: &mut Me, scratch: &Path) -> Result<Known> {
        Ok(match me {
            Me::Client(me) => Known::Shapes(Box::new(
                service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await?,
            )),
            Me::Server(me) => {
                let folder = Folder::open(&scratch.join(FOLDER))?;
                let model = Model::load(&folder, &Texts::default())?;
                service::offer(&mut me.session.ch, &model, folder.tokenizer(), Policy::default()).await?;
                Known::Weights(Box::new(model))
            }
        })
    }
}

/// One layer; a small vocabulary, since neither embedding nor head is used.
fn fields(hidden_size: usize, heads: usize, intermediate_size: usize) -> Fields {
    Fields {
        num_hidden_layers: 1,
        max_position_embeddings: 256,
        ..model::fields(hidden_size, heads, intermediate_size, 320)
    }
}

impl Case for Block {
    fn about(&self) -> &'static str {
        "from an empty cache; error against f32 with unrounded weights"
    }

    fn elements(&self) -> usize {
        self.shape().len()
    }

    fn tolerance(&self) -> f64 {
        2e-2
    }

    fn provide(&mut self, scratch: &Path) -> Result<()> {
        self.folder = scratch.join(FOLDER);
        let config = Config::try_from(self.fields.clone())?;
        Ok(RandomFolder::new(&config, 1).precision(Precision::Bf16).write(&self.folder)?)
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a block needs a session"))?;
            if self.model.is_none() {
                self.model = Some(self.meet(me, &stage.scratch).await?);
            }
            let model = self.model.as_ref().context("the model was just met")?;
            let h =
                inputs::share(stage.party, "h", Ring::new(64), RESIDUAL_FRAC, self.shape(), &self.values());
            stage.watch.start(me.ch(), Half::Online).await?;
            let y = match (&mut *me, model) {
                (Me::Client(me), Known::Shapes(model)) => {
                    layer(&mut **me, model.network(), model.scales(), h).await?
                }
                (Me::Server(me), Known::Weights(model)) => {
                    layer(&mut **me, model.network(), model.scales(), h).await?
                }
                _ => unreachable!("a party meets the model in its own role"),
            };
            overflow_check::run(me.session()).await?;
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(y)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let folder = Folder::open(&self.folder)?;
        let network = AnyNetwork::load(folder.config(), &Real(folder.checkpoint()))?;
        let page = first_layer(&network);
        let h = inputs::reals(&self.values(), RESIDUAL_FRAC).into_iter().map(|x| x as f32).collect();
        let mut float = Float::default();
        let y = immediate(page.forward(&mut float, 0, &Rows::new(h, self.fields.hidden_size)))?;
        Ok(y.data.into_iter().map(f64::from).collect())
    }
}

/// The first layer of a LLaMA.
fn first_layer<W>(network: &AnyNetwork<W>) -> &llama::Layer<W> {
    match network {
        AnyNetwork::Llama(page) => &page.0.layers[0],
        _ => unreachable!("blocks are those of a LLaMA"),
    }
}

/// The first layer on the residual stream `h`.
async fn layer<R: Role<Weight: Clone>>(
    me: &mut R,
    network: &AnyNetwork<R::Weight>,
    scales: &Scales,
    h: Share,
) -> Result<Share> {
    let page = first_layer(network);
    let (precision, schedule) = (me.session().precision(), me.session().schedule());
    let (mut plan, mut caches) = (Plan::new(0, precision, scales), Caches::default());
    plan.rows = h.shape().rows;
    for part in [Part::Embedding, Part::Layer(0)] {
        plan.enter(part).await?;
    }
    page.forward(&mut plan, 0, &h.shape()).await?;
    plan.enter(Part::Head).await?;
    let mut e = FixedPoint::new(TwoParty::new(me, &mut caches, plan, Progress::alone(schedule)), scales);
    e.enter(Part::Layer(0)).await?;
    Ok(page.forward(&mut e, 0, &Scaled::from(h)).await?.share)
}
