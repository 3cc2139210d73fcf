//! BERT: learned positions and token types, norms behind the sums, GELU.

use sotto_protocol::activation::Activation;

use crate::{
    Config, ConfigError, Fields,
    config::Task,
    config_json::Reader,
    error::Error as LoadError,
    evaluator::Norm,
    layers::{Encoder, EncoderNames, Head},
    weights::{At, Source},
};

/// A BERT as one side knows it.
pub struct Bert<W>(pub Encoder<W>);

impl<W> Bert<W> {
    pub(crate) const PREFIX: &'static str = "bert";
    pub(crate) const BUFFERS: &'static [&'static str] =
        &["position_ids", "predictions.decoder.weight", "predictions.decoder.bias"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        r.encoder()
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Bert<W>, LoadError> {
        let names = EncoderNames::bert("bert.embeddings", "bert.encoder.layer");
        Ok(Bert(Encoder::load(c, s, names, None, Bert::head)?))
    }

    fn head<S: Source<Weight = W>>(c: &Config, s: &S, last: &Norm) -> Result<Head<W>, LoadError> {
        let (f, root, d) = (c.encoder(), At::root(s), c.hidden_size);
        match f.task {
            Task::FillMask => {
                let at = root.at("cls.predictions");
                let words = root.at("bert.embeddings.word_embeddings").this(c.vocab_size, false);
                let dense = (at.part("transform.dense", d, true), c.activation);
                let norm = Norm::layer(c, at.name("transform.LayerNorm"));
                Head::words(f, s, last, dense, norm, words.biased(at.name("bias")))
            }
            _ => {
                let pooler = (root.part("bert.pooler.dense", d, true), Activation::Tanh);
                Head::labels(s, last, pooler, root.part("classifier", f.labels.len(), true))
            }
        }
    }
}
