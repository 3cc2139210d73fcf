//! An encoder: attention to both sides, norms behind the sums, and a head.
//!
//! A layer takes and gives what a norm puts out, without gain and bias: these belong to the
//! matrices that follow, one part of which gives the residual stream. The heads are behind the last
//! layer's norm.

use sotto_protocol::{Error, activation::Activation, kv_cache::Heads};

use super::{Attention, Mlp, matrix, output};
use crate::{
    Config,
    config::{EncoderFields, Pooling, Task},
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm, NormKind, Part, Tokens},
    network::Outputs,
    weights::{At, ProjectionPart, Source, Table},
};

/// An encoder as one side knows it.
pub struct Encoder<W> {
    /// The rows of all tokens, the first token type's included, and what the second has beyond it.
    words: W,
    /// The rows of all positions.
    positions: W,
    /// Behind the embedding.
    norm: Norm,
    /// The layers.
    layers: Vec<EncoderLayer<W>>,
    /// From the last layer to what is revealed.
    head: Head<W>,
}

/// What an encoder's tensors are called.
#[derive(Clone, Copy)]
pub struct EncoderNames {
    /// The path of the embedding.
    pub embeddings: &'static str,
    /// The path of the layers, which go by number.
    pub layers: &'static str,
    /// The tensors of a layer.
    pub layer: LayerNames,
}

impl EncoderNames {
    /// Those of BERT, which stand below this path.
    pub const fn bert(embeddings: &'static str, layers: &'static str) -> EncoderNames {
        EncoderNames { embeddings, layers, layer: LayerNames::BERT }
    }
}

impl<W> Encoder<W> {
    /// From tensors of these names. The embedding has a projection behind its norm if it is
    /// narrower than the layers; `head` is what the page has besides the usual ones.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(
        c: &Config,
        source: &S,
        names: EncoderNames,
        projection: Option<ProjectionPart>,
        head: impl Fn(&Config, &S, &Norm) -> Result<Head<W>, LoadError>,
    ) -> Result<Encoder<W>, LoadError> {
        let (f, root) = (c.encoder(), At::root(source));
        let at = root.at(names.embeddings);
        let table = |name: &str, rows| Table::new(at.at(name).name("weight"), rows, f.embedding_size);
        let words = table("word_embeddings", c.vocab_size);
        let words = match f.token_types {
            0 => words,
            types => words.with_types(at.at("token_type_embeddings").name("weight"), types),
        };
        let positions = table("position_embeddings", c.max_position_embeddings).after(f.first_position);
        let words = source.table(&words)?;
        let positions = source.table(&positions)?;
        let norm = Norm {
            width: f.embedding_size,
            through: projection.map(Box::new),
            ..Norm::layer(c, at.name("LayerNorm"))
        };
        let mut layers: Vec<EncoderLayer<W>> = vec![];
        for i in 0..c.num_hidden_layers {
            let before = layers.last().map_or(&norm, |layer| &layer.last);
            let layer =
                EncoderLayer::load(LayerShape::of(c), &root.at(names.layers).at(i), names.layer, before)?;
            layers.push(layer);
        }
        let last = layers.last().map_or(&norm, |layer| &layer.last);
        let head = match f.task {
            Task::Embed => Head::vector(f, source, last)?,
            Task::Tag => Head::rows(source, last, root.part("classifier", f.labels.len(), true))?,
            Task::Answer => Head::rows(source, last, root.part("qa_outputs", 2, true))?,
            Task::Generate | Task::Classify | Task::FillMask => head(c, source, last)?,
        };
        Ok(Encoder { words, positions, norm, layers, head })
    }

    /// What the task takes of the tokens; or the same of every position, without pooling.
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
        let h = e.embed(&self.words, tokens).await?;
        let h = e.add_positions(&h, &self.positions).await?;
        let mut x = e.norm(&self.norm, &h).await?;
        for (i, layer) in self.layers.iter().enumerate() {
            e.enter(Part::Layer(i)).await?;
            x = layer.forward(e, i, &x).await?;
        }
        e.enter(Part::Head).await?;
        self.head.forward(e, x, tokens, outputs == Outputs::All).await
    }
}

