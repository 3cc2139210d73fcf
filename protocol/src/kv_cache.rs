//! `[q K^T]` and `[p V]` against keys and values that stay: each row of them is opened once in its life, under a mask that stays with it.
//!
//! Offline. Masks `B` of rows to come are made in chunks; masks `a` of queries and `a'` of weights `p` for the next positions, with their
//! products with all masks of rows so far (`*` stands for keys and for values, with `a'` and values transposed where needed):
//!
//! | client: key                                  |                          | server: `a1`, `B1` uniform                |
//! |----------------------------------------------|--------------------------|-------------------------------------------|
//! | once a chunk: `B0` uniform, `Enc(B0)`        | `-- attention/upload ->` | keeps `Enc(B0)`                           |
//! | `a0` uniform, `Enc(a0)`                      | (the same frame)         |                                           |
//! | its shares from the first parts              | `<- attention/reply --`  | `Enc(a0 B1^T)`, `Enc(B0 a1^T)`, each plus `Enc(0)` |
//! | `[a B^T]`: `a0 B0^T` + shares                |                          | `a1 B1^T` + shares                        |
//!
//! Online, for new queries `q` and rows `k`, then for weights `p` and rows `v`, a turn each:
//!
//! | client                           |                              | server                               |
//! |----------------------------------|------------------------------|--------------------------------------|
//! | `q0 - a0`, `k0 - B0`             | `<- attention/open-keys ->`   | `q1 - a1`, `k1 - B1`                 |
//! | `q0 K'^T + q' B0^T + [a B^T]0`   |                              | `q1 K'^T + q' B1^T + [a B^T]1`       |
//! | `p0 - a'0`, `v0 - B0`            | `<- attention/open-values ->` | `p1 - a'1`, `v1 - B1`                |
//! | `p0 V' + p' B0 + [a' B]0`        |                              | `p1 V' + p' B1 + [a' B]1`            |
//!
//! with `K' = K - B`, `q' = q - a` public. A step opens what is new, and one number of `p` for each position that its masks look back on: `2 (l d + l' d)` bits for `d`-wide keys and values,
//! `2 l` for each element of `q` and `2 l'` for each of `p`. Scores are in a ring of 36 bits, sums in one of 44; the errors, of deviations below `2^7` and `2^11`
//! units, are independent of the inputs, and the caller drops 12 bits or more.
//!
//! *What each side learns.* Nothing: the view of a party is `K', V', q'_1, p'_1, q'_2, ...`, jointly uniform, and shares from the triples'
//! functionality. `Enc(B0)` serves many products, since it hides `B0` however often it is used, and each reply gets its own encryption of zero. A mask of a
//! row is named by the order in which it was made, never by a position of a text: a [`KvCache`] only grows, and cannot be copied or cut, so
//! that no mask meets two values (review of the design notes, item 3).
//!
//! Where `p` is a zero that both sides know (positions to come), the opening tells each side the other's share of `a'`. That is a plaintext coefficient of an encryption
//! to the server, and a factor of a re-randomised product to the client; neither says anything of the others, and such an `a'` is not used again.
//!
//! Source: Beaver (1991) with one factor kept; the encrypted product as in [`crate::linear`].

use sotto_he::{EncryptedMatrix, Job, Layout, MatmulShape, Operand, Plain};
use sotto_shares::{Ring, Shape, Share};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Client, Error, Server, Session, lattice,
    matmul::{product, transpose},
    mul::subtract,
    open::open,
};

/// The ring of queries, keys and scores.
pub const SCORES: Ring = Ring::new(36);

/// The ring of weights, values and sums.
pub const SUMS: Ring = Ring::new(44);

/// Deviations of the errors of one cross term, as powers of two, in units of the rings.
const TOLERANCE: [i32; 2] = [6, 10];

/// Data primes of the ciphertexts of keys and of values.
const LEVELS: [usize; 2] = [2, 3];

/// Coefficients of a ciphertext.
const COEFFICIENTS: usize = 8192;

