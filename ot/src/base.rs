//! 128 random OTs from elliptic curves: endemic OT on ristretto255.
//!
//! | receiver: bits `c_j`              |                     | sender                             |
//! |-----------------------------------|---------------------|------------------------------------|
//! | `a_j` uniform scalar              |                     | `b` uniform scalar, `B = b G`      |
//! | `R_j^{1-c_j}` uniform point       |                     |                                    |
//! | `R_j^{c_j} = a_j G - H(j, c_j, R_j^{1-c_j})` | `-- base/points ->` |                         |
//! |                                   | `<- base/key --`    | `B`                                |
//! |  |  | `A_j^i = R_j^i + H(j, i, R_j^{1-i})` |
//! | returns `K_j = KDF(j, c_j, R_j, B, a_j B)` |  | returns `K_j^i = KDF(j, i, R_j, B, b A_j^i)` |
//!
//! One turn, as neither message depends on the other: 64 bytes an instance one way, 32 bytes in all
//! the other way. `R_j` is the pair of both points. The sender learns nothing of `c`: both points
//! are uniform. The receiver learns the key of `c_j` only, by computational Diffie-Hellman in the
//! random-oracle model. All instances share `B`; the KDF hashes the index and all points. A party
//! that deviates may bias its own keys (hence "endemic"). `H` and the KDF hash the session id,
//! which contains nonces of both parties. A second layer follows, from ML-KEM ([`crate::kem`]).
//!
//! Source: Masny, Rindal, CCS 2019 (eprint 2019/706).

use curve25519_dalek::{
    ristretto::{CompressedRistretto, RistrettoPoint},
    scalar::Scalar,
    traits::IsIdentity,
};
use rand::RngCore;
use sotto_net::{Channel, compute};
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    block::{Block, LAMBDA},
    domain::Domain,
    error::Error,
};

const POINTS: &str = "ot/base/points";
const KEY: &str = "ot/base/key";
const POINT_LEN: usize = 32;

/// The sender's result: both keys of every instance.
pub(crate) struct BaseSend(pub(crate) Zeroizing<Vec<[Block; 2]>>);

/// The receiver's result: one key of every instance.
pub(crate) struct BaseRecv {
    /// Bit `j` chooses the key of instance `j`.
    pub(crate) choices: Block,
    pub(crate) keys: Zeroizing<Vec<Block>>,
}

impl Drop for BaseRecv {
    fn drop(&mut self) {
        self.choices.zeroize();
    }
}

/// The receiver; learns key `c_j` of each instance, with `c_j` bit `j` of `choices`.
pub(crate) async fn recv(
    ch: &mut Channel,
    domain: &Domain,
    choices: Block,
    rng: &mut impl RngCore,
) -> Result<BaseRecv, Error> {
    let (points, a) = compute(|| blinded_points(domain, choices, rng));
    ch.send(POINTS, points.clone())?;
    let key = ch.recv(KEY, POINT_LEN).await?;
    let big_b = decode(KEY, 0, &key)?;
    let keys = compute(|| {
        let shared = a.iter().map(|a| a * big_b);
        let key_of = |(j, shared)| kdf(domain, j, choices.bit(j), pair(&points, j), &key, shared);
        shared.enumerate().map(key_of).collect::<Vec<_>>()
    });
    Ok(BaseRecv { choices, keys: Zeroizing::new(keys) })
}

/// The sender; learns both keys of each instance, and nothing of the choices.
pub(crate) async fn send(
    ch: &mut Channel,
    domain: &Domain,
    rng: &mut impl RngCore,
) -> Result<BaseSend, Error> {
    let b = Zeroizing::new(random_scalar(rng));
    let key = RistrettoPoint::mul_base(&b).compress();
    ch.send(KEY, key.as_bytes().to_vec())?;
    let points = ch.recv(POINTS, 2 * LAMBDA * POINT_LEN).await?;
    let both = |j| both_keys(domain, j, &points, &b, key.as_bytes());
    let keys: Result<Vec<_>, Error> = compute(|| (0..LAMBDA).map(both).collect());
    Ok(BaseSend(Zeroizing::new(keys?)))
}

