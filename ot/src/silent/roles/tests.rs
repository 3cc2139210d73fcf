//! The contract, and what each role does with wrong messages.

use sotto_net::run_pair;

use super::*;
use crate::{check::Checked, domain::Direction, roles::tests::contract};

const DOMAIN: fn() -> Domain = || Domain::new([3; 32], Direction::Forward, 0);

/// Both ends, from dealt COTs.
fn pair<S: Security>(params: LpnParams, seed: u8) -> (SilentSender<S>, SilentReceiver<S>) {
    let mut rng = Rng::from_seed([seed; 32]);
    let delta = Block::random(&mut rng).with_low_bit();
    let q: Vec<Block> =
        (0..base_len::<S>(params)).map(|_| Block::random(&mut rng).without_low_bit()).collect();
    let t = q.iter().map(|&q| q ^ delta.times(rng.bytes::<1>()[0].into())).collect();
    let sender = SilentSender::new(DOMAIN(), params, delta, Zeroizing::new(q), rng);
    (sender, SilentReceiver::new(DOMAIN(), params, Zeroizing::new(t)))
}

/// Sizes around the borders of trees and rounds.
fn sizes(params: LpnParams) -> &'static [usize] {
    let (tree, round) = (1 << params.depth(), params.outputs());
    let mut sizes = vec![1, 0, 2 * tree - 1, 1, tree, 3, round - 3 * tree - 4, 0, 1, 1];
    sizes.extend([round - 2, 2, 1, round + tree]);
    sizes.leak()
}

#[test]
fn keeps_the_contract() {
    contract(pair::<SemiHonest>(LpnParams::FAST, 1), sizes(LpnParams::FAST));
    contract(pair::<SemiHonest>(LpnParams::LEAN, 2), sizes(LpnParams::LEAN));
    contract(pair::<Checked>(LpnParams::FAST, 3), sizes(LpnParams::FAST));
}

/// Choice bits are fair, alone and in sums of neighbours, within 6 deviations.
#[test]
fn choice_bits_are_fair() {
    let (mut sender, mut receiver) = pair::<SemiHonest>(LpnParams::FAST, 5);
    let n = 1 << 19;
    let (_, bits) = run_pair(
        move |mut ch| async move {
            sender.extend(&mut ch, n).await.unwrap();
            ch.close().await.unwrap();
        },
        move |mut ch| async move { receiver.extend(&mut ch, n).await.unwrap().choices() },
    );
    let bit = |i: usize| bits[i / 8] >> (i % 8) & 1;
    for distance in [0, 1, 2, 3, 7, 8, 64, 1024, 1025] {
        let ones =
            (distance..n).filter(|&i| (bit(i) ^ if distance > 0 { bit(i - distance) } else { 0 }) == 1);
        let (ones, n) = (ones.count() as f64, (n - distance) as f64);
        assert!((ones - n / 2.0).abs() < 3.0 * n.sqrt(), "distance {distance}: {ones} of {n}");
    }
}

#[test]
fn wrong_lengths_and_early_closes_are_named() {
    let peer = |message: Option<Vec<u8>>| {
        let (_, mut receiver) = pair::<SemiHonest>(LpnParams::FAST, 6);
        let ((), result) = run_pair(
            move |mut ch| async move {
                if let Some(message) = message {
                    ch.send(ROUND, message).unwrap();
                }
                // Fails if the receiver has closed before it has read all.
                let _ = ch.close().await;
            },
            move |mut ch| async move { receiver.extend(&mut ch, 5).await.map(drop) },
        );
        result
    };
    use sotto_net::Error::{Closed, WrongLength};
    let [short, long] = [217_599, 217_616].map(|n| peer(Some(vec![7; n])));
    assert!(matches!(short, Err(Error::Net(WrongLength { step: ROUND, expected: 217_600, got: 217_599 }))));
    assert!(matches!(long, Err(Error::Net(WrongLength { got: 217_616, .. }))));
    assert!(matches!(peer(None), Err(Error::Net(Closed { step: ROUND }))));
}

/// The receiver's result, where `spoil` changes the message of an honest sender and `lie` its
/// proof.
fn cheated<S: Security>(
    spoil: impl FnOnce(&mut [u8]) + Send + 'static,
    lie: impl FnOnce(&mut [u8]) + Send + 'static,
) -> Result<(), Error> {
    let (mut sender, mut receiver) = pair::<S>(LpnParams::FAST, 7);
    let ((), result) = run_pair(
        move |mut ch| async move {
            let (domain, params, base) = (DOMAIN(), LpnParams::FAST, sender.outputs.next_base());
            let (round, mut message) = Round::send(&domain, params, 0, *sender.delta, base, &mut sender.rng);
            spoil(&mut message);
            let places = Places::new(&domain, 0, &message);
            ch.send(ROUND, message).unwrap();
            if S::CHECKED {
                let value = round.sender_value(&places);
                let answer = ch.recv(ANSWER, 16).await.unwrap();
                let mut proof = round.proof(&value, *sender.delta, answer.first_chunk().unwrap());
                lie(&mut proof);
                ch.send(VERDICT, proof.to_vec()).unwrap();
            }
            let _ = ch.close().await;
        },
        move |mut ch| async move { receiver.extend(&mut ch, 5).await.map(drop) },
    );
    result
}

#[test]
fn a_checked_receiver_detects_a_deviating_sender() {
    assert!(cheated::<Checked>(|_| (), |_| ()).is_ok());
    // The first and the last level of trees at the front, in the middle, at the end.
    for at in [0, 144, 160 * 700 + 32, 217_599] {
        let result = cheated::<Checked>(move |message| message[at] ^= 0x10, |_| ());
        assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })), "byte {at}");
    }
    let result = cheated::<Checked>(|_| (), |proof| proof[31] ^= 1);
    assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })));
    assert!(
        cheated::<SemiHonest>(|message| message[0] ^= 1, |_| ()).is_ok(),
        "a semi-honest session checks nothing"
    );
}

/// Equal errors in two trees do not cancel: each tree has its own weight.
#[test]
fn errors_in_two_trees_do_not_cancel() {
    let result = cheated::<Checked>(
        |message| {
            message[150] ^= 1;
            message[160 * 9 + 150] ^= 1;
        },
        |_| (),
    );
    assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })));
}

/// A receiver that sends a wrong answer obtains a proof that differs from the one it can check.
#[test]
fn the_proof_for_a_wrong_answer_tells_nothing() {
    let (mut sender, mut receiver) = pair::<Checked>(LpnParams::FAST, 8);
    let [q, t] = [sender.outputs.next_base(), receiver.outputs.next_base()];
    let (round, message) = Round::send(&DOMAIN(), LpnParams::FAST, 0, *sender.delta, q, &mut sender.rng);
    let theirs = Round::recv(&DOMAIN(), LpnParams::FAST, 0, t, &message);
    let places = Places::new(&DOMAIN(), 0, &message);
    let value = round.sender_value(&places);
    let (phi, expected) = theirs.answer(&places);
    let proof = |phi: Block| round.proof(&value, *sender.delta, &phi.to_bytes());
    assert!(proof(phi) == expected);
    assert!((0..128).all(|j| proof(phi ^ Block(1 << j)) != expected));
}
