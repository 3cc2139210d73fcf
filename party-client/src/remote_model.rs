//! The server's model as the client knows it. All calls of the model library are here.

use std::path::Path;

use serde_json::Value;
use sotto_models::{
    Config, Folder, Sampler, Sampling, Task, Tokenizer,
    service::{
        self, Answers, Choose, Error as Service, History, Memory, Ranges, Revealed, Text, TokenizerSource,
    },
};
use sotto_net::Cost;
use sotto_party::memory;
use sotto_protocol::Client;

use crate::{
    error::Error,
    generate::{GenerationRequest, Prompt},
    report::{Disclosure, Logits, ModelSummary},
    session::Options,
};

/// Tokens to make unless the user says how many.
const DEFAULT_NEW: usize = 40;

/// A model that a server offers.
pub struct RemoteModel {
    offered: service::RemoteModel,
    /// Bytes that a session may come to hold.
    memory: Option<usize>,
}

/// Whether every number that was watched stayed in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InRange(pub bool);

impl RemoteModel {
    /// Hears of the model.
    ///
    /// # Errors
    /// The offer makes no sense, or the user's tokenizer is not the model's.
    pub(crate) async fn receive(me: &mut Client, options: &Options) -> Result<RemoteModel, Error> {
        let (tokenizer, memory) = (&options.tokenizer, options.memory);
        match service::receive_offer(&mut me.session.ch, tokenizer).await {
            Ok(offered) => Ok(RemoteModel { offered, memory }),
            Err(Service::Model(e)) if !matches!(tokenizer, TokenizerSource::File(..)) => {
                Err(Error::BadOffer(e))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the server says that its audit found nothing.
    pub fn audited(&self) -> bool {
        self.offered.audited
    }

    /// What is public of it.
    pub fn summary(&self) -> ModelSummary {
        summary(self.config(), self.positions(), self.offered.matrices)
    }

    /// What the server reveals of each step.
    pub(crate) fn answers(&self) -> Answers {
        self.offered.answers
    }

    /// Whether the two are alike in all that a request is checked against.
    pub(crate) fn is_like(&self, other: &RemoteModel) -> bool {
        self.config() == other.config()
            && self.positions() == other.positions()
            && self.answers() == other.answers()
            && self.offered.audited == other.offered.audited
            && self.offered.digest == other.offered.digest
    }

    /// What the server reveals of each step, in words.
    pub fn revealed(&self) -> String {
        let outputs = self.config().outputs();
        match (self.offered.answers, self.task()) {
            (Answers::Logits, Task::Embed) => format!("the vector of each text, {outputs} numbers"),
            (Answers::Logits, Task::Tag) => format!("{outputs} logits of each token of a text"),
            (Answers::Logits, Task::Answer) => "two logits of each token of question and text".into(),
            (answers, Task::Classify | Task::FillMask) => match answers {
                Answers::Logits => format!("all {outputs} logits of each text"),
                Answers::Top(k) => format!("the {k} largest logits of each text"),
                Answers::Tokens => "the likeliest of each text and no logits".into(),
            },
            (answers, _) => Self::of_each_step(answers, outputs),
        }
    }

    fn of_each_step(answers: Answers, outputs: usize) -> String {
        match answers {
            Answers::Logits => format!("all {outputs} logits of each step"),
            Answers::Top(k) => format!("the {k} largest logits of each step"),
            Answers::Tokens => "one token a step and no logits".into(),
        }
    }

    /// Whether it was made for conversations: it has a chat template.
    pub fn is_conversational(&self) -> bool {
        self.offered.template.is_some()
    }

    /// What it does with a text.
    pub fn task(&self) -> Task {
        self.config().task()
    }

    /// The digest of the tokenizer and the chat template, in hexadecimal.
    pub fn tokenizer_digest(&self) -> String {
        self.offered.digest.to_string()
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.offered.tokenizer
    }

    /// The tokens of a text, with the special ones that the model wants.
    ///
    /// # Errors
    /// It has none, or too many.
    pub(crate) fn tokens_of(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.tokenizer().encode_places(text, None, self.positions())?.ids)
    }

    /// The text of an answer's tokens, as far as they are one.
    pub(crate) fn text_of(&self, tokens: &[u32]) -> String {
        self.tokenizer().decode(tokens).unwrap_or_default()
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.config().vocab_size
    }

    /// Positions that the server serves: prompt and answer together.
    pub(crate) fn positions(&self) -> usize {
        self.offered.positions
    }

    /// Tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.config().eos_token_ids
    }

    /// The prompt's tokens, and new ones at most, of a request that the server can serve.
    ///
    /// # Errors
    /// The request does not fit the model, or what the server reveals.
    pub(crate) fn plan(&self, request: &GenerationRequest) -> Result<(Vec<u32>, usize), Error> {
        self.offered.expect(Task::Generate)?;
        let sampling = sampling(request)?;
        match (self.offered.answers, sampling.top_k()) {
            (Answers::Tokens, _) if !request.penalties.are_none() => {
                return Err(Error::Usage(
                    "this server reveals tokens and no logits: penalties cannot be had; leave them out"
                        .into(),
                ));
            }
            (Answers::Tokens | Answers::Top(_), _) if request.likelihoods.is_some() => {
                return Err(Error::Usage(format!(
                    "this server reveals {}: how likely a token was takes all logits; leave that out",
                    self.revealed()
                )));
            }
            (Answers::Tokens, _) if self.config().logit_cap.is_some() && !sampling.is_greedy() => {
                return Err(Error::Usage(
                    "this server reveals tokens and no logits, which its model caps: the likeliest token is \
                     all that can be had; leave --temperature out"
                        .into(),
                ));
            }
            (Answers::Tokens, _) => sampling.check_noise()?,
            (Answers::Top(most), Some(k)) if k > most as usize => {
                return Err(Error::Usage(format!(
                    "this server reveals the {most} largest logits: --top-k must be {most} or less"
                )));
            }
            _ => {}
        }
        let prompt = self.encode(request)?;
        // The last new token is not read.
        let (context, prompt_len) = (self.positions(), prompt.len());
        let room = context + 1 - prompt_len;
        let new = request.max_tokens.unwrap_or(DEFAULT_NEW.min(room));
        if new > room {
            return Err(Service::TooLong { prompt: prompt_len, new, context }.into());
        }
        Ok((prompt, new))
    }

    /// New tokens that the context has room for behind a request's prompt.
    ///
    /// # Errors
    /// The prompt does not fit.
    pub(crate) fn room(&self, request: &GenerationRequest) -> Result<usize, Error> {
        // The last new token is not read.
        Ok(self.positions() + 1 - self.encode(request)?.len())
    }

    /// The tokens of a prompt; of a conversation, by the model's template.
    fn encode(&self, request: &GenerationRequest) -> Result<Vec<u32>, Error> {
        let (tokenizer, positions) = (self.tokenizer(), self.positions());
        let turns = match &request.prompt {
            Prompt::Text(text) => return Ok(tokenizer.encode(text, positions)?),
            Prompt::Tokens(tokens) => return self.check_tokens(tokens),
            Prompt::Conversation(turns) => turns,
        };
        let Some(template) = &self.offered.template else {
            let reason = "this server's model has no chat template: leave --chat out";
            return Err(Error::Usage(reason.into()));
        };
        Ok(tokenizer.encode_rendered(&template.render(turns, true)?, positions)?)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<Vec<u32>, Error> {
        let vocab = self.vocabulary();
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(sotto_models::Error::TokenOutOfRange { id, vocab }.into());
        }
        if tokens.len() > self.positions() {
            let (actual, limit) = (tokens.len(), self.positions());
            return Err(sotto_models::Error::PromptTooLong { actual, limit }.into());
        }
        Ok(tokens.to_vec())
    }

    /// How long a prompt is as far as the server sees.
    ///
    /// # Errors
    /// It is to be padded, and the model does not permit that.
    pub(crate) fn padded(&self, prompt: usize, new: usize, pad_to: usize) -> Result<usize, Error> {
        Ok(self.offered.padded(prompt, new, pad_to)?)
    }

    /// Makes at most `new` tokens after `prompt`. `next` hears of each step as it is done, and says
    /// whether to go on.
    ///
    /// # Errors
    /// The request does not fit the model, or the server or the connection fails.
    pub(crate) async fn generate(
        &self,
        me: &mut Client,
        history: &mut History,
        prompt: &[u32],
        new: usize,
        request: &GenerationRequest,
        next: impl FnMut(Step<'_>) -> bool,
    ) -> Result<InRange, Error> {
        let seen = self.padded(prompt.len(), new, request.pad_to)?;
        self.check_memory([seen, seen + new])?;
        let sampler = Sampler::new(sampling(request)?, request.seed).with_penalties(request.penalties);
        let mut choice = Choice { sampler, cost: Cost::default(), next };
        let ranges = service::generate(me, &self.offered, history, prompt, new, &mut choice).await?;
        Ok(InRange(ranges == Ranges::Kept))
    }

    /// Logits `[T, vocabulary]` of every position of `tokens`.
    ///
    /// # Errors
    /// The server does not reveal them all, or the server or the connection fails.
    pub(crate) async fn evaluate(
        &self,
        me: &mut Client,
        tokens: &[u32],
    ) -> Result<(Vec<f32>, InRange), Error> {
        self.check_memory([tokens.len(); 2])?;
        let (logits, ranges) = service::evaluate(me, &self.offered, tokens).await?;
        Ok((logits, InRange(ranges == Ranges::Kept)))
    }

    /// Whether a session that reads so many positions, and then one at a time up to `positions`,
    /// keeps within memory.
    ///
    /// # Errors
    /// It may not.
    fn check_memory(&self, [read, positions]: [usize; 2]) -> Result<(), Error> {
        let (network, task) = (self.offered.network(), self.task());
        let needed = Memory::of(network, self.offered.scales(), task, [read, positions])?.client;
        let free = self.memory.unwrap_or_else(memory::available);
        if needed <= free {
            return Ok(());
        }
        let (needed, free) = (memory::in_words(needed), memory::in_words(free));
        let advice = match self.memory {
            Some(_) => format!("more than --memory {free} permits: raise it, or ask for fewer tokens"),
            None => format!("and {free} are free: ask for fewer tokens, or pass --memory if there is more"),
        };
        Err(Error::Usage(format!("{positions} tokens of this model may take {needed} here, {advice}")))
    }

    /// Whether it is for this.
    ///
    /// # Errors
    /// It is for something else.
    pub(crate) fn expect(&self, task: Task) -> Result<(), Error> {
        Ok(self.offered.expect(task)?)
    }

    /// Gives `each` what is revealed of each text, by its number.
    ///
    /// # Errors
    /// A text does not fit the model, or the server or the connection fails.
    pub(crate) async fn run(
        &self,
        me: &mut Client,
        texts: &[Text],
        each: &mut dyn FnMut(usize, Revealed),
    ) -> Result<InRange, Error> {
        self.check_memory([texts.iter().map(|text| text.ids.len()).max().unwrap_or(0); 2])?;
        let ranges = service::encode(me, &self.offered, texts, each).await?;
        Ok(InRange(ranges == Ranges::Kept))
    }

    /// What both parties learn of a task, from the lengths of its texts.
    pub(crate) fn disclosure_of_task(&self, tokens: Vec<usize>) -> Disclosure {
        let rows = match self.task() {
            Task::Tag | Task::Answer => tokens.iter().sum(),
            _ => tokens.len(),
        };
        let logits = match self.offered.answers {
            Answers::Logits => Logits { rows, in_row: self.config().outputs() },
            Answers::Top(k) => Logits { rows, in_row: k as usize },
            Answers::Tokens => Logits { rows: 0, in_row: 0 },
        };
        Disclosure::of_texts(self.summary(), tokens, logits)
    }

    /// What both parties learn of a generation of `made` tokens, `past` of whose prompt's were read
    /// before.
    pub(crate) fn disclosure(&self, [past, prompt]: [usize; 2], new: usize, made: usize) -> Disclosure {
        let logits = match self.offered.answers {
            Answers::Logits => Logits { rows: made, in_row: self.vocabulary() },
            Answers::Top(k) => Logits { rows: made, in_row: k as usize },
            Answers::Tokens => Logits { rows: 0, in_row: 0 },
        };
        Disclosure::new(self.summary(), prompt, new, made, logits).after(past)
    }

    /// What both parties learn of an evaluation of so many tokens.
    pub(crate) fn disclosure_of_evaluation(&self, tokens: usize) -> Disclosure {
        let logits = Logits { rows: tokens, in_row: self.vocabulary() };
        Disclosure::new(self.summary(), tokens, 1, 1, logits)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.offered.config
    }
}

/// A token that was chosen.
pub(crate) struct Picked<'a> {
    pub token: u32,
    /// What is revealed of the logits, if anything.
    pub logits: Option<&'a [f32]>,
    /// Of the session so far.
    pub cost: Cost,
}

struct Choice<F> {
    sampler: Sampler,
    cost: Cost,
    next: F,
}

/// What is done of a generation.
pub(crate) enum Step<'a> {
    /// The prompt is read, and every number stayed in its range, or not.
    Prompt(InRange),
    /// A token is chosen.
    Token(Picked<'a>),
}

impl<F: FnMut(Step<'_>) -> bool> Choose for Choice<F> {
    fn noise(&mut self, vocabulary: usize) -> Vec<f64> {
        self.sampler.noise(vocabulary)
    }

    fn spent(&mut self, cost: Cost) {
        self.cost = cost;
    }

    fn next(&mut self, revealed: &Revealed) -> (u32, bool) {
        let token = revealed.token(|logits| self.sampler.next(logits));
        let logits = match revealed {
            Revealed::Logits(logits) => Some(&logits[..]),
            Revealed::Token(_) => None,
        };
        (token, (self.next)(Step::Token(Picked { token, logits, cost: self.cost })))
    }

    fn prompt_read(&mut self, ranges: Ranges) {
        (self.next)(Step::Prompt(InRange(ranges == Ranges::Kept)));
    }
}

/// How a request chooses tokens.
///
/// # Errors
/// Options out of their range.
pub(crate) fn sampling(request: &GenerationRequest) -> Result<Sampling, Error> {
    Ok(Sampling::random(request.temperature, request.top_k, request.top_p)?)
}

/// That there is no prompt.
pub(crate) fn empty_prompt() -> Error {
    sotto_models::Error::PromptEmpty.into()
}

fn summary(config: &Config, positions: usize, matrices: usize) -> ModelSummary {
    let fields: sotto_models::Fields = config.clone().into();
    let task = match config.task() {
        Task::Generate => String::new(),
        task => format!(", for `{}`", task.name()),
    };
    let text = format!(
        "{} layers of width {}, MLP {}, {} + {} heads of {}, vocabulary {}, context {positions}{task}",
        fields.num_hidden_layers,
        fields.hidden_size,
        fields.intermediate_size,
        fields.num_attention_heads,
        fields.num_key_value_heads,
        fields.head_dim,
        fields.vocab_size,
    );
    ModelSummary { config: serde_json::to_value(&fields).unwrap_or(Value::Null), matrices, text }
}

/// The same model in the clear.
pub(crate) struct Reference(sotto_models::Reference);

impl Reference {
    /// Loads it from a folder, or the built-in one.
    ///
    /// # Errors
    /// Its files.
    pub fn load(folder: &Path) -> Result<Reference, Error> {
        let builtin = folder == Path::new("builtin");
        let folder = if builtin { Folder::builtin()? } else { Folder::open(folder)? };
        Ok(Reference(sotto_models::Reference::load(&folder)?))
    }

    /// Whether it has the configuration of `model`.
    pub fn is(&self, model: &RemoteModel) -> bool {
        self.0.config() == model.config()
    }

    /// Logits `[T, vocabulary]` of every position of `tokens`.
    pub fn logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        self.0.logits(tokens)
    }
}
