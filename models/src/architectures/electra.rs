//! ELECTRA: BERT whose embedding may be narrower than its layers.

use sotto_protocol::activation::Activation;

use crate::{
    Config, ConfigError, Fields,
    config::{EncoderFields, Task},
    config_json::Reader,
    error::Error as LoadError,
    evaluator::Norm,
    layers::{Encoder, EncoderNames, Head},
    weights::{At, Source},
};

/// An ELECTRA as one side knows it.
pub struct Electra<W>(pub Encoder<W>);

impl<W> Electra<W> {
    pub(crate) const PREFIX: &'static str = "electra";
    pub(crate) const BUFFERS: &'static [&'static str] = &["position_ids", "generator_lm_head.weight"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.encoder()?;
        let embedding_size = r.json.size_or("embedding_size", 128)?;
        let encoder = common.encoder.map(|encoder| EncoderFields { embedding_size, ..encoder });
        Ok(Fields { encoder, ..common })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Electra<W>, LoadError> {
        let names = EncoderNames::bert("electra.embeddings", "electra.encoder.layer");
        let projection = At::root(s).part("electra.embeddings_project", c.hidden_size, true);
        let projection = (c.encoder().embedding_size != c.hidden_size).then_some(projection);
        Ok(Electra(Encoder::load(c, s, names, projection, Electra::head)?))
    }

    fn head<S: Source<Weight = W>>(c: &Config, s: &S, last: &Norm) -> Result<Head<W>, LoadError> {
        let (f, root, d) = (c.encoder(), At::root(s), c.hidden_size);
        match f.task {
            Task::FillMask => {
                let at = root.at("generator_predictions");
                let words = root.at("electra.embeddings.word_embeddings").this(c.vocab_size, false);
                let dense = (at.part("dense", f.embedding_size, true), Activation::Gelu);
                let norm = Norm { width: f.embedding_size, ..Norm::layer(c, at.name("LayerNorm")) };
                Head::words(f, s, last, dense, norm, words.biased("generator_lm_head.bias"))
            }
            _ => {
                let at = root.at("classifier");
                let dense = (at.part("dense", d, true), Activation::Gelu);
                Head::labels(s, last, dense, at.part("out_proj", f.labels.len(), true))
            }
        }
    }
}
