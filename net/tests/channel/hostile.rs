//! A peer that breaks the framing: each time a named error, soon, and never a panic.

use std::{future::Future, time::Duration};

use sotto_net::{Abort, Channel, Error, HEADER_LEN, Link, MAX_CONTROL_LEN, Runtime, memory_pair, run_pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

const SHORT: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(20);

/// Runs `test`; panics if it takes long.
fn soon<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    Runtime::new().block_on(async { timeout(SOON, test).await.expect("the test hangs") })
}

/// A frame as the module documentation of the channel describes it.
fn frame(tag: &str, sequence: u32, flight: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = blake3::hash(tag.as_bytes()).as_bytes()[..4].to_vec();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(flight.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// A channel whose peer is the test.
fn victim() -> (Channel, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (Channel::new(near), far)
}

/// The result of a party that waits for four bytes at step `a` and receives `bytes`.
fn recv_of(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    recv_within(SOON, bytes)
}

fn recv_within(patience: Duration, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    soon(async move {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(patience);
        peer.write_all(&bytes).await.unwrap();
        channel.recv("a", 4).await
    })
}

#[test]
fn a_good_frame_arrives() {
    assert_eq!(recv_of(frame("a", 0, 1, b"four")).unwrap(), b"four");
}

#[test]
fn a_frame_is_as_documented() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.send("a", &b"first"[..]).unwrap();
        channel.send("b", &b""[..]).unwrap();
        channel.close().await.unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [frame("a", 0, 1, b"first"), frame("b", 1, 1, b"")].concat());
    });
}

#[test]
fn a_wrong_tag_is_named() {
    soon(async {
        let (mut channel, mut peer) = victim();
        peer.write_all(&[frame("b", 0, 1, b"four"), frame("b", 1, 1, b"four")].concat()).await.unwrap();
        channel.recv("b", 4).await.unwrap();
        let error = channel.recv("a", 4).await.unwrap_err();
        assert!(matches!(&error, Error::WrongTag { expected: "a", got } if got == "b"), "{error}");
    });
    let error = recv_of(frame("unheard/of", 0, 1, b"four")).unwrap_err();
    assert!(matches!(&error, Error::WrongTag { expected: "a", got } if got.starts_with('[')), "{error}");
}

#[test]
fn a_wrong_length_is_refused_before_its_bytes() {
    for claimed in [0, 3, 5, u32::MAX] {
        let mut bytes = frame("a", 0, 1, b"");
        bytes[12..].copy_from_slice(&claimed.to_le_bytes());
        let error = recv_of(bytes).unwrap_err();
        let expected =
            matches!(error, Error::WrongLength { step: "a", expected: 4, got } if got == claimed as usize);
        assert!(expected, "{error}");
    }
}

#[test]
fn a_lost_frame_is_noticed() {
    let error = recv_of(frame("a", 1, 1, b"four")).unwrap_err();
    assert!(matches!(error, Error::WrongSequence { step: "a", expected: 0, got: 1 }), "{error}");
}

#[test]
fn a_replayed_frame_is_noticed() {
    soon(async {
        let (mut channel, mut peer) = victim();
        peer.write_all(&frame("a", 0, 1, b"four").repeat(2)).await.unwrap();
        channel.recv("a", 4).await.unwrap();
        let error = channel.recv("a", 4).await.unwrap_err();
        assert!(matches!(error, Error::WrongSequence { step: "a", expected: 1, got: 0 }), "{error}");
    });
}

/// A peer could once push the turns up by two a frame, without an answer in between.
#[test]
fn a_flight_answers_something_that_was_sent() {
    for (flight, fine) in [(0, false), (1, true), (2, false), (u32::MAX >> 1, false), (u32::MAX, false)] {
        match recv_of(frame("a", 0, flight, b"four")) {
            Ok(_) => assert!(fine, "flight {flight}"),
            Err(Error::WrongFlight { step: "a", least: 1, most: 1, got }) => assert!(!fine && got == flight),
            // This one is a piece of a background message.
            Err(Error::WrongTag { expected: "a", .. }) => assert_eq!(flight, u32::MAX),
            Err(other) => panic!("{other}"),
        }
    }
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.send("a", &b"four"[..]).unwrap();
        peer.write_all(&[frame("a", 0, 2, b"four"), frame("a", 1, 1, b"four")].concat()).await.unwrap();
        channel.recv("a", 4).await.unwrap();
        let error = channel.recv("a", 4).await.unwrap_err();
        assert!(matches!(error, Error::WrongFlight { least: 2, most: 2, got: 1, .. }), "{error}");
    });
}

