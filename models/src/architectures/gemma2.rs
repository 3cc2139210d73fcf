//! Gemma 2: Gemma with norms behind attention and MLP as well as in front of them, and soft caps of
//! scores and of logits.

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config::Multipliers,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, GainedNorm, GatedMlp, Names},
    weights::{At, Source},
};

/// A Gemma 2 as one side knows it.
pub struct Gemma2<W>(pub Decoder<W, Layer<W>>);

/// A layer.
pub struct Layer<W> {
    attention_norm: Norm,
    attention: Attention<W>,
    attended_norm: GainedNorm<W>,
    mlp_norm: Norm,
    mlp: GatedMlp<W>,
    out_norm: GainedNorm<W>,
}

impl<W> Gemma2<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let cap = |field: &str, absent: f64| match r.json.has(field) {
            true => r.json.number(field),
            false => Ok(Some(absent)),
        };
        let score_cap = cap("attn_logit_softcapping", 50.0)?;
        let logit_cap = cap("final_logit_softcapping", 30.0)?;
        Ok(Fields { score_cap, logit_cap, ..fields(r, common)? })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Gemma2<W>, LoadError> {
        Ok(Gemma2(Decoder::load(c, s, Names::USUAL, norm, false, |c, s, i| Layer::load(c, s, i, false))?))
    }
}

/// What Gemma 2 and 3 have in common.
pub(super) fn fields(r: &mut Reader<'_>, common: Fields) -> Result<Fields, ConfigError> {
    let off = [false.into(), serde_json::Value::Null];
    r.json.only("use_bidirectional_attention", &off, "use a Gemma that continues texts")?;
    let (bos_token_id, eos_token_ids) = r.ends(Some(2), Some(1))?;
    let bias = r.json.flag("attention_bias")?;
    Ok(Fields {
        activation: r.activation("hidden_activation", "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?,
        norm_eps: r.eps("rms_norm_eps", 1e-6)?,
        multipliers: Multipliers {
            embedding: (common.hidden_size as f64).sqrt(),
            scores: Some(r.json.number_or("query_pre_attn_scalar", 256.0)?.sqrt().recip()),
            ..Multipliers::default()
        },
        qkv_bias: bias,
        output_bias: bias,
        tie_word_embeddings: r.json.flag_or("tie_word_embeddings", true)?,
        bos_token_id,
        eos_token_ids,
        ..common
    })
}

/// With gains that are stored less one.
pub(super) fn norm(c: &Config, path: String) -> Norm {
    Norm { gain_offset: 1.0, ..Norm::rms(c, path) }
}

impl<W> Layer<W> {
    /// With norms of each head of queries and keys, or without.
    pub(super) fn load<S: Source<Weight = W>>(
        c: &Config,
        s: &At<S>,
        index: usize,
        normalised: bool,
    ) -> Result<Layer<W>, LoadError> {
        let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
        let attention_norm = norm(c, s.name("input_layernorm"));
        let mlp_norm = norm(c, s.name("pre_feedforward_layernorm"));
        let (qkv, output) = layers::projections(c, &attention);
        let of_head = |name: &str| Norm { width: c.head_dim, ..norm(c, attention.name(name)) };
        let norms = [of_head("q_norm"), of_head("k_norm")];
        let parts = layers::gated_projections(c, &mlp);
        let behind = |name: &str| GainedNorm::load(s.source, norm(c, s.name(name)), 1.0);
        let shape = layers::causal(c, index);
        let attention = match normalised {
            true => Attention::load_normalised(s.source, &attention_norm, shape, qkv, norms, output)?,
            false => Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
        };
        Ok(Layer {
            attention,
            attended_norm: behind("post_attention_layernorm")?,
            mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, parts)?,
            out_norm: behind("post_feedforward_layernorm")?,
            attention_norm,
            mlp_norm,
        })
    }
}

impl<W> layers::Layer<W> for Layer<W> {
    async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let x = e.norm(&self.attention_norm, h).await?;
        let y = self.attention.forward(e, index, &x).await?;
        let y = self.attended_norm.forward(e, &y).await?;
        let h = e.add(h, &y).await?;
        let x = e.norm(&self.mlp_norm, &h).await?;
        let y = self.mlp.forward(e, &x).await?;
        let y = self.out_norm.forward(e, &y).await?;
        e.add(&h, &y).await
    }
}
