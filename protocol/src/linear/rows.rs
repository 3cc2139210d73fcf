//! `[x y] <- [x], [y]` with one number `y` for a whole row `x`, from row triples `[a], [b], [a b]`,
//! and `[sum a^2]` on demand.
//!
//! Offline, for a group of rows at once: `a` `[G, d]` uniform, `b` `[G]` uniform, `D(..)`
//! block-diagonal:
//!
//! | client: key | | server: `a1`, `b1` uniform |
//! |---|---|---|
//! | `a0`, `b0` uniform; `Enc(a0^T)`, `Enc(b0)` | `-- rows/upload ->` | |
//! | its shares from `a'` | `<- rows/reply --` | `(b, a') = Enc(a0^T D(b1))`, `Enc(b0 D(a1))` |
//! | | | `Enc(<a0, a1>)`; its shares from `b` |
//! | `a0 b0` + shares; `<a0, a0>` + 2 share | | `a1 b1` + shares; `<a1, a1>` + 2 share |
//!
//! Every product in a reply has its own encryption of zero added.
//!
//! Online:
//!
//! | client                            |                    | server                            |
//! |-----------------------------------|--------------------|-----------------------------------|
//! | `x0 - a0`, `y0 - b0`              | `<- rows/open ->`  | `x1 - a1`, `y1 - b1`              |
//! | `d y0 + e a0 + c0`                |                    | `d y1 + e a1 + c1`                |
//!
//! with `d = x - a`, which a norm opens before, and `e = y - b`: `x y = d y + a e + a b`. Online
//! one turn, `2 l` bits an element and `2 l'` a row. Products are modulo `2^l'`, with an error of
//! the stated deviation, independent of the inputs, since triples are made before them; the caller
//! drops more bits than that. Openings are uniform; `a` masks one opening and `b` another. A triple
//! is consumed by value. Source: Beaver (1991), with one key: the client's.

use std::sync::Arc;

use sotto_he::{EncryptedMatrix, EvaluationKeys, Job, Layout, MatmulShape, Operand, Plain};
use sotto_shares::{Ring, Rng, Shape, Share};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Client, Error, Precision, Server, Session,
    background::{self, Outline},
    lattice,
    matmul::transpose,
    mul::subtract,
    open::open,
    stock::{self, Entries, Stock},
};

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowShape {
    /// Elements of a row.
    pub width: usize,
    /// The ring of a row and of its mask.
    pub ring: Ring,
    /// The ring of products, not larger.
    pub product: Ring,
    /// Deviation of the error of one cross term, as a power of two, in units of the products' ring.
    pub tolerance: i32,
    /// The same of the inner product, if the mask's sum of squares is wanted.
    pub squares: Option<i32>,
}

/// Coefficients of a ciphertext: groups have as many rows as fill one, within limits.
const COEFFICIENTS: usize = 8192;

/// Rows of one message at most.
const BATCH: usize = 128;

/// At most so many numbers share a ciphertext with their rows; a larger group's share one all the
/// same. It costs the same upload for any number of them, and computation in proportion to their
/// square.
const NUMBERS: usize = 32;

impl RowShape {
    /// For products with a reciprocal, of which the caller drops as many bits as it has fraction
    /// bits, and two more: an error of what is kept of deviation `2^-4` for each of two cross
    /// terms.
    pub fn scale(precision: Precision, width: usize) -> RowShape {
        let (ring, frac) = precision.reciprocal();
        RowShape { width, ring, product: ring, tolerance: frac as i32 - 2, squares: None }
    }

    /// Rows of a group; rows are made in multiples of it.
    fn group(&self) -> usize {
        (COEFFICIENTS / self.width.next_power_of_two()).clamp(8, 64)
    }

    /// Bits by which products in `ring` are longer than asked for.
    fn excess(&self) -> u32 {
        self.ring.bits() - self.product.bits()
    }

    fn layouts(&self, groups: usize) -> Result<Layouts, Error> {
        let (context, bits, rows) = (lattice::context(), self.ring.bits(), self.group());
        let products = self.tolerance + self.excess() as i32;
        let sums = self.squares.unwrap_or(bits as i32 - 1);
        let [transposed, flat] = Layout::group(context, rows, self.width, bits, [products, sums])?;
        let numbers = chunks(groups * rows, rows.max(NUMBERS)).map(|numbers| {
            let shape = MatmulShape { tokens: 1, inner: numbers, outer: numbers * self.width };
            Layout::search(context, shape, Operand::Ring, self.product.bits(), self.tolerance, 1)
        });
        Ok(Layouts { groups, transposed, flat, numbers: numbers.collect::<Result<_, _>>()? })
    }
}

