//! What a party holds for a peer that does not read, and how long it waits for a slow one.

use std::{future::Future, time::Duration};

use sotto_net::{Abort, BackgroundRequest, Channel, Error, HEADER_LEN, Runtime, run_pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, sleep, timeout},
};

const SHORT: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

fn soon<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    Runtime::new().block_on(async { timeout(SOON, test).await.expect("the test hangs") })
}

/// A channel whose peer is the test; 64 KiB fit between them.
fn victim() -> (Channel, DuplexStream) {
    let (near, far) = duplex(64 << 10);
    (Channel::new(near), far)
}

fn frame(tag: &str, number: u32, flight: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = blake3::hash(tag.as_bytes()).as_bytes()[..4].to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.extend(flight.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A peer that sends all its messages in advance and reads nothing once made this party hold its
/// side of the whole session.
#[test]
fn a_peer_that_reads_nothing_gets_the_budget_and_a_turn() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(SHORT);
        channel.set_budget(4 * MIB);
        let all: Vec<u8> = (0..100).flat_map(|i| frame("a", i, 1, b"four")).collect();
        peer.write_all(&all).await.unwrap();
        let (mut turns, mut most) = (0, 0);
        let error = loop {
            if let Err(error) = channel.recv("a", 4).await {
                break error;
            }
            turns += 1;
            channel.send("b", vec![0; MIB]).unwrap();
            most = most.max(channel.unsent());
        };
        assert!(matches!(error, Error::Unread { step: "a", excess } if excess <= MIB), "{error}");
        // The first message fits between the parties in part.
        assert_eq!(turns, 6);
        assert!(most <= 6 * (MIB + HEADER_LEN), "{most} bytes");
        drop(peer);
    });
}

/// A peer that reads a little all the time must read at the least rate.
#[test]
fn a_peer_that_reads_slowly_is_not_waited_for_without_end() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(2 * SHORT);
        channel.set_least_rate(8 * MIB as u64);
        channel.set_budget(0);
        peer.write_all(&[frame("a", 0, 1, b"four"), frame("a", 1, 1, b"four")].concat()).await.unwrap();
        channel.send("b", vec![0; 4 * MIB]).unwrap();
        channel.recv("a", 4).await.unwrap();
        channel.send("b", vec![0; MIB]).unwrap();
        tokio::spawn(async move {
            let mut ignored = vec![0; 4096];
            while peer.read(&mut ignored).await.is_ok_and(|n| n > 0) {
                sleep(SHORT / 5).await;
            }
        });
        let start = Instant::now();
        let error = channel.recv("a", 4).await.unwrap_err();
        assert!(matches!(error, Error::Unread { step: "a", .. }), "{error}");
        assert!(start.elapsed() < 40 * SHORT, "{:?}", start.elapsed());
        // Nor for the end.
        let error = channel.close().await.unwrap_err();
        assert!(matches!(error, Error::Transport { step: "session/close", .. }), "{error}");
        assert!(start.elapsed() < 80 * SHORT, "{:?}", start.elapsed());
    });
}

/// A peer that reads in the end gets everything; until then the party waits.
#[test]
fn a_party_over_budget_waits_for_its_peer() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_budget(MIB);
        peer.write_all(&[frame("a", 0, 1, b"four"), frame("a", 1, 1, b"four")].concat()).await.unwrap();
        channel.send("b", vec![1; 3 * MIB]).unwrap();
        channel.recv("a", 4).await.unwrap();
        channel.send("b", vec![2; MIB]).unwrap();
        let mut received = vec![0; 3 * MIB];
        {
            let waiting = channel.recv("a", 4);
            tokio::pin!(waiting);
            assert!(timeout(SHORT, &mut waiting).await.is_err(), "it does not wait");
            let read = async { peer.read_exact(&mut received).await.unwrap() };
            assert_eq!(tokio::join!(waiting, read).0.unwrap(), b"four");
        }
        assert!(channel.unsent() <= 2 * MIB + HEADER_LEN);
        let rest = tokio::spawn(async move {
            let mut rest = vec![];
            peer.read_to_end(&mut rest).await.unwrap();
            rest.len()
        });
        channel.close().await.unwrap();
        assert_eq!(rest.await.unwrap(), MIB + 2 * HEADER_LEN);
    });
}

