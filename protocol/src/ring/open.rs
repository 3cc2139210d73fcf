//! `x - r <- [x]`, `[r]`: a masked opening. The only act that makes a shared value public to both.
//!
//! | client: `x0 - r0` |                | server: `x1 - r1` |
//! |-------------------|----------------|-------------------|
//! |                   | `<- */open ->` |                   |
//! | returns the sum   |                | returns the sum   |
//!
//! The same with XOR for plus and minus: [`send_bits`], [`receive_bits`]. One turn, `2 l` bits an
//! element. What is opened must carry a mask that is uniform in the whole ring and used for this
//! opening only; every caller takes that mask from stock by value.

use sotto_shares::{BitReader, BitWriter, Ring, Share, XorShare, pack, packed_len};

use crate::{Error, Session};

/// Opens masked values; several tensors share the message.
pub(crate) async fn open<const K: usize>(
    s: &mut Session,
    tag: &'static str,
    masked: [&Share; K],
) -> Result<[Vec<u64>; K], Error> {
    send(s, tag, masked)?;
    receive(s, tag, masked).await
}

/// This party's half of [`open`]: other messages may follow before the peer's is received.
pub(crate) fn send<const K: usize>(
    s: &mut Session,
    tag: &'static str,
    masked: [&Share; K],
) -> Result<(), Error> {
    let mut mine = vec![0; bytes(masked)];
    let mut writer = BitWriter::new(&mut mine);
    for x in masked {
        x.data().iter().for_each(|&v| writer.push(v, x.ring().bits()));
    }
    writer.finish();
    Ok(s.ch.send(tag, mine)?)
}

/// The other half: of the same numbers that were sent.
pub(crate) async fn receive<const K: usize>(
    s: &mut Session,
    tag: &'static str,
    masked: [&Share; K],
) -> Result<[Vec<u64>; K], Error> {
    let theirs = s.ch.recv(tag, bytes(masked)).await?;
    let mut reader = BitReader::new(&theirs);
    Ok(masked.map(|x| add(x, &mut reader, x.ring())))
}

/// This party's half of opening words masked by XOR.
pub(crate) fn send_bits(s: &mut Session, tag: &'static str, masked: &XorShare) -> Result<(), Error> {
    Ok(s.ch.send(tag, pack(masked.words(), masked.width()))?)
}

/// The other half.
pub(crate) async fn receive_bits(
    s: &mut Session,
    tag: &'static str,
    masked: &XorShare,
) -> Result<Vec<u64>, Error> {
    let theirs = s.ch.recv(tag, packed_len(masked.len(), masked.width())).await?;
    let mut reader = BitReader::new(&theirs);
    Ok(masked.words().iter().map(|w| w ^ reader.pull(masked.width())).collect())
}

fn bytes<const K: usize>(masked: [&Share; K]) -> usize {
    masked.iter().map(|x| x.len() * x.ring().bits() as usize).sum::<usize>().div_ceil(8)
}

fn add(mine: &Share, theirs: &mut BitReader<'_>, ring: Ring) -> Vec<u64> {
    mine.data().iter().map(|&v| ring.reduce(v.wrapping_add(theirs.pull(ring.bits())))).collect()
}
