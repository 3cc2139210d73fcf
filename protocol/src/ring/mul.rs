//! `[x y] <- [x], [y]`: products of shared numbers, from multiplication triples.
//!
//! Offline: `[a], [b], [ab]`, with `a` and `b` uniform. From COTs, for a few:
//!
//! | client | | server |
//! |---|---|---|
//! | `b0` = choice bits of `l` COTs, `a0` uniform | | `b1` = choice bits, `a1` uniform |
//! | `a0 2^j` against bit `j` of `b1` | `<- triple/payload ->` | `a1 2^j` against bit `j` of `b0` |
//! | `a0 b0 + own + got` | | `a1 b1 + own + got` |
//!
//! or under encryption, for thousands ([`sotto_he::encrypt_factors`]):
//!
//! | client: `a0`, `b0` uniform |                       | server: `a1`, `b1` uniform |
//! |----------------------------|-----------------------|----------------------------|
//! | `Enc(a0)`, `Enc(b0)`       | `-- triple/upload ->` | shares of `a0 b1 + b0 a1`  |
//! | `a0 b0` + its shares       | `<- triple/reply --`  | `a1 b1` + its shares       |
//!
//! Online:
//!
//! | client               |                  | server                          |
//! |----------------------|------------------|---------------------------------|
//! | `x0 - a0`, `y0 - b0` | `<- mul/open ->` | `x1 - a1`, `y1 - b1`            |
//! | `d b0 + e a0 + c0`   |                  | `d b1 + e a1 + c1 + d e`        |
//!
//! with `d = x - a`, `e = y - b` public. One turn, `4 l` bits; offline `l (l + 1)` bits and a turn,
//! or 936 bits (in batches of 8192) and two turns; exact modulo `2^l` from COTs, to a unit from
//! encryption (17 of them if `l = 48`). `d` and `e` are uniform; a triple is consumed by value.
//! What these depend on is in `sotto_he`'s module `elementwise`: sums with it are opened under
//! masks only. From stock: one triple; offline, `l` COTs a direction. Source: Beaver (1991); Gilboa
//! (1999), with the widths of Cheetah; SIMD packing as in SPU's Cheetah backend.

use sotto_net::Half;
use sotto_shares::{Ring, Share};
use zeroize::Zeroize;

use crate::{Client, Error, Server, Session, cost::CostModel, cross, lattice, open::open, stock::Entries};

/// Multiplication triples in one ring, to be used once. Wiped on drop.
pub struct Triples {
    a: Vec<u64>,
    b: Vec<u64>,
    c: Vec<u64>,
}

impl Triples {
    /// The products: this party's own, and its shares of the others.
    fn add(&mut self, ring: Ring, cross: &[u64]) {
        let own = self.a.iter().zip(&self.b).map(|(a, b)| a.wrapping_mul(*b));
        self.c = own.zip(cross).map(|(own, cross)| ring.reduce(own.wrapping_add(*cross))).collect();
    }
}

impl Drop for Triples {
    fn drop(&mut self) {
        self.a.zeroize();
        self.b.zeroize();
        self.c.zeroize();
    }
}

impl Entries for Triples {
    fn len(&self) -> usize {
        self.a.len()
    }
    fn take(&mut self, n: usize) -> Triples {
        let part = |v: &mut Vec<u64>| {
            let rest = v.split_off(n);
            std::mem::replace(v, rest)
        };
        Triples { a: part(&mut self.a), b: part(&mut self.b), c: part(&mut self.c) }
    }
    fn append(&mut self, mut later: Triples) {
        self.a.append(&mut later.a);
        self.b.append(&mut later.b);
        self.c.append(&mut later.c);
    }
}

/// Triples whose factors travel in one message.
const PART: usize = 8 << 13;

/// Bytes that `n` triples under encryption take.
pub fn lattice_len(n: usize) -> usize {
    sotto_he::factors_len(lattice::context(), n) + sotto_he::products_len(lattice::context(), n)
}

/// Puts `n` more triples in `ring`, of 48 bits at most, in stock, made under encryption; the
/// client's part.
///
/// # Errors
/// The peer's reply is malformed or missing.
pub(crate) async fn client(me: &mut Client, ring: Ring, n: usize) -> Result<(), Error> {
    me.session.ch.meter.enter("triples", Half::Offline);
    let made = prepare_client(me, ring, n).await;
    me.session.ch.meter.leave();
    me.session.stocks.triples.entry(ring).or_default().add(made?);
    Ok(())
}

/// The server's part of [`client`].
///
/// # Errors
/// The peer's upload is malformed or missing.
pub(crate) async fn server(me: &mut Server, ring: Ring, n: usize) -> Result<(), Error> {
    me.session.ch.meter.enter("triples", Half::Offline);
    let made = prepare_server(me, ring, n).await;
    me.session.ch.meter.leave();
    me.session.stocks.triples.entry(ring).or_default().add(made?);
    Ok(())
}

