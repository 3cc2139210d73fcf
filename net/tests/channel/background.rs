//! Background requests: requests and replies that travel behind everything else.

use std::time::Duration;

use sotto_net::{
    Abort, BackgroundRequest, Channel, Cost, Error, HEADER_LEN, Half, Identity, Link, Listener, Peers,
    Runtime, SpanKey, background_len, connect_tls, run_pair,
};
use tokio::{
    io::{AsyncWriteExt, duplex},
    sync::oneshot,
    time::{sleep, timeout},
};

const REQUEST: (&str, usize) = ("up", 40_000);
const REPLY: (&str, usize) = ("down", 16_384);
const SOON: Duration = Duration::from_secs(20);

/// Announces a background request, does what `between` does, and catches up. Returns the reply and
/// the cost.
async fn client(mut ch: Channel, between: impl AsyncFnOnce(&mut Channel)) -> (Vec<u8>, Cost) {
    ch.meter.enter("background", Half::Offline);
    let request = ch.start_request(REQUEST, REPLY);
    ch.meter.leave();
    let number = request.number;
    request.outgoing.fill(vec![3; REQUEST.1]);
    between(&mut ch).await;
    ch.catch_up(number..number + 1).await.unwrap();
    let reply = request.incoming.wait().await.unwrap();
    // The clock goes on from there.
    ch.send("end", vec![]).unwrap();
    ch.recv("end", 0).await.unwrap();
    let total = ch.meter.total();
    let span = ch.meter.spans()[&SpanKey { phase: "setup", op: "background", half: Half::Offline }];
    assert_eq!(
        (span.sent as usize, span.received as usize),
        (background_len(REQUEST.1), background_len(REPLY.1))
    );
    ch.close().await.unwrap();
    (reply, total)
}

async fn server(mut ch: Channel, between: impl AsyncFnOnce(&mut Channel)) -> Cost {
    let BackgroundRequest { outgoing, incoming, .. } = {
        let request = ch.accept_request(REQUEST, REPLY);
        assert_eq!(request.number, 0);
        request
    };
    let work = tokio::spawn(async move {
        let request = incoming.wait().await.unwrap();
        assert_eq!(request, vec![3; REQUEST.1]);
        outgoing.fill(vec![5; REPLY.1]);
    });
    between(&mut ch).await;
    ch.catch_up(0..1).await.unwrap();
    work.await.unwrap();
    ch.recv("end", 0).await.unwrap();
    ch.send("end", vec![]).unwrap();
    ch.close().await.unwrap();
    ch.meter.total()
}

async fn talk(ch: &mut Channel, times: usize) {
    for _ in 0..times {
        ch.exchange("word", vec![1; 10]).await.unwrap();
    }
}

#[test]
fn a_background_request_takes_two_turns_unless_others_pass_meanwhile() {
    for times in 0..5 {
        let ((reply, cost), far) = run_pair(
            |ch| client(ch, async move |ch| talk(ch, times).await),
            |ch| server(ch, async move |ch| talk(ch, times).await),
        );
        assert_eq!(reply, vec![5; REPLY.1]);
        // And two for the last two frames.
        assert_eq!(cost.turns, times.max(2) as u64 + 2, "{times} turns meanwhile");
        let said = (times * (HEADER_LEN + 10) + HEADER_LEN) as u64;
        assert_eq!(cost.sent, said + background_len(REQUEST.1) as u64);
        assert_eq!((cost.sent, cost.received), (far.received, far.sent));
    }
}

/// A frame waits for one piece at most, beyond what the buffers of the connection hold.
#[test]
fn messages_overaccept_requests() {
    const LONG: usize = 16 << 20;
    const BUFFERED: u64 = 2 << 20;
    let (said, hear) = oneshot::channel();
    run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(("up", LONG), ("down", 1));
            request.outgoing.fill(vec![1; LONG]);
            ch.send("now", vec![2]).unwrap();
            said.send(()).unwrap();
            ch.catch_up(0..1).await.unwrap();
            // After catching up, its pieces go first.
            assert_eq!(request.incoming.wait().await.unwrap(), [9]);
        },
        |mut ch: Channel| async move {
            let BackgroundRequest { outgoing, incoming, .. } = ch.accept_request(("up", LONG), ("down", 1));
            hear.await.unwrap();
            assert_eq!(ch.recv("now", 1).await.unwrap(), [2]);
            assert!(ch.meter.total().received < BUFFERED);
            ch.catch_up(0..1).await.unwrap();
            assert_eq!(incoming.wait().await.unwrap().len(), LONG);
            outgoing.fill(vec![9]);
            ch.close().await.unwrap();
        },
    );
}

