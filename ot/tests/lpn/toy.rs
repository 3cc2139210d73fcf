//! Instances small enough to attack, and linear algebra over the field of two elements.

/// The generator of Steele, Lea and Flood (OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }

    /// `count` different numbers below `bound`.
    pub fn subset(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        for i in 0..count {
            all.swap(i, i + self.below(bound - i));
        }
        all.truncate(count);
        all
    }
}

/// `y = A s + e` with `t` blocks of `block` samples, one of them noisy.
pub struct Instance {
    pub block: usize,
    pub rows: Vec<Vec<usize>>,
    pub noise: Vec<bool>,
    pub y: Vec<bool>,
}

impl Instance {
    pub fn new(t: usize, block: usize, k: usize, locality: usize, random: &mut Random) -> Self {
        let s: Vec<bool> = (0..k).map(|_| random.below(2) == 1).collect();
        let rows: Vec<_> = (0..t * block).map(|_| random.subset(locality, k)).collect();
        let mut noise = vec![false; t * block];
        (0..t).for_each(|i| noise[i * block + random.below(block)] = true);
        let y = rows.iter().zip(&noise).map(|(row, &e)| row.iter().fold(e, |sum, &x| sum ^ s[x])).collect();
        Self { block, rows, noise, y }
    }
}

/// A row of bits.
#[derive(Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    pub fn new(len: usize, ones: impl IntoIterator<Item = usize>) -> Self {
        let mut words = vec![0; len.div_ceil(64)];
        ones.into_iter().for_each(|i| words[i / 64] ^= 1 << (i % 64));
        Self(words)
    }

    pub fn get(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    fn first_one(&self) -> Option<usize> {
        self.0.iter().position(|&word| word != 0).map(|i| 64 * i + self.0[i].trailing_zeros() as usize)
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a ^= b);
    }
}

/// A basis in echelon form of rows whose first `pivots` bits count.
pub struct Echelon {
    rows: Vec<Option<Bits>>,
    pub rank: usize,
}

impl Echelon {
    pub fn new(pivots: usize) -> Self {
        Self { rows: vec![None; pivots], rank: 0 }
    }

    /// Adds a row to the basis, or returns what is left of it beyond the pivots.
    pub fn insert(&mut self, mut row: Bits) -> Option<Bits> {
        while let Some(i) = row.first_one().filter(|&i| i < self.rows.len()) {
            match &self.rows[i] {
                Some(other) => row.add(other),
                None => {
                    self.rows[i] = Some(row);
                    self.rank += 1;
                    return None;
                }
            }
        }
        Some(row)
    }

    /// A solution `x` of `row x = bit` for every row, where the bit follows the pivots; what is
    /// open is 0.
    pub fn solution(&self) -> Vec<bool> {
        let mut x = vec![false; self.rows.len()];
        for (i, row) in self.rows.iter().enumerate().rev() {
            if let Some(row) = row {
                x[i] = (i + 1..x.len()).fold(row.get(x.len()), |sum, j| sum ^ (row.get(j) && x[j]));
            }
        }
        x
    }
}
