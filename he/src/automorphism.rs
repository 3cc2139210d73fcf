//! X -> X^g: on coefficients a permutation with signs, in slots a permutation of whole lines.

/// Set in a source index when the value changes its sign.
const NEGATE: u32 = 1 << 31;

/// The tables of one automorphism.
pub(crate) struct Automorphism {
    /// Coefficient i of the image comes from `source[i]`.
    source: Vec<u32>,
    slots: SlotPermutation,
}

impl Automorphism {
    /// X -> X^g for odd g, in degree n.
    pub(crate) fn new(n: usize, g: usize) -> Self {
        let mut source = vec![0; n];
        for j in 0..n {
            let image = j * g % (2 * n);
            source[image % n] = j as u32 | if image >= n { NEGATE } else { 0 };
        }
        Self { source, slots: SlotPermutation::new(n, g) }
    }

    /// On integers, coefficient by coefficient.
    pub(crate) fn integers(&self, from: &[i64], to: &mut [i64]) {
        for (to, &source) in to.iter_mut().zip(&self.source) {
            let negate = -i64::from(source >> 31);
            *to = (from[(source & !NEGATE) as usize] ^ negate) - negate;
        }
    }

    /// On slots.
    pub(crate) fn slots(&self) -> &SlotPermutation {
        &self.slots
    }
}

/// Slots of a line.
const LINE: usize = 8;

/// X -> X^g in slots: lines go to lines, because the place of a slot within its line decides only
/// about the high bits of its root's exponent (see [`crate::ntt::NttBackend`]).
pub(crate) struct SlotPermutation {
    /// For each line, the line it comes from and which of `lanes` says how its slots are permuted.
    lines: Vec<(u32, u32)>,
    lanes: [[u8; LINE]; LINE],
}

impl SlotPermutation {
    /// For odd g, in degree n, at least 8.
    pub(crate) fn new(n: usize, g: usize) -> Self {
        let reversed = |x: usize, count: usize| x.reverse_bits() >> (usize::BITS - count.ilog2());
        // Slot j has the root of exponent 2 r + 1; its image comes from the one of (2 r + 1) g.
        let line = |line: usize| {
            let first = reversed(LINE * line, n);
            let source = reversed((first * g + g / 2) % n, n);
            ((source / LINE) as u32, reversed(source % LINE, LINE) as u32)
        };
        // Within a line r has a step of n / 8.
        let lane =
            |shift: usize, lane: usize| reversed((reversed(lane, LINE) * g + shift) % LINE, LINE) as u8;
        Self {
            lines: (0..n / LINE).map(line).collect(),
            lanes: std::array::from_fn(|shift| std::array::from_fn(|l| lane(shift, l))),
        }
    }

    /// Slots of x to those of x(X^g).
    pub(crate) fn apply(&self, from: &[u64], to: &mut [u64]) {
        self.apply_part(from, 0, to);
    }

    /// Slots of x to some of those of x(X^g), from `first` on, a multiple of a line.
    pub(crate) fn apply_part(&self, from: &[u64], first: usize, to: &mut [u64]) {
        let (from, _) = from.as_chunks::<LINE>();
        let (to, _) = to.as_chunks_mut::<LINE>();
        for (to, &(source, pattern)) in to.iter_mut().zip(&self.lines[first / LINE..]) {
            let (from, lanes) = (&from[source as usize], &self.lanes[pattern as usize % LINE]);
            for (to, &lane) in to.iter_mut().zip(lanes) {
                *to = from[lane as usize % LINE];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    #[test]
    fn gap_elements_fix_and_negate_monomials() {
        let n = 32;
        for h in [1, 2, 4, 8, 16] {
            let sigma = Automorphism::new(n, 1 + n / h);
            let (mut from, mut to) = (vec![0; n], vec![0; n]);
            from[h] = 5;
            from[0] = 3;
            if 2 * h < n {
                from[2 * h] = 7;
            }
            sigma.integers(&from, &mut to);
            assert_eq!((to[0], to[h]), (3, -5));
            assert!(2 * h >= n || to[2 * h] == 7);
        }
    }

    #[test]
    fn slots_follow_coefficients() {
        for n in [64, 8192] {
            let context = Context::insecure(n);
            let prime = &context.primes()[0];
            for g in [1, 3, 5, 1 + n / 4, 1 + n, 2 * n - 1] {
                let sigma = Automorphism::new(n, g);
                let small: Vec<i64> = (0..n as i64).map(|i| i * i - 30).collect();
                let mut image = vec![0; n];
                sigma.integers(&small, &mut image);
                let slots = |x: &[i64]| {
                    let mut slots: Vec<u64> = x.iter().map(|&x| prime.modulus.embed(x)).collect();
                    prime.forward(&mut slots);
                    slots
                };
                let mut permuted = vec![0; n];
                sigma.slots().apply(&slots(&small), &mut permuted);
                assert_eq!(permuted, slots(&image));
            }
        }
    }
}