/// Layouts of the rows of a group, for products and for sums, and of its numbers.
struct Layouts {
    groups: usize,
    transposed: Layout,
    flat: Layout,
    numbers: Vec<Layout>,
}

/// Sizes of the parts of `total` that hold `most` each, but for the last.
fn chunks(total: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..total).step_by(most).map(move |start| most.min(total - start))
}

impl Layouts {
    fn upload_len(&self) -> usize {
        let numbers = self.numbers.iter().map(Layout::upload_len).sum::<usize>();
        self.groups * self.transposed.upload_len() + numbers
    }

    /// The jobs in the order of the reply.
    fn jobs(&self, shape: &RowShape) -> Vec<Layout> {
        let sums = if shape.squares.is_some() { self.groups } else { 0 };
        [vec![self.transposed; self.groups], self.numbers.clone(), vec![self.flat; sums]].concat()
    }
}

/// Row triples of one shape, to be used once. Wiped on drop.
pub(crate) struct RowTriples {
    width: usize,
    /// Rows.
    pub a: Vec<u64>,
    /// A number a row.
    pub b: Vec<u64>,
    /// Their products.
    pub c: Vec<u64>,
    /// Sums of squares of the rows, or nothing.
    pub squares: Vec<u64>,
}

impl Drop for RowTriples {
    fn drop(&mut self) {
        [&mut self.a, &mut self.b, &mut self.c, &mut self.squares].into_iter().for_each(Zeroize::zeroize);
    }
}

impl Entries for RowTriples {
    fn len(&self) -> usize {
        self.b.len()
    }
    fn take(&mut self, n: usize) -> RowTriples {
        let part = |v: &mut Vec<u64>, n: usize| {
            let rest = v.split_off(n);
            std::mem::replace(v, rest)
        };
        let squares = if self.squares.is_empty() { 0 } else { n };
        RowTriples {
            width: self.width,
            a: part(&mut self.a, n * self.width),
            b: part(&mut self.b, n),
            c: part(&mut self.c, n * self.width),
            squares: part(&mut self.squares, squares),
        }
    }
    fn append(&mut self, mut later: RowTriples) {
        self.a.append(&mut later.a);
        self.b.append(&mut later.b);
        self.c.append(&mut later.c);
        self.squares.append(&mut later.squares);
    }
}

/// The triples of a shape in stock and in flight.
fn triples(s: &mut Session, shape: RowShape) -> &mut Stock<RowTriples> {
    s.stocks.rows.entry(shape).or_default()
}

/// Rows that are neither in stock nor in flight.
pub(crate) fn missing(s: &mut Session, shape: RowShape, n: usize) -> usize {
    triples(s, shape).missing(n)
}

/// Waits for `n` rows, as far as they are in flight.
pub(crate) async fn arrive(s: &mut Session, shape: RowShape, n: usize) -> Result<(), Error> {
    stock::arrive(s, move |s| triples(s, shape), n).await
}

/// The next `n` triples.
pub(crate) async fn draw(s: &mut Session, shape: RowShape, n: usize) -> Result<RowTriples, Error> {
    arrive(s, shape, n).await?;
    let rings = u64::from(shape.ring.bits()) << 8 | u64::from(shape.product.bits());
    s.stocks.record("rows", (shape.width as u64) << 16 | rings, n);
    Ok(triples(s, shape).draw(n))
}

/// Bytes that `n` rows take in stock.
pub(crate) fn bytes(shape: RowShape, n: usize) -> usize {
    16 * n * shape.width
}

/// Each row of `x` `[T, d]` times its own number in `y` `[T, 1]`. Fraction bits add up. Takes `T`
/// rows from stock.
///
/// # Panics
/// If rings or shapes do not fit, or the stock is too small.
pub async fn scale(s: &mut Session, x: &Share, y: &Share) -> Result<Share, Error> {
    let shape = RowShape::scale(s.precision, x.shape().cols);
    assert_eq!((x.ring(), y.ring()), (shape.ring, shape.product), "rings of rows and numbers");
    assert_eq!(y.shape(), Shape::new(x.shape().rows, 1), "one number per row");
    let triples = draw(s, shape, x.shape().rows).await?;
    let [d, e] = open(s, "rows/open", [&subtract(x, &triples.a), &subtract(y, &triples.b)]).await?;
    Ok(product(shape, &triples, &d, y, &e, x.frac()))
}

