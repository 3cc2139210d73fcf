//! AND triples: XOR shares of `a`, `b` and `a b`, for a random bit `a` and a random vector `b` of
//! `w` bits. Local.
//!
//! | first party: `n` COTs in each direction      | second party: the same                        |
//! |----------------------------------------------|-----------------------------------------------|
//! | sender of `q`: `b0 = H(q) ^ H(q ^ Delta)`    | receiver: bit `a1`, `H(t) = H(q) ^ a1 b0`     |
//! | receiver: bit `a0`, `H(t') = H(q') ^ a0 b1` | sender of `q'`: `b1 = H(q') ^ H(q' ^ Delta')` |
//! | returns `a0`, `b0`, `a0 b0 ^ H(q) ^ H(t')`   | returns `a1`, `b1`, `a1 b1 ^ H(q') ^ H(t)`    |
//!
//! No message; two COTs a triple. A party sees of the other's randomness only `H(t)`, one of two
//! pads, which is independent of the other pad. To multiply with a triple, both open `x ^ a` and
//! `y ^ b`: one turn, `2 (w + 1)` bits.
//!
//! Source: Asharov et al., CCS 2013 (eprint 2013/552), section 5.1, with vectors as pads.

use sotto_shares::BitReader;
use zeroize::Zeroizing;

use crate::{
    bits::bit,
    cots::{RecvCots, SendCots},
    hash::Purpose,
    transfer::{BothPads, RandomPads},
};

/// One party's shares of `n` triples, packed. Neither copied nor printed; wiped when dropped.
pub struct BitTriples {
    n: usize,
    w: u32,
    a: Zeroizing<Vec<u8>>,
    b: Zeroizing<Vec<u8>>,
    c: Zeroizing<Vec<u8>>,
}

impl BitTriples {
    /// Triples with vectors of `w` bits, one from each COT of either direction. The peer does the
    /// same.
    ///
    /// # Panics
    /// Unless both directions have the same number of COTs and `1 <= w <= 64`.
    pub fn new(send: SendCots, recv: RecvCots, w: u32) -> BitTriples {
        assert_eq!(send.len(), recv.len(), "as many COTs in either direction");
        let n = send.len();
        let BothPads { zeros: mut c, ones: mut b } = send.both_pads(Purpose::Triple, None, w);
        let RandomPads { choices: a, pads } = recv.random_pads(Purpose::Triple, w);
        add(&mut b, &c);
        add(&mut c, &pads);
        let mut triples = BitTriples { n, w, a, b, c };
        triples.add_own_products();
        triples
    }

    /// Number of triples.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Bits of a vector.
    pub fn width(&self) -> u32 {
        self.w
    }

    /// The shares of the bits, packed.
    pub fn a(&self) -> &[u8] {
        &self.a
    }

    /// The shares of the vectors, packed as `w` bits each.
    pub fn b(&self) -> &[u8] {
        &self.b
    }

    /// The shares of the products, packed as `w` bits each.
    pub fn c(&self) -> &[u8] {
        &self.c
    }

    /// `c ^= a b` on this party's shares.
    fn add_own_products(&mut self) {
        if self.w == 1 {
            for ((c, a), b) in self.c.iter_mut().zip(self.a.iter()).zip(self.b.iter()) {
                *c ^= a & b;
            }
            return;
        }
        let mut b = BitReader::new(&self.b);
        let products = (0..self.n).map(|i| b.pull(self.w) & bit(&self.a, i).wrapping_neg());
        let products = Zeroizing::new(products.collect::<Vec<u64>>());
        add(&mut self.c, &Zeroizing::new(sotto_shares::pack(&products, self.w)));
    }
}

/// `into ^= from`.
fn add(into: &mut [u8], from: &[u8]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into ^= from);
}

#[cfg(test)]
mod tests {
    use sotto_shares::unpack;

    use super::*;
    use crate::{batch::UNIT, ideal::Dealer};

    /// Both parties' triples.
    pub(crate) fn pair(seed: u8, n: usize, w: u32) -> [BitTriples; 2] {
        let (mut forward, mut reverse) = (Dealer::new(seed), Dealer::new(seed.wrapping_add(100)));
        let ((send_0, recv_1), (send_1, recv_0)) = (forward.deal(n), reverse.deal(n));
        [BitTriples::new(send_0, recv_0, w), BitTriples::new(send_1, recv_1, w)]
    }

    #[test]
    fn products_are_right_at_every_size_and_width() {
        for n in [0, 1, 8, 127, 128, 129, UNIT, UNIT + 1] {
            for w in [1, 2, 7, 64] {
                let parties = pair(w as u8, n, w);
                let open = |part: fn(&BitTriples) -> &[u8], w: u32| {
                    let [x, y] = parties.each_ref().map(|p| unpack(part(p), n, w));
                    x.into_iter().zip(y).map(|(x, y)| x ^ y).collect::<Vec<_>>()
                };
                let (a, b, c) = (open(BitTriples::a, 1), open(BitTriples::b, w), open(BitTriples::c, w));
                assert!((0..n).all(|i| c[i] == b[i] & a[i].wrapping_neg()), "{n} of {w} bits");
                assert_eq!((parties[0].len(), parties[0].width(), parties[1].is_empty()), (n, w, n == 0));
            }
        }
    }

    /// Each share, and each sum that a correct triple leaves uniform, is a fair bit: within 6
    /// deviations.
    #[test]
    fn shares_are_fair() {
        let n = 1 << 17;
        let [x, y] = pair(9, n, 1);
        let count = |f: &dyn Fn(usize) -> u8| (0..n / 8).map(|i| f(i).count_ones()).sum::<u32>() as f64;
        let sums: [&dyn Fn(usize) -> u8; 6] = [
            &|i| x.a[i],
            &|i| x.b[i],
            &|i| x.c[i],
            &|i| x.a[i] ^ y.a[i],
            &|i| x.c[i] ^ x.a[i] & y.b[i],
            &|i| y.c[i] ^ y.b[i] & x.a[i],
        ];
        for (k, f) in sums.into_iter().enumerate() {
            assert!((count(f) - n as f64 / 2.0).abs() < 3.0 * (n as f64).sqrt(), "sum {k}: {}", count(f));
        }
    }
}
