//! A second, post-quantum layer for the base OTs: endemic OT from ML-KEM-768.
//!
//! | receiver: bits `c_j`            |                         | sender                           |
//! |---------------------------------|-------------------------|----------------------------------|
//! | `(rho_j, t_j)`, `s_j` a key pair |                        |                                  |
//! | `R_j^{1-c_j}` uniform           |                         |                                  |
//! | `R_j^{c_j} = t_j - H(j, c_j, rho_j, R_j^{1-c_j})` | `-- kem/keys ->` | keys `(rho_j, t_j^i)` |
//! |  | `<- kem/ciphertexts --` | `ct_j^i, K_j^i = Encaps(key i)`, `i = 0, 1` |
//! | returns `KDF(j, c_j, k, Decaps(ct_j^{c_j}))` |  | returns `KDF(j, i, k, K_j^i)`, `i = 0, 1` |
//!
//! `t_j^i = R_j^i + H(j, i, rho_j, R_j^{1-i})`, so that `t_j^{c_j} = t_j`.
//!
//! Two turns, one more than the curves alone; 577 536 bytes. `t`, `R` and values of `H` are
//! vectors of three polynomials modulo 3329 in the transformed domain, 12 bits a coefficient, as
//! FIPS 203 encodes keys. `k` is the key of the same instance from the elliptic curves, so an
//! adversary must break both problems to learn a key that the receiver did not choose (in the
//! random-oracle model). The curves hide the receiver's choices perfectly; here they are hidden if
//! `t` looks uniform (module LWE).
//!
//! Source: Masny, Rindal, CCS 2019 (eprint 2019/706), section 5, with the KEM of FIPS 203.

use ml_kem::{
    B32, EncapsulationKey768 as EncapsulationKey, Seed,
    kem::{Decapsulate, KeyExport},
    ml_kem_768::DecapsulationKey,
};
use rand::RngCore;
use rayon::prelude::*;
use sotto_net::{Channel, compute};
use zeroize::Zeroizing;

