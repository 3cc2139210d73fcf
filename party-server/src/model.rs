//! The model that is served. All calls of the model library are here.

use std::{path::Path, time::Duration};

use sotto_models::{
    Agreement, Cache, Folder, Task, Texts,
    evaluator::two_party::Caches,
    service::{self, Policy},
    tokenizer::Digest,
};
use sotto_net::Cost;
use sotto_protocol::{Precision, Server};

use crate::{error::Error, events::Served};

/// What clients see of each step.
pub use sotto_models::service::Answers as Reveal;

/// A model that is loaded, and its audit.
pub struct Model {
    weights: sotto_models::Model,
    folder: Folder,
    findings: Vec<String>,
}

/// How long a client that has another request may take to make it.
const REQUEST: Duration = Duration::from_secs(30);
/// Texts on which agreement is looked at.
const AGREEMENT_TEXTS: usize = 3;

/// What the owner has decided.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What clients see.
    pub reveal: Reveal,
    /// Tokens of a prompt at most.
    pub max_prompt: usize,
}

/// How far a session is.
pub enum Turn {
    /// A request was served; the client has none now.
    Served(Served),
    /// It has another one.
    Next,
}

impl Model {
    /// Loads a folder, a GGUF file, or the built-in model; `calibrate` is a file of texts, `cache`
    /// has what came of texts before.
    ///
    /// # Errors
    /// Its files.
    pub fn load(model: &Path, calibrate: Option<&Path>, cache: &Cache) -> Result<Model, Error> {
        let texts = calibrate.map(Texts::open).transpose()?.unwrap_or_default();
        let folder = if model == Path::new("builtin") { Folder::builtin()? } else { Folder::open(model)? };
        let weights = sotto_models::Model::load_cached(&folder, &texts, cache)?;
        let findings = weights.findings().iter().map(ToString::to_string).collect();
        Ok(Model { weights, folder, findings })
    }

    /// Whether it can be served by these rules.
    ///
    /// # Errors
    /// It has no largest answer, and no other is to be revealed.
    pub fn check(&self, rules: Rules) -> Result<(), Error> {
        let policy = Policy { answers: rules.reveal, ..Policy::default() };
        policy.check(self.weights.config()).map_err(|e| Error::Usage(e.to_string()))
    }

    /// What it does with a text.
    pub fn task(&self) -> Task {
        self.weights.config().task()
    }

    /// Values that may exceed what their ring holds: one line each, none if the audit has cleared
    /// the model.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Its shape, in words.
    pub fn describe(&self) -> String {
        let config = self.folder.config();
        let task = match config.task() {
            Task::Generate => String::new(),
            task => format!(", for `{}`", task.name()),
        };
        format!(
            "{} layers of width {}, vocabulary {}, context {}{task}",
            config.num_hidden_layers,
            config.hidden_size,
            config.vocab_size,
            self.weights.positions()
        )
    }

    /// What its files say and is read otherwise: one line each.
    pub fn remarks(&self) -> &[String] {
        self.folder.warnings()
    }

    /// The ranges of its numbers, if they were chosen on texts, in words.
    pub fn ranges(&self) -> Option<String> {
        let (scales, positions) = (self.weights.scales(), self.weights.positions());
        let largest = scales.stream.last().map_or(0, |stream| stream.exponent);
        self.weights.is_calibrated().then(|| {
            format!(
                "residual stream in units of up to 2^{largest}, logits in units of 2^{}, at most {positions} \
                 positions",
                scales.logits
            )
        })
    }

    /// How far the model in fixed point, computed in the clear, agrees with the f32 model on the
    /// first of the texts.
    ///
    /// # Errors
    /// The texts cannot be read.
    pub fn agreement(&self, texts: Option<&Path>, precision: Precision) -> Result<Agreement, Error> {
        let texts = texts.map(Texts::open).transpose()?.unwrap_or_default();
        let mut tokens = texts.tokens(&self.folder)?;
        tokens.truncate(AGREEMENT_TEXTS);
        Ok(self.weights.agreement(&self.folder, &tokens, precision)?)
    }

    /// The digest of the tokenizer and the chat template.
    pub fn tokenizer_digest(&self) -> Digest {
        service::digest(&self.weights, self.folder.tokenizer())
    }

    /// Offers the model in a session, and serves its requests, one after the other; `each` hears
    /// what was seen of each, and when the next one begins. The client may be idle for so long
    /// between two.
    ///
    /// # Errors
    /// A request does not fit the model or the rules, or the client or the connection fails.
    pub async fn serve(
        &self,
        me: &mut Server,
        rules: Rules,
        [silence, idle]: [Duration; 2],
        mut each: impl FnMut(Turn),
    ) -> Result<(), Error> {
        let Rules { reveal: answers, max_prompt } = rules;
        let policy = Policy { answers, max_prompt, audited: self.findings.is_empty() };
        service::offer(&mut me.session.ch, &self.weights, self.folder.tokenizer(), policy).await?;
        let (mut history, mut before) = (Caches::default(), Cost::default());
        loop {
            let request = service::admit(me, &self.weights, policy, &history).await?;
            me.session.ch.set_timeout(silence);
            let served = service::serve_admitted(me, &self.weights, policy, request, &mut history).await?;
            let cost = me.session.ch.meter.total() - before;
            let (positions, cached) = served.cached;
            each(Turn::Served(Served {
                task: self.task(),
                past: served.request.past,
                prompt: served.tokens,
                most: served.request.new,
                made: served.made,
                seconds: cost.seconds,
                bytes: cost.bytes(),
                turns: cost.turns,
                cache_bytes: cached as f64 / positions.max(1) as f64,
            }));
            me.session.ch.set_timeout(idle);
            if !service::hear_more(me).await? {
                return Ok(());
            }
            each(Turn::Next);
            me.session.ch.set_timeout(silence.min(REQUEST));
            before = me.session.ch.meter.total();
        }
    }
}
