//! `[x y] <- [x], [y]`: batches of products of two shared matrices, from matrix triples.
//!
//! Offline, `[a]` `[T, K]`, `[b]` `[K, M]` uniform, `[a b]`:
//!
//! | client: key | | server: `a1`, `b1` uniform |
//! |---|---|---|
//! | `a0`, `b0` uniform; `Enc(a0)`, `Enc(b0^T)` | `-- matmul/upload ->` | |
//! | its shares from `a'` | `<- matmul/reply --` | `(b, a') = Enc(a0 b1)`, `Enc(b0^T a1^T)`; from `b` |
//! | `a0 b0` + shares | | `a1 b1` + shares |
//!
//! Every product in a reply has its own encryption of zero added.
//!
//! Online:
//!
//! | client                 |                     | server                            |
//! |------------------------|---------------------|-----------------------------------|
//! | `x0 - a0`, `y0 - b0`   | `<- matmul/open ->` | `x1 - a1`, `y1 - b1`              |
//! | `d b0 + a0 e + c0`     |                     | `d b1 + a1 e + c1 + d e`          |
//!
//! Online one turn, `2 l (T K + K M)` bits a product; ring 44. The shares add up to the product
//! plus an error of deviation below `2^7` units, for sums of which the caller drops ten bits or
//! more; the error is independent of the inputs, since triples are made before them. Openings are
//! uniform; a triple is consumed by value. Only the client has a key: the server's factors are
//! plaintexts. Source: Beaver (1991) for matrices; the encrypted product as in [`crate::linear`].

use sotto_he::{EncryptedMatrix, Job, Layout, Operand, Plain};
use sotto_net::Half;
use sotto_shares::{Ring, Shape, Share};
use zeroize::Zeroize;

use crate::{Client, Error, Server, Session, lattice, mul::subtract, open::open};

/// The ring of factors and products.
pub const RING: Ring = Ring::new(44);

/// Deviation of the error of one cross term, as a power of two, in units of the ring.
const TOLERANCE: i32 = 6;

/// A batch of equal products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatmulShape {
    /// How many.
    pub batch: usize,
    /// Rows of the left factor.
    pub rows: usize,
    /// Columns of the left, rows of the right factor.
    pub inner: usize,
    /// Columns of the right factor.
    pub cols: usize,
}

impl MatmulShape {
    /// The shape of a batch.
    ///
    /// # Panics
    /// If the batch is empty, or factors do not fit, or products differ in shape.
    pub fn of(pairs: &[(Share, Share)]) -> MatmulShape {
        let (x, y) = pairs.first().expect("at least one product");
        for (a, b) in pairs {
            assert_eq!((a.shape(), b.shape()), (x.shape(), y.shape()), "equal products");
            assert_eq!((a.ring(), b.ring()), (RING, RING), "ring of matrix products");
        }
        assert_eq!(x.shape().cols, y.shape().rows, "inner dimension of a product");
        MatmulShape { batch: pairs.len(), rows: x.shape().rows, inner: x.shape().cols, cols: y.shape().cols }
    }

    fn layouts(self) -> Result<(Layout, Layout), Error> {
        let MatmulShape { batch, rows, inner, cols } = self;
        let layout = |tokens, outer| {
            let shape = sotto_he::MatmulShape { tokens, inner, outer };
            Layout::search(lattice::context(), shape, Operand::Ring, RING.bits(), TOLERANCE, batch)
        };
        Ok((layout(rows, cols)?, layout(cols, rows)?))
    }
}

/// One matrix triple for each product of a batch. Wiped on drop.
pub struct MatmulMasks {
    a: Vec<Vec<u64>>,
    b: Vec<Vec<u64>>,
    c: Vec<Vec<u64>>,
}

impl Drop for MatmulMasks {
    fn drop(&mut self) {
        [&mut self.a, &mut self.b, &mut self.c].into_iter().flatten().for_each(|v| v.zeroize());
    }
}

