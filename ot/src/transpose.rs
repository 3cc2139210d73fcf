//! Bit-matrix transposition: 128 rows of packed bits become one block per column.

use crate::block::{Block, LAMBDA};

/// 128 rows of 512 columns.
pub(crate) type Tile = [[u64; 8]; LAMBDA];

/// Columns of a tile.
pub(crate) const TILE: usize = 512;

/// Appends the first `n` columns of `tile`, bit `r` of a block from row `r`, and overwrites the tile.
pub(crate) fn columns(tile: &mut Tile, n: usize, out: &mut Vec<Block>) {
    for half in tile.as_chunks_mut::<64>().0 {
        transpose_64(half);
    }
    let column = |c: usize| {
        let (low, high) = (tile[c % 64][c / 64], tile[64 + c % 64][c / 64]);
        Block(u128::from(high) << 64 | u128::from(low))
    };
    out.extend((0..n).map(column));
}

/// Transposes the eight 64 x 64 matrices that lie beside each other.
fn transpose_64(rows: &mut [[u64; 8]; 64]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { transpose_64_avx2(rows) };
    }
    transpose_64_portable(rows);
}

/// The same code, compiled for wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn transpose_64_avx2(rows: &mut [[u64; 8]; 64]) {
    transpose_64_portable(rows);
}

/// Swaps off-diagonal squares of side 32, 16, .., 1.
#[inline(always)]
fn transpose_64_portable(rows: &mut [[u64; 8]; 64]) {
    let mut side = 32;
    let mut mask = u64::from(u32::MAX);
    while side > 0 {
        for i in (0..64).filter(|i| i & side == 0) {
            let (above, below) = rows.split_at_mut(i + side);
            for (a, b) in above[i].iter_mut().zip(&mut below[0]) {
                let swap = ((*a >> side) ^ *b) & mask;
                *a ^= swap << side;
                *b ^= swap;
            }
        }
        side /= 2;
        mask ^= mask << side;
    }
}

#[cfg(test)]
mod tests {
    use sotto_shares::{Ring, Rng};

    use super::*;

    fn random_tile() -> Tile {
        let mut rng = Rng::from_seed([3; 32]);
        std::array::from_fn(|_| rng.elements(8, Ring::new(64)).try_into().unwrap())
    }

    #[test]
    fn bit_r_of_column_c_is_bit_c_of_row_r() {
        let tile = random_tile();
        let mut out = Vec::new();
        columns(&mut tile.clone(), TILE, &mut out);
        for (c, column) in out.iter().enumerate() {
            for (r, row) in tile.iter().enumerate() {
                assert_eq!(column.bit(r), row[c / 64] >> (c % 64) & 1, "row {r}, column {c}");
            }
        }
    }

    #[test]
    fn the_dispatched_and_the_portable_kernel_agree() {
        let mut a = random_tile();
        let mut b = a;
        transpose_64(&mut a.as_chunks_mut::<64>().0[0]);
        transpose_64_portable(&mut b.as_chunks_mut::<64>().0[0]);
        assert_eq!(a, b);
    }
}
