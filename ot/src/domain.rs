//! Where every key of this crate comes from: BLAKE3 in key-derivation mode, bound to the session.

/// In which direction COTs flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The party called `first` is the COT sender.
    Forward = 0,
    /// The party called `first` is the COT receiver.
    Reverse = 1,
}

impl Direction {
    pub(crate) fn opposite(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// A session, a direction in it, and how many extensions there were before; part of the input of every hash.
#[derive(Clone, Copy)]
pub(crate) struct Domain {
    sid: [u8; 32],
    direction: Direction,
    generation: u32,
}

impl Domain {
    pub(crate) fn new(sid: [u8; 32], direction: Direction, generation: u32) -> Domain {
        Domain { sid, direction, generation }
    }

    /// `N` bytes for the `purpose`, which also names the protocol; `parts` enter with their lengths.
    pub(crate) fn derive<const N: usize>(&self, purpose: &str, parts: &[&[u8]]) -> [u8; N] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.sid).update(&[self.direction as u8]).update(&self.generation.to_le_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let mut out = [0; N];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_matters_and_so_does_the_split_into_parts() {
        let forward = Domain::new([1; 32], Direction::Forward, 0);
        let keys: [[u8; 32]; 6] = [
            forward.derive("a", &[b"xy", b"z"]),
            forward.derive("a", &[b"x", b"yz"]),
            forward.derive("b", &[b"xy", b"z"]),
            Domain::new([1; 32], Direction::Reverse, 0).derive("a", &[b"xy", b"z"]),
            Domain::new([2; 32], Direction::Forward, 0).derive("a", &[b"xy", b"z"]),
            Domain::new([1; 32], Direction::Forward, 1).derive("a", &[b"xy", b"z"]),
        ];
        for i in 0..keys.len() {
            assert!((0..i).all(|j| keys[i] != keys[j]));
        }
    }
}