/// Heads and widths, public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of keys and values.
    pub key_value: usize,
    /// Query heads for each of them.
    pub group: usize,
    /// Width of a head.
    pub width: usize,
}

impl Heads {
    /// Width of a row of keys or of values: that of all heads.
    fn row(&self) -> usize {
        self.key_value * self.width
    }

    /// Positions of a chunk: what fills one ciphertext a head.
    fn chunk(&self) -> usize {
        COEFFICIENTS / self.width.next_power_of_two()
    }
}

/// A secret matrix of each head of keys and values.
type PerHead = Vec<Zeroizing<Vec<u64>>>;

/// Keys and values of one layer, masked, with one party's shares of the masks. Wiped on drop.
pub struct KvCache {
    heads: Heads,
    /// Positions whose keys have come.
    length: usize,
    /// `K - B` `[positions, heads h]`, public.
    keys: Vec<u64>,
    /// `V - B`, the same.
    values: Vec<u64>,
    chunks: Vec<Chunk>,
    /// Shares of the masks of keys, and of values, `[positions made, heads h]`.
    masks: [Vec<u64>; 2],
    queries: Queries,
    pending: Option<Pending>,
}

/// Masks that were made together.
struct Chunk {
    positions: usize,
    /// Of the uploads.
    blocks: [Layout; 2],
    /// The uploads of each head's masks of keys and of values; empty at the client.
    uploads: Vec<[Vec<u8>; 2]>,
}

/// Masks for the queries of the next positions, one entry a head, with their products.
#[derive(Default)]
struct Queries {
    positions: usize,
    /// Positions that they can look back on, their own included.
    columns: usize,
    /// `[positions group, h]`, and times the keys' masks, `[positions group, columns]`.
    a: PerHead,
    a_keys: PerHead,
    /// `[positions group, columns]`, and times the values' masks, `[positions group, h]`.
    weights: PerHead,
    weights_values: PerHead,
}

/// Masks for weights of positions whose scores are made.
struct Pending {
    positions: usize,
    columns: usize,
    weights: PerHead,
    weights_values: PerHead,
}

impl Queries {
    /// Moves the masks of the next positions out: for queries, with their products, and for weights.
    fn take(&mut self, positions: usize, heads: Heads) -> ([PerHead; 2], Pending) {
        assert!(positions <= self.positions, "masks were made before they are used");
        self.positions -= positions;
        let (rows, columns, width) = (positions * heads.group, self.columns, heads.width);
        let a = front(&mut self.a, rows * width);
        let a_keys = front(&mut self.a_keys, rows * columns);
        let weights = front(&mut self.weights, rows * columns);
        let weights_values = front(&mut self.weights_values, rows * width);
        ([a, a_keys], Pending { positions, columns, weights, weights_values })
    }
}

/// Splits off the first `n` words of each head; what is left moves to memory of its own.
fn front(heads: &mut PerHead, n: usize) -> PerHead {
    let split = |all: &mut Zeroizing<Vec<u64>>| {
        let rest = Zeroizing::new(all[n..].to_vec());
        all[n..].zeroize();
        all.truncate(n);
        std::mem::replace(all, rest)
    };
    heads.iter_mut().map(split).collect()
}

