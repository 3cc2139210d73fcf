//! What a party hands to its parent: its shares of a test's output, to be opened there.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use sotto_shares::{Ring, Shape, Share, XorShare};

/// A party's share of an output.
pub enum Tensor {
    /// Shares that add up.
    Sum(Share),
    /// Shares of bits.
    Xor(XorShare),
}

/// How the words of a [`Tensor`] are to be read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    ring: Option<u32>,
    frac: u32,
    len: usize,
}

/// Writes the words of `tensors` to `file`, and returns how to read them.
///
/// # Errors
/// The file cannot be written.
pub fn write(file: &Path, tensors: &[Tensor]) -> Result<Vec<Header>> {
    let mut bytes = vec![];
    let headers = tensors.iter().map(|tensor| {
        let (ring, frac, words) = match tensor {
            Tensor::Sum(share) => (Some(share.ring().bits()), share.frac(), share.data()),
            Tensor::Xor(share) => (None, 0, share.words()),
        };
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        Header { ring, frac, len: words.len() }
    });
    let headers = headers.collect();
    fs::write(file, bytes)?;
    Ok(headers)
}

/// Opens what the two parties wrote.
///
/// # Errors
/// A file cannot be read, or the parties' outputs are of different kinds.
pub fn open(files: [&Path; 2], headers: [&[Header]; 2]) -> Result<Vec<Vec<f64>>> {
    ensure!(headers[0] == headers[1], "the parties' outputs differ in kind: {headers:?}");
    let words = files.map(|file| -> Result<Vec<u64>> {
        let bytes = fs::read(file)?;
        Ok(bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect())
    });
    let [first, second] = words;
    let (first, second) = (first?, second?);
    let mut at = 0;
    let opened = headers[0].iter().map(|&Header { ring, frac, len }| {
        let (a, b) = (&first[at..at + len], &second[at..at + len]);
        at += len;
        match ring {
            Some(bits) => {
                let share = |x: &[u64]| Share::new(Ring::new(bits), frac, Shape::new(1, len), x.to_vec());
                share(a).open_with(&share(b))
            }
            None => a.iter().zip(b).map(|(a, b)| (a ^ b) as f64).collect(),
        }
    });
    Ok(opened.collect())
}
