//! The offline half of [`super`]: what masks to make, and how the two parties make them.

use sotto_he::{EncryptedMatrix, Job, Layout, MatmulShape, Operand, Plain};
use sotto_shares::Ring;
use zeroize::{Zeroize, Zeroizing};

use super::{Chunk, Heads, KvCache, PerHead, Queries, times_transposed};
use crate::{
    Client, Error, Precision, Server, Session,
    ahead::{self, Need},
    lattice,
    matmul::{product, transpose},
};

/// Data primes of the ciphertexts of keys and of values.
const LEVELS: [usize; 2] = [2, 3];

/// Coefficients of a ciphertext.
const COEFFICIENTS: usize = 8192;

/// The rings of queries and keys, of weights and values.
fn rings(precision: Precision) -> [Ring; 2] {
    [precision.attention(), precision.sums()]
}

/// Deviations of the errors of one cross term, as powers of two, in units of the products' rings. Finer scores have wider rings, in which less would take ciphertexts of
/// three primes.
pub(super) fn tolerances(precision: Precision) -> [i32; 2] {
    match precision {
        Precision::Default => [6, 10],
        Precision::High => [11, 12],
    }
}

impl Heads {
    /// Positions of a chunk: what fills one ciphertext a head.
    fn chunk(&self) -> usize {
        COEFFICIENTS / self.width.next_power_of_two()
    }
}

/// What is to be made.
pub(super) struct Plan {
    /// Positions of each new chunk.
    chunks: Vec<usize>,
    /// Positions whose queries get masks.
    positions: usize,
    /// Positions that they can look back on.
    columns: usize,
    layouts: Layouts,
}

struct Layouts {
    /// Uploads of the masks of keys and of values of each new chunk.
    blocks: Vec<[Layout; 2]>,
    /// `a B^T`, `B a^T`, `a' B`, `B^T a'^T`.
    products: [Layout; 4],
}

