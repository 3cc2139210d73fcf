//! The model that is served. All calls of the model library are here.

use std::{
    fmt::{self, Display, Formatter},
    path::Path,
    time::Duration,
};

use sotto_models::{
    Agreement, Cache, Folder, Task, Texts,
    evaluator::two_party::Caches,
    service::{self, Error as Service, Policy},
    tokenizer::Digest,
};
use sotto_net::{Cost, Error as Net};
use sotto_party::memory;
use sotto_protocol::{Error as Protocol, Precision, Server};

use crate::{error::Error, events::Served, quota::Purse, trial::Trial};

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
/// Lengths of texts that owners are told of.
const LENGTHS: [usize; 2] = [32, 256];
/// Prompts of this length are served whatever memory there seems to be.
const SHORTEST: usize = 256;
/// Texts on which agreement is looked at.
const AGREEMENT_TEXTS: usize = 3;

/// What the owner has decided.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What clients see.
    pub reveal: Reveal,
    /// Tokens of a prompt at most; by default, as many as memory permits.
    pub max_prompt: Option<usize>,
    /// Bytes for all sessions together; by default, most of what is free when the model is loaded.
    pub memory: Option<usize>,
}

/// The lengths that a model is served for.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Tokens of a prompt at most.
    pub max_prompt: usize,
    /// Bytes that a session may come to hold with it, about.
    pub session: usize,
    /// Bytes that there are for all sessions.
    pub memory: usize,
    /// Sessions at a time.
    pub sessions: usize,
}

impl Lengths {
    /// Whether all sessions together may come to hold more than there is.
    pub fn exceed_memory(&self) -> bool {
        self.session > self.memory / self.sessions
    }
}

impl Display for Lengths {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Lengths { max_prompt, session, memory, sessions } = *self;
        let (session, memory) = (memory::in_words(session), memory::in_words(memory));
        write!(
            f,
            "prompts of up to {max_prompt} tokens; a session may take {session}, and there are {memory} for \
             {sessions} at a time"
        )?;
        if self.exceed_memory() {
            f.write_str(", which is too little: lower --max-prompt or --max-sessions")?;
        }
        Ok(())
    }
}

/// How far a session is.
pub enum Turn {
    /// A request was served; the client has none now.
    Served(Served),
    /// It has another one.
    Next,
    /// The client has heard what is offered, and gone without a request.
    Left,
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

    /// What clients may ask for, as far as it can be served so.
    ///
    /// # Errors
    /// It has no largest answer, and no other is to be revealed.
    pub fn policy(&self, answers: Reveal, max_prompt: usize) -> Result<Policy, Error> {
        let policy = Policy { answers, max_prompt, audited: self.findings.is_empty() };
        policy.check(self.weights.config()).map_err(|e| Error::Usage(e.to_string()))?;
        Ok(policy)
    }

    /// For how long prompts it is served: at most as long as every session keeps within its part of
    /// the memory, if there is a limit, or the owner leaves the length to memory.
    ///
    /// # Errors
    /// The owner's limits contradict each other.
    pub fn lengths(&self, rules: Rules, sessions: usize) -> Result<Lengths, Error> {
        let memory = rules.memory.unwrap_or_else(|| memory::available() / 5 * 4);
        let (each, most) = (memory / sessions, self.weights.positions());
        let fits = self.weights.longest(each)?;
        let max_prompt = match (rules.max_prompt, rules.memory) {
            (_, Some(_)) if fits == 0 => {
                return Err(Error::Usage(format!(
                    "--memory {} is too little for {sessions} sessions of this model, which take {} each and \
                     more: raise --memory, or lower --max-sessions",
                    memory::in_words(memory),
                    memory::in_words(self.weights.memory(1)?.server)
                )));
            }
            (Some(wanted), Some(_)) if wanted.min(most) > fits => {
                return Err(Error::Usage(format!(
                    "--memory {} for {sessions} sessions permits prompts of {fits} tokens, not the {wanted} of \
                     --max-prompt: raise --memory, or lower --max-prompt or --max-sessions",
                    memory::in_words(memory)
                )));
            }
            (Some(wanted), _) => wanted,
            (None, Some(_)) => fits,
            (None, None) => fits.max(SHORTEST.min(most)),
        };
        let session = self.weights.memory(max_prompt.min(most))?.server;
        Ok(Lengths { max_prompt, session, memory, sessions })
    }