/// Background requests come back in any order.
#[test]
fn background_requests_are_caught_up_with_one_by_one() {
    const N: usize = 5;
    let len = |i: usize| 1 + i * 16_384;
    run_pair(
        |mut ch: Channel| async move {
            let mut incoming = vec![];
            let mut outgoing = vec![];
            for i in 0..N {
                let request = ch.start_request(("up", len(i)), ("down", len(N - i)));
                outgoing.push(request.outgoing);
                incoming.push(request.incoming);
            }
            // Filled in the other way round.
            for (i, outgoing) in outgoing.into_iter().enumerate().rev() {
                outgoing.fill(vec![i as u8; len(i)]);
            }
            ch.catch_up(3..4).await.unwrap();
            ch.exchange("word", vec![0]).await.unwrap();
            ch.catch_up(0..u64::MAX).await.unwrap();
            for (i, incoming) in incoming.into_iter().enumerate() {
                assert_eq!(incoming.wait().await.unwrap(), vec![i as u8; len(N - i)]);
            }
            assert_eq!(ch.meter.total().turns, 2);
        },
        |mut ch: Channel| async move {
            for i in 0..N {
                let BackgroundRequest { outgoing, incoming, .. } =
                    ch.accept_request(("up", len(i)), ("down", len(N - i)));
                tokio::spawn(async move {
                    let request = incoming.wait().await.unwrap();
                    assert_eq!(request, vec![i as u8; len(i)]);
                    outgoing.fill(vec![i as u8; len(N - i)]);
                });
            }
            ch.catch_up(3..4).await.unwrap();
            ch.exchange("word", vec![0]).await.unwrap();
            // The client's word comes after the replies.
            assert_eq!(ch.meter.total().turns, 3);
            ch.catch_up(0..5).await.unwrap();
            // What is left behind a closed channel is lost, so the peer says when it has all.
            ch.close().await.unwrap();
        },
    );
}

/// A request that depends on a reply is two turns later, unless others pass meanwhile.
#[test]
fn background_requests_may_depend_on_each_other() {
    const ROUNDS: usize = 3;
    for times in [0, 4, 9] {
        let (cost, ()) = run_pair(
            move |mut ch: Channel| async move {
                let mut requests = vec![ch.start_request(REQUEST, REPLY)];
                for i in 1..ROUNDS {
                    requests.push(ch.start_next_request(&requests[i - 1], REQUEST, REPLY));
                }
                let work = tokio::spawn(async {
                    for request in requests {
                        request.outgoing.fill(vec![1; REQUEST.1]);
                        request.incoming.wait().await.unwrap();
                    }
                });
                talk(&mut ch, times).await;
                ch.catch_up(0..3).await.unwrap();
                work.await.unwrap();
                talk(&mut ch, 1).await;
                ch.meter.total()
            },
            move |mut ch: Channel| async move {
                let mut requests = vec![ch.accept_request(REQUEST, REPLY)];
                for i in 1..ROUNDS {
                    requests.push(ch.accept_next_request(&requests[i - 1], REQUEST, REPLY));
                }
                let work = tokio::spawn(async {
                    for request in requests {
                        request.incoming.wait().await.unwrap();
                        request.outgoing.fill(vec![1; REPLY.1]);
                    }
                });
                talk(&mut ch, times).await;
                ch.catch_up(0..3).await.unwrap();
                work.await.unwrap();
                talk(&mut ch, 1).await;
                ch.close().await.unwrap();
            },
        );
        // Six turns, and the last word of a server that has heard the fifth.
        assert_eq!(cost.turns, (times as u64 + 1).max(2 * ROUNDS as u64), "{times} turns meanwhile");
    }
}