/// From the last layer to what is revealed.
pub enum Head<W> {
    /// A vector of the text.
    Vector {
        /// How rows become one.
        pooling: Pooling,
        /// A layer behind it, and its function.
        dense: Option<(W, Activation)>,
        /// What is revealed.
        output: W,
    },
    /// A number for each label, of the first row.
    Labels {
        /// A layer.
        dense: W,
        /// Its function.
        function: Activation,
        /// What is revealed.
        output: W,
    },
    /// Some numbers of each row.
    Rows {
        /// What is revealed.
        output: W,
    },
    /// A number for each token of the vocabulary, of the row that has the mask.
    Words {
        /// The token that stands for the one that is looked for.
        mask: u32,
        /// A layer.
        dense: W,
        /// Its function.
        function: Activation,
        /// The norm behind it.
        norm: Norm,
        /// What is revealed.
        output: W,
    },
}

impl<W> Head<W> {
    /// The vector of a text, as its model pools it.
    fn vector<S: Source<Weight = W>>(f: &EncoderFields, s: &S, last: &Norm) -> Result<Head<W>, LoadError> {
        let pooling = f.pooling;
        let Some(dense) = &f.dense else {
            let output = output(s, last.width, Some(last), None)?;
            return Ok(Head::Vector { pooling, dense: None, output });
        };
        let part = At::root(s).at(EncoderFields::DENSE).part("linear", dense.outputs, dense.bias);
        Ok(match dense.function {
            None => {
                Head::Vector { pooling, dense: None, output: output(s, last.width, Some(last), Some(part))? }
            }
            Some(function) => {
                let dense_matrix = matrix(s, last.width, Some(last), vec![part], false)?;
                let output = output(s, dense.outputs, None, None)?;
                Head::Vector { pooling, dense: Some((dense_matrix, function)), output }
            }
        })
    }

    /// Labels of the whole text: a layer, its function, the labels.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn labels<S: Source<Weight = W>>(
        s: &S,
        last: &Norm,
        (dense, function): (ProjectionPart, Activation),
        labels: ProjectionPart,
    ) -> Result<Head<W>, LoadError> {
        let inputs = dense.outputs;
        let dense = matrix(s, last.width, Some(last), vec![dense], false)?;
        Ok(Head::Labels { dense, function, output: output(s, inputs, None, Some(labels))? })
    }

    /// Some numbers of each row.
    fn rows<S: Source<Weight = W>>(s: &S, last: &Norm, part: ProjectionPart) -> Result<Head<W>, LoadError> {
        Ok(Head::Rows { output: output(s, last.width, Some(last), Some(part))? })
    }

    /// The likeliest words in place of the mask: a layer, its function, a norm, the vocabulary.
    ///
    /// # Errors
    /// As [`Source::matrix`], or there is no mask.
    pub fn words<S: Source<Weight = W>>(
        f: &EncoderFields,
        s: &S,
        last: &Norm,
        (dense, function): (ProjectionPart, Activation),
        norm: Norm,
        words: ProjectionPart,
    ) -> Result<Head<W>, LoadError> {
        let mask = f.mask_token.ok_or(LoadError::NoMask)?;
        let dense = matrix(s, last.width, Some(last), vec![dense], false)?;
        let output = output(s, norm.width, Some(&norm), Some(words))?;
        Ok(Head::Words { mask, dense, function, norm, output })
    }

    async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        x: E::Tensor,
        tokens: Tokens<'_>,
        all: bool,
    ) -> Result<E::Tensor, Error> {
        match self {
            Head::Vector { pooling, dense, output } => {
                let x = match pooling {
                    _ if all => x,
                    Pooling::Mean => e.mean(&x).await?,
                    Pooling::First => e.rows(&x, 0..1),
                };
                let x = match dense {
                    None => x,
                    Some((dense, function)) => {
                        let x = e.linear(dense, &x).await?;
                        e.activate(*function, &x).await?
                    }
                };
                e.linear(output, &x).await
            }
            Head::Labels { dense, function, output } => {
                let x = e.linear(dense, &e.rows(&x, 0..1)).await?;
                let x = e.activate(*function, &x).await?;
                e.linear(output, &x).await
            }
            Head::Rows { output } => e.linear(output, &x).await,
            Head::Words { mask, dense, function, norm, output } => {
                let x = if all { x } else { e.row_of(&x, tokens, *mask).await? };
                let x = e.linear(dense, &x).await?;
                let x = e.activate(*function, &x).await?;
                let h = e.new_stream(&x).await?;
                let x = e.norm(norm, &h).await?;
                e.linear(output, &x).await
            }
        }
    }
}