/// Sizes of the parts of `n` triples.
fn parts(n: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(PART).map(move |start| PART.min(n - start))
}

async fn prepare_client(me: &mut Client, ring: Ring, n: usize) -> Result<Triples, Error> {
    let (context, s, key) = (lattice::context(), &mut me.session, &me.key);
    let mut waiting: Option<Triples> = None;
    let mut all = Triples { a: vec![], b: vec![], c: vec![] };
    // The server multiplies one part while the next is encrypted.
    for part in parts(n).map(Some).chain([None]) {
        let next = match part {
            Some(n) => {
                let (a, b, mut rng) = (s.rng.elements(n, ring), s.rng.elements(n, ring), s.rng.fork());
                let upload = sotto_net::compute(|| sotto_he::encrypt_factors(context, key, &a, &b, &mut rng));
                s.ch.send("triple/upload", upload)?;
                Some(Triples { a, b, c: vec![] })
            }
            None => None,
        };
        if let Some(mut triples) = std::mem::replace(&mut waiting, next) {
            let n = triples.a.len();
            let reply = s.ch.recv("triple/reply", sotto_he::products_len(context, n)).await?;
            let cross =
                sotto_net::compute(|| sotto_he::decrypt_products(context, key, &reply, n, ring.bits()))?;
            triples.add(ring, &cross);
            all.append(triples);
        }
    }
    Ok(all)
}

async fn prepare_server(me: &mut Server, ring: Ring, n: usize) -> Result<Triples, Error> {
    let (context, s, keys) = (lattice::context(), &mut me.session, &me.keys);
    let mut all = Triples { a: vec![], b: vec![], c: vec![] };
    for n in parts(n) {
        let mut triples = Triples { a: s.rng.elements(n, ring), b: s.rng.elements(n, ring), c: vec![] };
        let mut rng = s.rng.fork();
        let upload = s.ch.recv("triple/upload", sotto_he::factors_len(context, n)).await?;
        let (reply, cross) = sotto_net::compute(|| {
            let factors = [&triples.a[..], &triples.b];
            sotto_he::multiply_factors(context, keys, &upload, factors, ring.bits(), &mut rng)
        })?;
        s.ch.send("triple/reply", reply)?;
        triples.add(ring, &cross);
        all.append(triples);
    }
    Ok(all)
}

/// The offline half from COTs: `n` triples, in batches that keep memory bounded.
pub(crate) async fn prepare(s: &mut Session, ring: Ring, n: usize) -> Result<Triples, Error> {
    let mut all = Triples { a: vec![], b: vec![], c: vec![] };
    for batch in batches(n, ring.bits() as usize) {
        all.append(prepare_batch(s, ring, batch).await?);
    }
    Ok(all)
}

/// Sizes of batches of elements that take `cots` COTs each, about `2^21` a batch.
pub(crate) fn batches(n: usize, cots: usize) -> impl Iterator<Item = usize> {
    let most = (1 << 21) / cots;
    (0..n).step_by(most).map(move |start| most.min(n - start))
}

async fn prepare_batch(s: &mut Session, ring: Ring, n: usize) -> Result<Triples, Error> {
    let bits = ring.bits() as usize;
    let widths: Vec<u32> = (0..ring.bits()).map(|j| ring.bits() - j).collect();
    let a = s.rng.elements(n, ring);
    let inputs: Vec<u64> = a.iter().flat_map(|&a| std::iter::repeat_n(a, bits)).collect();
    let (b, products) = cross::add_random(s, "triple/payload", &inputs, &widths).await?;
    let b: Vec<u64> = b.chunks(bits).map(cross::word).collect();
    let horner = |v: &[u64]| v.iter().enumerate().fold(0u64, |sum, (j, v)| sum.wrapping_add(v << j));
    let cross_terms = products.own.chunks(bits).zip(products.got.chunks(bits));
    let c = cross_terms.zip(a.iter().zip(&b)).map(|((own, got), (a, b))| {
        ring.reduce(a.wrapping_mul(*b).wrapping_add(horner(own)).wrapping_add(horner(got)))
    });
    let c = c.collect();
    Ok(Triples { a, b, c })
}

/// Elementwise product; fraction bits add up.
///
/// # Panics
/// If rings or shapes differ.
pub async fn mul(s: &mut Session, x: &Share, y: &Share) -> Result<Share, Error> {
    assert_eq!((x.ring(), x.shape()), (y.ring(), y.shape()), "factors of a product");
    let triples = s.triples(x.ring(), x.len()).await?;
    let [d, e] = open(s, "mul/open", [&subtract(x, &triples.a), &subtract(y, &triples.b)]).await?;
    let data = (0..x.len()).map(|i| {
        let both = s.me.server_only(d[i].wrapping_mul(e[i]));
        let mine = d[i].wrapping_mul(triples.b[i]).wrapping_add(e[i].wrapping_mul(triples.a[i]));
        x.ring().reduce(both.wrapping_add(mine).wrapping_add(triples.c[i]))
    });
    let data = data.collect();
    Ok(Share::new(x.ring(), x.frac() + y.frac(), x.shape(), data))
}

