//! `x - r <- [x]`, `[r]`: a masked opening. The only act that makes a shared value public to both.
//!
//! | client: `x0 - r0` |                | server: `x1 - r1` |
//! |-------------------|----------------|-------------------|
//! |                   | `<- */open ->` |                   |
//! | returns the sum   |                | returns the sum   |
//!
//! The same with XOR for plus and minus: [`open_bits`]. One turn, `2 l` bits an element. What is opened must carry a mask that is uniform in the whole ring and
//! used for this opening only; every caller takes that mask from the pool by value.

use sotto_shares::{BitReader, BitWriter, Ring, Share, XorShare};

use crate::{Error, Session};

/// Opens masked values; several tensors share the message.
pub(crate) async fn open<const K: usize>(
    s: &mut Session,
    tag: &'static str,
    masked: [&Share; K],
) -> Result<[Vec<u64>; K], Error> {
    let bits: usize = masked.iter().map(|x| x.len() * x.ring.bits() as usize).sum();
    let mut mine = vec![0; bits.div_ceil(8)];
    let mut writer = BitWriter::new(&mut mine);
    for x in masked {
        x.data.iter().for_each(|&v| writer.push(v, x.ring.bits()));
    }
    writer.finish();
    let theirs = s.ch.exchange(tag, mine).await?;
    let mut reader = BitReader::new(&theirs);
    Ok(masked.map(|x| add(x, &mut reader, x.ring)))
}

/// Opens words masked by XOR.
pub(crate) async fn open_bits(
    s: &mut Session,
    tag: &'static str,
    masked: &XorShare,
) -> Result<Vec<u64>, Error> {
    let theirs = s.ch.exchange(tag, sotto_shares::pack(&masked.words, masked.width)).await?;
    let mut reader = BitReader::new(&theirs);
    Ok(masked.words.iter().map(|w| w ^ reader.pull(masked.width)).collect())
}

fn add(mine: &Share, theirs: &mut BitReader<'_>, ring: Ring) -> Vec<u64> {
    mine.data.iter().map(|&v| ring.reduce(v.wrapping_add(theirs.pull(ring.bits())))).collect()
}
