//! One party's half of a batch of COTs: a right to blocks that are computed when they are used.
//!
//! A batch holds no blocks. It holds [`Stretch`]es of a [`Source`], which computes the blocks of a
//! stretch on demand, a unit at a time, in a buffer that fits the second-level cache. Units are
//! independent and are computed in parallel.
//!
//! Single use of pads:
//!
//! 1. A batch is moved or split, never copied; what uses it takes it by value.
//! 2. [`Batch::pads`] needs the right to the purpose, of which a batch has a set. It starts with
//!    all. The parts of a split batch inherit its set.
//! 3. [`Batch::split_by_purpose`] makes two batches of the same COTs, with one purpose each.
//! 4. [`Batch::into_blocks`], which gives the blocks themselves, needs all purposes.
//!
//! These rules are checked in every build, once a batch.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::{
    block::Block,
    hash::{Hasher, KEY_SPAN, PadHash, Purpose, Purposes},
};

/// Computes blocks: always the same block at the same position. It wipes its secrets when the last
/// batch that needs it is dropped.
pub(crate) trait Source: Send + Sync {
    /// Writes the blocks from position `at` on. `scratch` is a buffer that the caller keeps and
    /// wipes.
    fn expand(&self, at: usize, out: &mut [Block], scratch: &mut Scratch);
}

/// A buffer for intermediate blocks.
pub(crate) type Scratch = Zeroizing<Vec<Block>>;

/// Blocks in memory.
pub(crate) struct Stored(pub(crate) Zeroizing<Vec<Block>>);

impl Source for Stored {
    fn expand(&self, at: usize, out: &mut [Block], _: &mut Scratch) {
        out.copy_from_slice(&self.0[at..at + out.len()]);
    }
}

/// COTs expanded at a time by default. Two buffers of this many blocks fit a second-level cache.
pub(crate) const UNIT: usize = 4096;

/// COTs hashed at a time by default.
pub(crate) const CHUNK: usize = 256;

/// The blocks of one party's half of a batch, in ascending order of their indices.
pub(crate) struct Batch {
    hash: Arc<PadHash>,
    stretches: VecDeque<Stretch>,
    len: usize,
    /// What the COTs may still be used for.
    purposes: Purposes,
}

/// Consecutive blocks of one source, with consecutive indices.
#[derive(Clone)]
struct Stretch {
    source: Arc<dyn Source>,
    /// Position of the first block in the source.
    at: usize,
    /// Index of the first COT in its direction of the session.
    index: u64,
    len: usize,
}

impl Batch {
    /// No COTs, of the direction with this hash.
    pub(crate) fn empty(hash: Arc<PadHash>) -> Batch {
        Batch { hash, stretches: VecDeque::new(), len: 0, purposes: Purposes::ALL }
    }

    /// `len` new COTs: the blocks of `source` from position `at` on, with indices from `index` on.
    ///
    /// # Panics
    /// If such an index was handed out before.
    pub(crate) fn new(
        hash: Arc<PadHash>,
        source: Arc<dyn Source>,
        at: usize,
        index: u64,
        len: usize,
    ) -> Batch {
        hash.hand_out(index..index + len as u64);
        let stretches = (len > 0).then_some(Stretch { source, at, index, len }).into_iter().collect();
        Batch { hash, stretches, len, purposes: Purposes::ALL }
    }