/// However small the budget is, messages of the same turn do not hold each other up.
#[test]
fn parties_that_send_at_the_same_time_do_not_deadlock() {
    let party = async |mut ch: Channel| {
        ch.set_budget(0);
        ch.set_timeout(SOON);
        for _ in 0..3 {
            ch.exchange("one", vec![1; 8 * MIB]).await.unwrap();
            ch.send("two", vec![2; 8 * MIB]).unwrap();
            ch.send("three", vec![3; 8 * MIB]).unwrap();
            let ahead = ch.expect("two", 8 * MIB);
            ch.recv("three", 8 * MIB).await.unwrap();
            assert_eq!(ch.claim(ahead).await.unwrap(), vec![2; 8 * MIB]);
        }
        ch.close().await.unwrap();
    };
    run_pair(party, party);
}

/// Two parties that both wait for room take each other's background messages meanwhile.
#[test]
fn background_messages_over_budget_do_not_deadlock() {
    const N: usize = 4;
    const LEN: usize = 4 * MIB;
    let talk = async |ch: &mut Channel| {
        for i in 0..N as u64 {
            ch.exchange("word", vec![1; MIB]).await.unwrap();
            ch.catch_up(i..i + 1).await.unwrap();
        }
        ch.exchange("end", vec![]).await.unwrap();
        ch.close().await.unwrap();
    };
    let limits = |ch: &mut Channel| {
        ch.set_budget(MIB);
        ch.set_timeout(SOON);
    };
    run_pair(
        async move |mut ch: Channel| {
            limits(&mut ch);
            for _ in 0..N {
                let BackgroundRequest { outgoing, .. } = ch.start_request(("up", LEN), ("down", LEN));
                outgoing.fill(vec![1; LEN]);
            }
            talk(&mut ch).await;
        },
        async move |mut ch: Channel| {
            limits(&mut ch);
            for _ in 0..N {
                let request = ch.accept_request(("up", LEN), ("down", LEN));
                tokio::spawn(async move {
                    assert_eq!(request.incoming.wait().await.unwrap(), vec![1; LEN]);
                    request.outgoing.fill(vec![2; LEN]);
                });
            }
            talk(&mut ch).await;
        },
    );
}

/// A peer that takes no background messages gets a budget of them.
#[test]
fn background_messages_have_a_budget() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(SHORT);
        channel.set_budget(MIB);
        let requests = [0; 2].map(|_| channel.accept_request(("up", 8), ("down", 4 * MIB)));
        let piece = [frame("up", 0, 1 << 31 | 1, &[1; 8]), frame("up", 1, 1 << 31 | 1, &[1; 8])];
        peer.write_all(&piece.concat()).await.unwrap();
        requests.into_iter().for_each(|request| request.outgoing.fill(vec![2; 4 * MIB]));
        let error = channel.catch_up(0..1).await.unwrap_err();
        assert!(matches!(error, Error::Unread { .. }), "{error}");
        drop(peer);
    });
}

/// Each 64 KiB renewed the time limit: a message could last one timeout for each of them.
#[test]
fn a_message_has_a_least_rate() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(3 * SHORT);
        channel.set_least_rate(MIB as u64);
        tokio::spawn(async move {
            for part in frame("a", 0, 1, &[0; 2 * MIB]).chunks(64 << 10) {
                sleep(SHORT).await;
                if peer.write_all(part).await.is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let error = channel.recv("a", 2 * MIB).await.unwrap_err();
        assert!(matches!(error, Error::TooSlow { step: "a", least } if least == MIB as u64), "{error}");
        assert!(start.elapsed() < 30 * SHORT, "{:?}", start.elapsed());
    });
}