/// The client's side.
///
/// # Errors
/// The peer's reply is malformed or missing.
pub async fn client(me: &mut Client, pairs: &[(Share, Share)]) -> Result<Vec<Share>, Error> {
    let shape = MatmulShape::of(pairs);
    if me.session.stocks.matmul.entry(shape).or_default().is_empty() {
        me.session.ch.meter.enter("matrix triples", Half::Offline);
        let made = prepare_client(me, shape).await;
        me.session.ch.meter.leave();
        me.session.stocks.matmul.entry(shape).or_default().push_back(made?);
    }
    online(&mut me.session, shape, pairs).await
}

/// The server's side.
///
/// # Errors
/// The peer's upload is malformed or missing.
pub async fn server(me: &mut Server, pairs: &[(Share, Share)]) -> Result<Vec<Share>, Error> {
    let shape = MatmulShape::of(pairs);
    if me.session.stocks.matmul.entry(shape).or_default().is_empty() {
        me.session.ch.meter.enter("matrix triples", Half::Offline);
        let made = prepare_server(me, shape).await;
        me.session.ch.meter.leave();
        me.session.stocks.matmul.entry(shape).or_default().push_back(made?);
    }
    online(&mut me.session, shape, pairs).await
}

/// The functionality: `x y` in `ring`.
pub fn ideal(x: &[u64], y: &[u64], inner: usize, cols: usize, ring: Ring) -> Vec<u64> {
    let mut out = product(x, y, inner, cols);
    out.iter_mut().for_each(|v| *v = ring.reduce(*v));
    out
}

async fn online(s: &mut Session, shape: MatmulShape, pairs: &[(Share, Share)]) -> Result<Vec<Share>, Error> {
    for (name, side) in [("rows", shape.rows), ("inner", shape.inner), ("cols", shape.cols)] {
        s.stocks.record(name, side as u64, shape.batch);
    }
    let stock = s.stocks.matmul.entry(shape).or_default();
    let masks = stock.pop_front().expect("the stock was filled before it is drawn from");
    let flat = |f: &dyn Fn(usize) -> Share| -> Share {
        let data: Vec<u64> = (0..pairs.len()).flat_map(|i| f(i).data().to_vec()).collect();
        Share::new(RING, 0, Shape::new(1, data.len()), data)
    };
    let x = flat(&|i| subtract(&pairs[i].0, &masks.a[i]));
    let y = flat(&|i| subtract(&pairs[i].1, &masks.b[i]));
    let [d, e] = open(s, "matmul/open", [&x, &y]).await?;
    let me = s.me;
    let (d, e) = (d.chunks(shape.rows * shape.inner), e.chunks(shape.inner * shape.cols));
    let out = d.zip(e).zip(pairs).enumerate().map(|(i, ((d, e), (x, y)))| {
        let parts = sotto_net::compute(|| {
            // d (b + e) at the server, d b at the client: the public product rides along.
            let right: Vec<u64> =
                masks.b[i].iter().zip(e).map(|(b, e)| b.wrapping_add(me.server_only(*e))).collect();
            [product(d, &right, shape.inner, shape.cols), product(&masks.a[i], e, shape.inner, shape.cols)]
        });
        let terms = parts[0].iter().zip(&parts[1]).zip(&masks.c[i]);
        let data = terms.map(|((p, q), c)| RING.reduce(p.wrapping_add(*q).wrapping_add(*c))).collect();
        Share::new(RING, x.frac() + y.frac(), Shape::new(shape.rows, shape.cols), data)
    });
    Ok(out.collect())
}

/// `a b` plus the shares of the two cross terms, the second of them transposed.
fn combine(shape: MatmulShape, a: &[u64], b: &[u64], ab: &[u64], ba: &[u64]) -> Vec<u64> {
    let mut c = product(a, b, shape.inner, shape.cols);
    for (i, c) in c.iter_mut().enumerate() {
        let (row, col) = (i / shape.cols, i % shape.cols);
        *c = RING.reduce(c.wrapping_add(ab[i]).wrapping_add(ba[col * shape.rows + row]));
    }
    c
}

