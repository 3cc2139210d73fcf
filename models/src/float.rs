//! The LLaMA in f32: the reference that the private model is measured against.
//!
//! Keys and values of past positions are kept, so a text can be given whole or token by token, with the same
//! result up to rounding.

use crate::config::Config;
use crate::error::Error;
use crate::float_ops::{Heads, KeysValues, Matrix, add, attention, rms_norm, rope, silu_times};
use crate::folder::Folder;
use crate::param::Param;
use crate::rope::rope_inverse_frequencies;
use crate::sampling::greedy;

/// A LLaMA with its weights in f32, and the positions seen so far.
pub struct FloatModel {
    config: Config,
    frequencies: Vec<f64>,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// None if the embedding is the head.
    head: Option<Matrix>,
    past: Vec<KeysValues>,
    position: usize,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    mlp_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

impl FloatModel {
    /// Reads all weights; they take 4 bytes each.
    ///
    /// # Errors
    ///
    /// If a weight is no finite number.
    pub fn load(folder: &Folder) -> Result<FloatModel, Error> {
        let config = folder.config().clone();
        Ok(FloatModel {
            frequencies: rope_inverse_frequencies(&config),
            embedding: matrix(folder, Param::Embedding)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(folder, i))
                .collect::<Result<_, _>>()?,
            norm: folder.param(Param::FinalNorm)?,
            head: if config.tie_word_embeddings { None } else { Some(matrix(folder, Param::Head)?) },
            past: vec![KeysValues::default(); config.num_hidden_layers],
            position: 0,
            config,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of positions seen since the start or the last [`FloatModel::reset`].
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets all positions.
    pub fn reset(&mut self) {
        self.past.fill(KeysValues::default());
        self.position = 0;
    }

    /// Takes the next tokens and returns the logits after each of them, `[T, V]` row-major.
    ///
    /// # Panics
    ///
    /// If a token is not below `vocab_size`, or the text grows longer than `max_position_embeddings`.
    pub fn logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        let x = self.hidden(tokens);
        self.project(&x)
    }

    /// Takes the next tokens and returns the logits after the last of them, `[V]`.
    ///
    /// # Panics
    ///
    /// As [`FloatModel::logits`], and if there is no token.
    pub fn next_logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        assert!(!tokens.is_empty(), "no token to continue from");
        let x = self.hidden(tokens);
        self.project(&x[x.len() - self.config.hidden_size..])
    }

    /// The likeliest continuation of a prompt, from a fresh start: at most `count` tokens, the last of them
    /// possibly an ending one.
    ///
    /// # Panics
    ///
    /// As [`FloatModel::next_logits`].
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

    /// The residual stream after the last layer, `[T, d]`.
    fn hidden(&mut self, tokens: &[u32]) -> Vec<f32> {
        let (start, limit) = (self.position, self.config.max_position_embeddings);
        let end = start + tokens.len();
        assert!(end <= limit, "{end} positions, the model has {limit}");
        let mut x = self.embed(tokens);
        for (layer, past) in self.layers.iter().zip(&mut self.past) {
            layer.forward(&mut x, past, start, &self.config, &self.frequencies);
        }
        self.position = end;
        x
    }

    fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let vocab = self.config.vocab_size;
        let row = |&token: &u32| {
            assert!((token as usize) < vocab, "token {token}, the model has {vocab}");
            self.embedding.row(token as usize)
        };
        tokens.iter().flat_map(row).copied().collect()
    }

    fn project(&self, x: &[f32]) -> Vec<f32> {
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        head.times(&rms_norm(x, &self.norm, self.config.rms_norm_eps))
    }
}

impl Layer {
    fn load(folder: &Folder, i: usize) -> Result<Layer, Error> {
        Ok(Layer {
            attention_norm: folder.param(Param::AttentionNorm(i))?,
            query: matrix(folder, Param::Query(i))?,
            key: matrix(folder, Param::Key(i))?,
            value: matrix(folder, Param::Value(i))?,
            output: matrix(folder, Param::Output(i))?,
            mlp_norm: folder.param(Param::MlpNorm(i))?,
            gate: matrix(folder, Param::Gate(i))?,
            up: matrix(folder, Param::Up(i))?,
            down: matrix(folder, Param::Down(i))?,
        })
    }

    /// Adds the layer's contribution to the residual stream `x`, `[T, d]`, of the positions from `start`.
    fn forward(
        &self,
        x: &mut [f32],
        past: &mut KeysValues,
        start: usize,
        config: &Config,
        frequencies: &[f64],
    ) {
        let h = rms_norm(x, &self.attention_norm, config.rms_norm_eps);
        let heads = Heads {
            dim: config.head_dim,
            query: config.num_attention_heads,
            key: config.num_key_value_heads,
        };
        let q = rope(self.query.times(&h), heads.query, start, frequencies);
        let k = rope(self.key.times(&h), heads.key, start, frequencies);
        past.push(&k, &self.value.times(&h));
        add(x, &self.output.times(&attention(&q, past, start, heads)));

        let h = rms_norm(x, &self.mlp_norm, config.rms_norm_eps);
        add(x, &self.down.times(&silu_times(self.gate.times(&h), &self.up.times(&h))));
    }
}

fn matrix(folder: &Folder, param: Param) -> Result<Matrix, Error> {
    let shape = param.shape(folder.config());
    Ok(Matrix::new(folder.param(param)?, shape[shape.len() - 1]))
}
