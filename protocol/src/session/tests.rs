//! Sessions: what they agree on, what they repeat, whom they refuse.

use sotto_net::{Channel, Error as Net, run_pair};
use sotto_shares::{Ring, Shape, Share, XorShare};

use super::{
    handshake::{ECHOES, Hello, MAGIC, Terms, parameter_digest},
    *,
};
use crate::{
    activation::{Activation, activate},
    lattice, mux,
    planner::{self, Need},
    reveal, softmax, square,
    stock::Ledger,
    testing::{self, elements, secret},
};

/// Whether an error is the one that a case is about.
type Expected = fn(&Error) -> bool;

/// One party's shares, its sent headers, bytes by tag.
type View = (Vec<u64>, [u8; 32], Vec<(&'static str, u64)>);

/// A bit of everything on one input.
fn everything(scores: &[u64], words: &[u64]) -> [View; 2] {
    testing::run_both(async |lab| {
        let shape = Shape::new(2, 5);
        let x = lab.share(scores, Precision::Default.score(), 12, shape);
        let y = lab.share(words, Ring::new(34), 18, shape);
        lab.renew();
        let s = &mut lab.me;
        let softmax = softmax::softmax(s, &x, &[5, 3]).await.unwrap();
        let square = square::square(s, &y).await.unwrap().reduce(Ring::new(24)).with_frac(12);
        let silu = activate(s, Activation::Silu, &square, Ring::new(44)).await.unwrap();
        reveal::to_client(s, &silu.duplicate().with_frac(20)).await.unwrap();
        s.checkpoint().await.unwrap();
        let shares = [softmax.numerators, softmax.reciprocal, square, silu];
        let words = shares.iter().flat_map(|x: &Share| x.data().to_vec()).collect();
        (words, s.ch.trace_digest(), s.ch.meter.tags().iter().map(|(tag, bytes)| (*tag, *bytes)).collect())
    })
}

#[test]
fn what_travels_depends_on_shapes_only() {
    let (scores, words) = (elements(10, Precision::Default.score()), elements(10, Ring::new(30)));
    let one = everything(&scores, &words);
    let other = everything(&[0; 10], &elements(20, Ring::new(30))[10..]);
    for (one, other) in one.iter().zip(&other) {
        assert!(one.0 != other.0, "two different runs");
        assert_eq!((one.1, &one.2), (other.1, &other.2), "the same frames");
    }
    assert!(one == everything(&scores, &words), "with fixed seeds a run repeats itself, share by share");
}

#[test]
fn ledgers_agree_until_one_side_draws_more() {
    let [client, server] = testing::run_both(async |lab| {
        let s = &mut lab.me;
        s.cots(4, 4).await.unwrap();
        s.triples(Ring::new(44), 2).await.unwrap();
        let agreed = s.checkpoint().await;
        if s.me == Party::Client {
            s.cots(1, 0).await.unwrap();
        }
        (agreed, s.checkpoint().await)
    });
    for (agreed, then) in [client, server] {
        assert!(agreed.is_ok() && matches!(then, Err(Error::PoolDisagreement)));
    }
}

#[test]
fn whoever_computes_more_exactly_than_the_other_finds_out() {
    let [client, server] = testing::run_both(async |lab| {
        if lab.me.me == Party::Client {
            lab.me.precision = Precision::High;
        }
        lab.me.checkpoint().await
    });
    for noticed in [client, server] {
        assert!(matches!(noticed, Err(Error::PoolDisagreement)));
    }
}

#[test]
fn a_draw_is_in_the_ledger_by_kind_size_and_order() {
    let digest = |draws: &[(&'static str, u64, usize)]| {
        let mut ledger = Ledger::default();
        draws.iter().for_each(|&(kind, parameter, n)| ledger.record(kind, parameter, n));
        ledger.digest()
    };
    let (a, b) = (("triple", 44, 3), ("square", 44, 3));
    assert_eq!(digest(&[a, b]), digest(&[a, b]));
    let others: [&[_]; 5] = [&[b, a], &[a], &[a, a], &[("triple", 52, 3), b], &[("triple", 44, 4), b]];
    assert!(others.iter().all(|other| digest(other) != digest(&[a, b])));
}

/// A peer that says `hello` and then waits; what the other side makes of it, as each party.
fn greeted(say: impl Fn(&mut Channel) + Sync) -> [Error; 2] {
    let say = &say;
    [Party::Client, Party::Server].map(|me| {
        let (result, ()) = run_pair(
            |ch| async move { Session::establish(me, ch, secret(me), [0; 32]).await.err() },
            |mut ch| async move {
                say(&mut ch);
                let _ = ch.close().await;
            },
        );
        result.expect("this peer is refused")
    })
}

fn hello() -> Hello {
    Hello { magic: MAGIC, version: VERSION }
}

fn terms() -> Terms {
    Terms { nonce: [1; 32], parameters: parameter_digest(), rate: None }
}

#[test]
fn strangers_are_refused_by_name() {
    let greets = |hello: Hello| greeted(|ch| ch.send_control("session/hello", &hello).unwrap());
    let offers = |terms: Terms| {
        greeted(|ch| {
            ch.send_control("session/hello", &hello()).unwrap();
            ch.send_control("session/terms", &terms).unwrap();
        })
    };
    for error in greets(Hello { version: VERSION + 1, ..hello() }) {
        assert!(matches!(error, Error::Version { ours: VERSION, theirs } if theirs == VERSION + 1));
    }
    for error in greets(Hello { magic: *b"otter", ..hello() }) {
        assert!(matches!(error, Error::Version { .. }));
    }
    for error in offers(Terms { parameters: [0; 32], ..terms() }) {
        assert!(matches!(error, Error::Parameters));
    }
    for me in [Party::Client, Party::Server] {
        let mirror = Terms { nonce: secret(me).bytes(), ..terms() };
        assert!(matches!(offers(mirror)[me as usize], Error::Reflected));
    }
    for error in greeted(|ch| ch.send("session/hello", vec![1, 2, 3]).unwrap()) {
        assert!(matches!(error, Error::Net(Net::Malformed { step: "session/hello", .. })));
    }
    for error in greeted(|ch| ch.send("session/hello", vec![0; 1 << 17]).unwrap()) {
        assert!(matches!(error, Error::Net(Net::TooLong { step: "session/hello", .. })));
    }
    for error in greeted(|ch| ch.send("ot/base/points", vec![0; 32]).unwrap()) {
        assert!(matches!(error, Error::Net(Net::WrongTag { expected: "session/hello", .. })));
    }
    for error in greeted(|_| ()) {
        assert!(matches!(error, Error::Net(Net::Closed { step: "session/hello" })));
    }
}

#[test]
fn the_least_stated_rate_decides_how_cots_are_made() {
    use sotto_ot::Extension::{self, SilentFast, SilentLean, SoftSpoken4};
    let agreed = |client: Option<f64>, server: Option<f64>| -> [Extension; 2] {
        let (client, server) = run_pair(
            move |mut ch| async move {
                ch.state_rate(client);
                let mut me = Client::establish(ch, secret(Party::Client), [0; 32]).await.unwrap();
                me.session.checkpoint().await.unwrap();
                me.session.extension()
            },
            move |mut ch| async move {
                ch.state_rate(server);
                let mut me = Server::establish(ch, secret(Party::Server), [0; 32]).await.unwrap();
                me.session.checkpoint().await.unwrap();
                me.session.extension()
            },
        );
        [client, server]
    };
    assert_eq!(agreed(Some(1e8), None), [SilentLean; 2]);
    assert_eq!(agreed(Some(1e9), Some(4e10)), [SilentFast; 2]);
    assert_eq!(agreed(None, Some(4e10)), [SoftSpoken4; 2]);
    let [client, server] = agreed(None, None);
    assert_eq!(client, server, "measured by the server, told to the client");
}

#[test]
fn keys_that_are_none_are_refused() {
    let len = EvaluationKeys::encoded_len(lattice::context());
    let cases: [(&'static str, usize, Expected); 3] = [
        ("keys/lattice", len, |e| matches!(e, Error::He(sotto_he::Error::Residue { .. }))),
        ("keys/lattice", 10, |e| {
            matches!(e, Error::Net(Net::WrongLength { step: "keys/lattice", got: 10, .. }))
        }),
        ("keys/other", len, |e| matches!(e, Error::Net(Net::WrongTag { expected: "keys/lattice", .. }))),
    ];
    for (tag, len, expected) in cases {
        let (result, ()) = run_pair(
            |ch| async { Server::establish(ch, secret(Party::Server), [0; 32]).await.err() },
            |ch| async move {
                let establish = Session::establish(Party::Client, ch, secret(Party::Client), [0; 32]);
                let mut s = establish.await.unwrap();
                for _ in 0..ECHOES {
                    s.ch.exchange("session/echo", vec![]).await.unwrap();
                }
                s.ch.send(tag, vec![0xff; len]).unwrap();
                let _ = s.ch.close().await;
            },
        );
        let error = result.expect("these keys are refused");
        assert!(expected(&error), "{tag} of {len} bytes: {error}");
    }
}

#[test]
fn replies_that_are_none_are_refused() {
    use crate::linear::{self, Exactness, WeightShape};
    let w = WeightShape { id: 0, inner: 3, outer: 5, frac: 8, exactness: Exactness::Rounded };
    let cases: [(&'static str, Expected); 2] = [
        ("linear/reply", |e| matches!(e, Error::Net(Net::WrongLength { step: "linear/reply", got: 7, .. }))),
        ("linear/open", |e| matches!(e, Error::Net(Net::WrongTag { expected: "linear/reply", .. }))),
    ];
    for (tag, expected) in cases {
        let (result, ()) = run_pair(
            |ch| async move {
                let mut me = Client::establish(ch, secret(Party::Client), [0; 32]).await.unwrap();
                planner::ensure(&mut me, vec![Need::linear(&w, 1)]).await.err()
            },
            |ch| async move {
                let mut me = Server::establish(ch, secret(Party::Server), [0; 32]).await.unwrap();
                let upload = linear::layout(Precision::Default, &w, 1).unwrap().upload_len();
                let errand = me.session.ch.accept_request(("linear/upload", upload), (tag, 7));
                me.session.ch.catch_up(0..1).await.unwrap();
                errand.outgoing.fill(vec![0xff; 7]);
                let _ = me.session.ch.close().await;
            },
        );
        let error = result.expect("this reply is refused");
        assert!(expected(&error), "{tag}: {error}");
    }
}

#[test]
fn payloads_out_of_step_are_refused() {
    let cases: [(&'static str, usize, Expected); 3] = [
        ("mux/cross", 10, |e| matches!(e, Error::Net(Net::WrongLength { step: "mux/cross", got: 10, .. }))),
        ("and/cross", 9, |e| matches!(e, Error::Net(Net::WrongTag { expected: "mux/cross", .. }))),
        ("mux/cross", 9, |_| false),
    ];
    for (tag, len, expected) in cases {
        let [client, _] = testing::run_both(async |lab| {
            let (b, x) = (XorShare::new(1, vec![1; 4]), Share::zeros(Ring::new(16), 0, Shape::new(1, 4)));
            if lab.me.me == Party::Client {
                return mux::mux(&mut lab.me, [(&b, &x)]).await.err();
            }
            lab.me.cots(4, 4).await.unwrap();
            lab.me.ch.send(tag, vec![0xff; len]).unwrap();
            None
        });
        // Garbage of the right length is a share like any other.
        assert!(client.as_ref().map_or(len == 9, expected), "{tag} of {len} bytes: {client:?}");
    }
}
