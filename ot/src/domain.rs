//! Where every key of this crate comes from: BLAKE3 in key-derivation mode, bound to the session.

/// In which direction COTs flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The party called `first` is the COT sender.
    Forward = 0,
    /// The party called `first` is the COT receiver.
    Reverse = 1,
}

/// A session and a direction in it; part of the input of every hash.
#[derive(Clone, Copy)]
pub(crate) struct Domain {
    sid: [u8; 32],
    direction: Direction,
}

impl Domain {
    pub(crate) fn new(sid: [u8; 32], direction: Direction) -> Domain {
        Domain { sid, direction }
    }

    /// `N` bytes for the `purpose`, which also names the protocol; `parts` enter with their lengths.
    pub(crate) fn derive<const N: usize>(&self, purpose: &str, parts: &[&[u8]]) -> [u8; N] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.sid).update(&[self.direction as u8]);
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
    fn session_direction_purpose_and_the_split_into_parts_all_matter() {
        let forward = Domain::new([1; 32], Direction::Forward);
        let keys: [[u8; 32]; 5] = [
            forward.derive("a", &[b"xy", b"z"]),
            forward.derive("a", &[b"x", b"yz"]),
            forward.derive("b", &[b"xy", b"z"]),
            Domain::new([1; 32], Direction::Reverse).derive("a", &[b"xy", b"z"]),
            Domain::new([2; 32], Direction::Forward).derive("a", &[b"xy", b"z"]),
        ];
        for i in 0..5 {
            assert!((0..i).all(|j| keys[i] != keys[j]));
        }
    }
}
