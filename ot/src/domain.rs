//! Derivation of every key of this crate: BLAKE3 in key-derivation mode, bound to the session.

/// The direction of COTs: which party is their sender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The party called `first` is the COT sender.
    Forward = 0,
    /// The party called `first` is the COT receiver.
    Reverse = 1,
}

impl Direction {
    /// The other direction.
    pub(crate) fn opposite(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// Session id, direction, and number of the extension in the session: part of the input of every
/// hash, so that no two extensions share a key.
#[derive(Clone, Copy)]
pub(crate) struct Domain {
    sid: [u8; 32],
    direction: Direction,
    generation: u32,
}

impl Domain {
    /// The domain of extension number `generation` of session `sid`, in one direction.
    pub(crate) fn new(sid: [u8; 32], direction: Direction, generation: u32) -> Domain {
        Domain { sid, direction, generation }
    }

    /// `N` bytes for `purpose`, a constant that names the protocol. Each of `parts` is hashed after
    /// its length, so that different lists of parts never collide.
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
    fn every_input_and_the_split_into_parts_change_the_key() {
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