#[test]
fn a_frame_cut_short_is_an_early_close() {
    let whole = frame("a", 0, 1, b"four");
    for len in [0, 1, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + 3] {
        let part = whole[..len].to_vec();
        let error = soon(async move {
            let (mut channel, mut peer) = victim();
            peer.write_all(&part).await.unwrap();
            drop(peer);
            channel.recv("a", 4).await.unwrap_err()
        });
        assert!(matches!(error, Error::Closed { step: "a" }), "{len} bytes: {error}");
    }
}

#[test]
fn a_silent_peer_is_a_timeout() {
    for len in [0, 5, HEADER_LEN + 2] {
        let error = recv_within(SHORT, frame("a", 0, 1, b"four")[..len].to_vec()).unwrap_err();
        assert!(matches!(error, Error::Timeout { step: "a", after: SHORT }), "{len} bytes: {error}");
        assert!(error.to_string().contains("100ms"), "{error}");
    }
}

/// One byte at a time renewed the time limit for ever.
#[test]
fn a_trickling_peer_is_a_timeout() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(SHORT);
        tokio::spawn(async move {
            for byte in frame("a", 0, 1, &[0; 4096]) {
                sleep(SHORT / 10).await;
                if peer.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        });
        let error = channel.recv("a", 4096).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    });
}

/// The result of a party that waits for a control message of type `(u32, String)`.
fn control_of(body: Vec<u8>) -> Result<(u32, String), Error> {
    soon(async move {
        let (mut channel, mut peer) = victim();
        let bytes = frame("a", 0, 1, &body);
        tokio::spawn(async move { peer.write_all(&bytes).await });
        channel.recv_control("a").await
    })
}

#[test]
fn a_control_message_decodes_or_is_malformed() {
    let good = [&7u32.to_le_bytes()[..], &2u64.to_le_bytes(), b"hi"].concat();
    assert_eq!(control_of(good.clone()).unwrap(), (7, "hi".into()));

    let left_over = [&good[..], b"!"].concat();
    let huge_string = [&7u32.to_le_bytes()[..], &u64::MAX.to_le_bytes(), b"hi"].concat();
    let no_text = [&7u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[0xff, 0xfe]].concat();
    for bad in [vec![], good[..good.len() - 1].to_vec(), left_over, huge_string, no_text, vec![0xff; 300]] {
        let error = control_of(bad).unwrap_err();
        assert!(matches!(error, Error::Malformed { step: "a", .. }), "{error}");
    }
    let error = control_of(vec![0; MAX_CONTROL_LEN + 1]).unwrap_err();
    let max = matches!(error, Error::TooLong { step: "a", max: MAX_CONTROL_LEN, got } if got == MAX_CONTROL_LEN + 1);
    assert!(max, "{error}");
}

#[test]
fn control_messages_go_both_ways() {
    let message = (7u32, "hello".to_string(), vec![Some(1.5f32), None]);
    let sent = message.clone();
    let (_, got) = run_pair(
        async move |mut a: Channel| a.send_control("hello", &sent).unwrap(),
        async |mut b: Channel| b.recv_control::<(u32, String, Vec<Option<f32>>)>("hello").await.unwrap(),
    );
    assert_eq!(got, message);
}

#[test]
fn a_message_of_open_length_has_a_bound() {
    soon(async {
        let (mut channel, mut peer) = victim();
        let body: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let bytes = [frame("a", 0, 1, &body), frame("a", 1, 1, &body)].concat();
        tokio::spawn(async move { peer.write_all(&bytes).await });
        assert_eq!(channel.recv_at_most("a", body.len()).await.unwrap(), body);
        let error = channel.recv_at_most("a", body.len() - 1).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { max: 2_999_999, got: 3_000_000, .. }), "{error}");
    });
}

