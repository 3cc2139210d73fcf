//! Attention: queries, keys and values from one matrix, their heads, and the output matrix.

use sotto_protocol::{Error, kv_cache::Heads};

use crate::{
    Config,
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm},
    rope_attention_factor, rope_inverse_frequencies,
    weights::{DIAGONAL, ProjectionPart, Source},
};

/// An attention as one side knows it.
pub struct Attention<W> {
    shape: AttentionShape,
    width: usize,
    qkv: W,
    output: W,
}

impl<W> Attention<W> {
    /// Behind `norm`, with projections for queries, keys and values, and an output. With `stream`,
    /// the norm's output, gain and bias included, comes out beside queries, keys and values.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        source: &S,
        norm: &Norm,
        shape: AttentionShape,
        [q, k, v]: [ProjectionPart; 3],
        output: ProjectionPart,
        stream: bool,
    ) -> Result<Attention<W>, LoadError> {
        // Scores in base-2 units.
        let q = q.times(shape.scale * std::f64::consts::LOG2_E);
        let columns = shape.query_columns();
        Ok(Attention {
            width: norm.outputs(),
            qkv: super::matrix(source, norm.width, Some(norm), vec![q, k, v], stream)?,
            output: super::matrix(source, columns, None, vec![output], false)?,
            shape,
        })
    }

    /// What the rows of `x` make of themselves and of what they see.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: usize,
        x: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let qkv = e.linear(&self.qkv, x).await?;
        let means = e.attention(layer, &self.shape, &qkv).await?;
        e.linear(&self.output, &means).await
    }

    /// The same, and the residual stream that the norm in front has put out.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward_beside_stream<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: usize,
        x: &E::Tensor,
    ) -> Result<[E::Tensor; 2], Error> {
        let all = e.linear(&self.qkv, x).await?;
        let end = self.shape.query_columns() + 2 * self.shape.key_columns();
        let stream = e.stream(&e.columns(&all, end..end + self.width), DIAGONAL).await?;
        let means = e.attention(layer, &self.shape, &e.columns(&all, 0..end)).await?;
        Ok([e.linear(&self.output, &means).await?, stream])
    }
}

/// The attention of a decoder's layer, as its configuration says.
///
/// A head is rotated as a whole: columns that are not have an angle of zero. Where these are some
/// of a head's, queries and keys come in another order, of which scores are independent:
/// [`in_pairs`].
pub fn causal(c: &Config, layer: usize) -> AttentionShape {
    let root = (c.head_dim as f64).sqrt().recip();
    let scale = c.multipliers.scores.unwrap_or(root);
    let turned = c.rotated() > 0 && !c.unrotated_layers.contains(&(layer as u32));
    let mut frequencies = rope_inverse_frequencies(c);
    frequencies.resize(c.head_dim / 2, 0.0);
    AttentionShape {
        heads: Heads { key_value: c.num_key_value_heads, group: c.group_size(), width: c.head_dim },
        rotary: turned.then_some(frequencies),
        // Queries and keys are both multiplied by the factor as they are rotated.
        scale: if turned { scale * rope_attention_factor(c).powi(2) } else { scale },
        causal: true,
    }
}

/// Queries or keys in the order in which columns that are rotated together are half a head apart,
/// if only some of a head's columns are.
pub fn in_pairs(c: &Config, part: ProjectionPart) -> ProjectionPart {
    let (width, turned) = (c.head_dim, c.rotated());
    if turned == 0 || turned == width {
        return part;
    }
    let (half, pairs) = (width / 2, turned / 2);
    // Of a head: the first of each pair, some of those that stand still, the second, the others.
    let rest = turned + half - pairs;
    let order: Vec<usize> = (0..pairs).chain(turned..rest).chain(pairs..turned).chain(rest..width).collect();
    let heads = part.outputs / width;
    part.reordered((0..heads).flat_map(|head| order.iter().map(move |i| head * width + i)))
}