/// Background pieces do not prolong the wait for a frame.
#[test]
fn pieces_are_no_excuse_for_silence() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(3 * SHORT);
        channel.set_least_rate(MIB as u64);
        let _request = channel.accept_request(("up", MIB), ("down", 8));
        tokio::spawn(async move {
            loop {
                sleep(2 * SHORT).await;
                if peer.write_all(&frame("up", 0, 1 << 31 | 1, &[0; 16 << 10])).await.is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let error = channel.recv("a", 1).await.unwrap_err();
        assert!(matches!(error, Error::TooSlow { step: "a", .. }), "{error}");
        assert!(start.elapsed() < 10 * SHORT, "{:?}", start.elapsed());
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(SOON);
        channel.set_deadline("session", SOON);
        channel.set_deadline("set-up", SHORT);
        let error = channel.recv("a", 4).await.unwrap_err();
        let named = matches!(error, Error::DeadlinePassed { subject: "set-up", allowed: SHORT, step: "a" });
        assert!(named, "{error}");
        assert!(error.to_string().contains("100ms"), "{error}");
        // What was set later counts, and what was cleared does not.
        peer.write_all(&frame("a", 0, 1, b"four")).await.unwrap();
        channel.set_deadline("session", SOON);
        channel.recv("a", 4).await.unwrap();
        channel.set_deadline("session", Duration::ZERO);
        channel.clear_deadline();
        peer.write_all(&frame("a", 1, 1, b"four")).await.unwrap();
        channel.recv("a", 4).await.unwrap();
    });
}

/// A peer that is never waited for must keep the deadline as well.
#[test]
fn a_deadline_holds_for_a_peer_that_is_always_ready() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_deadline("session", 2 * SHORT);
        tokio::spawn(async move {
            for i in 0.. {
                if peer.write_all(&frame("a", i, 1, b"four")).await.is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let error = loop {
            if let Err(error) = channel.recv("a", 4).await {
                break error;
            }
        };
        assert!(matches!(error, Error::DeadlinePassed { subject: "session", .. }), "{error}");
        assert!(start.elapsed() < 10 * SHORT, "{:?}", start.elapsed());
    });
}

#[test]
fn a_deadline_ends_the_closing() {
    soon(async {
        let (mut channel, peer) = victim();
        channel.set_timeout(SOON);
        channel.set_deadline("session", SHORT);
        channel.send("a", vec![0; MIB]).unwrap();
        let start = Instant::now();
        assert!(matches!(channel.close().await, Err(Error::Transport { .. })));
        assert!(start.elapsed() < SOON / 3, "{:?}", start.elapsed());
        drop(peer);
    });
}

/// A message of 4 GiB was a panic.
#[test]
fn a_message_that_is_too_long_is_named() {
    soon(async {
        let (mut channel, mut peer) = victim();
        let error = channel.send("a", vec![0; 1 << 32]).unwrap_err();
        let named =
            matches!(error, Error::TooLarge { step: "a", max, len } if max + 1 == 1 << 32 && len == 1 << 32);
        assert!(named, "{error}");
        assert_eq!(channel.unsent(), 0);
        // The channel can still be used.
        channel.send("a", &b"four"[..]).unwrap();
        channel.close().await.unwrap();
        let mut got = vec![];
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, frame("a", 0, 1, b"four"));
    });
}

/// After an abort nothing is held for a peer that does not read.
#[test]
fn an_abort_drops_what_the_peer_does_not_take() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.send("a", vec![0; 4 * MIB]).unwrap();
        channel.abort(Abort::Internal).await;
        drop(channel);
        let mut got = vec![];
        peer.read_to_end(&mut got).await.unwrap();
        assert!(got.len() < MIB, "{} bytes", got.len());
    });
}
