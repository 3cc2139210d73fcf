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
        let sizes = r.sizes(["dim", "n_layers", "n_heads"])?;
        Ok(Fields {
            intermediate_size: json.size("hidden_dim")?,
            max_position_embeddings: json.size_or("max_position_embeddings", 512)?,
            activation: r.activation("activation", "gelu", &["gelu"])?,
            norm_eps: 1e-12,
            rotary_dim: Some(0),
            encoder: Some(r.head(sizes.hidden_size, 0)?),
            ..sizes
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