/// `d y + e a + c`: the local end.
pub(crate) fn product(
    shape: RowShape,
    triples: &RowTriples,
    d: &[u64],
    y: &Share,
    e: &[u64],
    frac: u32,
) -> Share {
    let ring = shape.product;
    let rows = d.chunks(shape.width).zip(triples.a.chunks(shape.width)).zip(triples.c.chunks(shape.width));
    let data = rows.zip(y.data().iter().zip(e)).flat_map(|(((d, a), c), (&y, &e))| {
        d.iter().zip(a).zip(c).map(move |((d, a), c)| {
            ring.reduce(d.wrapping_mul(y).wrapping_add(e.wrapping_mul(*a)).wrapping_add(*c))
        })
    });
    Share::new(ring, frac + y.frac(), Shape::new(y.shape().rows, shape.width), data.collect())
}

/// Layouts and messages of the requests for at least `n` rows.
fn outlines(shape: RowShape, n: usize) -> Result<Vec<(Arc<Layouts>, Outline)>, Error> {
    let outline = |groups: usize| {
        let layouts = shape.layouts(groups)?;
        let (count, jobs) = (groups * shape.group(), layouts.jobs(&shape));
        let outline = Outline {
            span: "row triples",
            upload: ("rows/upload", layouts.upload_len()),
            reply: ("rows/reply", sotto_he::reply_len(lattice::context(), &jobs)),
            count,
            bytes: bytes(shape, count),
        };
        Ok((Arc::new(layouts), outline))
    };
    chunks(n.div_ceil(shape.group()), BATCH / shape.group()).map(outline).collect()
}

/// Begins to make at least `n` rows; the client's part.
///
/// # Errors
/// There is no layout for them.
pub(crate) fn ask(me: &mut Client, shape: RowShape, n: usize) -> Result<(), Error> {
    let (context, s) = (lattice::context(), &mut me.session);
    for (layouts, outline) in outlines(shape, n)? {
        let (rows, mut rng) = (outline.count, s.rng.fork());
        let ([key, again], jobs) = ([me.key.clone(), me.key.clone()], layouts.jobs(&shape));
        let ask = move || {
            let mut upload = Vec::with_capacity(layouts.upload_len());
            let mut a = Zeroizing::new(Vec::with_capacity(rows * shape.width));
            let mut b = Zeroizing::new(Vec::with_capacity(rows));
            for _ in 0..layouts.groups {
                let (bytes, columns) = sotto_he::encrypt_random(context, &key, &layouts.transposed, &mut rng);
                upload.extend(bytes);
                let columns = Zeroizing::new(transpose(&columns, shape.width, shape.group()));
                a.extend(columns.iter());
            }
            for layout in &layouts.numbers {
                let (bytes, numbers) = sotto_he::encrypt_random(context, &key, layout, &mut rng);
                upload.extend(bytes);
                b.extend(numbers.iter());
            }
            (upload, [a, b])
        };
        let request = background::client(s, outline, ask, move |ab, reply| {
            let shares = sotto_he::decrypt(context, &again, &jobs, &reply)?;
            Ok(combine(shape, ab, shares))
        });
        triples(s, shape).expect(request);
    }
    Ok(())
}

/// The server's part of [`ask`].
pub(crate) fn answer(me: &mut Server, shape: RowShape, n: usize) -> Result<(), Error> {
    let s = &mut me.session;
    for (layouts, outline) in outlines(shape, n)? {
        let (keys, mut rng) = (me.keys.clone(), s.rng.fork());
        let answer = move |upload: Vec<u8>| products(&keys, shape, &layouts, &upload, &mut rng);
        let request = background::server(s, outline, answer);
        triples(s, shape).expect(request);
    }
    Ok(())
}