#[test]
fn an_abort_is_delivered() {
    for (code, words) in [
        (Abort::Mismatch, "do not match"),
        (Abort::Protocol, "breaks the protocol"),
        (Abort::Refused, "refuses"),
        (Abort::Internal, "internal error"),
    ] {
        let (_, error) = run_pair(
            async move |mut a: Channel| a.abort(code).await,
            async |mut b: Channel| {
                let error = b.recv("a", 4).await.unwrap_err();
                b.close().await.unwrap();
                error
            },
        );
        assert!(matches!(error, Error::Aborted { step: "a", .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = recv_of(frame("session/abort", 0, 1, &[99])).unwrap_err();
    assert!(error.to_string().contains("no known reason"), "{error}");
}

/// A socket that is closed with unread bytes in it is reset, and what was sent last can get lost.
#[test]
fn an_abort_is_delivered_to_a_peer_that_is_still_sending() {
    soon(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut refusing = Channel::new(listener.accept().await.unwrap().0);
            refusing.recv("a", 4).await.unwrap();
            refusing.abort(Abort::Refused).await;
        });
        let mut sending = Channel::new(TcpStream::connect(addr).await.unwrap());
        sending.send("a", &b"four"[..]).unwrap();
        for _ in 0..16 {
            sending.send("b", vec![0; 1 << 20]).unwrap();
            sleep(Duration::from_millis(5)).await;
        }
        let error = sending.recv("c", 4).await.unwrap_err();
        assert!(matches!(error, Error::Aborted { step: "c", .. }), "{error}");
    });
}

#[test]
fn a_peer_that_takes_nothing_holds_up_neither_sending_nor_the_end() {
    soon(async {
        let (mut channel, peer) = victim();
        channel.set_timeout(SHORT);
        channel.send("a", vec![0; 4 << 20]).unwrap();
        sleep(3 * SHORT).await;
        let error = channel.close().await.unwrap_err();
        assert!(matches!(error, Error::Transport { step: "session/close", .. }), "{error}");
        assert!(matches!(channel.send("a", &b""[..]), Err(Error::Closed { step: "a" })));
        drop(peer);
    });
    soon(async {
        let (mut channel, peer) = victim();
        channel.send("a", vec![0; 4 << 20]).unwrap();
        let start = Instant::now();
        channel.abort(Abort::Internal).await;
        assert!(start.elapsed() < SOON / 2);
        drop(peer);
    });
}

#[test]
fn a_peer_that_is_slow_gets_everything() {
    soon(async {
        let (mut channel, mut peer) = victim();
        channel.set_timeout(SHORT);
        channel.send("a", vec![7; 3 << 20]).unwrap();
        sleep(5 * SHORT).await;
        channel.set_timeout(SOON);
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            got
        });
        channel.close().await.unwrap();
        assert_eq!(reader.await.unwrap(), frame("a", 0, 1, &vec![7; 3 << 20]));
    });
}

#[test]
fn a_program_without_tls_names_a_tls_greeting() {
    let error = recv_of([&[0x16, 0x03, 0x01, 0x00][..], &[0; 60]].concat()).unwrap_err();
    assert!(error.to_string().contains("TLS greeting"), "{error}");
}

/// An exchange may be larger than the buffers between the parties.
#[test]
fn both_parties_send_64_mib_at_once() {
    let exchange = async |byte: u8, mut channel: Channel| {
        let got = channel.exchange("a", vec![byte; 64 << 20]).await.unwrap();
        assert!(got.iter().all(|b| *b == 3 - byte));
        channel.close().await.unwrap();
    };
    run_pair(async move |a: Channel| exchange(1, a).await, async move |b: Channel| exchange(2, b).await);
    Runtime::new().block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let far = listener.accept().await.unwrap().0;
        let (near, far) = (Channel::new(near), Channel::new(far));
        let other = tokio::spawn(async move { exchange(1, near).await });
        exchange(2, far).await;
        other.await.unwrap();
    });
}

#[test]
fn equal_runs_have_equal_digests() {
    let digest = |tag: &'static str| {
        soon(async move {
            let (mut a, _b) = memory_pair(Link::LOOPBACK);
            a.send("a", vec![1, 2]).unwrap();
            a.send(tag, vec![1, 2]).unwrap();
            a.trace_digest()
        })
    };
    assert_eq!(digest("b"), digest("b"));
    assert_ne!(digest("b"), digest("c"));
}