/// The public shape of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerShape {
    /// Columns of the residual stream.
    pub width: usize,
    /// Heads, all of them with keys of their own.
    pub heads: usize,
    /// Columns inside the MLP.
    pub inner: usize,
    /// The MLP's function.
    pub function: Activation,
    /// Added to a norm's variance.
    pub eps: f64,
}

impl LayerShape {
    fn of(c: &Config) -> LayerShape {
        LayerShape {
            width: c.hidden_size,
            heads: c.num_attention_heads,
            inner: c.intermediate_size,
            function: c.activation,
            eps: c.norm_eps,
        }
    }
}

/// What a layer's tensors are called.
#[derive(Clone, Copy)]
pub struct LayerNames {
    /// Queries, keys and values.
    pub qkv: [&'static str; 3],
    /// Attention's output.
    pub output: &'static str,
    /// The norm behind attention.
    pub middle: &'static str,
    /// The two matrices of the MLP.
    pub mlp: [&'static str; 2],
    /// The norm behind the MLP.
    pub last: &'static str,
}

impl LayerNames {
    /// Those of BERT.
    pub const BERT: LayerNames = LayerNames {
        qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
        output: "attention.output.dense",
        middle: "attention.output.LayerNorm",
        mlp: ["intermediate.dense", "output.dense"],
        last: "output.LayerNorm",
    };
}

/// A layer as one side knows it.
pub struct EncoderLayer<W> {
    attention: Attention<W>,
    middle: Norm,
    mlp: Mlp<W>,
    /// Gain and bias belong to what follows.
    last: Norm,
}

impl<W> EncoderLayer<W> {
    /// The layer whose tensors lie at `s`, behind the norm `before`.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(
        c: LayerShape,
        s: &At<S>,
        names: LayerNames,
        before: &Norm,
    ) -> Result<EncoderLayer<W>, LoadError> {
        let norm = |name: &str| c.norm(&s.name(name));
        let width = c.width / c.heads;
        let heads = Heads { key_value: c.heads, group: 1, width };
        let scale = (width as f64).sqrt().recip();
        let shape = AttentionShape { heads, rotary: None, scale, cap: None, causal: false };
        let qkv = names.qkv.map(|name| s.part(name, c.width, true));
        let attended = s.part(names.output, c.width, true);
        let [up, down] = names.mlp;
        let mlp = [s.part(up, c.inner, true), s.part(down, c.width, true)];
        let middle = norm(names.middle);
        Ok(EncoderLayer {
            attention: Attention::load(s.source, before, shape, qkv, attended, true)?,
            mlp: Mlp::load(s.source, &middle, c.function, mlp, true)?,
            middle,
            last: norm(names.last),
        })
    }

    /// From the preceding norm's output `[T, d]` to that of the layer's own second norm, both
    /// without gain and bias.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        x: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let [y, h] = self.attention.forward_beside_stream(e, index, x).await?;
        let h = e.add(&h, &y).await?;
        let x = e.norm(&self.middle, &h).await?;
        let [y, h] = self.mlp.forward_beside_stream(e, &x).await?;
        let h = e.add(&h, &y).await?;
        e.norm(&self.last, &h).await
    }
}

impl LayerShape {
    /// A norm of the layer's width, whose gains and biases are at `path`.
    pub fn norm(&self, path: &str) -> Norm {
        Norm {
            kind: NormKind::Layer,
            width: self.width,
            eps: self.eps,
            gain: format!("{path}.weight"),
            gain_offset: 0.0,
            bias: Some(format!("{path}.bias")),
            through: None,
        }
    }
}
