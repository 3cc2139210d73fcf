//! What is counted is what happened.

use sotto_net::{Channel, Cost, HEADER_LEN, Half, Link, Runtime, SpanKey, memory_pair, run_pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[test]
fn counted_bytes_are_the_bytes_on_the_wire() {
    Runtime::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut channel = Channel::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let mut wire = listener.accept().await.unwrap().0;
        for len in [0, 1, 1000, 300_000] {
            channel.send("a", vec![0; len]).unwrap();
        }
        channel.send_control("b", &(1u8, "two")).unwrap();
        let mut bytes = Vec::new();
        let read = async {
            wire.read_to_end(&mut bytes).await.unwrap();
        };
        tokio::join!(read, async { channel.close().await.unwrap() });
        assert_eq!(channel.meter.total().sent, bytes.len() as u64);
        assert_eq!(channel.meter.total().received, 0);

        wire.write_all(&bytes).await.unwrap();
        for len in [0, 1, 1000, 300_000] {
            channel.recv("a", len).await.unwrap();
        }
        channel.recv_control::<(u8, String)>("b").await.unwrap();
        assert_eq!(channel.meter.total().received, bytes.len() as u64);
        let by_tag = channel.meter.tags();
        assert_eq!(by_tag["a"], 2 * (4 * HEADER_LEN as u64 + 301_001));
        assert_eq!(by_tag.values().sum::<u64>(), channel.meter.total().bytes());
    });
}

/// The turns that the two parties count.
fn turns(a: impl AsyncFnOnce(&mut Channel), b: impl AsyncFnOnce(&mut Channel)) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut near, mut far) = memory_pair(Link::LOOPBACK);
        tokio::join!(a(&mut near), b(&mut far));
        (near.meter.total().turns, far.meter.total().turns)
    })
}

async fn swap(channel: &mut Channel) {
    channel.exchange("swap", vec![0; 9]).await.unwrap();
}

async fn say(channel: &mut Channel) {
    channel.send("say", vec![0; 9]).unwrap();
}

async fn hear(channel: &mut Channel) {
    channel.recv("say", 9).await.unwrap();
}

#[test]
fn an_exchange_is_one_turn() {
    assert_eq!(turns(swap, swap), (1, 1));
    let thrice = async |channel: &mut Channel| {
        for _ in 0..3 {
            swap(channel).await;
        }
    };
    assert_eq!(turns(thrice, thrice), (3, 3));
}

#[test]
fn a_request_and_its_reply_are_two_turns() {
    let asks = async |channel: &mut Channel| {
        say(channel).await;
        hear(channel).await;
    };
    let answers = async |channel: &mut Channel| {
        hear(channel).await;
        say(channel).await;
    };
    assert_eq!(turns(asks, answers), (2, 1));
}

#[test]
fn messages_in_one_direction_are_one_turn() {
    let talks = async |channel: &mut Channel| {
        for _ in 0..5 {
            say(channel).await;
        }
    };
    let listens = async |channel: &mut Channel| {
        for _ in 0..5 {
            hear(channel).await;
        }
    };
    assert_eq!(turns(talks, listens), (0, 1));
}

#[test]
fn a_turn_is_on_the_critical_path_or_not_counted() {
    // Both send twice, then receive twice: one turn, as in an exchange.
    let crosses = async |channel: &mut Channel| {
        say(channel).await;
        say(channel).await;
        hear(channel).await;
        hear(channel).await;
        swap(channel).await;
    };
    assert_eq!(turns(crosses, crosses), (2, 2));
}

#[test]
fn spans_nest_and_add_up_to_the_total() {
    let party = async |mut channel: Channel| {
        swap(&mut channel).await;
        channel.meter.phase("prefill");
        channel.meter.enter("linear", Half::Online);
        swap(&mut channel).await;
        channel.meter.enter_offline();
        swap(&mut channel).await;
        swap(&mut channel).await;
        channel.meter.leave();
        swap(&mut channel).await;
        channel.meter.enter("softmax", Half::Online);
        channel.meter.leave();
        channel.meter.leave();
        channel.meter.phase("decode");
        swap(&mut channel).await;

        let spans = channel.meter.spans();
        let sum = spans.values().fold(Cost::default(), |sum, cost| sum + *cost);
        let total = channel.meter.total();
        assert_eq!((sum.sent, sum.received, sum.turns), (total.sent, total.received, total.turns));
        assert!(sum.seconds > 0.0 && sum.seconds <= total.seconds);

        let swaps = |phase, op, half| {
            let cost = spans[&SpanKey { phase, op, half }];
            assert_eq!((cost.sent, cost.received), (25 * cost.turns, 25 * cost.turns));
            cost.turns
        };
        assert_eq!(swaps("setup", "session", Half::Online), 1);
        assert_eq!(swaps("prefill", "linear", Half::Online), 2);
        assert_eq!(swaps("prefill", "linear", Half::Offline), 2);
        assert_eq!(swaps("prefill", "softmax", Half::Online), 0);
        assert_eq!(swaps("decode", "session", Half::Online), 1);
    };
    run_pair(party, party);
}
