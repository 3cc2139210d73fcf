//! Batches of random-choice correlated OTs (COTs).
//!
//! A COT is `q` and the global, odd `Delta` at the sender, `t = q ^ b Delta` at the receiver, with `b` uniform and `q` even: the
//! receiver's choice bit `b` is the lowest bit of `t`. Both parties ask for the same numbers in the same order, so indices
//! and count of a batch agree by construction; a batch can be split, but not copied, and what consumes it takes it by value.
//!
//! A batch is a right, not a heap: it names blocks that its [`Source`] makes when they are used, a stretch at a time, in a
//! buffer that fits the cache. Stretches are independent, and are worked on in parallel.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    block::Block,
    hash::{Hasher, KEY_SPAN, PadHash, Purpose},
};

/// Makes blocks, always the same ones for the same place. Wipes what it holds when the last batch that needs it is gone.
pub(crate) trait Source: Send + Sync {
    /// Writes the blocks from place `at` on; `scratch` is for intermediate values, and stays with its owner.
    fn expand(&self, at: usize, out: &mut [Block], scratch: &mut Scratch);
}

/// A buffer for intermediate blocks.
pub(crate) type Scratch = Zeroizing<Vec<Block>>;

/// Blocks that lie ready.
pub(crate) struct Stored(pub(crate) Zeroizing<Vec<Block>>);

impl Source for Stored {
    fn expand(&self, at: usize, out: &mut [Block], _: &mut Scratch) {
        out.copy_from_slice(&self.0[at..at + out.len()]);
    }
}

/// COTs at a time, for what needs no other number: two such buffers fit a second-level cache with room to spare.
pub(crate) const UNIT: usize = 4096;

/// COTs whose pads are held at a time.
pub(crate) const CHUNK: usize = 256;

/// The blocks of one party's half of a batch, in the order of their indices.
pub(crate) struct Batch {
    stretches: VecDeque<Stretch>,
    len: usize,
}

/// Blocks of one source, with consecutive indices.
struct Stretch {
    source: Arc<dyn Source>,
    at: usize,
    index: u64,
    len: usize,
}

impl Batch {
    pub(crate) fn empty() -> Batch {
        Batch { stretches: VecDeque::new(), len: 0 }
    }

    /// `len` COTs of `source`, from its place `at` on, with indices from `index` on.
    pub(crate) fn new(source: Arc<dyn Source>, at: usize, index: u64, len: usize) -> Batch {
        let stretches = (len > 0).then_some(Stretch { source, at, index, len }).into_iter().collect();
        Batch { stretches, len }
    }

    pub(crate) fn append(&mut self, later: Batch) {
        let end = |s: &Stretch| s.index + s.len as u64;
        let (last, next) = (self.stretches.back().map(end), later.stretches.front().map(|s| s.index));
        let ordered = last.zip(next).is_none_or(|(last, next)| last <= next);
        assert!(ordered, "batches are appended in the order in which they are made");
        self.len += later.len;
        self.stretches.extend(later.stretches);
    }

    fn take(&mut self, n: usize) -> Batch {
        assert!(n <= self.len, "a batch of {} is asked for {n}", self.len);
        let mut taken = Batch::empty();
        while taken.len < n {
            let Some(front) = self.stretches.front_mut() else { break };
            let len = front.len.min(n - taken.len);
            let part = Batch::new(front.source.clone(), front.at, front.index, len);
            (front.at, front.index, front.len) = (front.at + len, front.index + len as u64, front.len - len);
            if front.len == 0 {
                self.stretches.pop_front();
            }
            taken.append(part);
        }
        self.len -= n;
        taken
    }

