//! What a session holds, from public values: for who decides how long prompts may be.

use sotto_protocol::{Precision, linear::Matrix};

use super::{Error, step::plan};
use crate::{
    Model, Task,
    evaluator::{Plan, Scales, Tokens, immediate},
    network::{Network, Outputs},
};

/// Rows of a part of a prompt at most.
const PARTS: [usize; 5] = [16, 32, 64, 128, 256];
/// Arguments of activation functions, and half the scores, of all layers of a part, where it has
/// more than the fewest rows.
const PART: usize = 5 << 20;

/// Bytes for each of them, at most: what is made ahead for the functions of a part, as measured.
const OF_NUMBER: usize = 340;
/// Bytes of a position and column of keys and values: two openings, two masks, and at the server
/// the uploads of the masks, padded.
const OF_KEYS: usize = 64;
/// Bytes that a session holds whatever its text: keys, buffers of transfers.
const OF_SESSION: usize = 320 << 20;
/// Bytes at the server of a row and token of the vocabulary, while the row is embedded: images of
/// ciphertexts, which have a bound of their own.
const OF_IMAGES: usize = 256;
const IMAGES: usize = 1 << 30;

/// What decides how much a step holds.
#[derive(Clone, Copy)]
pub(super) struct Size {
    layers: usize,
    /// Of a layer: numbers that go into activation functions.
    neurons: usize,
    /// Of queries.
    heads: usize,
    /// Columns of the keys of all layers.
    keys: usize,
    /// Tokens that the embedding knows.
    vocabulary: usize,
}

/// Bytes that a session holds at most, about: one to two and a half times of what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of the client.
    pub client: usize,
    /// Of the server, besides the model.
    pub server: usize,
}

impl Size {
    pub(super) fn of<W, N>(network: &N, scales: &Scales) -> Result<Size, sotto_protocol::Error>
    where
        W: Matrix + Clone,
        N: Network<Weight = W>,
    {
        let one = Tokens::Hidden(1);
        let plan: Plan<'_, W> =
            immediate(plan(network, scales, Precision::default(), 0, one, Outputs::Nothing))?;
        let all = plan.heads();
        Ok(Size {
            layers: plan.layers(),
            neurons: plan.neurons(),
            heads: all.first().map_or(0, |heads| heads.key_value * heads.group),
            vocabulary: plan.parts[0].matrices.first().map_or(0, |(table, _)| table.shape().inner),
            keys: all.iter().map(|heads| heads.key_value * heads.width).sum(),
        })
    }

    /// Numbers of a step of `rows` rows after `past` positions. An offer may be of any size.
    fn numbers(&self, past: usize, rows: usize) -> usize {
        let of_row = self.neurons.saturating_add(self.heads.saturating_mul(past + rows) / 2);
        rows.saturating_mul(self.layers).saturating_mul(of_row)
    }

    /// Rows of a part after `past` positions at most.
    pub(super) fn rows(&self, past: usize) -> usize {
        let fits = |rows: &usize| self.numbers(past, *rows) <= PART;
        PARTS.into_iter().rev().find(fits).unwrap_or(PARTS[0])
    }

    /// When a text of `read` positions, or a shorter one, is read, in parts or at once, and others
    /// follow one at a time, up to `positions` in all.
    fn memory(&self, read: usize, positions: usize, parts: bool) -> Memory {
        // A part may begin anywhere.
        let of_part = |past: usize| self.numbers(past, self.rows(past).min(read - past));
        let numbers = match parts {
            true => (0..read).map(of_part).max().unwrap_or(0),
            false => self.numbers(0, read),
        };
        let keys = OF_KEYS.saturating_mul(self.keys).saturating_mul(positions);
        let (fixed, numbers) = (OF_SESSION.saturating_add(keys), OF_NUMBER.saturating_mul(numbers));
        let rows = if parts { read.min(self.rows(0)) } else { read };
        // A part is embedded before anything is made for its functions.
        let images = IMAGES.min(OF_IMAGES.saturating_mul(rows).saturating_mul(self.vocabulary));
        Memory { client: fixed.saturating_add(numbers), server: fixed.saturating_add(numbers.max(images)) }
    }
}

impl Memory {
    /// Of a session of a network that reads `read` positions, and then one at a time up to
    /// `positions`.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn of<W, N>(
        network: &N,
        scales: &Scales,
        task: Task,
        [read, positions]: [usize; 2],
    ) -> Result<Memory, Error>
    where
        W: Matrix + Clone,
        N: Network<Weight = W>,
    {
        Ok(Size::of(network, scales)?.memory(read, positions, task == Task::Generate))
    }
}

impl Model {
    /// What a session holds that reads texts of up to `positions`.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn memory(&self, positions: usize) -> Result<Memory, Error> {
        Memory::of(self.network(), self.scales(), self.config().task(), [positions; 2])
    }

    /// Positions of the longest text of which a session keeps within `bytes` at the server; 0 if
    /// not even one does.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn longest(&self, bytes: usize) -> Result<usize, Error> {
        let size = Size::of(self.network(), self.scales())?;
        let parts = self.config().task() == Task::Generate;
        // Memory grows with the length.
        let (mut fits, mut exceeds) = (0, self.positions() + 1);
        while fits + 1 < exceeds {
            let middle = fits.midpoint(exceeds);
            match size.memory(middle, middle, parts).server <= bytes {
                true => fits = middle,
                false => exceeds = middle,
            }
        }
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOLLM2: Size = Size { layers: 30, neurons: 1536, heads: 9, keys: 30 * 192, vocabulary: 49_152 };

    #[test]
    fn memory_grows_with_the_length_by_steps_and_then_slowly() {
        let of = |positions| SMOLLM2.memory(positions, positions, true);
        let all: Vec<usize> = (1..8192).map(|positions| of(positions).server).collect();
        assert!(all.is_sorted());
        // As measured: the client's with its program, the server's without what it holds of the
        // model.
        let clients = [(37, 661), (128, 1536), (256, 1488)].map(|(n, seen)| (of(n).client, seen));
        let servers = [(37, 937), (128, 907)].map(|(n, seen)| (of(n).server, seen));
        for (bound, seen) in clients.into_iter().chain(servers) {
            assert!((seen..2 * seen).contains(&(bound / 1_000_000)), "{bound} bytes, measured {seen} MB");
        }
        assert!(of(2048).server < 2 * of(256).server, "{:?} {:?}", of(2048), of(256));
        // Only what is read is read in parts.
        assert!(SMOLLM2.memory(37, 925, true).client < of(128).client);
    }

    #[test]
    fn an_offer_of_any_size_has_a_bound() {
        let most = usize::MAX;
        let huge = Size { layers: most, neurons: most, heads: most, keys: most, vocabulary: most };
        assert_eq!((huge.memory(100, 100, true).client, huge.memory(100, 100, false).server), (most, most));
    }

    #[test]
    fn encoders_read_all_at_once() {
        let of = |positions| SMOLLM2.memory(positions, positions, false).client;
        assert!(of(4096) - of(2048) > 3 * (of(2048) - of(1024)));
    }

    #[test]
    fn parts_have_as_many_rows_as_keep_within_bounds() {
        assert_eq!([0, 64, 925, 8000].map(|past| SMOLLM2.rows(past)), [64, 64, 16, 16]);
        let small = Size { layers: 5, neurons: 384, heads: 2, keys: 5 * 128, vocabulary: 1024 };
        assert_eq!([0, 256, 2000].map(|past| small.rows(past)), [256, 256, 256]);
    }
}
