//! Bit-matrix transposition: 128 rows of packed bits become one block per column.

use crate::{
    block::{Block, LAMBDA},
    kernel,
};

/// 128 rows of 512 columns.
pub(crate) type Tile = [[u64; 8]; LAMBDA];

/// Columns of a tile.
pub(crate) const TILE: usize = 512;

/// Writes as many columns of `tile` as `out` has blocks, bit `r` of a block from row `r`.
/// Overwrites the tile.
///
/// # Panics
/// If the tile has fewer columns.
pub(crate) fn columns(tile: &mut Tile, out: &mut [Block]) {
    assert!(out.len() <= TILE, "{} columns of a tile", out.len());
    for half in tile.as_chunks_mut::<64>().0 {
        kernel::transpose(half);
    }
    let (low, high) = tile.split_at(64);
    for (w, out) in out.chunks_mut(64).enumerate() {
        for ((low, high), out) in low.iter().zip(high).zip(out) {
            *out = Block(u128::from(high[w]) << 64 | u128::from(low[w]));
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_shares::{Ring, Rng};

    use super::*;

    #[test]
    fn bit_r_of_column_c_is_bit_c_of_row_r() {
        let mut rng = Rng::from_seed([3; 32]);
        let tile: Tile = std::array::from_fn(|_| rng.elements(8, Ring::new(64)).try_into().unwrap());
        let mut out = [Block::ZERO; TILE];
        columns(&mut tile.clone(), &mut out);
        for (c, column) in out.iter().enumerate() {
            for (r, row) in tile.iter().enumerate() {
                assert_eq!(column.bit(r), row[c / 64] >> (c % 64) & 1, "row {r}, column {c}");
            }
        }
    }
}