/// Frames may lie anywhere among the pieces; digests do not depend on where.
#[test]
fn digests_have_the_announcements() {
    let digests = |late: bool| {
        run_pair(
            move |mut ch: Channel| async move {
                let request = ch.start_request(REQUEST, REPLY);
                ch.send("ahead", vec![1; 9]).unwrap();
                if late {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                request.outgoing.fill(vec![3; REQUEST.1]);
                ch.send("word", vec![]).unwrap();
                ch.catch_up(0..1).await.unwrap();
                let said = ch.trace_digest();
                ch.send("digest", said.to_vec()).unwrap();
                assert_eq!(ch.heard_digest().await.unwrap()[..], ch.recv("digest", 32).await.unwrap());
                said
            },
            |mut ch: Channel| async move {
                let BackgroundRequest { outgoing, incoming, .. } = ch.accept_request(REQUEST, REPLY);
                let ahead = ch.expect("ahead", 9);
                tokio::spawn(async move {
                    incoming.wait().await.unwrap();
                    outgoing.fill(vec![5; REPLY.1]);
                });
                ch.recv("word", 0).await.unwrap();
                ch.catch_up(0..1).await.unwrap();
                ch.claim(ahead).await.unwrap();
                let said = ch.trace_digest();
                ch.send("digest", said.to_vec()).unwrap();
                assert_eq!(ch.heard_digest().await.unwrap()[..], ch.recv("digest", 32).await.unwrap());
                ch.close().await.unwrap();
                said
            },
        )
    };
    assert_eq!(digests(false), digests(true));
}

/// Frames sent before a party catches up do not wait for messages that it has yet to make.
#[test]
fn frames_before_catching_up_arrive() {
    run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            ch.recv("before", 1).await.unwrap();
            request.outgoing.fill(vec![3; REQUEST.1]);
            ch.catch_up(0..1).await.unwrap();
        },
        |mut ch: Channel| async move {
            ch.set_timeout(SOON);
            let BackgroundRequest { outgoing, incoming, .. } = ch.accept_request(REQUEST, REPLY);
            tokio::spawn(async move {
                incoming.wait().await.unwrap();
                outgoing.fill(vec![5; REPLY.1]);
            });
            ch.send("before", vec![1]).unwrap();
            ch.catch_up(0..1).await.unwrap();
            ch.close().await.unwrap();
        },
    );
}

/// A server that aborts while a background request of its client is not done sends the abort.
#[test]
fn an_abort_does_not_wait_for_background_requests() {
    let (error, ()) = run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            request.outgoing.fill(vec![3; REQUEST.1]);
            ch.catch_up(0..1).await.unwrap_err()
        },
        |mut ch: Channel| async move {
            let request = ch.accept_request(REQUEST, REPLY);
            ch.catch_up(0..1).await.unwrap();
            ch.abort(Abort::Internal).await;
            drop(request);
        },
    );
    assert!(matches!(error, Error::Aborted { step: "down", .. }), "{error}");
}

/// A conversation may end while background requests are under way: the last frames arrive, and
/// neither party takes the end for a lost connection.
#[test]
fn conversations_may_end_before_their_background_requests() {
    const LONG: usize = 8 << 20;
    let pair = |tls: bool| async move {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.addr().to_string();
        if !tls {
            let client =
                tokio::spawn(async move { sotto_net::connect(&addr, Link::LOOPBACK).await.unwrap() });
            let (server, _) = listener.accept(Link::LOOPBACK).await.unwrap();
            return (client.await.unwrap(), server);
        }
        let (me, other) = (Identity::generate(), Identity::generate());
        let others = other.fingerprint();
        let client =
            tokio::spawn(
                async move { connect_tls(&addr, Link::LOOPBACK, &me, others).await.unwrap().channel },
            );
        let incoming = listener.accept_tls(Link::LOOPBACK).await.unwrap();
        let server = incoming.handshake(&other, &Peers::Any).await.unwrap().channel;
        (client.await.unwrap(), server)
    };
    for tls in [false, true] {
        let ended = Runtime::new().block_on(async {
            let (mut client, mut server) = pair(tls).await;
            let client = tokio::spawn(async move {
                let requests = [0; 4].map(|_| client.start_request(("up", LONG), ("down", LONG)));
                let waiting = requests.map(|request| {
                    request.outgoing.fill(vec![1; LONG]);
                    request.incoming
                });
                client.send("end", vec![7]).unwrap();
                // The server would have gone by then, with what it was sent unread.
                sleep(Duration::from_millis(300)).await;
                assert_eq!(client.recv("done", 1).await.unwrap(), [8]);
                client.part().await.unwrap();
                drop(client);
                for incoming in waiting {
                    assert!(matches!(incoming.wait().await, Err(Error::Closed { step: "down" })));
                }
            });
            let requests = [0; 4].map(|_| server.accept_request(("up", LONG), ("down", LONG)));
            assert_eq!(server.recv("end", 1).await.unwrap(), [7]);
            server.send("done", vec![8]).unwrap();
            server.part().await.unwrap();
            drop(server);
            assert!(requests.into_iter().all(|request| request.outgoing.is_lost()));
            timeout(SOON, client).await.expect("the test hangs")
        });
        ended.unwrap();
    }
}