impl Drop for KvCache {
    fn drop(&mut self) {
        self.masks.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// What is to be made.
struct Plan {
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
    /// Without any position.
    pub fn new(heads: Heads) -> KvCache {
        let (keys, values, chunks, masks) = (vec![], vec![], vec![], [vec![], vec![]]);
        let queries = Queries::default();
        KvCache { heads, length: 0, keys, values, chunks, masks, queries, pending: None }
    }

    /// Positions so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Positions that have masks.
    fn made(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.positions).sum()
    }

    /// What is lacking for queries of `n` more positions, or nothing.
    ///
    /// # Panics
    /// In the middle of a step, or after one that failed.
    fn plan(&self, s: &mut Session, n: usize) -> Result<Option<Plan>, Error> {
        let opened = self.length * self.heads.row();
        let whole = self.pending.is_none() && (self.keys.len(), self.values.len()) == (opened, opened);
        assert!(whole, "a cache is used step by step, and not after an error");
        if self.queries.positions >= n {
            return Ok(None);
        }
        let positions = n + s.lookahead;
        let columns = self.length + positions;
        let chunk = self.heads.chunk();
        let mut lacking = columns.saturating_sub(self.made());
        if lacking > 0 {
            // The positions that the conversation may still reach, as far as one chunk goes.
            lacking = lacking.max((self.length + n + s.horizon - self.made()).min(chunk));
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
        let context = lattice::context();
        let virtual_positions = (self.chunks.len() + chunks.len()) * self.heads.chunk();
        let keys = |tokens, outer| {
            let shape = MatmulShape { tokens, inner: width, outer };
            let (bits, [tolerance, _], [levels, _]) = (SCORES.bits(), TOLERANCE, LEVELS);
            Layout::dense(context, shape, bits, tolerance, levels, self.heads.chunk(), batch)
        };
        let values = |inner, outer| {
            let shape = MatmulShape { tokens: width, inner, outer };
            let (bits, [_, tolerance], [_, levels]) = (SUMS.bits(), TOLERANCE, LEVELS);
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
                search(width, columns, SCORES, TOLERANCE[0])?,
                keys(virtual_positions, rows)?,
                search(columns, width, SUMS, TOLERANCE[1])?,
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

    /// One head's columns of rows of all heads.
    fn head(&self, rows: &[u64], head: usize) -> Zeroizing<Vec<u64>> {
        let width = self.heads.width;
        let mut out = Zeroizing::new(Vec::with_capacity(rows.len() / self.heads.key_value));
        rows.chunks(self.heads.row()).for_each(|row| out.extend(&row[head * width..][..width]));
        out
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
                *out = SCORES.reduce(out.wrapping_add(first[i]).wrapping_add(other));
            }
            a_keys.push(products);
            let mut products = Zeroizing::new(product(&weights[head], &values, columns, width));
            let (first, second) = (of(2, head), of(3, head));
            for (i, out) in products.iter_mut().enumerate() {
                let (row, column) = (i / width, i % width);
                let other = second[column * rows + row];
                *out = SUMS.reduce(out.wrapping_add(first[i]).wrapping_add(other));
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
    if let Some(plan) = cache.plan(&mut me.session, n)? {
        me.session.ch.meter.enter_offline();
        let made = prepare_client(me, cache, &plan).await;
        me.session.ch.meter.leave();
        cache.queries = made?;
    }
    Ok(())
}

/// The server's part in making masks for queries of `n` more positions.
///
/// # Errors
/// The peer's upload is malformed or missing.
pub async fn server(me: &mut Server, cache: &mut KvCache, n: usize) -> Result<(), Error> {
    if let Some(plan) = cache.plan(&mut me.session, n)? {
        me.session.ch.meter.enter_offline();
        let made = prepare_server(me, cache, &plan).await;
        me.session.ch.meter.leave();
        cache.queries = made?;
    }
    Ok(())
}

async fn prepare_client(me: &mut Client, cache: &mut KvCache, plan: &Plan) -> Result<Queries, Error> {
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
    let jobs = plan.layouts.jobs(heads);
    let reply = s.ch.recv("attention/reply", sotto_he::reply_len(context, &jobs)).await?;
    sotto_net::compute(|| {
        let shares = sotto_he::decrypt(context, key, &jobs, &reply)?;
        Ok(cache.combine(plan, a, weights, shares))
    })
}

async fn prepare_server(me: &mut Server, cache: &mut KvCache, plan: &Plan) -> Result<Queries, Error> {
    let (context, keys, heads) = (lattice::context(), &me.keys, cache.heads);
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
        let masks = [SCORES, SUMS].map(|ring| random(s, heads, positions * heads.width, ring));
        cache.grow(Chunk { positions, blocks, uploads }, masks);
    }
    let rows = plan.positions * heads.group;
    let a = random(s, heads, rows * heads.width, SCORES);
    let weights = random(s, heads, rows * plan.columns, SUMS);
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
    Ok(queries)
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

/// Scores of new positions, of which [`client`] and [`server`] have made masks: queries `q`, `[positions group, h]` for each head of keys, one after the
/// other, positions outside, against all keys, the new `k` `[positions, heads h]` included. Result `[heads positions group, all positions]`.
///
/// # Panics
/// If rings or shapes do not fit, or masks are lacking.
pub async fn scores(s: &mut Session, cache: &mut KvCache, q: &Share, k: &Share) -> Result<Share, Error> {
    let Heads { key_value, group, width } = cache.heads;
    let positions = k.shape.rows;
    let rows = positions * group;
    assert_eq!((q.ring, k.ring), (SCORES, SCORES), "ring of queries and keys");
    assert_eq!(q.shape, Shape::new(key_value * rows, width), "queries of the new positions");
    assert_eq!(k.shape.cols, cache.heads.row(), "keys of all heads");
    s.pool.record("scores", cache.length as u64, positions);
    // Used up before anything is sent, whatever comes of it.
    let ([a, a_keys], pending) = cache.queries.take(positions, cache.heads);
    let q_masked = subtract(q, a.iter().flat_map(|a| a.iter()));
    let k_masked = subtract(k, &cache.masks[0][cache.length * cache.heads.row()..][..k.len()]);
    cache.length += positions;
    let [q_open, k_open] = open(s, "attention/open-keys", [&q_masked, &k_masked]).await?;
    cache.keys.extend(k_open);

    let (length, columns) = (cache.length, pending.columns);
    cache.pending = Some(pending);
    let data = sotto_net::compute(|| {
        let mut data = Vec::with_capacity(key_value * rows * length);
        for (head, a_keys) in a_keys.iter().enumerate() {
            let range = head * rows * width..(head + 1) * rows * width;
            let keys = cache.head(&cache.keys, head);
            let masks = cache.head(&cache.masks[0][..length * cache.heads.row()], head);
            let first = times_transposed(&q.data[range.clone()], &keys, width);
            let second = times_transposed(&q_open[range], &masks, width);
            for (i, (first, second)) in first.iter().zip(second.iter()).enumerate() {
                let third = a_keys[i / length * columns + i % length];
                data.push(SCORES.reduce(first.wrapping_add(*second).wrapping_add(third)));
            }
        }
        data
    });
    Ok(Share::new(SCORES, q.frac + k.frac, Shape::new(key_value * rows, length), data))
}

/// Sums of values: weights `p` `[heads positions group, all positions]` in the order of [`scores`], which has come before, times all
/// values, the new `v` `[positions, heads h]` included. Result `[heads positions group, h]`. Uses up the masks of these positions.
///
/// # Panics
/// If rings or shapes do not fit.
pub async fn sums(s: &mut Session, cache: &mut KvCache, p: &Share, v: &Share) -> Result<Share, Error> {
    let Heads { key_value, group, width } = cache.heads;
    let (positions, length) = (v.shape.rows, cache.length);
    let rows = positions * group;
    assert_eq!((p.ring, v.ring), (SUMS, SUMS), "ring of weights and values");
    assert_eq!(p.shape, Shape::new(key_value * rows, length), "weights of the new positions");
    assert_eq!(v.shape.cols, cache.heads.row(), "values of all heads");
    let pending = cache.pending.take().expect("scores come first");
    assert_eq!(pending.positions, positions, "values of the positions whose scores were made");
    s.pool.record("sums", length as u64, positions);
    let columns = pending.columns;
    // Positions to come are opened too, as nothing less their masks.
    let wide = p
        .data
        .chunks(length)
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, columns - length)));
    let wide = Share::new(SUMS, p.frac, Shape::new(key_value * rows, columns), wide.collect());
    let p_masked = subtract(&wide, pending.weights.iter().flat_map(|w| w.iter()));
    let start = (length - positions) * cache.heads.row();
    let v_masked = subtract(v, &cache.masks[1][start..][..v.len()]);
    let [p_open, v_open] = open(s, "attention/open-values", [&p_masked, &v_masked]).await?;
    cache.values.extend(v_open);

    let data = sotto_net::compute(|| {
        let mut data = Vec::with_capacity(key_value * rows * width);
        for head in 0..key_value {
            let values = cache.head(&cache.values, head);
            let masks = cache.head(&cache.masks[1][..columns * cache.heads.row()], head);
            let (of_p, of_open) = (rows * length, rows * columns);
            let first = Zeroizing::new(product(&p.data[head * of_p..][..of_p], &values, length, width));
            let second =
                Zeroizing::new(product(&p_open[head * of_open..][..of_open], &masks, columns, width));
            let third = &pending.weights_values[head];
            for ((first, second), third) in first.iter().zip(second.iter()).zip(third.iter()) {
                data.push(SUMS.reduce(first.wrapping_add(*second).wrapping_add(*third)));
            }
        }
        data
    });
    Ok(Share::new(SUMS, p.frac + v.frac, Shape::new(key_value * rows, width), data))
}

/// `x y^T` modulo `2^64`: `[T, inner]` times the transpose of `[cols, inner]`.
fn times_transposed(x: &[u64], y: &[u64], inner: usize) -> Zeroizing<Vec<u64>> {
    let dot =
        |a: &[u64], b: &[u64]| a.iter().zip(b).fold(0u64, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b)));
    let products = x.chunks(inner).flat_map(|x| y.chunks(inner).map(move |y| dot(x, y)));
    Zeroizing::new(products.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Bill, Holder, Lab, Side, elements};