/// The functionality on one element.
pub fn ideal(x: u64, y: u64, ring: Ring) -> u64 {
    ring.reduce(x.wrapping_mul(y))
}

/// `x - mask`, to be opened.
pub(crate) fn subtract<'a>(x: &Share, mask: impl IntoIterator<Item = &'a u64>) -> Share {
    let data = x.data().iter().zip(mask).map(|(v, m)| x.ring().reduce(v.wrapping_sub(*m))).collect();
    Share::new(x.ring(), x.frac(), x.shape(), data)
}

/// What is sent for `n` products of `l` bits, and which COTs it takes.
pub fn cost(n: usize, l: u32) -> CostModel {
    CostModel::mutual(&[2 * l as usize * n], 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        Precision,
        planner::{self, Need},
        testing::{self, CostModel, elements},
    };

    #[test]
    fn real_is_ideal_at_the_stated_cost() {
        for l in [1, 8, 44, 52, 64] {
            let (ring, shape) = (Ring::new(l), Shape::new(5, 7));
            let x = elements(35, ring);
            let y: Vec<u64> = x.iter().rev().copied().collect();
            let (got, traffic) = testing::run(async |lab| {
                let (x, y) = (lab.share(&x, ring, 3, shape), lab.share(&y, ring, 4, shape));
                lab.stock_triples(ring, 35).await;
                let (out, side) = lab.measure(async |s| mul(s, &x, &y).await).await;
                assert_eq!((out.frac(), out.shape()), (7, shape));
                (out, side)
            });
            assert_eq!(got, x.iter().zip(&y).map(|(&x, &y)| ideal(x, y, ring)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(35, l).total());
        }
    }

    #[test]
    fn edges_meet_edges() {
        let ring = Ring::new(64);
        let edges = elements(8, ring);
        let pairs: Vec<(u64, u64)> = edges.iter().flat_map(|&x| edges.iter().map(move |&y| (x, y))).collect();
        let (x, y): (Vec<u64>, Vec<u64>) = pairs.iter().copied().unzip();
        let got = testing::run(async |lab| {
            let (x, y) = (lab.row(&x, ring), lab.row(&y, ring));
            mul(&mut lab.me, &x, &y).await.unwrap()
        });
        assert_eq!(got, pairs.iter().map(|&(x, y)| ideal(x, y, ring)).collect::<Vec<_>>());
    }

    #[test]
    fn triples_at_the_stated_cost() {
        let (l, n) = (44, 9);
        let ring = Ring::new(l as u32);
        let (abc, traffic) = testing::run(async |lab| {
            let share = |v: &Vec<u64>| Share::new(ring, 0, Shape::new(1, n), v.clone());
            let prepared = async |s: &mut Session| {
                let made = prepare(s, ring, n).await?;
                Ok([share(&made.a), share(&made.b), share(&made.c)])
            };
            lab.measure(prepared).await
        });
        let [a, b, c] = abc;
        assert_eq!(c, a.iter().zip(&b).map(|(&a, &b)| ideal(a, b, ring)).collect::<Vec<_>>());
        let stated = CostModel::mutual(&[n * l * (l + 1) / 2], n * l);
        assert_eq!((traffic.cost, stated.bits()), (stated.total(), n * l * (l + 1)));
    }

    #[test]
    fn triples_from_encryption_are_right_to_a_unit_or_a_few() {
        for (precision, allowed) in Precision::ALL.into_iter().zip([1, 17]) {
            let (ring, frac, shape) = (precision.product(), precision.frac(), Shape::new(9000, 1));
            let (x, y) = (elements(9000, ring), elements(9000, ring).into_iter().rev().collect::<Vec<_>>());
            let (got, traffic) = testing::run_keyed(
                async |lab| {
                    planner::ensure(&mut lab.me, vec![Need::triples(ring, 9000)]).await.unwrap();
                    let (x, y) = (lab.share(&x, ring, frac, shape), lab.share(&y, ring, frac, shape));
                    lab.measure(async |me| mul(&mut me.session, &x, &y).await).await
                },
                async |lab| {
                    planner::ensure(&mut lab.me, vec![Need::triples(ring, 9000)]).await.unwrap();
                    let (x, y) = (lab.share(&x, ring, frac, shape), lab.share(&y, ring, frac, shape));
                    lab.measure(async |me| mul(&mut me.session, &x, &y).await).await
                },
            );
            assert_eq!(traffic.cost, cost(9000, ring.bits()).total());
            for ((got, x), y) in got.into_iter().zip(&x).zip(&y) {
                let off = ring.signed(ring.reduce(got.wrapping_sub(ideal(*x, *y, ring))));
                assert!(off.abs() <= allowed, "{x} times {y} is off by {off}");
            }
        }
    }
}
