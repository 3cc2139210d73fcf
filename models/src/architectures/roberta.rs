//! RoBERTa and XLM-RoBERTa: BERT with other positions and heads.

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

/// A RoBERTa as one side knows it.
pub struct Roberta<W>(pub Encoder<W>);

impl<W> Roberta<W> {
    pub(crate) const PREFIX: &'static str = "roberta";
    pub(crate) const BUFFERS: &'static [&'static str] =
        &["position_ids", "lm_head.decoder.weight", "lm_head.decoder.bias"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.encoder()?;
        // Positions are counted from the one behind the padding token's.
        let padding = r.json.size_or("pad_token_id", 1)?;
        let first_position = padding.saturating_add(1);
        let Some(positions) = common.max_position_embeddings.checked_sub(first_position) else {
            let expected = format!("more than the pad_token_id, {padding}");
            return Err(r.json.refuse("max_position_embeddings", &expected, "check config.json"));
        };
        let encoder = common.encoder.map(|encoder| EncoderFields { first_position, ..encoder });
        Ok(Fields { max_position_embeddings: positions, encoder, ..common })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Roberta<W>, LoadError> {
        let names = EncoderNames::bert("roberta.embeddings", "roberta.encoder.layer");
        Ok(Roberta(Encoder::load(c, s, names, None, Roberta::head)?))
    }

    fn head<S: Source<Weight = W>>(c: &Config, s: &S, last: &Norm) -> Result<Head<W>, LoadError> {
        let (f, root, d) = (c.encoder(), At::root(s), c.hidden_size);
        match f.task {
            Task::FillMask => {
                let at = root.at("lm_head");
                let words = root.at("roberta.embeddings.word_embeddings").this(c.vocab_size, false);
                let dense = (at.part("dense", d, true), Activation::Gelu);
                let norm = Norm::layer(c, at.name("layer_norm"));
                Head::words(f, s, last, dense, norm, words.biased(at.name("bias")))
            }
            _ => {
                let at = root.at("classifier");
                let dense = (at.part("dense", d, true), Activation::Tanh);
                Head::labels(s, last, dense, at.part("out_proj", f.labels.len(), true))
            }
        }
    }
}
