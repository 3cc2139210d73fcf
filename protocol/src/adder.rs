//! `[x]_B <- [x]_A`: the bits of a shared number, by a parallel-prefix adder on its two shares.
//!
//! The parties' shares are private inputs: generate `g = x0 & x1` and propagate `p = x0 ^ x1`; then
//! `(g, p) <- (g ^ p (g << 2^i), p (p << 2^i))` for `i < log2 l` (Kogge-Stone), and the sum is `p ^ (g << 1)`.
//!
//! `2 + 2 ceil(log2 l)` turns; `6 l ceil(log2 l)` bits an element and a little; exact; no leakage. From the pool: the
//! COTs of its ANDs. Meant for a few values per row, not for tensors. Source: ABY (2015), section V-B.

use sotto_shares::{Party, Share, XorShare};

use crate::{Error, Session, and::and_words};

/// The `l` bits of each number.
pub async fn bits(s: &mut Session, x: &Share) -> Result<XorShare, Error> {
    let ring = x.ring;
    let zero = XorShare::new(ring.bits(), vec![0; x.len()]);
    let mine = XorShare::new(ring.bits(), x.data.clone());
    let (left, right) = match s.me {
        Party::Client => (&mine, &zero),
        Party::Server => (&zero, &mine),
    };
    let [mut g] = and_words(s, left, [right]).await?;
    let sum = mine.map_linear(ring.bits(), |w| w);
    let mut p = mine;
    let mut reach = 1;
    while reach < ring.bits() {
        let shifted = |x: &XorShare| x.map_linear(ring.bits(), |w| ring.reduce(w << reach));
        let [carried, joined] = and_words(s, &p, [&shifted(&g), &shifted(&p)]).await?;
        g = g.xor(&carried);
        p = joined;
        reach *= 2;
    }
    Ok(sum.xor(&g.map_linear(ring.bits(), |w| ring.reduce(w << 1))))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::{
        and,
        testing::{self, Bill, elements, log2_ceil},
    };

    pub(crate) fn bill(n: usize, l: u32) -> Bill {
        let words = n * l as usize;
        let step = and::tests::bill(words, 2);
        (0..log2_ceil(l as usize)).fold(and::tests::bill(words, 1), |sum, _| sum + step.clone())
    }

    #[test]
    fn the_bits_are_those_of_the_number_at_the_stated_cost() {
        for l in [1, 2, 13, 32, 64] {
            let ring = Ring::new(l);
            let x = elements(40, ring);
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&x, ring);
                lab.measure(async |s| bits(s, &x).await).await
            });
            assert_eq!(got, x);
            let (l, log) = (l as usize, log2_ceil(l as usize));
            assert_eq!(traffic.cost, bill(40, l as u32).cost());
            assert_eq!(traffic.cost.turns, 2 + 2 * log);
            assert_eq!(bill(40, l as u32).bits(), 40 * (6 * l * log as usize + 4 * l));
        }
    }
}