/// The receiver's `(R^0, R^1)` of all instances, encoded, and its scalars.
fn blinded_points(
    domain: &Domain,
    choices: Block,
    rng: &mut impl RngCore,
) -> (Vec<u8>, Zeroizing<Vec<Scalar>>) {
    let mut points = Vec::with_capacity(2 * LAMBDA * POINT_LEN);
    let mut scalars = Zeroizing::new(Vec::with_capacity(LAMBDA));
    for j in 0..LAMBDA {
        let c = choices.bit(j);
        let a = random_scalar(rng);
        let other = RistrettoPoint::from_uniform_bytes(&random_bytes(rng)).compress();
        let chosen = (RistrettoPoint::mul_base(&a) - to_group(domain, j, c, other.as_bytes())).compress();
        let c = Choice::from(c as u8);
        for i in 0..2 {
            let (mine, theirs) = (chosen.as_bytes(), other.as_bytes());
            let is_chosen = c ^ Choice::from(1 - i);
            let select = |n: usize| u8::conditional_select(&theirs[n], &mine[n], is_chosen);
            points.extend((0..POINT_LEN).map(select));
        }
        scalars.push(a);
    }
    (points, scalars)
}

/// The sender's two keys of instance `j`.
fn both_keys(domain: &Domain, j: usize, points: &[u8], b: &Scalar, key: &[u8]) -> Result<[Block; 2], Error> {
    let pair = pair(points, j);
    let (r0, r1) = pair.split_at(POINT_LEN);
    let mut keys = [Block::ZERO; 2];
    for (i, (mine, other)) in [(r0, r1), (r1, r0)].into_iter().enumerate() {
        let index = 2 * j + i;
        let a = decode(POINTS, index, mine)? + to_group(domain, j, i as u64, other);
        if a.is_identity() {
            return Err(Error::IdentityPoint { step: POINTS, index });
        }
        keys[i] = kdf(domain, j, i as u64, pair, key, b * a);
    }
    Ok(keys)
}

/// Both encoded points of instance `j`.
fn pair(points: &[u8], j: usize) -> &[u8] {
    &points[2 * j * POINT_LEN..][..2 * POINT_LEN]
}

/// A group element other than the identity.
///
/// # Errors
/// [`Error::InvalidPoint`], [`Error::IdentityPoint`], with `step` and `index`.
fn decode(step: &'static str, index: usize, bytes: &[u8]) -> Result<RistrettoPoint, Error> {
    let point = CompressedRistretto::from_slice(bytes).ok().and_then(|p| p.decompress());
    match point {
        None => Err(Error::InvalidPoint { step, index }),
        Some(point) if point.is_identity() => Err(Error::IdentityPoint { step, index }),
        Some(point) => Ok(point),
    }
}

/// The random oracle `H(j, i, R)` into the group.
fn to_group(domain: &Domain, j: usize, i: u64, other: &[u8]) -> RistrettoPoint {
    let bytes =
        domain.derive("sotto 2026 ot/base/hash-to-group", &[&(j as u64).to_le_bytes(), &[i as u8], other]);
    RistrettoPoint::from_uniform_bytes(&bytes)
}

/// The key of choice `i` of instance `j`, whose points are `pair`.
fn kdf(domain: &Domain, j: usize, i: u64, pair: &[u8], key: &[u8], shared: RistrettoPoint) -> Block {
    let shared = Zeroizing::new(shared.compress().to_bytes());
    let parts: [&[u8]; 5] = [&(j as u64).to_le_bytes(), &[i as u8], pair, key, &*shared];
    Block::from_bytes(domain.derive("sotto 2026 ot/base/key", &parts))
}

fn random_scalar(rng: &mut impl RngCore) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&random_bytes(rng))
}