    const HEADS: Heads = Heads { key_value: 2, group: 3, width: 48 };
    const FRAC: [u32; 2] = [12, 14];

    /// Positions that come together, and what is planned beyond them.
    const STEPS: [(usize, usize, usize); 6] =
        [(5, 2, 9), (1, 1, 8), (1, 0, 7), (1, 0, 0), (130, 3, 4), (1, 2, 2)];

    /// The `i`-th step's queries, keys, weights and values, in the clear.
    fn inputs(i: usize, length: usize) -> [Vec<u64>; 4] {
        let (n, _, _) = STEPS[i];
        let Heads { key_value, group, width } = HEADS;
        let rows = key_value * n * group;
        [
            (rows * width, SCORES),
            (n * key_value * width, SCORES),
            (rows * length, SUMS),
            (n * key_value * width, SUMS),
        ]
        .map(|(count, ring)| elements(count + i, ring).split_off(i))
    }

    fn shares<P: Holder>(lab: &mut Lab<P>, i: usize, length: usize) -> [Share; 4] {
        let (n, _, _) = STEPS[i];
        let Heads { key_value, group, width } = HEADS;
        let [q, k, p, v] = inputs(i, length);
        let rows = key_value * n * group;
        [
            lab.share(&q, SCORES, FRAC[0], Shape::new(rows, width)),
            lab.share(&k, SCORES, FRAC[0], Shape::new(n, key_value * width)),
            lab.share(&p, SUMS, FRAC[1], Shape::new(rows, length)),
            lab.share(&v, SUMS, FRAC[0], Shape::new(n, key_value * width)),
        ]
    }

