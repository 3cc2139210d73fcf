//! DistilBERT: BERT with half the layers, without token types, under names of its own.

use sotto_protocol::activation::Activation;

use crate::{
    Config, ConfigError, Fields,
    config::Task,
    config_json::Reader,
    error::Error as LoadError,
    evaluator::Norm,
    layers::{Encoder, EncoderNames, Head, LayerNames},
    weights::{At, Source},
};

/// A DistilBERT as one side knows it.
pub struct DistilBert<W>(pub Encoder<W>);

const NAMES: EncoderNames = EncoderNames {
    embeddings: "distilbert.embeddings",
    layers: "distilbert.transformer.layer",
    layer: LayerNames {
        qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
        output: "attention.out_lin",
        middle: "sa_layer_norm",
        mlp: ["ffn.lin1", "ffn.lin2"],
        last: "output_layer_norm",
    },
};

impl<W> DistilBert<W> {
    pub(crate) const PREFIX: &'static str = "distilbert";
    pub(crate) const BUFFERS: &'static [&'static str] = &["position_ids", "vocab_projector.weight"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let json = r.json;
        let (hidden, heads) = (json.size("dim")?, json.size("n_heads")?);
        if !hidden.is_multiple_of(heads.max(1)) {
            let expected = format!("a multiple of n_heads = {heads}");
            return Err(json.refuse("dim", &expected, "use a DistilBERT as it was published"));
        }
        Ok(Fields {
            vocab_size: json.size("vocab_size")?,
            hidden_size: hidden,
            intermediate_size: json.size("hidden_dim")?,
            num_hidden_layers: json.size("n_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim: hidden / heads.max(1),
            max_position_embeddings: json.size_or("max_position_embeddings", 512)?,
            activation: r.activation("activation", "gelu", &["gelu"])?,
            norm_eps: 1e-12,
            rotary_dim: Some(0),
            encoder: Some(r.head(hidden, 0)?),
            ..Fields::default()
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<DistilBert<W>, LoadError> {
        Ok(DistilBert(Encoder::load(c, s, NAMES, None, DistilBert::head)?))
    }

    fn head<S: Source<Weight = W>>(c: &Config, s: &S, last: &Norm) -> Result<Head<W>, LoadError> {
        let (f, root, d) = (c.encoder(), At::root(s), c.hidden_size);
        match f.task {
            Task::FillMask => {
                let words = root.at("distilbert.embeddings.word_embeddings").this(c.vocab_size, false);
                let dense = (root.part("vocab_transform", d, true), c.activation);
                let norm = Norm::layer(c, "vocab_layer_norm".into());
                Head::words(f, s, last, dense, norm, words.biased("vocab_projector.bias"))
            }
            _ => {
                let dense = (root.part("pre_classifier", d, true), Activation::Relu);
                Head::labels(s, last, dense, root.part("classifier", f.labels.len(), true))
            }
        }
    }
}
