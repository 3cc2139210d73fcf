//! One transformer block of a random model; both parties start from shares of the residual stream.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use sotto_models::{
    Cache, Config, Fields, Folder, Llama,
    conversation::{self, Policy},
    evaluator::{RESIDUAL, RESIDUAL_FRAC},
    random::{Precision, RandomFolder},
};
use sotto_net::Half;
use sotto_protocol::{
    linear::{Weight, WeightShape},
    overflow_check,
};
use sotto_shares::Shape;

use super::{Case, Run, block_reference::block, inputs};
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
    Shapes(Box<Llama<WeightShape>>),
    Weights(Box<Llama<Weight>>),
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
            Me::Client(me) => {
                Known::Shapes(Box::new(conversation::receive_offer(&mut me.session.ch, None).await?.model))
            }
            Me::Server(me) => {
                let folder = Folder::open(&scratch.join(FOLDER))?;
                let model = Llama::load(&folder)?;
                conversation::offer(&mut me.session.ch, &model, folder.tokenizer(), Policy::default())
                    .await?;
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
        "from an empty cache; error against f64 with unrounded weights"
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
            let h = inputs::share(stage.party, "h", RESIDUAL, RESIDUAL_FRAC, self.shape(), &self.values());
            let mut cache = Cache::default();
            stage.watch.start(me.ch(), Half::Online).await?;
            let y = match (&mut *me, model) {
                (Me::Client(me), Known::Shapes(model)) => model.block(&mut **me, 0, &h, &mut cache).await?,
                (Me::Server(me), Known::Weights(model)) => model.block(&mut **me, 0, &h, &mut cache).await?,
                _ => unreachable!("a party meets the model in its own role"),
            };
            overflow_check::run(me.session()).await?;
            stage.watch.stop(me.ch());
            Ok(vec![Tensor::Sum(y)])
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        block(&Folder::open(&self.folder)?, inputs::reals(&self.values(), RESIDUAL_FRAC))
    }
}