    /// The parts of `range` by stretch: the stretch, where the part begins in it, and where in the batch.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (&Stretch, usize, Range<usize>)> {
        let mut start = 0;
        self.stretches.iter().filter_map(move |stretch| {
            let from = range.start.max(start);
            let to = range.end.min(start + stretch.len);
            let part = (from < to).then(|| (stretch, from - start, from..to));
            start += stretch.len;
            part
        })
    }

    /// Writes the blocks of `range`.
    pub(crate) fn expand(&self, range: Range<usize>, out: &mut [Block], scratch: &mut Scratch) {
        let start = range.start;
        for (stretch, skip, part) in self.parts(range) {
            let out = &mut out[part.start - start..part.end - start];
            stretch.source.expand(stretch.at + skip, out, scratch);
        }
    }

    fn expand_all(&self) {
        let units = self.len.div_ceil(UNIT);
        self.for_units(UNIT, (0..units).map(|_| ()), |unit, ()| {
            std::hint::black_box(unit.blocks);
        });
    }

    /// All blocks, for what starts from them.
    fn blocks(&self) -> Zeroizing<Vec<Block>> {
        let mut all = Zeroizing::new(vec![Block::ZERO; self.len]);
        self.for_units(UNIT, all.chunks_mut(UNIT), |unit, out| out.copy_from_slice(unit.blocks));
        all
    }

    /// The runs of indices that the batch has.
    fn indices(&self) -> impl Iterator<Item = Range<u64>> {
        self.stretches.iter().map(|s| s.index..s.index + s.len as u64)
    }

    /// Calls `work` for `unit` COTs at a time, each time with the next of `parts`; in parallel where there are several. The
    /// last unit may be shorter.
    pub(crate) fn for_units<P: Send>(
        &self,
        unit: usize,
        parts: impl IntoIterator<Item = P>,
        work: impl Fn(Unit<'_>, P) + Sync,
    ) {
        let parts: Vec<P> = parts.into_iter().collect();
        assert_eq!(parts.len(), self.len.div_ceil(unit), "one part a unit");
        let buffers = || (Scratch::default(), Scratch::default());
        let run = |(blocks, scratch): &mut (Scratch, Scratch), (i, part): (usize, P)| {
            let range = i * unit..self.len.min((i + 1) * unit);
            blocks.resize(range.len(), Block::ZERO);
            self.expand(range.clone(), blocks, scratch);
            work(Unit { batch: self, range, blocks }, part);
        };
        if parts.len() < 2 || rayon::current_num_threads() == 1 {
            let mut buffers = buffers();
            parts.into_iter().enumerate().for_each(|part| run(&mut buffers, part));
        } else {
            parts.into_par_iter().enumerate().for_each_init(buffers, run);
        }
    }
}

/// Some COTs of a batch, expanded.
pub(crate) struct Unit<'a> {
    batch: &'a Batch,
    /// Which of the batch's.
    pub(crate) range: Range<usize>,
    /// Their blocks: to be overwritten at will.
    pub(crate) blocks: &'a mut [Block],
}

/// Items whose COTs have consecutive indices under one key of the hash.
pub(crate) struct Chunk {
    /// Which of the unit's items.
    pub(crate) items: Range<usize>,
    /// The index of the first item's first COT.
    index: u64,
    stride: usize,
    hasher: Arc<Hasher>,
    purpose: Purpose,
}

impl Unit<'_> {
    /// The unit's items of `stride` COTs each, in chunks of at most `most`; an item's tweak is the index of its first COT.
    pub(crate) fn chunks(&self, pads: &PadHash, purpose: Purpose, stride: usize, most: usize) -> Vec<Chunk> {
        let start = self.range.start;
        let mut chunks = Vec::new();
        for (stretch, skip, part) in self.batch.parts(self.range.clone()) {
            let part = part.start - start..part.end - start;
            let items = part.start.div_ceil(stride)..part.end.div_ceil(stride);
            let index_of = |item: usize| stretch.index + (skip + item * stride - part.start) as u64;
            let mut item = items.start;
            while item < items.end {
                let index = index_of(item);
                let left_under_key = (KEY_SPAN - index % KEY_SPAN).div_ceil(stride as u64) as usize;
                let hasher = Arc::new(pads.key(index));
                let end = items.end.min(item + left_under_key);
                while item < end {
                    let items = item..end.min(item + most);
                    let (index, hasher) = (index_of(item), hasher.clone());
                    item = items.end;
                    chunks.push(Chunk { items, index, stride, hasher, purpose });
                }
            }
        }
        chunks
    }
}

impl Chunk {
    /// `out[i] = H(x[i], index of item i, segment)`.
    pub(crate) fn hash(&self, segment: u64, x: &[Block], out: &mut [Block]) {
        self.hasher.hash(self.purpose, segment, self.index, self.stride, x, out);
    }

