//! What requests cost: a session of both parties in this process, on a text of the server's own.

use sotto_models::{
    Task,
    evaluator::two_party::Caches,
    sampling,
    service::{self, History, Policy, Ranges, Revealed, Text, TokenizerSource},
    tokenizer::Tokenizer,
};
use sotto_net::{Channel, Cost, Meter};
use sotto_protocol::{Client, Precision, Server};
use sotto_shares::Rng;

use crate::error::Error;

/// What a request has cost, as its client sees it. Both parties share the cores of this machine,
/// and no network is between them.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Tokens of the text.
    pub prompt: usize,
    /// Until the text was read, and the first token chosen.
    pub reading: Cost,
    /// Tokens that were made after the first one.
    pub further: usize,
    /// What they have cost together.
    pub making: Cost,
    /// Whether numbers stayed in range.
    pub ranges: Ranges,
}

impl Trial {
    /// One request for a text, and, of models that generate, for `new` tokens that go on with it.
    ///
    /// # Errors
    /// The request does not fit the model, or a party fails.
    pub fn run(
        model: &sotto_models::Model,
        tokenizer: &Tokenizer,
        precision: Precision,
        text: &[u32],
        new: usize,
    ) -> Result<Trial, Error> {
        let policy = Policy::default();
        let (trial, served) = sotto_net::run_pair(
            |ch| client(ch, precision, text, new),
            |ch| async move {
                let mut me = Server::establish(ch, Rng::from_os(), [0; 32]).await.map_err(Error::SetUp)?;
                service::offer(&mut me.session.ch, model, tokenizer, policy).await?;
                Ok::<_, Error>(service::serve(&mut me, model, policy, &mut Caches::default()).await?)
            },
        );
        served.and(trial)
    }
}

async fn client(ch: Channel, precision: Precision, text: &[u32], new: usize) -> Result<Trial, Error> {
    let mut me = Client::establish(ch, Rng::from_os(), [0; 32]).await.map_err(Error::SetUp)?;
    me.session.set_precision(precision);
    let remote = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await?;
    let mut made = 0;
    let ranges = if remote.config.task() == Task::Generate {
        let choose = &mut |revealed: &Revealed| {
            made += 1;
            (revealed.token(sampling::greedy), true)
        };
        service::generate(&mut me, &remote, &mut History::default(), text, new, choose).await?
    } else {
        let text = Text { ids: text.to_vec(), first: None };
        service::encode(&mut me, &remote, &[text], &mut |_, _| ()).await?
    };
    let meter = &mut me.session.ch.meter;
    let [reading, making] = ["prefill", "decode"].map(|name| phase(meter, name));
    Ok(Trial { prompt: text.len(), reading, further: made.max(1) - 1, making, ranges })
}

fn phase(meter: &mut Meter, phase: &str) -> Cost {
    let spans = meter.spans();
    spans.iter().filter(|(key, _)| key.phase == phase).fold(Cost::default(), |sum, (_, &cost)| sum + cost)
}
