//! Base OTs from COTs: a second direction, or another extension, starts without elliptic curves.
//!
//! | sender: `q_j`, `Delta`, `j < 128` |                     | receiver: `b_j`, `t_j`             |
//! |-----------------------------------|---------------------|------------------------------------|
//! |                                   | `<- session/odd --` | `b_0`                              |
//! | exchanges the two keys of `j = 0` if `b_0 = 1` |        |                                    |
//! | returns `H'(q_j)`, `H'(q_j ^ Delta)` |  | returns `b_j`, with `b_0` set to 0, and `H'(t_j)` |
//!
//! One turn, one bit. `H'` is BLAKE3 in the domain of the base OTs. The receiver of these base OTs
//! uses the complement of its choices as its `Delta` as a COT sender. That must be odd, so choice 0
//! must be 0: the receiver sends its random choice 0, and both parties exchange the keys if it is
//! 1. The sender learns choice 0; the other 127 are random and unknown to it.
//!
//! The COTs come from SoftSpoken OT and are used for nothing else. With outputs of silent OT,
//! breaking its LPN instance would reveal `Delta`, not only choice bits.
//!
//! Source: Beaver, STOC 1996, with random choices.

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    base::{BaseRecv, BaseSend},
    block::Block,
    check::Security,
    directions::Pair,
    domain::Domain,
    error::Error,
    softspoken::{GGM, SoftSpokenReceiver, SoftSpokenSender, ggm_len},
};

/// The tag of the receiver's choice 0.
pub(crate) const ODD: &str = "ot/session/odd";

/// 128 COTs in each direction from which later extensions start. Kept for the session, never handed
/// out.
pub(crate) struct Spare {
    /// This party's half as the sender.
    pub(crate) q: Zeroizing<Vec<Block>>,
    /// The difference in the direction in which this party is the sender.
    pub(crate) delta: Zeroizing<Block>,
    /// This party's half as the receiver.
    pub(crate) t: Zeroizing<Vec<Block>>,
}

impl Spare {
    /// SoftSpoken OT in both directions, in domains that no other extension uses: that of the
    /// direction in which this party is the sender, and that of the other one. Two turns.
    pub(crate) async fn softspoken<const K: usize, S: Security>(
        &self,
        ch: &mut Channel,
        [out, back]: [Domain; 2],
        rng: &mut Rng,
    ) -> Result<Pair<SoftSpokenSender<K, S>, SoftSpokenReceiver<K, S>>, Error> {
        let (mine, odd) = base_recv(&out, &self.t);
        let odd = ch.exchange(ODD, vec![odd]).await?[0];
        let theirs = base_send(&back, &self.q, *self.delta, odd);
        let (receiver, message) = compute(|| SoftSpokenReceiver::new(&back, theirs, rng));
        assert_eq!(message.len(), ggm_len::<K, S>(), "both messages have the same length");
        let message = ch.exchange(GGM, message).await?;
        let sender = compute(|| SoftSpokenSender::new(&out, mine, &message))?;
        Ok(Pair { sender, receiver })
    }
}

/// The sender's keys of base OTs for `domain`, from its half of 128 COTs; `odd` is the receiver's
/// message, of which the lowest bit counts.
pub(crate) fn base_send(domain: &Domain, q: &[Block], delta: Block, odd: u8) -> BaseSend {
    let keys = q.iter().enumerate().map(|(j, &q)| {
        let exchange = if j == 0 { u64::from(odd & 1) } else { 0 };
        let key0 = q ^ delta.times(exchange);
        [key0, key0 ^ delta].map(|key| base_key(domain, j, key))
    });
    BaseSend(Zeroizing::new(keys.collect()))
}

/// The receiver's keys of base OTs for `domain`, from its half of 128 COTs, and its message. The
/// choices are the random ones, with choice 0 set to 0.
pub(crate) fn base_recv(domain: &Domain, t: &[Block]) -> (BaseRecv, u8) {
    let choices = t.iter().enumerate().fold(0, |all, (j, t)| all | u128::from(t.bit(0)) << j);
    let keys = t.iter().enumerate().map(|(j, &t)| base_key(domain, j, t));
    let base = BaseRecv { choices: Block(choices).without_low_bit(), keys: Zeroizing::new(keys.collect()) };
    (base, choices as u8 & 1)
}

/// `H'`.
fn base_key(domain: &Domain, j: usize, key: Block) -> Block {
    let key = Zeroizing::new(key.to_bytes());
    Block::from_bytes(domain.derive("sotto 2026 ot/session/base", &[&(j as u64).to_le_bytes(), &*key]))
}
