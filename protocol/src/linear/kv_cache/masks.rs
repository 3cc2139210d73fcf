//! The offline half of [`super`]: what masks to make, and how the two parties make them.

use std::sync::Arc;

use sotto_he::{EncryptedMatrix, Job, Layout, MatmulShape, Operand, Plain, SecretKey};
use sotto_shares::{Ring, Rng};
use zeroize::{Zeroize, Zeroizing};

use super::{Chunk, Chunks, Heads, KvCache, PerHead, Queries, times_transposed};
use crate::{
    Client, Error, Precision, Server, Session,
    background::{self, Outline},
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

/// Deviations of the errors of one cross term, as powers of two, in units of the products' rings.
/// Finer scores have wider rings, in which less would take ciphertexts of three primes.
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
    heads: Heads,
    precision: Precision,
    /// The chunks that there are.
    old: Chunks,
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

/// What was made: all chunks, and masks for queries.
pub(super) struct Made {
    pub chunks: Chunks,
    pub queries: Queries,
}

/// Positions that will come.
#[derive(Clone, Copy)]
pub(crate) struct Coming {
    /// How many come next.
    pub n: usize,
    /// How many more to make masks for, if any are missing.
    pub more: usize,
    /// How many may follow the next ones in all.
    pub reach: usize,
    /// Whether masks of the next ones are there: then it is those after them that are asked for.
    pub later: bool,
}

impl KvCache {
    /// Whether masks that are asked for are neither there nor in flight.
    ///
    /// # Panics
    /// In the middle of a step, or after one that failed.
    pub(crate) fn is_missing(&self, coming: &Coming) -> bool {
        self.assert_whole();
        match (coming.later, &self.in_flight) {
            (false, Some(request)) => self.queries.positions.max(request.count) < coming.n,
            (false, None) => self.queries.positions < coming.n,
            (true, Some(_)) => false,
            (true, None) => self.queries.positions <= coming.n,
        }
    }

    fn assert_whole(&self) {
        let opened = self.length * self.heads.row();
        let whole = self.pending.is_none() && (self.keys.len(), self.values.len()) == (opened, opened);
        assert!(whole, "a cache is used step by step, and not after an error");
    }

    /// Bytes of the masks for `n` more positions.
    pub(crate) fn masks_bytes(&self, n: usize) -> usize {
        let Heads { key_value, group, width } = self.heads;
        16 * key_value * (n * width + n * group * (width + self.length + n))
    }

    /// Waits for masks of queries of `n` more positions, as far as they are in flight.
    ///
    /// # Panics
    /// In the middle of a step, or after one that failed.
    pub(crate) async fn arrive(&mut self, s: &mut Session, n: usize) -> Result<(), Error> {
        self.assert_whole();
        if self.queries.positions < n
            && let Some(request) = self.in_flight.take()
        {
            // Masks that are left over are not used.
            let made = request.finish(s).await?;
            (self.chunks, self.queries) = (made.chunks, made.queries);
        }
        Ok(())
    }

    /// What to make for positions that come.
    pub(super) fn plan(&self, s: &mut Session, coming: &Coming) -> Result<Plan, Error> {
        let start = if coming.later { self.length + self.queries.positions } else { self.length };
        let (positions, made, chunk) = (coming.n + coming.more, self.chunks.positions(), self.heads.chunk());
        let columns = start + positions;
        let mut missing = columns.saturating_sub(made);
        if missing > 0 {
            // The positions that the text may still reach, as far as one chunk goes.
            let text = start + if coming.later { coming.reach } else { coming.n + coming.reach };
            missing = missing.max(text.saturating_sub(made).min(chunk));
        }
        let chunks: Vec<usize> =
            (0..missing).step_by(chunk).map(|start| chunk.min(missing - start)).collect();
        let layouts = self.layouts(&chunks, positions * self.heads.group, columns)?;
        if u32::try_from(layouts.upload_len(self.heads)).is_err() {
            return Err(Error::Step { positions });
        }
        s.stocks.record("masks of rows", made as u64, missing);
        s.stocks.record("masks of queries", columns as u64, positions);
        let (heads, precision, old) = (self.heads, self.precision, self.chunks.clone());
        Ok(Plan { heads, precision, old, chunks, positions, columns, layouts })
    }

    fn layouts(&self, chunks: &[usize], rows: usize, columns: usize) -> Result<Layouts, Error> {
        let Heads { key_value: batch, width, .. } = self.heads;
        let (context, rings, tolerances) =
            (lattice::context(), rings(self.precision), tolerances(self.precision));
        let virtual_positions = (self.chunks.0.len() + chunks.len()) * self.heads.chunk();
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
}

/// Begins to make masks for positions that come; the client's part.
///
/// # Errors
/// There is no layout for them, or they take too long a message.
pub(crate) fn ask(me: &mut Client, cache: &mut KvCache, coming: &Coming) -> Result<(), Error> {
    let s = &mut me.session;
    let plan = cache.plan(s, coming)?;
    let (outline, jobs, mut rng) = (plan.outline(), plan.layouts.jobs(plan.heads), s.rng.fork());
    let [key, again] = [me.key.clone(), me.key.clone()];
    let ask = move || {
        let (upload, masked) = plan.masked(&key, &mut rng);
        (upload, (plan, masked))
    };
    let request = background::client(s, outline, ask, move |(plan, masked), reply| {
        let shares = sotto_he::decrypt(lattice::context(), &again, &jobs, &reply)?;
        Ok(plan.combine(masked, shares))
    });
    cache.in_flight = Some(request);
    Ok(())
}

/// The server's part of [`ask`].
pub(crate) fn answer(me: &mut Server, cache: &mut KvCache, coming: &Coming) -> Result<(), Error> {
    let s = &mut me.session;
    let plan = cache.plan(s, coming)?;
    let (outline, keys, mut rng) = (plan.outline(), me.keys.clone(), s.rng.fork());
    let request = background::server(s, outline, move |upload| {
        let (masked, uploads) = plan.random(&upload, &mut rng);
        let (reply, shares) = {
            let inputs = Inputs::new(&plan, &masked, &uploads)?;
            sotto_he::multiply(lattice::context(), &keys, &inputs.jobs(), &mut rng)
        };
        Ok((reply, plan.combine(masked, shares)))
    });
    cache.in_flight = Some(request);
    Ok(())
}

/// All chunks, and masks of queries and of weights.
struct Masked {
    chunks: Chunks,
    a: PerHead,
    weights: PerHead,
}

impl Plan {
    fn outline(&self) -> Outline {
        let reply = sotto_he::reply_len(lattice::context(), &self.layouts.jobs(self.heads));
        let (Heads { key_value, group, width }, n) = (self.heads, self.positions);
        Outline {
            span: "attention masks",
            upload: ("attention/upload", self.layouts.upload_len(self.heads)),
            reply: ("attention/reply", reply),
            count: n,
            bytes: 16 * key_value * (n * width + n * group * (width + self.columns)),
        }
    }

    /// The client's masks, encrypted and in the clear.
    fn masked(&self, key: &SecretKey, rng: &mut Rng) -> (Vec<u8>, Masked) {
        let Heads { key_value, width, .. } = self.heads;
        let (context, mut upload, mut chunks) = (lattice::context(), vec![], self.old.clone());
        let mut random = |layout: &Layout| {
            let (bytes, values) = sotto_he::encrypt_random(context, key, layout, rng);
            upload.extend(bytes);
            values
        };
        for (&positions, &blocks) in self.chunks.iter().zip(&self.layouts.blocks) {
            let mut masks = [vec![], vec![]];
            for _ in 0..key_value {
                masks[0].push(random(&blocks[0]));
                let values = transpose(&random(&blocks[1]), width, positions);
                masks[1].push(Zeroizing::new(values));
            }
            chunks.0.push(Arc::new(Chunk { positions, blocks, uploads: vec![], masks }));
        }
        let [queries, _, weights, _] = &self.layouts.products;
        let pairs: Vec<_> = (0..key_value).map(|_| (random(queries), random(weights))).collect();
        let (a, weights) = pairs.into_iter().unzip();
        (upload, Masked { chunks, a, weights })
    }

    /// The server's masks, and the uploads of the client's for queries and weights of each head.
    fn random<'a>(&self, upload: &'a [u8], rng: &mut Rng) -> (Masked, Vec<[&'a [u8]; 2]>) {
        let (Heads { key_value, group, width }, rings) = (self.heads, rings(self.precision));
        let mut rest = upload;
        let mut next = |layout: &Layout| {
            let (bytes, after) = rest.split_at(layout.upload_len());
            rest = after;
            bytes
        };
        let mut random = |n: usize, ring: Ring| -> PerHead {
            (0..key_value).map(|_| Zeroizing::new(rng.elements(n, ring))).collect()
        };
        let mut chunks = self.old.clone();
        for (&positions, &blocks) in self.chunks.iter().zip(&self.layouts.blocks) {
            let uploads = (0..key_value).map(|_| [0, 1].map(|kind| next(&blocks[kind]).to_vec())).collect();
            let masks = rings.map(|ring| random(positions * width, ring));
            chunks.0.push(Arc::new(Chunk { positions, blocks, uploads, masks }));
        }
        let rows = self.positions * group;
        let a = random(rows * width, rings[0]);
        let weights = random(rows * self.columns, rings[1]);
        let [first, _, third, _] = &self.layouts.products;
        let uploads = (0..key_value).map(|_| [next(first), next(third)]).collect();
        (Masked { chunks, a, weights }, uploads)
    }

    /// Where a position is among the rows of [`EncryptedMatrix::joined`] chunks.
    fn places(&self, chunks: &Chunks) -> Vec<usize> {
        let chunk = self.heads.chunk();
        let places = chunks.0.iter().enumerate().map(|(i, c)| i * chunk..i * chunk + c.positions);
        places.flatten().collect()
    }

    /// Local products plus the shares of the cross terms, which come in the order of
    /// [`Layouts::products`], heads inside.
    fn combine(&self, masked: Masked, mut shares: Vec<Vec<u64>>) -> Made {
        let Masked { chunks, a, weights } = masked;
        let Heads { key_value, group, width } = self.heads;
        let (rows, columns, places) = (self.positions * group, self.columns, self.places(&chunks));
        let [score_ring, sum_ring] = rings(self.precision);
        let of = |kind: usize, head: usize| &shares[kind * key_value + head];
        let (mut a_keys, mut weights_values) = (vec![], vec![]);
        for head in 0..key_value {
            let keys = chunks.head(0, head, width, columns);
            let values = chunks.head(1, head, width, columns);
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
        let queries = Queries { positions: self.positions, columns, a, a_keys, weights, weights_values };
        Made { chunks, queries }
    }
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
    fn new(plan: &Plan, masked: &Masked, uploads: &[[&[u8]; 2]]) -> Result<Inputs, Error> {
        let Heads { group, width, .. } = plan.heads;
        let (context, columns, rows) = (lattice::context(), plan.columns, plan.positions * group);
        let [first, second, third, fourth] = &plan.layouts.products;
        let decode = |layout: &Layout, bytes: &[u8]| EncryptedMatrix::decode_random(context, layout, bytes);
        let joined = |kind: usize, head: usize, whole: &Layout| -> Result<EncryptedMatrix, Error> {
            let parts = masked.chunks.0.iter().map(|c| decode(&c.blocks[kind], &c.uploads[head][kind]));
            Ok(EncryptedMatrix::joined(whole, &parts.collect::<Result<Vec<_>, _>>()?))
        };
        let mask = |kind: usize, head: usize| masked.chunks.head(kind, head, width, columns);
        let places = plan.places(&masked.chunks);
        let mut inputs = Inputs { encrypted: vec![], plain: vec![] };
        for (head, [queries, _]) in uploads.iter().enumerate() {
            inputs.encrypted.push(decode(first, queries)?);
            inputs.plain.push(Zeroizing::new(transpose(&mask(0, head), columns, width)));
        }
        for (head, a) in masked.a.iter().enumerate() {
            inputs.encrypted.push(joined(0, head, second)?);
            inputs.plain.push(Zeroizing::new(transpose(a, rows, width)));
        }
        for (head, [_, weights]) in uploads.iter().enumerate() {
            inputs.encrypted.push(decode(third, weights)?);
            inputs.plain.push(mask(1, head));
        }
        for (head, weights) in masked.weights.iter().enumerate() {
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