/// A message that will never be sent is not waited for.
#[test]
fn background_requests_that_are_given_up_hold_nothing_up() {
    run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            request.outgoing.fill(vec![3; REQUEST.1]);
            assert_eq!(ch.recv("word", 1).await.unwrap(), [1]);
            ch.close().await.unwrap();
        },
        |mut ch: Channel| async move {
            let request = ch.accept_request(REQUEST, REPLY);
            ch.catch_up(0..1).await.unwrap();
            drop(request.outgoing);
            ch.send("word", vec![1]).unwrap();
            timeout(SOON, ch.close()).await.expect("the test hangs").unwrap();
        },
    );
    // Before and after they are caught up with.
    run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            request.outgoing.fill(vec![3; REQUEST.1]);
            ch.send("word", vec![0]).unwrap();
            assert_eq!(ch.recv("word", 1).await.unwrap(), [1]);
            ch.close().await.unwrap();
        },
        |mut ch: Channel| async move {
            let request = ch.accept_request(REQUEST, REPLY);
            ch.recv("word", 1).await.unwrap();
            drop(request.outgoing);
            ch.catch_up(0..1).await.unwrap();
            ch.send("word", vec![1]).unwrap();
            timeout(SOON, ch.close()).await.expect("the test hangs").unwrap();
        },
    );
}

/// A party that is gone at a barrier closes the connection at once.
#[test]
fn a_channel_may_be_dropped_at_a_barrier() {
    run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            request.outgoing.fill(vec![3; REQUEST.1]);
            let error = timeout(SOON, ch.catch_up(0..1)).await.expect("the test hangs").unwrap_err();
            assert!(matches!(error, Error::Closed { step: "down" }), "{error}");
        },
        |mut ch: Channel| async move {
            let request = ch.accept_request(REQUEST, REPLY);
            ch.catch_up(0..1).await.unwrap();
            drop(ch);
            while !request.outgoing.is_lost() {
                sleep(Duration::from_millis(1)).await;
            }
        },
    );
}

/// A party that aborts at a barrier sends the abort and none of the frames queued before it:
/// without the skipped background messages the peer could not make sense of them.
#[test]
fn an_abort_comes_instead_of_what_is_queued() {
    let (error, ()) = run_pair(
        |mut ch: Channel| async move {
            let request = ch.start_request(REQUEST, REPLY);
            request.outgoing.fill(vec![3; REQUEST.1]);
            ch.catch_up(0..1).await.unwrap_err()
        },
        |mut ch: Channel| async move {
            let request = ch.accept_request(REQUEST, REPLY);
            ch.catch_up(0..1).await.unwrap();
            ch.send("word", vec![1]).unwrap();
            ch.abort(Abort::Protocol).await;
            drop(request);
        },
    );
    assert!(matches!(error, Error::Aborted { step: "down", .. }), "{error}");
}

/// The peer has a say in the pace, so any value of it must do.
#[test]
fn background_requests_come_back_whatever_the_pace() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let ((reply, _), _) = run_pair(
            |mut ch| async move {
                ch.set_pace(rate, Duration::MAX);
                client(ch, async |ch| talk(ch, 3).await).await
            },
            |mut ch| async move {
                ch.set_pace(rate, Duration::ZERO);
                server(ch, async |ch| talk(ch, 3).await).await
            },
        );
        assert_eq!(reply, vec![5; REPLY.1]);
    }
}