use crate::{
    base::{BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    domain::Domain,
    error::Error,
};

const KEYS: &str = "ot/kem/keys";
const CIPHERTEXTS: &str = "ot/kem/ciphertexts";

/// The modulus.
const Q: u16 = 3329;
/// Coefficients of a vector.
const COEFFICIENTS: usize = 3 * 256;
/// Bytes of a vector.
const VECTOR_LEN: usize = COEFFICIENTS * 3 / 2;
/// Bytes of `rho`, the seed of a public matrix.
const RHO_LEN: usize = 32;
/// Bytes of a ciphertext.
const CIPHERTEXT_LEN: usize = 1088;
/// Bytes of an instance's keys: `rho`, `R^0`, `R^1`.
const KEYS_LEN: usize = RHO_LEN + 2 * VECTOR_LEN;

/// A vector modulo 3329.
type Vector = [u16; COEFFICIENTS];

/// The receiver: from the keys of the elliptic curves, keys for the same choices that need both
/// problems.
///
/// # Errors
/// The transport fails, or a message has the wrong tag or length.
pub(crate) async fn recv(
    ch: &mut Channel,
    domain: &Domain,
    base: BaseRecv,
    rng: &mut impl RngCore,
) -> Result<BaseRecv, Error> {
    let mut message = Vec::with_capacity(LAMBDA * KEYS_LEN);
    let mut pairs = Vec::with_capacity(LAMBDA);
    compute(|| {
        for j in 0..LAMBDA {
            pairs.push(key_pair(domain, j, base.choices.bit(j), rng, &mut message));
        }
    });
    ch.send(KEYS, message)?;
    let ciphertexts = ch.recv(CIPHERTEXTS, 2 * LAMBDA * CIPHERTEXT_LEN).await?;
    let open = |j: usize| {
        let chosen =
            chosen(&ciphertexts[2 * j * CIPHERTEXT_LEN..][..2 * CIPHERTEXT_LEN], base.choices.bit(j));
        let secret = Zeroizing::new(pairs[j].decapsulate(&chosen.into()));
        kdf(domain, j, base.choices.bit(j), base.keys[j], &secret)
    };
    let keys = compute(|| (0..LAMBDA).into_par_iter().map(open).collect());
    Ok(BaseRecv { choices: base.choices, keys: Zeroizing::new(keys) })
}

/// The sender, as [`recv`].
///
/// # Errors
/// The transport fails, a message has the wrong tag or length, or [`Error::InvalidKey`].
pub(crate) async fn send(
    ch: &mut Channel,
    domain: &Domain,
    base: BaseSend,
    rng: &mut impl RngCore,
) -> Result<BaseSend, Error> {
    let message = ch.recv(KEYS, LAMBDA * KEYS_LEN).await?;
    let mut coins = Zeroizing::new(vec![[[0u8; 32]; 2]; LAMBDA]);
    coins.iter_mut().flatten().for_each(|coins| rng.fill_bytes(coins));
    let both = |(j, message): (usize, &[u8])| {
        let (rho, vectors) = message.split_at(RHO_LEN);
        let (r0, r1) = vectors.split_at(VECTOR_LEN);
        let mut ciphertexts = Vec::with_capacity(2 * CIPHERTEXT_LEN);
        let mut keys = [Block::ZERO; 2];
        for (i, (mine, other)) in [(r0, r1), (r1, r0)].into_iter().enumerate() {
            let mine = decode(mine).ok_or(Error::InvalidKey { step: KEYS, index: 2 * j + i })?;
            let t = add(&mine, &oracle(domain, j, i as u64, rho, other));
            let key = [&encode(&t)[..], rho].concat();
            let key = key.as_slice().try_into().ok().and_then(|key| EncapsulationKey::new(key).ok());
            let key = key.ok_or(Error::InvalidKey { step: KEYS, index: 2 * j + i })?;
            let (ciphertext, secret) = key.encapsulate_deterministic(&B32::from(coins[j][i]));
            ciphertexts.extend(&ciphertext[..]);
            keys[i] = kdf(domain, j, i as u64, base.0[j][i], &Zeroizing::new(secret));
        }
        Ok((ciphertexts, keys))
    };
    let made: Result<Vec<_>, Error> =
        compute(|| message.par_chunks(KEYS_LEN).enumerate().map(both).collect());
    let (ciphertexts, keys): (Vec<_>, Vec<_>) = made?.into_iter().unzip();
    ch.send(CIPHERTEXTS, ciphertexts.concat())?;
    Ok(BaseSend(Zeroizing::new(keys)))
}

/// The receiver's key pair of instance `j` with choice `c`; appends its part of the message.
fn key_pair(
    domain: &Domain,
    j: usize,
    c: u64,
    rng: &mut impl RngCore,
    message: &mut Vec<u8>,
) -> DecapsulationKey {
    let mut seed = Zeroizing::new([0u8; 64]);
    rng.fill_bytes(&mut *seed);
    let pair = DecapsulationKey::from_seed(Seed::from(*seed));
    let public = pair.encapsulation_key().to_bytes();
    let (t, rho) = public.split_at(VECTOR_LEN);
    let other = encode(&uniform(|out| rng.fill_bytes(out)));
    let t = decode(t).expect("a key of our own has coefficients below the modulus");
    let mine = encode(&subtract(&t, &oracle(domain, j, c, rho, &other)));
    message.extend(rho);
    let swap = (c as u8).wrapping_neg();
    message.extend(mine.iter().zip(&other).map(|(m, o)| m ^ ((m ^ o) & swap)));
    message.extend(mine.iter().zip(&other).map(|(m, o)| o ^ ((m ^ o) & swap)));
    pair
}

/// The ciphertext of choice `c` of two.
fn chosen(both: &[u8], c: u64) -> [u8; CIPHERTEXT_LEN] {
    let swap = (c as u8).wrapping_neg();
    std::array::from_fn(|i| both[i] ^ ((both[i] ^ both[CIPHERTEXT_LEN + i]) & swap))
}

/// The random oracle into vectors.
fn oracle(domain: &Domain, j: usize, i: u64, rho: &[u8], other: &[u8]) -> Vector {
    let parts: [&[u8]; 4] = [&(j as u64).to_le_bytes(), &[i as u8], rho, other];
    let bytes: [u8; 16 * COEFFICIENTS] = domain.derive("sotto 2026 ot/kem/hash-to-vector", &parts);
    uniform(|out| out.copy_from_slice(&bytes))
}

/// A vector from 128 random bits a coefficient. Each coefficient is uniform up to a relative error
/// of 2^-116. Constant time.
fn uniform(fill: impl FnOnce(&mut [u8])) -> Vector {
    let mut bytes = [0; 16 * COEFFICIENTS];
    fill(&mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    let residue = |n: usize| u64::from_le_bytes(words[n]) % u64::from(Q);
    let shift = (u64::MAX % u64::from(Q) + 1) % u64::from(Q);
    std::array::from_fn(|n| ((residue(2 * n) + shift * residue(2 * n + 1)) % u64::from(Q)) as u16)
}

fn add(a: &Vector, b: &Vector) -> Vector {
    std::array::from_fn(|n| (a[n] + b[n]) % Q)
}

fn subtract(a: &Vector, b: &Vector) -> Vector {
    std::array::from_fn(|n| (a[n] + Q - b[n]) % Q)
}

/// Two coefficients in three bytes, as in FIPS 203.
fn encode(vector: &Vector) -> [u8; VECTOR_LEN] {
    let mut bytes = [0; VECTOR_LEN];
    for (bytes, pair) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(vector.as_chunks::<2>().0) {
        let both = u32::from(pair[0]) | u32::from(pair[1]) << 12;
        bytes.copy_from_slice(&both.to_le_bytes()[..3]);
    }
    bytes
}

/// The inverse of [`encode`], if all coefficients are below the modulus.
fn decode(bytes: &[u8]) -> Option<Vector> {
    let triples = bytes.as_chunks::<3>().0;
    let both = |t: &[u8; 3]| u32::from_le_bytes([t[0], t[1], t[2], 0]);
    let vector: Vector = std::array::from_fn(|n| (both(&triples[n / 2]) >> (12 * (n % 2)) & 0xfff) as u16);
    vector.iter().all(|&x| x < Q).then_some(vector)
}

fn kdf(domain: &Domain, j: usize, i: u64, curve: Block, secret: &[u8]) -> Block {
    let curve = Zeroizing::new(curve.to_bytes());
    let parts: [&[u8]; 4] = [&(j as u64).to_le_bytes(), &[i as u8], &*curve, secret];
    Block::from_bytes(domain.derive("sotto 2026 ot/kem/key", &parts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngCore;
    use sotto_net::{HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;
    use crate::domain::Direction;

    const DOMAIN: fn() -> Domain = || Domain::new([7; 32], Direction::Forward, 0);

    fn base() -> (BaseSend, BaseRecv) {
        let mut rng = Rng::from_seed([6; 32]);
        let choices = Block::random(&mut rng);
        let keys: Vec<[Block; 2]> = (0..LAMBDA).map(|_| [(); 2].map(|()| Block::random(&mut rng))).collect();
        let chosen = (0..LAMBDA).map(|j| keys[j][choices.bit(j) as usize]).collect();
        (BaseSend(Zeroizing::new(keys)), BaseRecv { choices, keys: Zeroizing::new(chosen) })
    }

    #[test]
    fn the_receiver_gets_exactly_the_chosen_keys_at_the_stated_cost() {
        let (sender, receiver) = base();
        let curve: Vec<u128> = receiver.keys.iter().map(|key| key.0).collect();
        let ((recv, cost), sent) = run_pair(
            move |mut ch| async move {
                let out = recv(&mut ch, &DOMAIN(), receiver, &mut Rng::from_seed([1; 32])).await.unwrap();
                (out, ch.meter.total())
            },
            move |mut ch| async move {
                send(&mut ch, &DOMAIN(), sender, &mut Rng::from_seed([2; 32])).await.unwrap()
            },
        );
        for (j, keys) in sent.0.iter().enumerate() {
            let c = recv.choices.bit(j) as usize;
            assert!(recv.keys[j].0 == keys[c].0 && recv.keys[j].0 != keys[1 - c].0, "instance {j}");
            assert!(recv.keys[j].0 != curve[j], "the key is not that of the curves");
        }
        assert_eq!((cost.bytes() as usize, cost.turns), (577_536 + 2 * HEADER_LEN, 2));
    }

    /// The sender's error, where `spoil` changes the receiver's keys.
    fn sender_on(spoil: impl FnOnce(&mut Vec<u8>) + Send) -> Option<Error> {
        let (sender, receiver) = base();
        let (_, result) = run_pair(
            |mut ch| async move {
                let mut message = Vec::new();
                let mut rng = Rng::from_seed([3; 32]);
                for j in 0..LAMBDA {
                    key_pair(&DOMAIN(), j, receiver.choices.bit(j), &mut rng, &mut message);
                }
                spoil(&mut message);
                ch.send(KEYS, message).unwrap();
                let _ = ch.recv(CIPHERTEXTS, 2 * LAMBDA * CIPHERTEXT_LEN).await;
            },
            |mut ch| async move { send(&mut ch, &DOMAIN(), sender, &mut Rng::from_seed([2; 32])).await.err() },
        );
        result
    }

    #[test]
    fn invalid_keys_are_named() {
        assert!(sender_on(|_| ()).is_none());
        let out_of_range = |at: usize| {
            move |message: &mut Vec<u8>| {
                message[at] = 0xff;
                message[at + 1] = 0xff;
            }
        };
        let second = sender_on(out_of_range(3 * KEYS_LEN + RHO_LEN + VECTOR_LEN + 300));
        assert!(matches!(second, Some(Error::InvalidKey { step: KEYS, index: 7 })));
        let short = sender_on(|message| message.truncate(1000));
        assert!(matches!(short, Some(Error::Net(sotto_net::Error::WrongLength { step: KEYS, .. }))));
    }

    proptest! {
        #[test]
        fn encoding_is_exact_and_addition_has_an_inverse(seed: u8) {
            let mut rng = Rng::from_seed([seed; 32]);
            let [a, b] = [(); 2].map(|()| uniform(|out| rng.fill_bytes(out)));
            prop_assert_eq!(decode(&encode(&a)), Some(a));
            prop_assert_eq!(subtract(&add(&a, &b), &b), a);
        }
    }
}
