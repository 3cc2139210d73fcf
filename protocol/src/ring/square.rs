//! `[x^2] <- [x]`: squares of shared numbers, from square pairs.
//!
//! Offline: `[a], [a^2]`, `a` uniform: `a^2 = a0^2 + a1^2 + 2 a0 a1`, one product and one
//! direction.
//!
//! | client                              |                         | server                   |
//! |-------------------------------------|-------------------------|--------------------------|
//! | `a0` = choice bits of `l - 1` COTs and a top bit |            | `a1` uniform             |
//! |                                     | `<- square/payload --`  | `a1 2^j` against bit `j` |
//! | `a0^2 + 2 got`                      |                         | `a1^2 + 2 own`           |
//!
//! Online:
//!
//! | client            |                     | server                  |
//! |-------------------|---------------------|-------------------------|
//! | `x0 - a0`         | `<- square/open ->` | `x1 - a1`               |
//! | `2 d a0 + c0`     |                     | `2 d a1 + c1 + d^2`     |
//!
//! One turn each; offline `l (l - 1) / 2` bits, online `2 l`; exact modulo `2^l`. From stock: one
//! pair; offline, `l - 1` COTs server to client (the top bit of `a0` does not matter to `2 a0 a1`).
//! Source: Beaver (1991); Gilboa (1999).

use rand::RngCore;
use sotto_shares::{Party, Ring, Share};
use zeroize::Zeroize;

use crate::{
    Error, Session,
    cost::CostModel,
    cross,
    mul::{batches, subtract},
    open::open,
    stock::Entries,
};

/// Square pairs in one ring, to be used once. Wiped on drop.
pub struct Squares {
    a: Vec<u64>,
    c: Vec<u64>,
}

impl Drop for Squares {
    fn drop(&mut self) {
        self.a.zeroize();
        self.c.zeroize();
    }
}

impl Entries for Squares {
    fn len(&self) -> usize {
        self.a.len()
    }
    fn take(&mut self, n: usize) -> Squares {
        let part = |v: &mut Vec<u64>| {
            let rest = v.split_off(n);
            std::mem::replace(v, rest)
        };
        Squares { a: part(&mut self.a), c: part(&mut self.c) }
    }
    fn append(&mut self, mut later: Squares) {
        self.a.append(&mut later.a);
        self.c.append(&mut later.c);
    }
}

/// The offline half: `n` pairs, in batches that keep memory bounded.
pub(crate) async fn prepare(s: &mut Session, ring: Ring, n: usize) -> Result<Squares, Error> {
    let mut all = Squares { a: vec![], c: vec![] };
    for batch in batches(n, ring.bits() as usize) {
        all.append(prepare_batch(s, ring, batch).await?);
    }
    Ok(all)
}

async fn prepare_batch(s: &mut Session, ring: Ring, n: usize) -> Result<Squares, Error> {
    let bits = ring.bits() as usize - 1;
    let widths: Vec<u32> = (0..ring.bits() - 1).map(|j| ring.bits() - 1 - j).collect();
    let (a, halves) = match s.me {
        Party::Server => {
            let a = s.rng.elements(n, ring);
            let inputs: Vec<u64> = a.iter().flat_map(|&a| std::iter::repeat_n(a, bits)).collect();
            (a, cross::add_random_send(s, "square/payload", &inputs, &widths).await?)
        }
        Party::Client => {
            let (choices, got) = cross::add_random_recv(s, "square/payload", n * bits, &widths).await?;
            let low = choices.chunks(bits).map(cross::word);
            (low.map(|low| low | (s.rng.next_u64() & 1) << bits).collect(), got)
        }
    };
    let horner = |v: &[u64]| v.iter().enumerate().fold(0u64, |sum, (j, v)| sum.wrapping_add(v << (j + 1)));
    let square = |(a, half): (&u64, &[u64])| ring.reduce(a.wrapping_mul(*a).wrapping_add(horner(half)));
    let c = a.iter().zip(halves.chunks(bits)).map(square).collect();
    Ok(Squares { a, c })
}

/// Elementwise square; fraction bits double.
pub async fn square(s: &mut Session, x: &Share) -> Result<Share, Error> {
    let pairs = s.squares(x.ring(), x.len()).await?;
    let [d] = open(s, "square/open", [&subtract(x, &pairs.a)]).await?;
    let data = d.iter().zip(pairs.a.iter().zip(&pairs.c)).map(|(&d, (a, c))| {
        let both = s.me.server_only(d.wrapping_mul(d));
        x.ring().reduce(both.wrapping_add(d.wrapping_mul(*a) << 1).wrapping_add(*c))
    });
    let data = data.collect();
    Ok(Share::new(x.ring(), 2 * x.frac(), x.shape(), data))
}

/// The functionality on one element.
pub fn ideal(x: u64, ring: Ring) -> u64 {
    ring.reduce(x.wrapping_mul(x))
}

/// What is sent for `n` squares of `l` bits, and which COTs it takes.
pub fn cost(n: usize, l: u32) -> CostModel {
    CostModel::mutual(&[l as usize * n], 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, CostModel, elements};

    #[test]
    fn real_is_ideal_at_the_stated_cost() {
        for l in [2, 9, 44, 64] {
            let ring = Ring::new(l);
            let x = elements(41, ring);
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&x, ring);
                lab.stock_squares(ring, 41).await;
                lab.measure(async |s| square(s, &x).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ideal(x, ring)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(41, l).total());
        }
    }

    #[test]
    fn pairs_at_the_stated_cost() {
        let (l, n) = (64, 9);
        let ring = Ring::new(l as u32);
        let ([a, c], traffic) = testing::run(async |lab| {
            let share = |v: &Vec<u64>| Share::new(ring, 0, Shape::new(1, n), v.clone());
            let prepared = async |s: &mut Session| {
                let made = prepare(s, ring, n).await?;
                Ok([share(&made.a), share(&made.c)])
            };
            lab.measure(prepared).await
        });
        assert_eq!(c, a.iter().map(|&a| ideal(a, ring)).collect::<Vec<_>>());
        assert_eq!(traffic.cost, CostModel::to_client(n * l * (l - 1) / 2, n * (l - 1)).total());
    }
}
