//! The bytes of a model's files: small ones read whole, large ones mapped into memory.
//!
//! The only file here with `unsafe`: a mapping, and letting go of parts of it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::error::Error;

/// The bytes of a checkpoint.
pub(crate) enum Content {
    /// A file, read page by page when first touched.
    Mapped(Mmap),
    /// Part of the program.
    Builtin(&'static [u8]),
}

impl Content {
    /// Maps a file. It must not be truncated while the model is in use: the system would end the
    /// program.
    pub(crate) fn map(file: &Path, cure: &'static str) -> Result<Content, Error> {
        let open = File::open(file).map_err(|cause| cannot_read(file, cause, cure))?;
        // SAFETY: the mapping is private and only ever read as bytes, all of whose values are
        // valid. Another program that writes to the file meanwhile can change what is read, which
        // the checks on every value allow for.
        let map = unsafe { Mmap::map(&open) }.map_err(|cause| cannot_read(file, cause, cure))?;
        Ok(Content::Mapped(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Content::Mapped(map) => map,
            Content::Builtin(bytes) => bytes,
        }
    }

    /// What `read` makes of a part. Its pages leave memory afterwards, until they are read again:
    /// weights and the file that they come from do not both stay.
    ///
    /// # Panics
    /// If the part is not within the file.
    pub(crate) fn read<T>(&self, part: Range<usize>, read: impl FnOnce(&[u8]) -> T) -> T {
        let value = read(&self.bytes()[part.clone()]);
        #[cfg(unix)]
        if let Content::Mapped(map) = self {
            // SAFETY: the mapping is of a file and is never written to, so that pages which are
            // read again, by whoever holds the bytes, come from the file again. What another
            // program writes to it meanwhile is as in `map`.
            let advice = UncheckedAdvice::DontNeed;
            // A system that does not take the advice keeps the pages.
            let _ = unsafe { map.unchecked_advise_range(advice, part.start, part.len()) };
        }
        value
    }

    /// All bytes in their order, part by part.
    pub(crate) fn read_all(&self, mut read: impl FnMut(&[u8])) {
        let len = self.bytes().len();
        for start in (0..len).step_by(PART) {
            self.read(start..len.min(start + PART), &mut read);
        }
    }
}

/// Bytes of a part.
const PART: usize = 64 << 20;

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_small(file: &Path, limit: u64, cure: &'static str) -> Result<Vec<u8>, Error> {
    let open = File::open(file).map_err(|cause| cannot_read(file, cause, cure))?;
    let mut bytes = Vec::new();
    open.take(limit + 1).read_to_end(&mut bytes).map_err(|cause| cannot_read(file, cause, cure))?;
    if bytes.len() as u64 <= limit {
        return Ok(bytes);
    }
    let bytes = fs::metadata(file).map_or(limit + 1, |m| m.len());
    Err(Error::TooLarge { file: file.into(), bytes, limit })
}

fn cannot_read(file: &Path, cause: std::io::Error, cure: &'static str) -> Error {
    match cause.kind() {
        ErrorKind::NotFound => Error::Missing { file: file.into(), cure },
        _ => Error::Read { file: file.into(), cause },
    }
}