/// The server's products of a message: the reply, and its share of the triples.
fn products(
    keys: &EvaluationKeys,
    shape: RowShape,
    layouts: &Layouts,
    upload: &[u8],
    rng: &mut Rng,
) -> Result<(Vec<u8>, RowTriples), Error> {
    let (context, groups) = (lattice::context(), layouts.groups);
    let rows = groups * shape.group();
    let a = Zeroizing::new(rng.elements(rows * shape.width, shape.ring));
    let b = Zeroizing::new(rng.elements(rows, shape.product));
    let mut rest = upload;
    let mut next = |layout: &Layout| {
        let (bytes, after) = rest.split_at(layout.upload_len());
        rest = after;
        EncryptedMatrix::decode_random(context, layout, bytes)
    };
    let columns = (0..groups).map(|_| next(&layouts.transposed)).collect::<Result<Vec<_>, _>>()?;
    let numbers = layouts.numbers.iter().map(&mut next).collect::<Result<Vec<_>, _>>()?;
    let flat: Vec<_> = match shape.squares {
        Some(_) => columns.iter().map(|x| x.viewed(&layouts.flat)).collect(),
        None => vec![],
    };
    let rows_of = |count: usize| a.chunks(count * shape.width);
    let scaled = Zeroizing::new(b.iter().map(|b| b << shape.excess()).collect::<Vec<u64>>());
    let factors = scaled.chunks(shape.group()).map(|b| block_diagonal(b, 1));
    let diagonals = rows_of(shape.group().max(NUMBERS)).map(|a| block_diagonal(a, shape.width));
    let sums = rows_of(shape.group()).take(flat.len()).map(|a| interleaved_columns(a, shape.width));
    let plain: Vec<Zeroizing<Vec<u64>>> = factors.chain(diagonals).chain(sums).collect();
    let encrypted = columns.iter().chain(&numbers).chain(&flat);
    let jobs: Vec<_> = encrypted.zip(&plain).map(|(x, w)| Job { x, w: Plain::Ring(w) }).collect();
    let (reply, shares) = sotto_he::multiply(context, keys, &jobs, rng);
    Ok((reply, combine(shape, [a, b], shares)))
}

/// `[G, G d]` with row `r` of `rows` in the columns `r d ..`: numbers times it are scaled rows.
fn block_diagonal(rows: &[u64], width: usize) -> Zeroizing<Vec<u64>> {
    let mut out = Zeroizing::new(vec![0; rows.len() / width * rows.len()]);
    for (r, row) in rows.chunks(width).enumerate() {
        out[r * rows.len() + r * width..][..width].copy_from_slice(row);
    }
    out
}

/// `[d G, G]` with element `i` of row `r` at `(i G + r, r)`: transposed rows, flat, times it are
/// inner products row by row.
fn interleaved_columns(rows: &[u64], width: usize) -> Zeroizing<Vec<u64>> {
    let count = rows.len() / width;
    let mut out = Zeroizing::new(vec![0; rows.len() * count]);
    for (r, row) in rows.chunks(width).enumerate() {
        for (i, &a) in row.iter().enumerate() {
            out[(i * count + r) * count + r] = a;
        }
    }
    out
}