async fn prepare_client(me: &mut Client, shape: MatmulShape) -> Result<MatmulMasks, Error> {
    let (context, key) = (lattice::context(), &me.key);
    let (forward, backward) = shape.layouts()?;
    let s = &mut me.session;
    let mut rng = s.rng.fork();
    let (upload, a, b) = sotto_net::compute(|| {
        let mut upload = vec![];
        let mut masks = |layout: &Layout| -> Vec<Vec<u64>> {
            let mut one = || {
                let (bytes, mut masks) = sotto_he::encrypt_random(context, key, layout, &mut rng);
                upload.extend(bytes);
                std::mem::take(&mut *masks)
            };
            (0..shape.batch).map(|_| one()).collect()
        };
        let (a, transposed) = (masks(&forward), masks(&backward));
        let b = transposed.iter().map(|b| transpose(b, shape.cols, shape.inner)).collect::<Vec<_>>();
        transposed.into_iter().for_each(|mut b| b.zeroize());
        (upload, a, b)
    });
    s.ch.send("matmul/upload", upload)?;
    let (forward, backward) = (vec![forward; shape.batch], vec![backward; shape.batch]);
    let split = sotto_he::reply_len(context, &forward);
    let reply = s.ch.recv("matmul/reply", split + sotto_he::reply_len(context, &backward)).await?;
    let (ab, ba) = sotto_net::compute(|| -> Result<_, sotto_he::Error> {
        let ab = sotto_he::decrypt(context, key, &forward, &reply[..split])?;
        Ok((ab, sotto_he::decrypt(context, key, &backward, &reply[split..])?))
    })?;
    let c = (0..shape.batch).map(|i| combine(shape, &a[i], &b[i], &ab[i], &ba[i])).collect();
    Ok(MatmulMasks { a, b, c })
}

async fn prepare_server(me: &mut Server, shape: MatmulShape) -> Result<MatmulMasks, Error> {
    let (context, keys) = (lattice::context(), &me.keys);
    let (forward, backward) = shape.layouts()?;
    let s = &mut me.session;
    let mut masks =
        |n: usize| -> Vec<Vec<u64>> { (0..shape.batch).map(|_| s.rng.elements(n, RING)).collect() };
    let (a, b) = (masks(shape.rows * shape.inner), masks(shape.inner * shape.cols));
    let mut rng = s.rng.fork();
    let split = shape.batch * forward.upload_len();
    let upload = s.ch.recv("matmul/upload", split + shape.batch * backward.upload_len()).await?;
    let (reply, ab, ba) = sotto_net::compute(|| -> Result<_, sotto_he::Error> {
        let mut transposed: Vec<Vec<u64>> = a.iter().map(|a| transpose(a, shape.rows, shape.inner)).collect();
        let mut answer = |layout: &Layout, uploads: &[u8], plain: &[Vec<u64>]| {
            let inputs = uploads.chunks(layout.upload_len());
            let inputs: Vec<EncryptedMatrix> = inputs
                .map(|u| EncryptedMatrix::decode_random(context, layout, u))
                .collect::<Result<_, _>>()?;
            let jobs: Vec<Job<'_>> =
                inputs.iter().zip(plain).map(|(x, w)| Job { x, w: Plain::Ring(w) }).collect();
            Ok::<_, sotto_he::Error>(sotto_he::multiply(context, keys, &jobs, &mut rng))
        };
        let (mut reply, ab) = answer(&forward, &upload[..split], &b)?;
        let (second, ba) = answer(&backward, &upload[split..], &transposed)?;
        reply.extend(second);
        transposed.iter_mut().for_each(Zeroize::zeroize);
        Ok((reply, ab, ba))
    })?;
    s.ch.send("matmul/reply", reply)?;
    let c = (0..shape.batch).map(|i| combine(shape, &a[i], &b[i], &ab[i], &ba[i])).collect();
    Ok(MatmulMasks { a, b, c })
}

