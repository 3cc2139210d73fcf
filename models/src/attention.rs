//! Attention of all heads, from queries, keys and values to what their weights make of the values.

use sotto_protocol::{Error, kv_cache::Heads};
use sotto_shares::{Shape, Share};

use crate::evaluator::Evaluator;

/// Means of values `[T, heads h]`, of queries `[T, heads h]` in base-2 units, keys and values `[T, key heads h]`; `visible(t)` positions
/// are seen from the new position `t`. The cache gets keys and values.
pub(crate) async fn attention<E: Evaluator>(
    e: &mut E,
    heads: Heads,
    cache: &mut E::Cache,
    [q, k, v]: [&Share; 3],
    visible: impl Fn(usize) -> usize,
) -> Result<Share, Error> {
    let (rows, p) = (q.shape.rows, e.precision());
    let (q, k) = (by_group(heads, q).reduce(p.attention()), k.reduce(p.attention()));
    let scores = e.scores(cache, &q, &k).await?;
    let scores = e.truncate(&scores, scores.frac - p.frac(), p.score()).await?;
    let [sums, reciprocal] = e.attend(cache, &scores, &self::visible(heads, rows, visible), v).await?;
    let means = e.mul_rows(&sums, &reciprocal).await?;
    let means = e.truncate(&means, means.frac - p.frac(), p.linear()).await?;
    Ok(by_row(heads, &means, rows))
}

/// How many positions each row of scores sees, given how many each of the new positions does.
pub(crate) fn visible(heads: Heads, rows: usize, of: impl Fn(usize) -> usize) -> Vec<usize> {
    let rows = rows * heads.group;
    (0..heads.key_value * rows).map(|i| of(i % rows / heads.group)).collect()
}

/// The queries `[T, heads h]` as rows of one head: `[T group, h]` for each head of keys.
fn by_group(heads: Heads, q: &Share) -> Share {
    let width = heads.group * heads.width;
    let group = |i: usize| {
        let columns = q.columns(i * width..(i + 1) * width);
        let rows = columns.len() / heads.width;
        columns.reshape(Shape::new(rows, heads.width))
    };
    (1..heads.key_value).fold(group(0), |all, i| all.stack(&group(i)))
}

/// The inverse order: to `[T, heads h]`.
fn by_row(heads: Heads, x: &Share, rows: usize) -> Share {
    let (group, width) = (heads.group, heads.group * heads.width);
    let of = |i: usize| x.rows(i * rows * group..(i + 1) * rows * group).reshape(Shape::new(rows, width));
    Share::beside(&(0..heads.key_value).map(of).collect::<Vec<_>>())
}
