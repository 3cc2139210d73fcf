//! The set-up of a session's OTs: COTs in both directions from one run of base OTs.
//!
//! | first                             |                         | second                         |
//! |-----------------------------------|-------------------------|--------------------------------|
//! | `Delta` odd; base OTs with choices `!Delta` | `<- base/points,key ->` | base OTs, both keys  |
//! | a second layer for them           | `<- kem/keys,ciphertexts ->` | the same                  |
//! | forward COT sender                | `<- softspoken/ggm --`  | forward COT receiver           |
//! | `H'(q_j), H'(q_j ^ Delta)`, `j < 128` | `<- softspoken/u --` | `b_j, H'(t_j)`                |
//! | keys of [`crate::bootstrap`]      | `<- session/odd --`     | `b_0`; `Delta' = !b`, made odd |
//! | reverse COT receiver              | `-- softspoken/ggm ->`  | reverse COT sender             |
//! | COTs of both directions           | `<- softspoken/u ->`    | the same                       |
//!
//! Four turns. Elliptic curves and ML-KEM are used once: 128 COTs of the forward direction, hashed
//! in a domain of their own and never handed out, are the base OTs of the reverse direction.
//! `Delta` and `Delta'` are independent: the bits of `Delta'` are the second party's random
//! choices, which the first party does not know.
//!
//! SoftSpoken OT with trees of 256 leaves makes the COTs from which silent OT starts, and 128 in
//! each direction that are put aside for later extensions.

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    base,
    block::{Block, LAMBDA},
    bootstrap::{ODD, base_recv, base_send},
    check::Security,
    domain::Domain,
    error::Error,
    kem,
    roles::RandomCotSender,
    softspoken::{GGM, SoftSpokenReceiver, SoftSpokenSender, U, ggm_len},
};

/// A party's halves of the COTs in both directions.
pub(super) struct Blocks {
    /// The difference in the direction in which this party is the sender.
    pub(super) delta: Zeroizing<Block>,
    /// This party's half as the sender.
    pub(super) q: Zeroizing<Vec<Block>>,
    /// This party's half as the receiver.
    pub(super) t: Zeroizing<Vec<Block>>,
}

/// The first party; `n` COTs in each direction.
pub(super) async fn first<S: Security>(
    ch: &mut Channel,
    forward: &Domain,
    reverse: &Domain,
    n: usize,
    rng: &mut Rng,
) -> Result<Blocks, Error> {
    let delta = Zeroizing::new(Block::random(rng).with_low_bit());
    let base = base::recv(ch, forward, !*delta, rng).await?;
    let base = kem::recv(ch, forward, base, rng).await?;
    let message = ch.recv(GGM, ggm_len::<8, S>()).await?;
    let mut send = compute(|| SoftSpokenSender::<8, S>::new(forward, base, &message))?;
    let keys = send.blocks(ch, LAMBDA).await?;
    let odd = ch.recv(ODD, 1).await?[0];
    let base = base_send(reverse, &keys, *delta, odd);
    let (mut recv, message) = compute(|| SoftSpokenReceiver::<8, S>::new(reverse, base, rng));
    ch.send(GGM, message)?;
    let (t, message) = compute(|| recv.blocks(n));
    ch.send(U, message)?;
    Ok(Blocks { delta, q: send.blocks(ch, n).await?, t })
}

/// The second party; `n` COTs in each direction.
pub(super) async fn second<S: Security>(
    ch: &mut Channel,
    forward: &Domain,
    reverse: &Domain,
    n: usize,
    rng: &mut Rng,
) -> Result<Blocks, Error> {
    let base = base::send(ch, forward, rng).await?;
    let base = kem::send(ch, forward, base, rng).await?;
    let (mut recv, message) = compute(|| SoftSpokenReceiver::<8, S>::new(forward, base, rng));
    ch.send(GGM, message)?;
    let (keys, message) = compute(|| recv.blocks(LAMBDA));
    ch.send(U, message)?;
    let (base, odd) = base_recv(reverse, &keys);
    ch.send(ODD, vec![odd])?;
    let (t, message) = compute(|| recv.blocks(n));
    ch.send(U, message)?;
    let message = ch.recv(GGM, ggm_len::<8, S>()).await?;
    let mut send = compute(|| SoftSpokenSender::<8, S>::new(reverse, base, &message))?;
    Ok(Blocks { delta: Zeroizing::new(send.delta()), q: send.blocks(ch, n).await?, t })
}