fn random_bytes(rng: &mut impl RngCore) -> [u8; 64] {
    let mut bytes = [0; 64];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_net::{HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;
    use crate::domain::Direction;

    const DOMAIN: fn() -> Domain = || Domain::new([7; 32], Direction::Forward, 0);

    #[test]
    fn the_receiver_gets_exactly_the_chosen_keys() {
        let choices = Block(0x0123_4567_89ab_cdef_0fed_cba9_8765_4321);
        let ((recv, cost), sent) = run_pair(
            move |mut ch| async move {
                let out = recv(&mut ch, &DOMAIN(), choices, &mut Rng::from_seed([1; 32])).await.unwrap();
                (out, ch.meter.total())
            },
            |mut ch| async move { send(&mut ch, &DOMAIN(), &mut Rng::from_seed([2; 32])).await.unwrap() },
        );
        for (j, keys) in sent.0.iter().enumerate() {
            let c = choices.bit(j) as usize;
            assert!(recv.keys[j].0 == keys[c].0 && recv.keys[j].0 != keys[1 - c].0, "instance {j}");
        }
        assert_eq!(cost.sent, (2 * LAMBDA * POINT_LEN + HEADER_LEN) as u64);
        assert_eq!(cost.received, (POINT_LEN + HEADER_LEN) as u64);
        assert_eq!(cost.turns, 1);
    }

    #[test]
    fn other_sessions_have_other_keys() {
        let other = || Domain::new([8; 32], Direction::Forward, 0);
        let (recv, sent) = run_pair(
            |mut ch| async move {
                recv(&mut ch, &DOMAIN(), Block::ZERO, &mut Rng::from_seed([1; 32])).await.unwrap()
            },
            move |mut ch| async move { send(&mut ch, &other(), &mut Rng::from_seed([2; 32])).await.unwrap() },
        );
        assert!(sent.0.iter().zip(recv.keys.iter()).all(|(s, r)| s[0].0 != r.0 && s[1].0 != r.0));
    }

    /// The sender's error on receiving `points`.
    fn sender_on(points: Vec<u8>) -> Option<Error> {
        let (_, result) = run_pair(
            |mut ch| async move {
                ch.send(POINTS, points).unwrap();
                ch.recv(KEY, POINT_LEN).await.unwrap();
            },
            |mut ch| async move { send(&mut ch, &DOMAIN(), &mut Rng::from_seed([2; 32])).await },
        );
        result.err()
    }

    #[test]
    fn the_sender_names_bad_points() {
        let (good, _) = blinded_points(&DOMAIN(), Block::ZERO, &mut Rng::from_seed([3; 32]));
        assert!(sender_on(good.clone()).is_none());
        let with = |at: usize, point: [u8; 32]| {
            let mut points = good.clone();
            points[at * POINT_LEN..][..POINT_LEN].copy_from_slice(&point);
            points
        };
        assert!(matches!(
            sender_on(with(5, [0xff; 32])),
            Some(Error::InvalidPoint { step: POINTS, index: 5 })
        ));
        assert!(matches!(sender_on(with(9, [0; 32])), Some(Error::IdentityPoint { step: POINTS, index: 9 })));
        // With R^0 = -H(R^1) the sender's key 0 would be public.
        let j = 4;
        let cancel = -to_group(&DOMAIN(), j, 0, &pair(&good, j)[POINT_LEN..]);
        let points = with(2 * j, cancel.compress().to_bytes());
        assert!(matches!(sender_on(points), Some(Error::IdentityPoint { step: POINTS, index: 8 })));
        assert!(matches!(
            sender_on(good[1..].to_vec()),
            Some(Error::Net(sotto_net::Error::WrongLength { .. }))
        ));
    }

    #[test]
    fn the_receiver_names_bad_points_and_an_early_close() {
        let receiver_on = |key: Option<Vec<u8>>| {
            let (result, ()) = run_pair(
                |mut ch| async move {
                    recv(&mut ch, &DOMAIN(), Block::ZERO, &mut Rng::from_seed([1; 32])).await.err()
                },
                |mut ch| async move {
                    if let Some(key) = key {
                        ch.send(KEY, key).unwrap();
                    }
                    ch.close().await.unwrap();
                },
            );
            result
        };
        assert!(matches!(receiver_on(Some(vec![0xff; 32])), Some(Error::InvalidPoint { step: KEY, .. })));
        assert!(matches!(receiver_on(Some(vec![0; 32])), Some(Error::IdentityPoint { step: KEY, .. })));
        assert!(matches!(
            receiver_on(Some(vec![0; 31])),
            Some(Error::Net(sotto_net::Error::WrongLength { .. }))
        ));
        assert!(matches!(receiver_on(None), Some(Error::Net(sotto_net::Error::Closed { step: KEY }))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        /// Bytes of the right length are two keys or a named error, never a panic.
        #[test]
        fn any_bytes_are_points_or_a_named_error(bytes in prop::array::uniform32(any::<u8>()), at in 0usize..256) {
            let (mut points, _) = blinded_points(&DOMAIN(), Block::ZERO, &mut Rng::from_seed([3; 32]));
            points[at * POINT_LEN..][..POINT_LEN].copy_from_slice(&bytes);
            let b = random_scalar(&mut Rng::from_seed([4; 32]));
            let result = both_keys(&DOMAIN(), at / 2, &points, &b, &bytes);
            let valid = CompressedRistretto(bytes).decompress().is_some_and(|point| !point.is_identity());
            match result {
                Ok(_) => prop_assert!(valid),
                Err(Error::InvalidPoint { step: POINTS, index } | Error::IdentityPoint { step: POINTS, index }) => {
                    prop_assert!(!valid && index == at);
                }
                Err(_) => prop_assert!(false, "another error"),
            }
        }
    }
}