impl KvCache {
    /// Positions that have masks.
    pub(super) fn made(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.positions).sum()
    }

    /// Whether queries of `n` more positions lack masks.
    pub(crate) fn lacks(&self, n: usize) -> bool {
        self.queries.positions < n
    }

    /// Words of the masks for `n` more positions.
    pub(crate) fn words(&self, n: usize) -> usize {
        let Heads { key_value, group, width } = self.heads;
        2 * key_value * (n * width + n * group * (width + self.length + n))
    }

    /// What is lacking for queries of `n` more positions, or nothing.
    ///
    /// # Panics
    /// In the middle of a step, or after one that failed.
    pub(super) fn plan(&self, s: &mut Session, n: usize) -> Result<Option<Plan>, Error> {
        let opened = self.length * self.heads.row();
        let whole = self.pending.is_none() && (self.keys.len(), self.values.len()) == (opened, opened);
        assert!(whole, "a cache is used step by step, and not after an error");
        if !self.lacks(n) {
            return Ok(None);
        }
        let positions = n + s.lookahead;
        let columns = self.length + positions;
        let chunk = self.heads.chunk();
        let mut lacking = columns.saturating_sub(self.made());
        if lacking > 0 {
            // The positions that the conversation may still reach, as far as one chunk goes.
            let planned = (self.length + n + s.horizon).saturating_sub(self.made());
            lacking = lacking.max(planned.min(chunk));
        }
        let chunks: Vec<usize> =
            (0..lacking).step_by(chunk).map(|start| chunk.min(lacking - start)).collect();
        let layouts = self.layouts(&chunks, positions * self.heads.group, columns)?;
        if u32::try_from(layouts.upload_len(self.heads)).is_err() {
            return Err(Error::Step { positions });
        }
        s.pool.record("masks of rows", self.made() as u64, lacking);
        s.pool.record("masks of queries", columns as u64, positions);
        Ok(Some(Plan { chunks, positions, columns, layouts }))
    }

    fn layouts(&self, chunks: &[usize], rows: usize, columns: usize) -> Result<Layouts, Error> {
        let Heads { key_value: batch, width, .. } = self.heads;
        let (context, rings, tolerances) =
            (lattice::context(), rings(self.precision), tolerances(self.precision));
        let virtual_positions = (self.chunks.len() + chunks.len()) * self.heads.chunk();
        let keys = |tokens, outer| {
            let shape = MatmulShape { tokens, inner: width, outer };
            let (bits, [tolerance, _], [levels, _]) = (rings[0].bits(), tolerances, LEVELS);
            Layout::dense(context, shape, bits, tolerance, levels, self.heads.chunk(), batch)
        };
        let values = |inner, outer| {
            let shape = MatmulShape { tokens: width, inner, outer };
            let (bits, [_, tolerance], [_, levels]) = (rings[1].bits(), tolerances, LEVELS);
            Layout::dense(context, shape, bits, tolerance, levels, width.next_power_of_two(), batch)
        };
        let search = |inner, outer, ring: Ring, tolerance| {
            let shape = MatmulShape { tokens: rows, inner, outer };
            Layout::search(context, shape, Operand::Ring, ring.bits(), tolerance, batch)
        };
        let blocks = chunks.iter().map(|&n| Ok([keys(n, 1)?, values(n, 1)?]));
        Ok(Layouts {
            blocks: blocks.collect::<Result<_, Error>>()?,
            products: [
                search(width, columns, rings[0], tolerances[0])?,
                keys(virtual_positions, rows)?,
                search(columns, width, rings[1], tolerances[1])?,
                values(virtual_positions, rows)?,
            ],
        })
    }

    /// Where a position is among the rows of [`EncryptedMatrix::joined`] chunks.
    fn places(&self) -> Vec<usize> {
        let chunk = self.heads.chunk();
        let places = self.chunks.iter().enumerate().map(|(i, c)| i * chunk..i * chunk + c.positions);
        places.flatten().collect()
    }

    /// Adds a chunk of masks, given as `[positions, h]` for each head.
    fn grow(&mut self, chunk: Chunk, masks: [PerHead; 2]) {
        let Heads { key_value, width, .. } = self.heads;
        for (all, heads) in self.masks.iter_mut().zip(masks) {
            let mut grown = Vec::with_capacity(all.len() + chunk.positions * key_value * width);
            grown.extend_from_slice(all);
            for i in 0..chunk.positions {
                heads.iter().for_each(|rows| grown.extend(&rows[i * width..][..width]));
            }
            all.zeroize();
            *all = grown;
        }
        self.chunks.push(chunk);
    }

    /// Local products plus the shares of the cross terms, which come in the order of [`Layouts::products`], heads inside.
    fn combine(&self, plan: &Plan, a: PerHead, weights: PerHead, mut shares: Vec<Vec<u64>>) -> Queries {
        let Heads { key_value, group, width } = self.heads;
        let (rows, columns, places) = (plan.positions * group, plan.columns, self.places());
        let [score_ring, sum_ring] = rings(self.precision);
        let of = |kind: usize, head: usize| &shares[kind * key_value + head];
        let (mut a_keys, mut weights_values) = (vec![], vec![]);
        for head in 0..key_value {
            let keys = self.head(&self.masks[0][..columns * self.heads.row()], head);
            let values = self.head(&self.masks[1][..columns * self.heads.row()], head);
            let mut products = times_transposed(&a[head], &keys, width);
            let (first, second) = (of(0, head), of(1, head));
            for (i, out) in products.iter_mut().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let other = second[places[column] * rows + row];
                *out = score_ring.reduce(out.wrapping_add(first[i]).wrapping_add(other));
            }
            a_keys.push(products);
            let mut products = Zeroizing::new(product(&weights[head], &values, columns, width));
            let (first, second) = (of(2, head), of(3, head));
            for (i, out) in products.iter_mut().enumerate() {
                let (row, column) = (i / width, i % width);
                let other = second[column * rows + row];
                *out = sum_ring.reduce(out.wrapping_add(first[i]).wrapping_add(other));
            }
            weights_values.push(products);
        }
        shares.iter_mut().for_each(Zeroize::zeroize);
        Queries { positions: plan.positions, columns, a, a_keys, weights, weights_values }
    }
}

