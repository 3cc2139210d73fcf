//! Attention: queries, keys and values from one matrix, their heads, and the output matrix.

use sotto_protocol::{Error, kv_cache::Heads};

use super::{GainedNorm, Input};
use crate::{
    Config,
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm},
    rope,
    weights::{At, DIAGONAL, ProjectionPart, Source},
};

/// An attention as one side knows it.
pub struct Attention<W> {
    shape: AttentionShape,
    width: usize,
    qkv: W,
    norms: Option<[GainedNorm<W>; 2]>,
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
        // Both of them, where the factor is small: they have an activation's fraction bits.
        let [of_q, of_k] = match shape.cap {
            None => [shape.factor(), 1.0],
            Some(_) => [shape.factor().sqrt(); 2],
        };
        let (q, k) = (q.times(of_q), k.times(of_k));
        let columns = shape.query_columns();
        Ok(Attention {
            width: norm.outputs(),
            qkv: super::matrix(source, norm.width, Some(norm), vec![q, k, v], stream)?,
            norms: None,
            output: super::matrix(source, columns, None, vec![output], false)?,
            shape,
        })
    }

    /// With norms of queries and of keys, in front of the rotation: of each head if they are as
    /// wide as a head, or of all of a position's columns.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load_normalised<'a, S: Source<Weight = W>>(
        source: &S,
        input: impl Into<Input<'a>>,
        shape: AttentionShape,
        qkv: [ProjectionPart; 3],
        [q_norm, k_norm]: [Norm; 2],
        output: ProjectionPart,
    ) -> Result<Attention<W>, LoadError> {
        let input = input.into();
        let columns = shape.query_columns();
        let gained = |norm, factor| GainedNorm::load(source, norm, factor);
        Ok(Attention {
            width: input.outputs(),
            qkv: super::matrix(source, input.width, input.norm, qkv.into(), false)?,
            norms: Some([gained(q_norm, shape.factor())?, gained(k_norm, 1.0)?]),
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
        let means = self.means(e, layer, &qkv).await?;
        e.linear(&self.output, &means).await
    }

    /// Means of values, from queries, keys and values side by side.
    async fn means<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: usize,
        qkv: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let (q_end, width) = (self.shape.query_columns(), self.shape.key_columns());
        let k_end = q_end + width;
        let (mut q, mut k) = (e.columns(qkv, 0..q_end), e.columns(qkv, q_end..k_end));
        let v = e.columns(qkv, k_end..k_end + width);
        match &self.norms {
            None => {}
            // Norms of one kind are one norm of more parts, which takes fewer turns.
            Some([of_q, of_k]) if (of_q.norm.width, of_q.norm.kind) == (of_k.norm.width, of_k.norm.kind) => {
                let qk = e.norm_parts(&of_q.norm, &e.columns(qkv, 0..k_end)).await?;
                q = e.linear(&of_q.gains, &e.columns(&qk, 0..q_end)).await?;
                k = e.linear(&of_k.gains, &e.columns(&qk, q_end..k_end)).await?;
            }
            Some([of_q, of_k]) => {
                q = of_q.forward(e, &q).await?;
                k = of_k.forward(e, &k).await?;
            }
        }
        e.attention(layer, &self.shape, [&q, &k, &v]).await
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
        let means = self.means(e, layer, &all).await?;
        Ok([e.linear(&self.output, &means).await?, stream])
    }
}

/// The projections of queries, keys and values and of the output, below their place, by the names
/// that most have.
pub fn projections<S: Source>(c: &Config, s: &At<S>) -> ([ProjectionPart; 3], ProjectionPart) {
    let qkv = [("q_proj", c.query_size()), ("k_proj", c.key_value_size()), ("v_proj", c.key_value_size())];
    let qkv = qkv.map(|(name, outputs)| s.part(name, outputs, c.qkv_bias));
    (qkv, s.part("o_proj", c.hidden_size, c.output_bias))
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
    let (mut frequencies, factor) = rope::of_layer(c, layer);
    frequencies.resize(c.head_dim / 2, 0.0);
    AttentionShape {
        heads: Heads { key_value: c.num_key_value_heads, group: c.group_size(), width: c.head_dim },
        rotary: turned.then_some(frequencies),
        scale: if turned { scale * factor } else { scale },
        cap: c.score_cap,
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