    /// What a session takes for texts of some lengths, in words.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn memory(&self) -> Result<String, Error> {
        let most = self.weights.positions();
        let lengths = [LENGTHS.into_iter().filter(|&length| length < most).collect(), vec![most]].concat();
        let of = |&length: &usize| {
            let memory = self.weights.memory(length)?;
            Ok(format!("{} at {length} positions", memory::in_words(memory.server)))
        };
        let all: Result<Vec<String>, Error> = lengths.iter().map(of).collect();
        Ok(format!("a session takes up to {}, besides the model", all?.join(", ")))
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
    /// first of the texts; without a precision, the model in f32 with the weights of fixed point.
    ///
    /// # Errors
    /// The texts cannot be read.
    pub fn agreement(&self, texts: Option<&Path>, precision: Option<Precision>) -> Result<Agreement, Error> {
        let texts = texts.map(Texts::open).transpose()?.unwrap_or_default();
        let mut tokens = texts.tokens(&self.folder)?;
        tokens.truncate(AGREEMENT_TEXTS);
        Ok(match precision {
            Some(precision) => self.weights.agreement(&self.folder, &tokens, precision)?,
            None => self.weights.agreement_of_weights(&self.folder, &tokens)?,
        })
    }

    /// What a request for a text of `tokens` tokens costs, and of `new` tokens that go on with it
    /// if the model generates: tried, on the first of the texts that is long enough, or on the
    /// longest.
    ///
    /// # Errors
    /// The texts cannot be read, or a party fails.
    pub fn trial(&self, texts: Option<&Path>, tokens: usize, new: usize) -> Result<Trial, Error> {
        let texts = texts.map(Texts::open).transpose()?.unwrap_or_default().tokens(&self.folder)?;
        let room = self.weights.positions().saturating_sub(new).max(1);
        let fits = texts.iter().find(|text| text.len() >= tokens);
        let text = fits.or_else(|| texts.iter().max_by_key(|text| text.len())).expect("there are texts");
        let text = &text[..text.len().min(tokens).min(room)];
        Trial::run(&self.weights, self.folder.tokenizer(), Precision::Default, text, new)
    }

    /// The digest of the tokenizer and the chat template.
    pub fn tokenizer_digest(&self) -> Digest {
        service::digest(&self.weights, self.folder.tokenizer())
    }

    /// Offers the model in a session, and serves its requests, one after the other, as long as the
    /// client's purse has tokens; `each` hears what was seen of each, and when the next one begins.
    /// The client may be idle for so long between two.
    ///
    /// # Errors
    /// A request does not fit the model or the rules, or the client or the connection fails.
    pub async fn serve(
        &self,
        me: &mut Server,
        policy: Policy,
        purse: &Purse,
        [silence, idle]: [Duration; 2],
        mut each: impl FnMut(Turn),
    ) -> Result<(), Error> {
        service::offer(&mut me.session.ch, &self.weights, self.folder.tokenizer(), policy).await?;
        let (mut history, mut before) = (Caches::default(), Cost::default());
        let mut admitted = service::admit(me, &self.weights, policy, &history, purse).await;
        if let Err(Service::Protocol(Protocol::Net(Net::Closed { .. }))) = admitted {
            each(Turn::Left);
            return Ok(());
        }
        loop {
            let request = admitted?;
            me.session.ch.set_timeout(silence);
            let served =
                service::serve_admitted(me, &self.weights, policy, request, &mut history, purse).await?;
            purse.settle((served.tokens + served.made) as u64);
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
            admitted = service::admit(me, &self.weights, policy, &history, purse).await;
        }
    }
}