/// The client's part in making masks for queries of `n` more positions.
///
/// # Errors
/// The peer's reply is malformed or missing.
pub async fn client(me: &mut Client, cache: &mut KvCache, n: usize) -> Result<(), Error> {
    ahead::client(me, vec![Need::Positions(cache, n)]).await
}

/// The server's part in making masks for queries of `n` more positions.
///
/// # Errors
/// The peer's upload is malformed or missing.
pub async fn server(me: &mut Server, cache: &mut KvCache, n: usize) -> Result<(), Error> {
    ahead::server(me, vec![Need::Positions(cache, n)]).await
}

/// Masks that the client has sent under encryption.
pub(crate) struct Asked {
    plan: Plan,
    a: PerHead,
    weights: PerHead,
}

/// Sends masks for queries of `n` more positions, if they are lacking.
pub(crate) fn ask(me: &mut Client, cache: &mut KvCache, n: usize) -> Result<Option<Asked>, Error> {
    let Some(plan) = cache.plan(&mut me.session, n)? else {
        return Ok(None);
    };
    let (context, key, heads) = (lattice::context(), &me.key, cache.heads);
    let s = &mut me.session;
    let mut rng = s.rng.fork();
    let (upload, a, weights) = sotto_net::compute(|| {
        let mut upload = vec![];
        let mut random = |layout: &Layout| {
            let (bytes, values) = sotto_he::encrypt_random(context, key, layout, &mut rng);
            upload.extend(bytes);
            values
        };
        for (&positions, &blocks) in plan.chunks.iter().zip(&plan.layouts.blocks) {
            let mut masks = [vec![], vec![]];
            for _ in 0..heads.key_value {
                masks[0].push(random(&blocks[0]));
                let values = transpose(&random(&blocks[1]), heads.width, positions);
                masks[1].push(Zeroizing::new(values));
            }
            cache.grow(Chunk { positions, blocks, uploads: vec![] }, masks);
        }
        let [queries, _, weights, _] = &plan.layouts.products;
        let pairs: Vec<_> = (0..heads.key_value).map(|_| (random(queries), random(weights))).collect();
        let (a, weights): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        (upload, a, weights)
    });
    s.ch.send("attention/upload", upload)?;
    Ok(Some(Asked { plan, a, weights }))
}

impl Asked {
    /// Puts the masks' products into the cache.
    pub(crate) async fn take(self, me: &mut Client, cache: &mut KvCache) -> Result<(), Error> {
        let (context, s, key) = (lattice::context(), &mut me.session, &me.key);
        let jobs = self.plan.layouts.jobs(cache.heads);
        let reply = s.ch.recv("attention/reply", sotto_he::reply_len(context, &jobs)).await?;
        cache.queries = sotto_net::compute(|| -> Result<_, Error> {
            let shares = sotto_he::decrypt(context, key, &jobs, &reply)?;
            Ok(cache.combine(&self.plan, self.a, self.weights, shares))
        })?;
        Ok(())
    }
}

/// Answers [`ask`].
pub(crate) async fn answer(me: &mut Server, cache: &mut KvCache, n: usize) -> Result<(), Error> {
    let Some(plan) = cache.plan(&mut me.session, n)? else {
        return Ok(());
    };
    let plan = &plan;
    let (context, keys, heads, rings) = (lattice::context(), &me.keys, cache.heads, rings(cache.precision));
    let s = &mut me.session;
    let upload = s.ch.recv("attention/upload", plan.layouts.upload_len(heads)).await?;
    let mut rest = &upload[..];
    let mut next = |layout: &Layout| {
        let (bytes, after) = rest.split_at(layout.upload_len());
        rest = after;
        bytes
    };
    for (&positions, &blocks) in plan.chunks.iter().zip(&plan.layouts.blocks) {
        let uploads = (0..heads.key_value).map(|_| [0, 1].map(|kind| next(&blocks[kind]).to_vec()));
        let uploads = uploads.collect();
        let masks = rings.map(|ring| random(s, heads, positions * heads.width, ring));
        cache.grow(Chunk { positions, blocks, uploads }, masks);
    }
    let rows = plan.positions * heads.group;
    let a = random(s, heads, rows * heads.width, rings[0]);
    let weights = random(s, heads, rows * plan.columns, rings[1]);
    let [first, _, third, _] = &plan.layouts.products;
    let uploads: Vec<_> = (0..heads.key_value).map(|_| (next(first), next(third))).collect();
    let mut rng = s.rng.fork();
    let (reply, queries) = sotto_net::compute(|| -> Result<_, Error> {
        let (reply, shares) = {
            let inputs = Inputs::new(cache, plan, &uploads, &a, &weights)?;
            sotto_he::multiply(context, keys, &inputs.jobs(), &mut rng)
        };
        Ok((reply, cache.combine(plan, a, weights, shares)))
    })?;
    s.ch.send("attention/reply", reply)?;
    cache.queries = queries;
    Ok(())
}