    /// As [`Chunk::hash`], for segments from 0 on.
    pub(crate) fn hash_segments(&self, x: &[Block], out: &mut [Scratch]) {
        for (segment, out) in (0..).zip(out) {
            self.hash(segment, x, &mut out[..x.len()]);
        }
    }
}

/// Blocks for the pads of a chunk.
pub(crate) fn chunk_buffer() -> Scratch {
    Zeroizing::new(vec![Block::ZERO; CHUNK])
}

/// A batch of COTs, the sender's half. Neither copied nor printed.
pub struct SendCots {
    hash: Arc<PadHash>,
    delta: Block,
    pub(crate) batch: Batch,
}

/// A batch of COTs, the receiver's half. Neither copied nor printed.
pub struct RecvCots {
    hash: Arc<PadHash>,
    pub(crate) batch: Batch,
}

impl SendCots {
    pub(crate) fn new(hash: Arc<PadHash>, delta: Block, batch: Batch) -> SendCots {
        SendCots { hash, delta, batch }
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.batch.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, mut later: SendCots) {
        assert!(Arc::ptr_eq(&self.hash, &later.hash), "batches of one session and direction");
        self.batch.append(std::mem::replace(&mut later.batch, Batch::empty()));
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> SendCots {
        SendCots { hash: self.hash.clone(), delta: self.delta, batch: self.batch.take(n) }
    }

    /// Makes all blocks and drops them: what COTs cost, without what is made of them.
    pub fn expand(self) {
        self.batch.expand_all();
    }

    pub(crate) fn delta(&self) -> Block {
        self.delta
    }

    /// All `q`, for what starts from them: they must not be hashed, too.
    pub(crate) fn blocks(&self) -> Zeroizing<Vec<Block>> {
        self.batch.blocks()
    }

    /// The hash for this batch's pads, of at most so many segments a COT: to be asked for once a purpose.
    pub(crate) fn claim(&self, purpose: Purpose, segments: usize) -> &PadHash {
        claim(&self.hash, &self.batch, purpose, segments)
    }
}

impl Drop for SendCots {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl RecvCots {
    pub(crate) fn new(hash: Arc<PadHash>, batch: Batch) -> RecvCots {
        RecvCots { hash, batch }
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.batch.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, later: RecvCots) {
        assert!(Arc::ptr_eq(&self.hash, &later.hash), "batches of one session and direction");
        self.batch.append(later.batch);
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> RecvCots {
        RecvCots { hash: self.hash.clone(), batch: self.batch.take(n) }
    }

    /// As [`SendCots::expand`].
    pub fn expand(self) {
        self.batch.expand_all();
    }

    /// All `t`, as [`SendCots::blocks`].
    pub(crate) fn blocks(&self) -> Zeroizing<Vec<Block>> {
        self.batch.blocks()
    }

    /// As [`SendCots::claim`].
    pub(crate) fn claim(&self, purpose: Purpose, segments: usize) -> &PadHash {
        claim(&self.hash, &self.batch, purpose, segments)
    }
}

fn claim<'a>(hash: &'a PadHash, batch: &Batch, purpose: Purpose, segments: usize) -> &'a PadHash {
    batch.indices().for_each(|indices| hash.claim(indices, purpose, segments as u64));
    hash
}

/// The bits that turn `n` random choices into chosen ones; what is in the last byte beyond them stays here.
///
/// # Panics
/// If there is not one choice bit per COT.
pub(crate) fn correction(random: &[u8], choices: &[u8], n: usize) -> Vec<u8> {
    assert_eq!(choices.len(), bits_len(n), "one choice bit per COT");
    let mut bits: Vec<u8> = random.iter().zip(choices).map(|(b, c)| b ^ c).collect();
    if let (Some(last), rest @ 1..) = (bits.last_mut(), n % 8) {
        *last &= (1 << rest) - 1;
    }
    bits
}

/// Bytes of one bit for each of `n` COTs.
pub fn bits_len(n: usize) -> usize {
    n.div_ceil(8)
}

#[cfg(test)]
pub(crate) mod tests;
