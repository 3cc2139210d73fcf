//! The model in f32: the reference that private inference is measured against.

use crate::{
    Config, Folder,
    error::Error,
    evaluator::{Float, Tokens, float::Observed, immediate},
    network::{AnyNetwork, Network},
    sampling::greedy,
    weights::{Real, RealWeight, Rounded, Source},
};

/// A model with its weights in f32, and the positions seen so far.
pub struct Reference {
    config: Config,
    network: AnyNetwork<RealWeight>,
    float: Float,
    position: usize,
}

impl Reference {
    /// Reads all weights; they take 4 bytes each.
    ///
    /// # Errors
    /// If a weight is no finite number.
    pub fn load(folder: &Folder) -> Result<Reference, Error> {
        Reference::of(folder, &Real(folder.checkpoint()))
    }

    /// With weights that are rounded as a server's are, whose matrices have so many fraction bits.
    ///
    /// # Errors
    /// If a weight is no finite number, or too large for 16 bits.
    pub(crate) fn rounded(folder: &Folder, fractions: &[u32]) -> Result<Reference, Error> {
        let fractions = (0..).zip(fractions.iter().copied()).collect();
        Reference::of(folder, &Rounded::new(folder.checkpoint(), &fractions))
    }

    fn of(folder: &Folder, source: &impl Source<Weight = RealWeight>) -> Result<Reference, Error> {
        let network = AnyNetwork::load(folder.config(), source)?;
        Ok(Reference { config: folder.config().clone(), network, float: Float::default(), position: 0 })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of positions seen since the start or the last [`Reference::reset`].
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets all positions.
    pub fn reset(&mut self) {
        self.float.reset();
        self.position = 0;
    }

    /// Takes the next tokens and returns the logits after each of them, `[T, V]` row-major.
    ///
    /// # Panics If a token is not below `vocab_size`, or the text grows longer than
    /// `max_position_embeddings`.
    pub fn logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        self.evaluate(Tokens::Known(tokens), true)
    }

    /// Takes the next tokens and returns the logits after the last of them, `[V]`.
    ///
    /// # Panics
    /// As [`Reference::logits`], and if there is no token.
    pub fn next_logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        assert!(!tokens.is_empty(), "no token to continue from");
        self.evaluate(Tokens::Known(tokens), false)
    }

    /// What the network gives for the next tokens: of all positions, or of an encoder what its task
    /// takes.
    ///
    /// # Panics
    /// As [`Reference::logits`].
    pub fn evaluate(&mut self, tokens: Tokens<'_>, all: bool) -> Vec<f32> {
        let (limit, vocab) = (self.config.max_position_embeddings, self.config.vocab_size);
        let end = self.position + tokens.count();
        assert!(end <= limit, "{end} positions, the model has {limit}");
        let ids = tokens.ids().unwrap_or_default();
        if let Some(token) = ids.iter().find(|&&token| token as usize >= vocab) {
            panic!("token {token}, the model has {vocab}");
        }
        let logits = self.network.forward(&mut self.float, tokens, all.into());
        self.position = end;
        let mut logits = immediate(logits).expect("the reference talks to nobody").data;
        self.config.cap_logits(&mut logits);
        logits
    }

    /// The likeliest continuation of a prompt, from a fresh start: at most `count` tokens, the last
    /// of them possibly an ending one.
    ///
    /// # Panics
    /// As [`Reference::next_logits`].
    pub fn generate(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        self.reset();
        let mut answer: Vec<u32> = Vec::new();
        while answer.len() < count {
            let next = match answer.last() {
                None => prompt,
                Some(last) if self.config.eos_token_ids.contains(last) => break,
                Some(last) => &[*last],
            };
            let token = greedy(&self.next_logits(next));
            answer.push(token);
        }
        answer
    }

    /// How large numbers become on a text, read from a fresh start.
    ///
    /// # Panics
    /// As [`Reference::logits`].
    pub fn observe(&mut self, texts: &[Vec<u32>]) -> Observed {
        self.float = Float::observing();
        for text in texts {
            self.reset();
            self.evaluate(Tokens::Known(text), false);
        }
        let observed = self.float.observed();
        self.float = Float::default();
        self.reset();
        observed
    }
}
