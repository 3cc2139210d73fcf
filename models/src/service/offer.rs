//! What the server offers: its model's shape, scales and tokenizer, and what of each step its owner
//! lets clients see.
//!
//! | client           |                             | server                                           |
//! |------------------|-----------------------------|--------------------------------------------------|
//! | compares the digests, if they are pinned | `<- model/offer --` | configuration, fraction bits, scales, digests of tokenizer and template |
//! | has the tokenizer, or not | `-- model/want-tokenizer ->` |                                         |
//! | checks its digest, parses it | `<- model/tokenizer --` | the file, if wanted                          |
//! | the same         | `<- model/template --`      | the chat template, or nothing                    |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sotto_net::Channel;
use sotto_protocol::{Precision, linear::WeightShape};

use super::{Conversation, Error, length, step::plan};
use crate::{
    ChatTemplate, Config, Model, Task, Tokenizer,
    evaluator::{Scales, Tokens},
    model::MAX_POSITIONS,
    network::{AnyNetwork, Outputs},
    tokenizer::{Digest, TOKENIZER_LIMIT},
    weights::{FEWEST_FRAC, Outline},
};

/// Bytes of an offered chat template at most: its own limit, and what JSON adds.
const TEMPLATE_LIMIT: usize = 1 << 20;

/// What a server's owner lets clients see of each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// The logits of the whole vocabulary.
    #[default]
    Logits,
    /// So many logits, the largest, and which tokens' they are.
    Top(u32),
    /// The likeliest token only, or a sample that the client's noise makes of it.
    Tokens,
}

/// What a server's owner has decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What clients see.
    pub answers: Answers,
    /// Tokens of a prompt at most: memory grows with it.
    pub max_prompt: usize,
    /// Whether the model's audit has found nothing.
    pub audited: bool,
}

impl Policy {
    /// What clients see, of a row of so many numbers.
    pub(super) fn answers(&self, outputs: usize) -> Answers {
        match self.answers {
            Answers::Top(k) => Answers::Top(k.min(length(outputs))),
            other => other,
        }
    }

    /// Whether clients of a model can be answered so.
    ///
    /// # Errors
    /// Not where the answer is no choice.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        if fits(self.answers, config.task()) {
            Ok(())
        } else {
            Err(Error::Answers { task: config.task().name() })
        }
    }
}

/// Whether what a task takes has a largest number, if that is what is revealed.
fn fits(answers: Answers, task: Task) -> bool {
    answers == Answers::Logits || matches!(task, Task::Generate | Task::Classify | Task::FillMask)
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { answers: Answers::Logits, max_prompt: usize::MAX, audited: false }
    }
}

#[derive(Serialize, Deserialize)]
struct Offer {
    config: Config,
    fractions: Vec<u32>,
    scales: Scales,
    /// Positions at most.
    positions: u32,
    tokenizer: Digest,
    template: Digest,
    answers: Answers,
    audited: bool,
}

/// A model as a client knows it.
pub struct RemoteModel {
    /// Its shape.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Of its tokenizer and its chat template.
    pub digest: Digest,
    /// Its chat template, if it was made for conversations.
    pub template: Option<ChatTemplate>,
    /// What the client will see.
    pub answers: Answers,
    /// Whether the server says that all of the model's numbers are bounded or checked.
    pub audited: bool,
    /// Positions at most: prompt and answer together.
    pub positions: usize,
    /// Matrices of which it knows the fraction bits.
    pub matrices: usize,
    pub(super) network: AnyNetwork<WeightShape>,
    pub(super) scales: Scales,
}

impl RemoteModel {
    /// The network.
    pub fn network(&self) -> &AnyNetwork<WeightShape> {
        &self.network
    }

    /// Its scales.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Whether it is for this.
    ///
    /// # Errors
    /// It is for something else.
    pub fn expect(&self, task: Task) -> Result<(), Error> {
        let offered = self.config.task();
        let error = || Error::OtherTask { wanted: task.name(), offered: offered.name() };
        if task == offered { Ok(()) } else { Err(error()) }
    }

    /// How many tokens are read of a prompt that is padded to a multiple of `pad_to`: fewer only
    /// where the context has no room, with `new` tokens after it.
    ///
    /// # Errors
    /// The model's positions are not rotations: then padding would change its answers.
    pub fn padded(&self, prompt: usize, new: usize, pad_to: usize) -> Result<usize, Error> {
        if pad_to <= 1 {
            return Ok(prompt);
        }
        if self.config.rotary_dim == Some(0) {
            return Err(Error::Padding);
        }
        let most = (self.positions + 1).saturating_sub(new).min(self.positions);
        let whole = prompt.checked_next_multiple_of(pad_to).unwrap_or(usize::MAX);
        Ok(whole.min(most).max(prompt))
    }
}

/// By which clients may pin what they read texts by: the tokenizer and the model's chat template.
pub fn digest(model: &Model, tokenizer: &Tokenizer) -> Digest {
    tokenizer.digest().with(Digest::of(&model.template))
}

/// Tells the client what model this is.
///
/// # Errors
/// The connection, or the peer.
pub fn offer<'a>(
    ch: &'a mut Channel,
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    policy: Policy,
) -> Conversation<'a, ()> {
    Box::pin(async move { send_offer(ch, model, tokenizer, policy).await })
}

