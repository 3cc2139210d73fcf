//! The consistency check of a message of SoftSpoken OT.
//!
//! Each chunk of rows is evaluated at a point that hashes the chunk's part of the message; the
//! chunks' values are the coefficients of a polynomial, evaluated at a point that hashes the whole
//! message.

use zeroize::Zeroizing;

use super::{
    rows::Workspace,
    sizes::{CHUNK, Position},
};
use crate::{
    block::{Block, LAMBDA},
    check::{Security, point},
    domain::Domain,
    kernel::Place,
};

/// The values of a chunk's choices and of its 128 rows; none unless the session is checked.
pub(super) fn values<S: Security>(
    domain: &Domain,
    work: &Workspace,
    at: Position,
    chunk: usize,
    message: &[u8],
) -> Zeroizing<Vec<Block>> {
    if !S::CHECKED {
        return Zeroizing::default();
    }
    let point = point(domain, "sotto 2026 ot/softspoken/chunk", at.index, chunk as u64, message);
    work.values(&Place::new(point, CHUNK / LAMBDA))
}

/// The values of the whole message: of the choices, then of the 128 rows.
pub(super) fn total(
    domain: &Domain,
    at: Position,
    values: &[Zeroizing<Vec<Block>>],
    message: &[u8],
) -> Zeroizing<Vec<Block>> {
    let point = point(domain, "sotto 2026 ot/softspoken/message", at.index, 0, message);
    let place = Place::new(point, values.len());
    let column = |j: usize| Zeroizing::new(values.iter().map(|values| values[j]).collect::<Vec<_>>());
    Zeroizing::new((0..=LAMBDA).map(|j| place.value(&column(j))).collect())
}

/// What is compared of the values.
pub(super) fn digest(values: impl Iterator<Item = Block>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        hasher.update(&value.to_bytes());
    }
    *hasher.finalize().as_bytes()
}