/// Local products plus the shares of the cross terms, in the order of [`Layouts::jobs`].
fn combine(
    shape: RowShape,
    [mut a, mut b]: [Zeroizing<Vec<u64>>; 2],
    mut shares: Vec<Vec<u64>>,
) -> RowTriples {
    let (width, group, ring) = (shape.width, shape.group(), shape.product);
    let groups = b.len() / group;
    let mut second = shares.split_off(groups);
    let mut sums = second.split_off(chunks(b.len(), group.max(NUMBERS)).count());
    let first = shares.iter().flat_map(|columns| transpose(columns, width, group));
    let terms = first.zip(second.iter().flatten()).enumerate();
    let c = terms.map(|(i, (first, second))| {
        let local = a[i].wrapping_mul(b[i / width]);
        ring.reduce(local.wrapping_add(first >> shape.excess()).wrapping_add(*second))
    });
    let c = c.collect();
    let squares = a.chunks(width).zip(sums.iter().flatten()).map(|(row, sum)| {
        let local = row.iter().fold(0u64, |all, a| all.wrapping_add(a.wrapping_mul(*a)));
        shape.ring.reduce(local.wrapping_add(sum << 1))
    });
    let squares = squares.collect();
    [&mut shares, &mut second, &mut sums].into_iter().flatten().for_each(Zeroize::zeroize);
    RowTriples { width, a: std::mem::take(&mut *a), b: std::mem::take(&mut *b), c, squares }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        planner::{self, Need},
        testing::{self, CostModel, Holder, Lab, elements},
    };

    /// Distance from `want` in units of the ring.
    fn worst(got: &[u64], want: impl Iterator<Item = u64>, ring: Ring) -> f64 {
        let off = |(got, want): (&u64, u64)| ring.signed(ring.reduce(got.wrapping_sub(want))).unsigned_abs();
        got.iter().zip(want).map(off).max().unwrap() as f64
    }

    #[test]
    fn triples_are_products_and_sums_within_their_tolerance() {
        let [narrow, finer] = Precision::ALL.map(|precision| RowShape::scale(precision, 16));
        let wide = RowShape {
            width: 300,
            ring: Ring::new(64),
            product: Ring::new(54),
            tolerance: 26,
            squares: Some(10),
        };
        let widest = RowShape { product: Ring::new(56), ..wide };
        for shape in [narrow, finer, wide, widest] {
            let parts = async |s: &mut Session| {
                let n = shape.group();
                let mut made = draw(s, shape, n).await.unwrap();
                assert_eq!(missing(s, shape, 1), 1, "a group was made");
                let share =
                    |ring, v: &mut Vec<u64>| Share::new(ring, 0, Shape::new(1, v.len()), std::mem::take(v));
                let a = share(shape.ring, &mut made.a);
                let (b, c) = (share(shape.product, &mut made.b), share(shape.product, &mut made.c));
                [a, b, c, share(shape.ring, &mut made.squares)]
            };
            let [a, b, c, squares] = testing::run_keyed(
                async |lab| {
                    planner::ensure(&mut lab.me, vec![Need::rows(shape, 1)]).await.unwrap();
                    parts(&mut lab.me.session).await
                },
                async |lab| {
                    planner::ensure(&mut lab.me, vec![Need::rows(shape, 1)]).await.unwrap();
                    parts(&mut lab.me.session).await
                },
            );
            let want = a.iter().enumerate().map(|(i, a)| a.wrapping_mul(b[i / shape.width]));
            assert!(worst(&c, want, shape.product) < 9.0 * 2f64.powi(shape.tolerance + 1));
            if let Some(tolerance) = shape.squares {
                let sum = |row: &[u64]| row.iter().fold(0u64, |sum, a| sum.wrapping_add(a.wrapping_mul(*a)));
                let error = worst(&squares, a.chunks(shape.width).map(sum), shape.ring);
                assert!(error < 9.0 * 2f64.powi(tolerance + 1), "{error}");
            }
            assert_eq!(squares.is_empty(), shape.squares.is_none());
        }
    }

    fn factors<P: Holder>(lab: &mut Lab<P>, shape: Shape) -> [Share; 2] {
        let precision = lab.me.session().precision;
        let (ring, frac) = precision.reciprocal();
        let x: Vec<u64> = elements(shape.len(), ring);
        let y = elements(shape.rows, ring);
        let rows = lab.share(&x, ring, precision.power_frac(), shape);
        [rows, lab.share(&y, ring, frac, Shape::new(shape.rows, 1))]
    }

    #[test]
    fn rows_meet_their_numbers_at_the_stated_cost() {
        for precision in Precision::ALL {
            let (shape, rows) = (Shape::new(5, 24), RowShape::scale(precision, 24));
            let (got, traffic) = testing::run_keyed(
                async |lab| {
                    lab.me.session.precision = precision;
                    let [x, y] = factors(lab, shape);
                    planner::ensure(&mut lab.me, vec![Need::rows(rows, 5)]).await.unwrap();
                    lab.measure(async |me| scale(&mut me.session, &x, &y).await).await
                },
                async |lab| {
                    lab.me.session.precision = precision;
                    let [x, y] = factors(lab, shape);
                    planner::ensure(&mut lab.me, vec![Need::rows(rows, 5)]).await.unwrap();
                    lab.measure(async |me| scale(&mut me.session, &x, &y).await).await
                },
            );
            let (x, y) = (elements(120, rows.ring), elements(5, rows.ring));
            let want = x.iter().enumerate().map(|(i, x)| x.wrapping_mul(y[i / 24]));
            assert!(worst(&got, want, rows.ring) < 9.0 * 2f64.powi(rows.tolerance + 1));
            assert_eq!(traffic.cost, CostModel::mutual(&[rows.ring.bits() as usize * 125], 0).total());
        }
    }
}