async fn send_offer(
    ch: &mut Channel,
    model: &Model,
    tokenizer: &Tokenizer,
    policy: Policy,
) -> Result<(), Error> {
    let offer = Offer {
        config: model.config().clone(),
        fractions: model.fractions.clone(),
        scales: model.scales.clone(),
        positions: length(model.positions()),
        tokenizer: tokenizer.digest(),
        template: Digest::of(&model.template),
        answers: policy.answers(model.config().outputs()),
        audited: policy.audited,
    };
    ch.send_control("model/offer", &offer)?;
    if ch.recv("model/want-tokenizer", 1).await? == [1] {
        ch.send("model/tokenizer", tokenizer.json().to_vec())?;
    }
    ch.send("model/template", model.template.clone())?;
    Ok(())
}

/// Where the client's tokenizer comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenizerSource {
    /// The server sends it.
    #[default]
    Server,
    /// The server sends it; its digest with the chat template is this one.
    Pinned(Digest),
    /// It is in a file here. The chat template comes from the server all the same; with it, the
    /// digest is this one, if there is one.
    File(PathBuf, Option<Digest>),
}

impl TokenizerSource {
    fn pinned(&self) -> Option<Digest> {
        match *self {
            TokenizerSource::Server => None,
            TokenizerSource::Pinned(digest) => Some(digest),
            TokenizerSource::File(_, digest) => digest,
        }
    }
}

/// Learns what model the server has.
///
/// # Errors
/// The offer is malformed or contradicts itself, the tokenizer is another, or the connection
/// breaks.
pub fn receive_offer<'a>(
    ch: &'a mut Channel,
    tokenizer: &'a TokenizerSource,
) -> Conversation<'a, RemoteModel> {
    Box::pin(async move { take_offer(ch, tokenizer).await })
}

async fn take_offer(ch: &mut Channel, source: &TokenizerSource) -> Result<RemoteModel, Error> {
    let Offer {
        config,
        fractions,
        scales,
        positions,
        tokenizer: digest,
        template: of_template,
        answers,
        audited,
    } = ch.recv_control("model/offer").await?;
    let network = Outline::new(&fractions).and_then(|outline| {
        let network = AnyNetwork::load(&config, &outline).ok()?;
        outline.is_used_up().then_some(network)
    });
    let network = network.ok_or(Error::Offer("fraction bits do not fit its matrices"))?;
    let (unscaled, one) = (Scales::default(), Tokens::Hidden(1));
    let plan = plan(&network, &unscaled, Precision::default(), 0, one, Outputs::Last).await?;
    if !scales.fit(plan.visits, plan.layers()) || !is_fine(&scales, &fractions) {
        return Err(Error::Offer("scales do not fit its layers"));
    }
    let positions = positions as usize;
    if !(1..=config.max_position_embeddings.min(MAX_POSITIONS)).contains(&positions) {
        return Err(Error::Offer("it serves no positions, or more than it has"));
    }
    if let Answers::Top(k) = answers
        && !(1..=config.outputs()).contains(&(k as usize))
    {
        return Err(Error::Offer("it reveals no logits, or more than there are"));
    }
    if !fits(answers, config.task()) {
        return Err(Error::Offer("it reveals the largest of what has none"));
    }
    if let Some(pinned) = source.pinned()
        && pinned != digest.with(of_template)
    {
        return Err(Error::OtherTokenizer { found: digest.with(of_template), pinned });
    }
    let sent = !matches!(source, TokenizerSource::File(..));
    ch.send("model/want-tokenizer", vec![u8::from(sent)])?;
    let tokenizer = match source {
        TokenizerSource::File(file, _) => {
            let own = Tokenizer::open(file, &config)?;
            if own.digest() == digest { own } else { return Err(Error::Tokenizer) }
        }
        TokenizerSource::Server | TokenizerSource::Pinned(_) => {
            let json = ch.recv_at_most("model/tokenizer", TOKENIZER_LIMIT as usize).await?;
            // Before anything reads what is in it.
            if Digest::of(&json) != digest {
                return Err(Error::Offer("its tokenizer has another digest than it says"));
            }
            Tokenizer::parse(Path::new("the server's tokenizer"), json, &config)?
        }
    };
    let template = ch.recv_at_most("model/template", TEMPLATE_LIMIT).await?;
    if Digest::of(&template) != of_template {
        return Err(Error::Offer("its chat template has another digest than it says"));
    }
    let template = match &template[..] {
        [] => None,
        bytes => Some(ChatTemplate::from_bytes(bytes)?),
    };
    let (matrices, digest) = (fractions.len(), digest.with(of_template));
    Ok(RemoteModel {
        config,
        tokenizer,
        digest,
        template,
        answers,
        audited,
        positions,
        matrices,
        network,
        scales,
    })
}

/// Whether what is revealed has as many fraction bits as are dropped before.
fn is_fine(scales: &Scales, fractions: &[u32]) -> bool {
    fractions.last().is_some_and(|&frac| i64::from(frac) + i64::from(scales.logits) >= i64::from(FEWEST_FRAC))
}
