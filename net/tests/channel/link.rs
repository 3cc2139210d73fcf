//! A simulated link is never faster than it claims, and does not store what it cannot carry.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use sotto_net::{Channel, Link, Runtime, Stream, memory_pair, shape};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

#[test]
fn links_are_read_from_text() {
    let link = |rate, rtt| Link { rate: Some(rate), rtt: Duration::from_secs_f64(rtt) };
    for (text, expected) in [
        ("loopback", Link::LOOPBACK),
        ("lan", Link::LAN),
        ("wan", Link::WAN),
        ("1gbit,500us", Link::LAN),
        ("100mbit,40ms", Link::WAN),
        ("2.5 gbit, 1 s", link(2.5e9, 1.0)),
        ("9kbit,0.5ms", link(9e3, 0.0005)),
    ] {
        assert_eq!(text.parse::<Link>().unwrap(), expected, "{text}");
    }
    for text in [
        "",
        "LAN",
        "100mbit",
        ",",
        "100mbit,",
        ",40ms",
        "100,40ms",
        "100mbit,40",
        "0mbit,40ms",
        "-1mbit,40ms",
        "nanmbit,40ms",
        "infmbit,40ms",
        "100mbit,0ms",
        "100mbit,-1ms",
        "100mbit,60s",
        "100mbit,1e400s",
        "100mbit,40ms,",
        "100 m bit,40ms",
    ] {
        let error = text.parse::<Link>().unwrap_err().to_string();
        assert!(error.contains("100mbit,40ms") && error.contains(&format!("{text:?}")), "{error}");
    }
}

/// Runs `test` and checks that it takes at least `least`, and not for ever.
fn takes<T: Send + 'static>(least: Duration, test: impl Future<Output = T> + Send + 'static) -> T {
    Runtime::new().block_on(async move {
        let start = Instant::now();
        let limit = 5 * least + Duration::from_secs(2);
        let result = timeout(limit, test).await.expect("the link is far slower than it claims");
        let taken = start.elapsed();
        println!("{taken:?}, {least:?} at least");
        assert!(taken >= least, "{taken:?} instead of {least:?}");
        result
    })
}

async fn carry(mut from: impl Stream, mut to: impl Stream, len: usize) {
    let sent: Vec<u8> = (0..len).map(|i| (i * i % 251) as u8).collect();
    let mut got = vec![0; len];
    let send = async {
        from.write_all(&sent).await.unwrap();
        from.flush().await.unwrap();
    };
    let recv = async {
        to.read_exact(&mut got).await.unwrap();
    };
    tokio::join!(send, recv);
    assert!(got == sent);
}

/// 1 MB at 40 Mbit/s is 0.2 s, and half a round trip on top.
#[test]
fn a_megabyte_takes_its_time_in_either_direction() {
    let link: Link = "40mbit,20ms".parse().unwrap();
    let least = Duration::from_millis(210);
    takes(least, async move {
        let (near, far) = duplex(1 << 20);
        carry(shape(near, link), far, 1_000_000).await;
    });
    takes(least, async move {
        let (near, far) = duplex(1 << 20);
        carry(far, shape(near, link), 1_000_000).await;
    });
}

#[test]
fn an_exchange_takes_the_time_of_one_direction() {
    takes(Duration::from_millis(210), async {
        let (mut a, mut b) = memory_pair("40mbit,20ms".parse().unwrap());
        let (x, y) = tokio::join!(a.exchange("a", vec![0; 1_000_000]), b.exchange("a", vec![0; 1_000_000]));
        assert!(x.is_ok() && y.is_ok());
    });
}

#[test]
fn a_turn_takes_half_a_round_trip() {
    for (link, turns) in [("1gbit,20ms", 20), ("1gbit,500us", 200)] {
        let link: Link = link.parse().unwrap();
        takes(turns * link.rtt / 2, async move {
            let (mut a, mut b) = memory_pair(link);
            let asks = async {
                for _ in 0..turns / 2 {
                    a.send("ask", vec![0; 8]).unwrap();
                    a.recv("answer", 8).await.unwrap();
                }
            };
            let answers = async {
                for _ in 0..turns / 2 {
                    b.recv("ask", 8).await.unwrap();
                    b.send("answer", vec![0; 8]).unwrap();
                }
            };
            tokio::join!(asks, answers);
            assert_eq!(a.meter.total().turns, u64::from(turns));
        });
    }
}

#[test]
fn what_was_sent_before_the_end_still_arrives() {
    takes(Duration::from_millis(50), async {
        let (mut a, mut b) = memory_pair("10mbit,100ms".parse().unwrap());
        a.send("last", vec![5; 10_000]).unwrap();
        a.close().await.unwrap();
        drop(a);
        assert_eq!(b.recv("last", 10_000).await.unwrap(), vec![5; 10_000]);
        assert!(b.recv("more", 1).await.is_err());
    });
}

/// The wire holds 64 MiB at most; a sender waits for the rest to leave.
#[test]
fn a_slow_link_holds_up_the_sender() {
    Runtime::new().block_on(async {
        let (near, _far) = duplex(1 << 20);
        let mut near = shape(near, "1kbit,20ms".parse().unwrap());
        let (piece, mut taken) = (vec![0; 1 << 20], 0usize);
        while taken < 256 << 20 {
            match timeout(Duration::from_secs(1), near.write(&piece)).await {
                Ok(written) => taken += written.unwrap(),
                Err(_) => break,
            }
        }
        assert!(taken <= 66 << 20, "{taken} bytes are under way");
    });
}

#[test]
fn the_end_of_the_connection_crosses_the_link() {
    takes(Link::WAN.rtt / 2, async {
        let (near, far) = duplex(1 << 20);
        let mut channel = Channel::new(shape(near, Link::WAN));
        drop(far);
        assert!(matches!(channel.recv("a", 1).await, Err(sotto_net::Error::Closed { step: "a" })));
    });
}
