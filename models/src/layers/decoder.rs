//! A stack of layers between an embedding and a head: all decoders.

use sotto_protocol::Error;

use crate::{
    Config,
    error::Error as LoadError,
    evaluator::{Evaluator, Norm, Part, Tokens},
    network::Outputs,
    weights::{At, Source, Table},
};

/// A layer of a decoder: from residual stream `[T, d]` to residual stream.
#[allow(async_fn_in_trait)]
pub trait Layer<W> {
    /// What the layer makes of the residual stream.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &E::Tensor,
    ) -> Result<E::Tensor, Error>;
}

/// A decoder as one side knows it.
pub struct Decoder<W, L> {
    /// The rows of all tokens.
    pub embedding: W,
    /// The rows of all positions, if positions are learned.
    pub positions: Option<W>,
    /// The layers.
    pub layers: Vec<L>,
    /// Behind the last.
    pub norm: Norm,
    /// Logits of the norm's output.
    pub head: W,
}

/// What a decoder's tensors are called.
#[derive(Clone, Copy)]
pub struct Names {
    /// The rows of all tokens.
    pub embedding: &'static str,
    /// The path of the layers, which go by number.
    pub layers: &'static str,
    /// The norm behind the last.
    pub norm: &'static str,
    /// The head, where it is not the embedding.
    pub head: &'static str,
}

impl Names {
    /// Those that most have.
    pub const USUAL: Names = Names {
        embedding: "model.embed_tokens",
        layers: "model.layers",
        norm: "model.norm",
        head: "lm_head",
    };
}

impl<W, L> Decoder<W, L> {
    /// From tensors of these names, with a norm of this kind, without learned positions; the head
    /// has a bias only where it is not the embedding.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        c: &Config,
        source: &S,
        names: Names,
        norm: fn(&Config, String) -> Norm,
        head_bias: bool,
        layer: impl Fn(&Config, &At<S>, usize) -> Result<L, LoadError>,
    ) -> Result<Decoder<W, L>, LoadError> {
        let (root, m, norm) = (At::root(source), c.multipliers, norm(c, names.norm.into()));
        let name = root.at(names.embedding).name("weight");
        let embedding = source.table(&Table::new(name, c.vocab_size, c.hidden_size).times(m.embedding))?;
        let layers = (0..c.num_hidden_layers).map(|i| layer(c, &root.at(names.layers).at(i), i));
        let layers = layers.collect::<Result<_, _>>()?;
        let head = match c.tie_word_embeddings {
            true => root.at(names.embedding).this(c.vocab_size, false),
            false => root.at(names.head).this(c.vocab_size, head_bias),
        };
        let head = super::head(source, &norm, head.times(m.logits))?;
        Ok(Decoder { embedding, positions: None, layers, norm, head })
    }
}

impl<W, L: Layer<W>> Decoder<W, L> {
    /// Logits `[R, V]` after tokens that follow those before.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        tokens: Tokens<'_>,
        outputs: Outputs,
    ) -> Result<E::Tensor, Error> {
        e.enter(Part::Embedding).await?;
        let mut h = e.embed(&self.embedding, tokens).await?;
        if let Some(table) = &self.positions {
            h = e.add_positions(&h, table).await?;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            e.enter(Part::Layer(i)).await?;
            h = layer.forward(e, i, &h).await?;
        }
        let rows = tokens.count();
        let h = match outputs {
            Outputs::Nothing => return Ok(h),
            Outputs::Last => e.rows(&h, rows - 1..rows),
            Outputs::All => h,
        };
        e.enter(Part::Head).await?;
        let x = e.norm(&self.norm, &h).await?;
        e.linear(&self.head, &x).await
    }
}
