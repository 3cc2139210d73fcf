//! Base OTs from COTs: how a second direction, or another extension, starts without elliptic curves.
//!
//! | sender: `q_j`, `Delta`                           |          | receiver: `b_j`, `t_j`, `j < 128`    |
//! |--------------------------------------------------|----------|--------------------------------------|
//! | exchanges the keys of `j = 0` if `b_0`           | `<- session/odd --` | `b_0`                     |
//! | returns `H'(q_j)`, `H'(q_j ^ Delta)`             |          | returns `b_j`, but `b_0 = 0`, and `H'(t_j)` |
//!
//! One bit. `H'` is BLAKE3, bound to what the base OTs are for. The receiver's choices become the complement of its `Delta` as a COT
//! sender, which must be odd: so the first choice is told, and choice and keys are exchanged so that it counts as 0. The
//! other 127 are random and unknown to the sender. The COTs come from SoftSpoken OT, and are not used for anything else:
//! were they outputs of silent OT, whoever breaks its LPN would have `Delta`, not only choice bits.
//! Source: Beaver, STOC 1996, with random choices.

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    Error, Security, SoftSpokenReceiver, SoftSpokenSender,
    base::{BaseRecv, BaseSend},
    block::Block,
    domain::Domain,
    softspoken::{GGM, ggm_len},
};

pub(crate) const ODD: &str = "ot/session/odd";

/// COTs in both directions that later extensions start from. Kept for the session, never handed out.
pub(crate) struct Spare {
    /// This party's half as the sender.
    pub(crate) q: Zeroizing<Vec<Block>>,
    pub(crate) delta: Zeroizing<Block>,
    /// This party's half as the receiver.
    pub(crate) t: Zeroizing<Vec<Block>>,
}

impl Spare {
    /// SoftSpoken OT in both directions, for domains in which nothing else was started. Two turns.
    pub(crate) async fn softspoken<const K: usize, S: Security>(
        &self,
        ch: &mut Channel,
        [out, back]: [Domain; 2],
        rng: &mut Rng,
    ) -> Result<(SoftSpokenSender<K, S>, SoftSpokenReceiver<K, S>), Error> {
        let (mine, odd) = base_recv(&out, &self.t);
        let odd = ch.exchange(ODD, vec![odd]).await?[0];
        let theirs = base_send(&back, &self.q, *self.delta, odd);
        let (receiver, message) = compute(|| SoftSpokenReceiver::new(&back, theirs, rng));
        debug_assert_eq!(message.len(), ggm_len::<K, S>());
        let message = ch.exchange(GGM, message).await?;
        Ok((compute(|| SoftSpokenSender::new(&out, mine, &message))?, receiver))
    }
}

/// The sender's end of base OTs for `domain`, from its half of 128 COTs and the receiver's word whether its first choice was 1.
pub(crate) fn base_send(domain: &Domain, q: &[Block], delta: Block, odd: u8) -> BaseSend {
    let keys = q.iter().enumerate().map(|(j, &q)| {
        let exchange = if j == 0 { u64::from(odd & 1) } else { 0 };
        let key0 = q ^ delta.times(exchange);
        [key0, key0 ^ delta].map(|key| base_key(domain, j, key))
    });
    BaseSend(Zeroizing::new(keys.collect()))
}

/// The receiver's end of base OTs for `domain`, from its half of 128 COTs: the choices are the random ones, but the
/// first is made 0; whether it was 1 must be told to the sender.
pub(crate) fn base_recv(domain: &Domain, t: &[Block]) -> (BaseRecv, u8) {
    let choices = t.iter().enumerate().fold(0, |all, (j, t)| all | u128::from(t.bit(0)) << j);
    let keys = t.iter().enumerate().map(|(j, &t)| base_key(domain, j, t));
    let base = BaseRecv { choices: Block(choices).without_low_bit(), keys: Zeroizing::new(keys.collect()) };
    (base, choices as u8 & 1)
}

fn base_key(domain: &Domain, j: usize, key: Block) -> Block {
    let key = Zeroizing::new(key.to_bytes());
    Block::from_bytes(domain.derive("sotto 2026 ot/session/base", &[&(j as u64).to_le_bytes(), &*key]))
}