    /// Both results of one step, whose masks are there, with their costs.
    async fn step<P: Holder>(lab: &mut Lab<P>, cache: &mut KvCache, i: usize) -> [(Share, Side); 2] {
        let (n, _, _) = STEPS[i];
        let [q, k, p, v] = shares(lab, i, cache.length + n);
        let first = lab.measure(async |me| scores(me.session(), cache, &q, &k).await).await;
        let second = lab.measure(async |me| sums(me.session(), cache, &p, &v).await).await;
        [first, second]
    }

    #[test]
    fn steps_of_all_sizes_are_products_with_all_rows_so_far() {
        let got = testing::run_keyed(
            async |lab| {
                let (mut cache, mut all) = (KvCache::new(HEADS), vec![]);
                for (i, (n, lookahead, horizon)) in STEPS.into_iter().enumerate() {
                    (lab.me.session.lookahead, lab.me.session.horizon) = (lookahead, horizon);
                    client(&mut lab.me, &mut cache, n).await.unwrap();
                    all.push(step(lab, &mut cache, i).await);
                }
                // The look ahead of the first step served the next two; chunks were made for the first and for the long one.
                assert_eq!(cache.chunks.iter().map(|c| c.positions).collect::<Vec<_>>(), [14, 128]);
                all
            },
            async |lab| {
                let (mut cache, mut all) = (KvCache::new(HEADS), vec![]);
                for (i, (n, lookahead, horizon)) in STEPS.into_iter().enumerate() {
                    (lab.me.session.lookahead, lab.me.session.horizon) = (lookahead, horizon);
                    server(&mut lab.me, &mut cache, n).await.unwrap();
                    all.push(step(lab, &mut cache, i).await);
                }
                all
            },
        );
        let Heads { key_value, group, width } = HEADS;
        let (mut keys, mut values) = (vec![], vec![]);
        // Positions that each step's masks can look back on.
        let columns = [7, 7, 7, 8, 141, 141];
        for (i, [(scores, first), (sums, second)]) in got.into_iter().enumerate() {
            let (n, _, _) = STEPS[i];
            let (rows, new) = (key_value * group * n, n * key_value * width);
            assert_eq!(first.cost, Bill::mutual(&[36 * (rows * width + new)], 0).cost());
            assert_eq!(second.cost, Bill::mutual(&[44 * (rows * columns[i] + new)], 0).cost());
            let length = keys.len() / (key_value * width) + n;
            let [q, k, p, v] = inputs(i, length);
            keys.extend(k);
            values.extend(v);
            let off = |ring: Ring, got: u64, want: u64| {
                ring.signed(ring.reduce(got.wrapping_sub(want))).unsigned_abs()
            };
            for row in 0..rows {
                let head = row / (n * group);
                let at = |j: usize| j * key_value * width + head * width;
                for j in 0..length {
                    let (q, k) = (&q[row * width..][..width], &keys[at(j)..][..width]);
                    let want = times_transposed(q, k, width)[0];
                    assert!(off(SCORES, scores[row * length + j], want) < 9 << 7);
                }
                for c in 0..width {
                    let want = (0..length).fold(0u64, |sum, j| {
                        sum.wrapping_add(p[row * length + j].wrapping_mul(values[at(j) + c]))
                    });
                    assert!(off(SUMS, sums[row * width + c], want) < 9 << 11);
                }
            }
        }
    }

    /// A step that fails has used its masks up, and its cache is of no more use.
    #[test]
    fn masks_are_spent_even_where_the_peer_is_silent() {
        testing::run_keyed(
            async |lab| {
                let mut cache = KvCache::new(HEADS);
                lab.me.session.lookahead = 3;
                client(&mut lab.me, &mut cache, 1).await.unwrap();
                let [q, k, ..] = shares(lab, 1, 1);
                let answered = scores(&mut lab.me.session, &mut cache, &q, &k).await;
                assert!(answered.is_err() && cache.length == 1 && cache.queries.positions == 3);
                let again = std::panic::AssertUnwindSafe(|| cache.plan(&mut lab.me.session, 1).is_ok());
                assert!(std::panic::catch_unwind(again).is_err(), "not after an error");
            },
            async |lab| {
                let mut cache = KvCache::new(HEADS);
                lab.me.session.lookahead = 3;
                server(&mut lab.me, &mut cache, 1).await.unwrap();
                // Something else comes where the openings should.
                lab.me.session.ch.send("attention/open-values", vec![0; 3]).unwrap();
            },
        );
    }
}