/// `[rows, cols]` to `[cols, rows]`.
pub(crate) fn transpose(x: &[u64], rows: usize, cols: usize) -> Vec<u64> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| x[r * cols + c])).collect()
}

/// `x y` modulo `2^64`: `[T, inner]` times `[inner, cols]`.
pub(crate) fn product(x: &[u64], y: &[u64], inner: usize, cols: usize) -> Vec<u64> {
    let mut out = vec![0u64; x.len() / inner.max(1) * cols];
    for (x, out) in x.chunks(inner).zip(out.chunks_mut(cols)) {
        for (&x, y) in x.iter().zip(y.chunks(cols)) {
            out.iter_mut().zip(y).for_each(|(o, &y)| *o = o.wrapping_add(x.wrapping_mul(y)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, CostModel, Holder, Lab, elements};

    const SHAPES: [MatmulShape; 3] = [
        MatmulShape { batch: 3, rows: 5, inner: 7, cols: 3 },
        MatmulShape { batch: 1, rows: 1, inner: 1, cols: 1 },
        MatmulShape { batch: 2, rows: 1, inner: 33, cols: 17 },
    ];

    fn factors(shape: MatmulShape, i: usize) -> [Vec<u64>; 2] {
        let all = elements((i + 1) * (shape.rows + shape.cols) * shape.inner, RING);
        let x = all[all.len() - shape.rows * shape.inner..].to_vec();
        [x, all[..shape.inner * shape.cols].to_vec()]
    }

    fn pairs<P: Holder>(lab: &mut Lab<P>, shape: MatmulShape) -> Vec<(Share, Share)> {
        let MatmulShape { batch, rows, inner, cols } = shape;
        let mut pair = |i| {
            let [x, y] = factors(shape, i);
            (
                lab.share(&x, RING, 12, Shape::new(rows, inner)),
                lab.share(&y, RING, 14, Shape::new(inner, cols)),
            )
        };
        (0..batch).map(&mut pair).collect()
    }

    #[test]
    fn batches_of_odd_shapes_are_right_at_the_stated_cost() {
        let all = testing::run_keyed(
            async |lab| {
                let mut all = vec![];
                for shape in SHAPES {
                    let pairs = pairs(lab, shape);
                    let masks = prepare_client(&mut lab.me, shape).await.unwrap();
                    lab.me.session.stocks.matmul.entry(shape).or_default().push_back(masks);
                    all.push(lab.measure(async |me| client(me, &pairs).await).await);
                }
                all
            },
            async |lab| {
                let mut all = vec![];
                for shape in SHAPES {
                    let pairs = pairs(lab, shape);
                    let masks = prepare_server(&mut lab.me, shape).await.unwrap();
                    lab.me.session.stocks.matmul.entry(shape).or_default().push_back(masks);
                    all.push(lab.measure(async |me| server(me, &pairs).await).await);
                }
                all
            },
        );
        for (shape, (got, traffic)) in SHAPES.into_iter().zip(all) {
            let MatmulShape { batch, rows, inner, cols } = shape;
            for (i, got) in got.into_iter().enumerate() {
                let [x, y] = factors(shape, i);
                let ideal = ideal(&x, &y, inner, cols, RING);
                let off = |(a, b): (&u64, &u64)| RING.signed(RING.reduce(a.wrapping_sub(*b))).abs();
                // Nine deviations of two cross terms.
                assert!(got.iter().zip(&ideal).map(off).max().unwrap() < 9 << 7);
            }
            let opened = 44 * batch * (rows * inner + inner * cols);
            assert_eq!(traffic.cost, CostModel::mutual(&[opened], 0).total());
        }
    }
}