/// `n` uniform elements for each head.
fn random(s: &mut Session, heads: Heads, n: usize, ring: Ring) -> PerHead {
    (0..heads.key_value).map(|_| Zeroizing::new(s.rng.elements(n, ring))).collect()
}

impl Layouts {
    fn upload_len(&self, heads: Heads) -> usize {
        let [queries, _, weights, _] = &self.products;
        let once = self.blocks.iter().flatten().map(Layout::upload_len).sum::<usize>();
        heads.key_value * (once + queries.upload_len() + weights.upload_len())
    }

    /// The jobs in the order of the reply.
    fn jobs(&self, heads: Heads) -> Vec<Layout> {
        self.products.iter().flat_map(|&layout| std::iter::repeat_n(layout, heads.key_value)).collect()
    }
}

/// Both factors of all products, in the order of the reply.
struct Inputs {
    encrypted: Vec<EncryptedMatrix>,
    plain: PerHead,
}

impl Inputs {
    fn new(
        cache: &KvCache,
        plan: &Plan,
        uploads: &[(&[u8], &[u8])],
        a: &PerHead,
        weights: &PerHead,
    ) -> Result<Inputs, Error> {
        let Heads { group, width, .. } = cache.heads;
        let (context, columns, rows) = (lattice::context(), plan.columns, plan.positions * group);
        let [first, second, third, fourth] = &plan.layouts.products;
        let decode = |layout: &Layout, bytes: &[u8]| EncryptedMatrix::decode_random(context, layout, bytes);
        let joined = |kind: usize, head: usize, whole: &Layout| -> Result<EncryptedMatrix, Error> {
            let parts = cache.chunks.iter().map(|c| decode(&c.blocks[kind], &c.uploads[head][kind]));
            Ok(EncryptedMatrix::joined(whole, &parts.collect::<Result<Vec<_>, _>>()?))
        };
        let mask =
            |kind: usize, head: usize| cache.head(&cache.masks[kind][..columns * cache.heads.row()], head);
        let places = cache.places();
        let mut inputs = Inputs { encrypted: vec![], plain: vec![] };
        for (head, (queries, _)) in uploads.iter().enumerate() {
            inputs.encrypted.push(decode(first, queries)?);
            inputs.plain.push(Zeroizing::new(transpose(&mask(0, head), columns, width)));
        }
        for (head, a) in a.iter().enumerate() {
            inputs.encrypted.push(joined(0, head, second)?);
            inputs.plain.push(Zeroizing::new(transpose(a, rows, width)));
        }
        for (head, (_, weights)) in uploads.iter().enumerate() {
            inputs.encrypted.push(decode(third, weights)?);
            inputs.plain.push(mask(1, head));
        }
        for (head, weights) in weights.iter().enumerate() {
            inputs.encrypted.push(joined(1, head, fourth)?);
            // Zeros where no position is: what the ciphertext holds there is arbitrary.
            let mut spread = Zeroizing::new(vec![0; fourth.shape().inner * rows]);
            for (column, &place) in places[..columns].iter().enumerate() {
                for row in 0..rows {
                    spread[place * rows + row] = weights[row * columns + column];
                }
            }
            inputs.plain.push(spread);
        }
        Ok(inputs)
    }

    fn jobs(&self) -> Vec<Job<'_>> {
        self.encrypted.iter().zip(&self.plain).map(|(x, w)| Job { x, w: Plain::Ring(w) }).collect()
    }
}