/// A task that waits for a background message is told when the channel ends.
#[test]
fn background_requests_end_with_their_channel() {
    Runtime::new().block_on(async {
        let (near, far) = duplex(1 << 20);
        let mut ch = Channel::new(near);
        let request = ch.accept_request(REQUEST, REPLY);
        drop(far);
        assert!(matches!(ch.catch_up(0..1).await, Err(Error::Closed { step: "up" })));
        drop(ch);
        assert!(matches!(request.incoming.wait().await, Err(Error::Closed { step: "up" })));
    });
}

/// A piece as the module documentation describes it.
fn piece(tag: &str, sequence: u32, flight: u32, len: usize) -> Vec<u8> {
    let mut bytes = blake3::hash(tag.as_bytes()).as_bytes()[..4].to_vec();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend((flight | 1 << 31).to_le_bytes());
    bytes.extend((len as u32).to_le_bytes());
    bytes.resize(HEADER_LEN + len, 7);
    bytes
}

/// The result of a server that has announced a background request, or none, and receives `bytes`.
fn server_on(announced: bool, bytes: Vec<u8>) -> Result<(), Error> {
    Runtime::new().block_on(async move {
        let (near, mut far) = duplex(1 << 20);
        let mut ch = Channel::new(near);
        ch.set_timeout(Duration::from_millis(200));
        let _request = announced.then(|| ch.accept_request(REQUEST, REPLY));
        far.write_all(&bytes).await.unwrap();
        let done = async {
            match announced {
                true => ch.catch_up(0..1).await,
                false => ch.recv("word", 1).await.map(drop),
            }
        };
        timeout(SOON, done).await.expect("the test hangs")
    })
}

#[test]
fn pieces_are_as_announced() {
    let all = |change: &dyn Fn(usize) -> Vec<u8>| server_on(true, (0..3).flat_map(change).collect());
    let len = |i: usize| [16_384, 16_384, 7_232][i];
    let good = |i: usize| piece("up", 0, 1, len(i));
    all(&good).unwrap();
    for at in 0..3 {
        let changed = |bad: Vec<u8>| all(&|i| if i == at { bad.clone() } else { good(i) }).unwrap_err();
        let error = changed(piece("down", 0, 1, len(at)));
        assert!(matches!(error, Error::WrongTag { expected: "up", .. }), "{error}");
        let error = changed(piece("up", 1, 1, len(at)));
        assert!(
            matches!(&error, Error::WrongTag { expected: "up", got } if got.starts_with("up, for")),
            "{error}"
        );
        for wrong in [0, 1, len(at) - 1, len(at) + 1, 40_000] {
            let error = changed(piece("up", 0, 1, wrong));
            assert!(matches!(error, Error::WrongLength { step: "up", .. }), "{error}");
        }
        for wrong in [0, 2, u32::MAX >> 1] {
            let error = changed(piece("up", 0, wrong, len(at)));
            assert!(matches!(error, Error::WrongFlight { step: "up", .. }), "{error}");
        }
    }
    let error = server_on(true, good(0)).unwrap_err();
    assert!(matches!(error, Error::Timeout { step: "up", .. }), "{error}");
}

#[test]
fn pieces_that_were_not_announced_are_refused() {
    let error = server_on(false, piece("up", 0, 1, 1)).unwrap_err();
    assert!(matches!(&error, Error::WrongTag { expected: "word", .. }), "{error}");
    let more = (0..3).map(|i| piece("up", 0, 1, [16_384, 16_384, 7_232][i]));
    let error = Runtime::new().block_on(async move {
        let (near, mut far) = duplex(1 << 20);
        let mut ch = Channel::new(near);
        let _request = ch.accept_request(REQUEST, REPLY);
        far.write_all(&more.flatten().collect::<Vec<u8>>()).await.unwrap();
        far.write_all(&piece("up", 0, 1, 16_384)).await.unwrap();
        ch.catch_up(0..1).await.unwrap();
        timeout(SOON, ch.recv("word", 1)).await.expect("the test hangs").unwrap_err()
    });
    assert!(
        matches!(&error, Error::WrongTag { expected: "word", got } if got.starts_with("up, for")),
        "{error}"
    );
}
