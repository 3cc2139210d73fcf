//! Gemma 3 for texts: Gemma 2 with norms of each head of queries and keys and two kinds of
//! rotation, without soft caps.

use crate::{
    Config, ConfigError, Fields,
    architectures::gemma2::{self, Layer},
    config_json::Reader,
    error::Error as LoadError,
    layers::{Decoder, Names},
    weights::Source,
};

/// A Gemma 3 as one side knows it.
pub struct Gemma3<W>(pub Decoder<W, Layer<W>>);

impl<W> Gemma3<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder_of_two_ropes()?;
        gemma2::fields(r, common)
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Gemma3<W>, LoadError> {
        Ok(Gemma3(Decoder::load(c, s, Names::USUAL, gemma2::norm, false, |c, s, i| {
            Layer::load(c, s, i, true)
        })?))
    }
}