    /// Number of COTs.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds COTs that were made later. The result may be used for what both may be used for.
    ///
    /// # Panics
    /// If `later` is of another direction or session, or was made earlier.
    pub(crate) fn append(&mut self, later: Batch) {
        assert!(Arc::ptr_eq(&self.hash, &later.hash), "batches of one session and direction");
        let end = |s: &Stretch| s.index + s.len as u64;
        let (last, next) = (self.stretches.back().map(end), later.stretches.front().map(|s| s.index));
        let ordered = last.zip(next).is_none_or(|(last, next)| last <= next);
        assert!(ordered, "batches are appended in the order in which they are made");
        self.len += later.len;
        self.stretches.extend(later.stretches);
        self.purposes = self.purposes.intersection(later.purposes);
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn take(&mut self, n: usize) -> Batch {
        assert!(n <= self.len, "a batch of {} is asked for {n}", self.len);
        let mut taken = VecDeque::new();
        let mut missing = n;
        while missing > 0 {
            let Some(front) = self.stretches.front_mut() else { break };
            let len = front.len.min(missing);
            taken.push_back(Stretch { len, ..front.clone() });
            (front.at, front.index, front.len) = (front.at + len, front.index + len as u64, front.len - len);
            if front.len == 0 {
                self.stretches.pop_front();
            }
            missing -= len;
        }
        self.len -= n;
        Batch { hash: self.hash.clone(), stretches: taken, len: n, purposes: self.purposes }
    }

    /// The pads for one purpose, `segments` blocks of pad a COT.
    ///
    /// # Panics
    /// If these COTs may not, or no longer, be used for the purpose, or `segments > 2^32`.
    pub(crate) fn pads(self, purpose: Purpose, segments: usize) -> Pads {
        assert!(self.purposes.contains(purpose), "{purpose:?} pads of these COTs belong to another batch");
        assert!(segments as u64 <= 1 << 32, "a purpose has 2^32 segments");
        Pads { batch: self, purpose }
    }

    /// The same COTs twice: a batch for each of two purposes, and for nothing else.
    ///
    /// # Panics
    /// If the purposes are equal, or these COTs may not, or no longer, be used for both.
    pub(crate) fn split_by_purpose(self, purposes: [Purpose; 2]) -> [Batch; 2] {
        assert!(purposes[0] != purposes[1], "two different purposes");
        let both = purposes.iter().all(|&purpose| self.purposes.contains(purpose));
        assert!(both, "pads of these COTs belong to another batch");
        purposes.map(|purpose| Batch {
            hash: self.hash.clone(),
            stretches: self.stretches.clone(),
            len: self.len,
            purposes: Purposes::only(purpose),
        })
    }

    /// All blocks themselves. They must not be hashed as pads, too.
    ///
    /// # Panics
    /// If these COTs may not be used for all purposes.
    pub(crate) fn into_blocks(self) -> Zeroizing<Vec<Block>> {
        assert!(self.purposes == Purposes::ALL, "pads of these COTs belong to another batch");
        self.all_blocks()
    }

    /// Computes all blocks and drops them.
    pub(crate) fn expand_all(self) {
        let units = self.len.div_ceil(UNIT);
        self.for_units(UNIT, (0..units).map(|_| ()), |_, blocks, ()| {
            std::hint::black_box(blocks);
        });
    }

    fn all_blocks(&self) -> Zeroizing<Vec<Block>> {
        let mut all = Zeroizing::new(vec![Block::ZERO; self.len]);
        self.for_units(UNIT, all.chunks_mut(UNIT), |_, blocks, out| out.copy_from_slice(blocks));
        all
    }

    /// The intersections of `range` with the stretches: the stretch, where the intersection begins
    /// in the stretch, and where it lies in the batch.
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
    fn expand(&self, range: Range<usize>, out: &mut [Block], scratch: &mut Scratch) {
        let start = range.start;
        for (stretch, skip, part) in self.parts(range) {
            let out = &mut out[part.start - start..part.end - start];
            stretch.source.expand(stretch.at + skip, out, scratch);
        }
    }

    /// Calls `work` for each unit of `unit` COTs, the last of which may be smaller, with the unit's
    /// range in the batch, its blocks, and the next of `parts`. In parallel if there are several
    /// units.
    fn for_units<P: Send>(
        &self,
        unit: usize,
        parts: impl IntoIterator<Item = P>,
        work: impl Fn(Range<usize>, &mut [Block], P) + Sync,
    ) {
        let parts: Vec<P> = parts.into_iter().collect();
        assert_eq!(parts.len(), self.len.div_ceil(unit), "one part a unit");
        let buffers = || (Scratch::default(), Scratch::default());
        let run = |(blocks, scratch): &mut (Scratch, Scratch), (i, part): (usize, P)| {
            let range = i * unit..self.len.min((i + 1) * unit);
            blocks.resize(range.len(), Block::ZERO);
            self.expand(range.clone(), blocks, scratch);
            work(range, blocks, part);
        };
        if parts.len() < 2 || rayon::current_num_threads() == 1 {
            let mut buffers = buffers();
            parts.into_iter().enumerate().for_each(|part| run(&mut buffers, part));
        } else {
            parts.into_par_iter().enumerate().for_each_init(buffers, run);
        }
    }
}

/// The pads of a batch for one purpose, to be computed once.
pub(crate) struct Pads {
    batch: Batch,
    purpose: Purpose,
}

impl Pads {
    /// Calls `work` for each unit of `unit` COTs, the last of which may be smaller, with the next
    /// of `parts`. In parallel if there are several units.
    ///
    /// # Panics
    /// Unless there is one part a unit.
    pub(crate) fn for_units<P: Send>(
        self,
        unit: usize,
        parts: impl IntoIterator<Item = P>,
        work: impl Fn(Unit<'_>, P) + Sync,
    ) {
        self.batch
            .for_units(unit, parts, |range, blocks, part| work(Unit { pads: &self, range, blocks }, part));
    }

    /// The hashing of the COTs of `range`, as [`Unit::chunks`] describes.
    fn chunks(&self, range: Range<usize>, stride: usize, most: usize) -> Vec<Chunk> {
        let start = range.start;
        let mut chunks = Vec::new();
        for (stretch, skip, part) in self.batch.parts(range) {
            let part = part.start - start..part.end - start;
            let items = part.start.div_ceil(stride)..part.end.div_ceil(stride);
            let index_of = |item: usize| stretch.index + (skip + item * stride - part.start) as u64;
            let mut item = items.start;
            while item < items.end {
                let index = index_of(item);
                let left_under_key = (KEY_SPAN - index % KEY_SPAN).div_ceil(stride as u64) as usize;
                let hasher = Arc::new(self.batch.hash.key(index));
                let end = items.end.min(item + left_under_key);
                while item < end {
                    let items = item..end.min(item + most);
                    let (index, hasher) = (index_of(item), hasher.clone());
                    item = items.end;
                    chunks.push(Chunk { items, index, stride, hasher, purpose: self.purpose });
                }
            }
        }
        chunks
    }
}

/// Some COTs of a batch, expanded.
pub(crate) struct Unit<'a> {
    pads: &'a Pads,
    /// Their range in the batch.
    pub(crate) range: Range<usize>,
    /// Their blocks, which may be overwritten.
    pub(crate) blocks: &'a mut [Block],
}

impl Unit<'_> {
    /// The unit's items of `stride` COTs each, in chunks of at most `most` items. The tweak of an
    /// item is the index of its first COT.
    pub(crate) fn chunks(&self, stride: usize, most: usize) -> Vec<Chunk> {
        self.pads.chunks(self.range.clone(), stride, most)
    }
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

impl Chunk {
    /// `out[i] = H(x[i], index of item i, segment)`.
    pub(crate) fn hash(&self, segment: u64, x: &[Block], out: &mut [Block]) {
        self.hasher.hash(self.purpose, segment, self.index, self.stride, x, out);
    }

    /// As [`Chunk::hash`], into one buffer for each segment from 0 on.
    pub(crate) fn hash_segments(&self, x: &[Block], out: &mut [Scratch]) {
        for (segment, out) in (0..).zip(out) {
            self.hash(segment, x, &mut out[..x.len()]);
        }
    }
}

/// A buffer for one block for each COT of a chunk.
pub(crate) fn chunk_buffer() -> Scratch {
    Zeroizing::new(vec![Block::ZERO; CHUNK])
}

#[cfg(test)]
mod tests;
