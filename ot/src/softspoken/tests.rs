//! The contract, and what the sender does with wrong messages.

use proptest::prelude::*;
use sotto_net::{HEADER_LEN, run_pair};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use super::{
    sizes::{BATCH, CHUNK, PROOF_LEN, message_len, padded},
    *,
};
use crate::{
    base::{BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    check::{Checked, Security, SemiHonest},
    domain::{Direction, Domain},
    error::Error,
    roles::{
        RandomCotReceiver, RandomCotSender,
        tests::{SIZES, contract},
    },
};

type Pair<const K: usize, S> = (SoftSpokenSender<K, S>, SoftSpokenReceiver<K, S>);

/// Both ends, from dealt base OTs.
fn pair<const K: usize, S: Security>(seed: u8) -> Pair<K, S> {
    set_up(seed, |_| ()).unwrap()
}

/// Both ends, where `spoil` changes the message that punctures the trees.
fn set_up<const K: usize, S: Security>(seed: u8, spoil: impl Fn(&mut Vec<u8>)) -> Result<Pair<K, S>, Error> {
    let mut rng = Rng::from_seed([seed; 32]);
    let domain = Domain::new([seed; 32], Direction::Forward, 0);
    let choices = Block::random(&mut rng).without_low_bit();
    let keys: Vec<[Block; 2]> =
        (0..LAMBDA).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
    let chosen = (0..LAMBDA).map(|j| keys[j][choices.bit(j) as usize]).collect();
    let (receiver, mut message) = SoftSpokenReceiver::new(&domain, BaseSend(Zeroizing::new(keys)), &mut rng);
    spoil(&mut message);
    let base = BaseRecv { choices, keys: Zeroizing::new(chosen) };
    Ok((SoftSpokenSender::new(&domain, base, &message)?, receiver))
}

#[test]
fn keeps_the_contract_for_every_field_size() {
    contract(pair::<1, SemiHonest>(1), &SIZES);
    contract(pair::<2, SemiHonest>(2), &SIZES);
    contract(pair::<4, SemiHonest>(4), &[&SIZES[..]; 3].concat().leak()[..]);
    contract(pair::<8, SemiHonest>(8), &SIZES);
    contract(pair::<2, Checked>(2), &SIZES);
    contract(pair::<4, Checked>(4), &[&SIZES[..]; 3].concat().leak()[..]);
    contract(pair::<8, Checked>(8), &SIZES);
}

/// The sender's result for a message that `spoil` has changed.
fn spoilt<S: Security>(spoil: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
    let (mut sender, mut receiver) = pair::<4, S>(9);
    let n = 10_000;
    let at = sender.at.advance(padded::<S>(n));
    let (_, _, mut message) = receiver.expand(n);
    assert_eq!(message.len(), message_len::<4, S>(n));
    spoil(&mut message);
    sender.expand(n, at, &message).map(drop)
}

#[test]
fn a_checked_sender_detects_flipped_bits() {
    let len = message_len::<4, Checked>(10_000);
    // Corrections of the first COTs, in the middle, of the mask; the value; the digest.
    for at in [0, 100, len / 2, len - PROOF_LEN - 1, len - PROOF_LEN, len - 33, len - 32, len - 1] {
        let flipped = spoilt::<Checked>(|message| message[at] ^= 1 << (at % 8));
        assert!(matches!(flipped, Err(Error::Inconsistent { step: U })), "byte {at}");
    }
    assert!(spoilt::<Checked>(|_| ()).is_ok());
    assert!(
        spoilt::<SemiHonest>(|message| message[100] ^= 1).is_ok(),
        "a semi-honest session checks nothing"
    );
}

/// The same difference in all rows of a tree: the receiver uses another choice vector for that
/// tree.
#[test]
fn another_choice_for_one_tree_is_found() {
    let cheat = spoilt::<Checked>(|message| {
        let row = CHUNK / 8;
        message[5 * row..6 * row].iter_mut().for_each(|byte| *byte ^= 0x55);
    });
    assert!(matches!(cheat, Err(Error::Inconsistent { step: U })));
}

#[test]
fn trees_that_do_not_fit_their_sums_are_found() {
    // Both sums of a level of tree 3, so that the change is in the sum that the path needs.
    let spoil = |message: &mut Vec<u8>| {
        message[3 * 128 + 40] ^= 2;
        message[3 * 128 + 56] ^= 2;
    };
    let result = set_up::<4, Checked>(3, spoil).map(drop);
    assert!(matches!(result, Err(Error::Inconsistent { step: GGM })));
    assert!(set_up::<4, SemiHonest>(3, spoil).is_ok());
}

#[test]
fn blocks_of_any_number_fit_together() {
    for n in [1, 63, 64, 65, 127, 128, 129, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77] {
        let (mut sender, mut receiver) = pair::<8, SemiHonest>(3);
        let delta = sender.delta();
        let ((q, cost), t) = run_pair(
            move |mut ch| async move {
                let q = sender.blocks(&mut ch, n).await.unwrap();
                (q, ch.meter.total())
            },
            move |mut ch| async move {
                let (t, message) = receiver.blocks(n);
                ch.send(U, message).unwrap();
                t
            },
        );
        assert!((0..n).all(|i| t[i].0 == (q[i] ^ delta.times(t[i].bit(0))).0));
        assert_eq!((cost.sent, cost.turns), (0, 1));
        assert_eq!(cost.received as usize, HEADER_LEN + 15 * n.div_ceil(8));
    }
}

#[test]
fn the_message_has_the_stated_length_and_takes_one_turn() {
    for n in [1, BATCH, BATCH + 1, BATCH + CHUNK] {
        let (mut sender, mut receiver) = pair::<4, SemiHonest>(3);
        let (cost, _) = run_pair(
            move |mut ch| async move {
                sender.extend(&mut ch, n).await.unwrap();
                ch.meter.total()
            },
            move |mut ch| async move { receiver.extend(&mut ch, n).await.unwrap() },
        );
        assert_eq!((cost.sent, cost.turns), (0, 1));
        assert_eq!(cost.received as usize, HEADER_LEN + 31 * n.max(BATCH).div_ceil(8));
    }
}

#[test]
fn a_wrong_length_is_named() {
    let (mut sender, mut receiver) = pair::<4, SemiHonest>(3);
    let (result, _) = run_pair(
        move |mut ch| async move { sender.extend(&mut ch, 40_000).await.map(drop) },
        move |mut ch| async move { receiver.extend(&mut ch, 80_000).await.map(drop) },
    );
    assert!(matches!(
        result,
        Err(Error::Net(sotto_net::Error::WrongLength { step: U, expected: 155_000, got: 310_000 }))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    /// Any bytes of the right length: a checked sender names the deviation, and any sender has even
    /// `q`.
    #[test]
    fn any_message_is_taken_or_named(filling in prop::collection::vec(any::<u8>(), 1..50)) {
        let fill = |message: &mut Vec<u8>| {
            message.iter_mut().zip(filling.iter().cycle()).for_each(|(to, from)| *to = *from);
        };
        let result = set_up::<4, Checked>(3, fill);
        prop_assert!(matches!(result, Err(Error::Inconsistent { step: GGM })), "trees");
        let result = spoilt::<Checked>(fill);
        prop_assert!(matches!(result, Err(Error::Inconsistent { step: U })), "rows");
        let (mut sender, _) = set_up::<8, SemiHonest>(3, fill).unwrap();
        let mut message = vec![0; message_len::<8, SemiHonest>(1000)];
        fill(&mut message);
        let at = sender.at.advance(1000);
        prop_assert!(sender.expand(1000, at, &message).unwrap().iter().all(|q| q.bit(0) == 0));
    }
}
