//! Messages that are announced before they are read, and the rate at which long ones arrive.

use std::time::Duration;

use sotto_net::{Channel, Error, HEADER_LEN, Half, Link, Runtime, SpanKey, memory_pair, run_pair};

#[test]
fn announced_messages_are_read_on_the_way_and_cost_no_turn() {
    let (turns, ()) = run_pair(
        |mut ch: Channel| async move {
            let first = ch.expect("ahead", 3);
            let second = ch.expect("ahead", 1);
            assert_eq!(ch.recv("now", 2).await.unwrap(), [7, 8]);
            let third = ch.expect("ahead", 0);
            // In any order, before or after they have arrived.
            assert_eq!(ch.claim(second).await.unwrap(), [4]);
            assert_eq!(ch.claim(third).await.unwrap(), []);
            assert_eq!(ch.claim(first).await.unwrap(), [1, 2, 3]);
            ch.send("answer", vec![]).unwrap();
            ch.close().await.unwrap();
            ch.meter.total().turns
        },
        |mut ch: Channel| async move {
            ch.send("ahead", vec![1, 2, 3]).unwrap();
            ch.send("ahead", vec![4]).unwrap();
            ch.send("now", vec![7, 8]).unwrap();
            ch.send("ahead", vec![]).unwrap();
            ch.recv("answer", 0).await.unwrap();
        },
    );
    assert_eq!(turns, 1);
}

#[test]
fn their_bytes_belong_to_the_span_that_announced_them() {
    run_pair(
        |mut ch: Channel| async move {
            ch.meter.enter("ot", Half::Offline);
            let ahead = ch.expect("ahead", 100);
            ch.meter.leave();
            ch.meter.enter("mux", Half::Online);
            ch.recv("now", 10).await.unwrap();
            ch.meter.leave();
            ch.claim(ahead).await.unwrap();
            let spans = ch.meter.spans();
            let received = |op, half| spans[&SpanKey { phase: "setup", op, half }].received as usize;
            assert_eq!(received("ot", Half::Offline), HEADER_LEN + 100);
            assert_eq!(received("mux", Half::Online), HEADER_LEN + 10);
            assert_eq!(ch.meter.total().received as usize, 2 * HEADER_LEN + 110);
        },
        |mut ch: Channel| async move {
            ch.send("ahead", vec![1; 100]).unwrap();
            ch.send("now", vec![2; 10]).unwrap();
            ch.close().await.unwrap();
        },
    );
}

/// The errors of a receiver that has announced three bytes: at its next receive, and at the claim.
fn announced(said: impl FnOnce(&mut Channel) + Send) -> [Option<Error>; 2] {
    let (errors, ()) = run_pair(
        |mut ch: Channel| async move {
            let ahead = ch.expect("ahead", 3);
            let next = ch.recv("now", 1).await.err();
            let claimed = if next.is_none() { ch.claim(ahead).await.err() } else { None };
            [next, claimed]
        },
        |mut ch: Channel| async move {
            said(&mut ch);
            let _ = ch.close().await;
        },
    );
    errors
}

#[test]
fn what_was_announced_and_does_not_come_is_named() {
    let short = announced(|ch| ch.send("ahead", vec![1, 2]).unwrap());
    assert!(matches!(short, [Some(Error::WrongLength { step: "ahead", expected: 3, got: 2 }), None]));
    let other = announced(|ch| ch.send("now", vec![1]).unwrap());
    assert!(matches!(&other, [Some(Error::WrongTag { expected: "ahead", got }), None] if got == "now"));
    let gone = announced(|_| ());
    assert!(matches!(gone, [Some(Error::Closed { step: "ahead" }), None]));
    let right = announced(|ch| {
        ch.send("ahead", vec![1, 2, 3]).unwrap();
        ch.send("now", vec![1]).unwrap();
    });
    assert!(matches!(right, [None, None]));
}

/// Digests of what was heard cover what was announced: the peer has sent it before it says its own.
#[test]
fn digests_cover_announced_messages() {
    run_pair(
        |mut ch: Channel| async move {
            let ahead = ch.expect("ahead", 1);
            let heard = ch.heard_digest().await.unwrap();
            assert_eq!(ch.recv("digest", 32).await.unwrap(), heard);
            ch.claim(ahead).await.unwrap();
        },
        |mut ch: Channel| async move {
            ch.send("ahead", vec![1]).unwrap();
            let said = ch.trace_digest();
            ch.send("digest", said.to_vec()).unwrap();
            ch.close().await.unwrap();
        },
    );
}

#[test]
fn the_rate_of_a_link_is_stated_and_seen() {
    Runtime::new().block_on(async {
        let link = Link { rate: Some(2e8), rtt: Duration::from_millis(1) };
        let (mut near, mut far) = memory_pair(link);
        assert_eq!((near.stated_rate(), far.stated_rate(), far.seen_rate()), (Some(2e8), None, None));
        near.send("short", vec![0; 1000]).unwrap();
        near.send("long", vec![0; 2 << 20]).unwrap();
        far.recv("short", 1000).await.unwrap();
        assert_eq!(far.seen_rate(), None, "a short message says nothing");
        far.recv("long", 2 << 20).await.unwrap();
        // The pieces in the pipe's buffer come at once, and a busy machine is late.
        let seen = far.seen_rate().unwrap();
        assert!((2e7..1e9).contains(&seen), "{seen} bits per second");
    });
}
