//! Two parties over TLS, and those who are not let in.

use std::{collections::BTreeSet, future::Future, time::Duration};

use sotto_net::{
    Channel, Error, Fingerprint, Identity, Link, Listener, Peers, Runtime, Secured, connect, connect_tls,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

fn soon<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    Runtime::new().block_on(async { timeout(Duration::from_secs(60), test).await.expect("the test hangs") })
}

async fn listen() -> (Listener, String) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.addr().to_string();
    (listener, addr)
}

/// A server `me` and a client that expects `pinned`: what either gets.
async fn meet(
    me: &Identity,
    clients: Peers,
    client: &Identity,
    pinned: Fingerprint,
) -> (Result<Secured, Error>, Result<Secured, Error>) {
    let (listener, addr) = listen().await;
    let serve = async { listener.accept_tls(Link::LOOPBACK).await.unwrap().handshake(me, &clients).await };
    tokio::join!(serve, connect_tls(&addr, Link::LOOPBACK, client, pinned))
}

fn only(peer: &Identity) -> Peers {
    Peers::Only(BTreeSet::from([peer.fingerprint()]))
}

#[test]
fn two_parties_know_each_other() {
    soon(async {
        let (server, client) = (Identity::generate(), Identity::generate());
        let mut exporters = BTreeSet::new();
        for clients in [Peers::Any, only(&client)] {
            let (at_server, at_client) = meet(&server, clients, &client, server.fingerprint()).await;
            let (mut at_server, mut at_client) = (at_server.unwrap(), at_client.unwrap());
            assert_eq!(at_server.peer, client.fingerprint());
            assert_eq!(at_client.peer, server.fingerprint());
            assert_eq!(at_server.exporter, at_client.exporter);
            exporters.insert(at_server.exporter);

            let ask = async {
                at_client.channel.send("ask", vec![1; 100_000]).unwrap();
                let answer = at_client.channel.recv("answer", 3).await.unwrap();
                at_client.channel.close().await.unwrap();
                answer
            };
            let answer = async {
                assert_eq!(at_server.channel.recv("ask", 100_000).await.unwrap(), vec![1; 100_000]);
                at_server.channel.send("answer", &b"yes"[..]).unwrap();
                at_server.channel.close().await.unwrap();
            };
            assert_eq!(tokio::join!(ask, answer).0, b"yes");
            assert_eq!(at_client.channel.meter.total().turns, 2);
            assert_eq!(at_client.channel.meter.total().bytes(), 2 * 16 + 100_003);
            assert!(matches!(at_client.channel.recv("more", 1).await, Err(Error::Closed { .. })));
        }
        assert_eq!(exporters.len(), 2, "each session has its own keying material");
    });
}

#[test]
fn both_parties_send_64_mib_at_once() {
    soon(async {
        let (server, client) = (Identity::generate(), Identity::generate());
        let (a, b) = meet(&server, Peers::Any, &client, server.fingerprint()).await;
        let exchange = async |mut channel: Channel| {
            channel.exchange("a", vec![3; 64 << 20]).await.unwrap();
            channel.close().await.unwrap();
        };
        let (a, b) = (a.unwrap().channel, b.unwrap().channel);
        let other = tokio::spawn(async move { exchange(a).await });
        exchange(b).await;
        other.await.unwrap();
    });
}

#[test]
fn a_server_with_another_key_is_refused() {
    soon(async {
        let (server, client, other) = (Identity::generate(), Identity::generate(), Identity::generate());
        let (at_server, at_client) = meet(&server, Peers::Any, &client, other.fingerprint()).await;
        let error = at_client.err().unwrap();
        let both = matches!(error, Error::WrongServer { expected, got, .. }
            if expected == other.fingerprint() && got == server.fingerprint());
        assert!(both, "{error}");
        let line = error.to_string();
        assert!(line.contains(&server.fingerprint().to_string()) && !line.contains('\n'), "{line}");
        assert!(line.contains(&other.fingerprint().to_string()), "{line}");
        let error = at_server.err().unwrap();
        assert!(matches!(error, Error::Rejected { me, .. } if me == server.fingerprint()), "{error}");
    });
}

#[test]
fn a_client_that_is_not_on_the_list_is_refused() {
    soon(async {
        let (server, client, other) = (Identity::generate(), Identity::generate(), Identity::generate());
        for list in [only(&other), Peers::Only(BTreeSet::new())] {
            let (at_server, at_client) = meet(&server, list, &client, server.fingerprint()).await;
            let error = at_server.err().unwrap();
            assert!(
                matches!(error, Error::UnknownClient { got, .. } if got == client.fingerprint()),
                "{error}"
            );
            let error = at_client.err().unwrap();
            assert!(matches!(error, Error::Rejected { me, .. } if me == client.fingerprint()), "{error}");
        }
    });
}

#[test]
fn a_server_without_tls_is_named() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 100], &[0x16, 0x03, 0x03, 0xff, 0xff], b""]
    {
        soon(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap().to_string();
            tokio::spawn(async move {
                let mut stream = listener.accept().await.unwrap().0;
                let _ = stream.read(&mut [0; 4096]).await;
                stream.write_all(answer).await.unwrap();
            });
            let me = Identity::generate();
            let error = connect_tls(&addr, Link::LOOPBACK, &me, me.fingerprint()).await.err().unwrap();
            assert!(matches!(error, Error::NotTls { .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        });
    }
}

#[test]
fn a_client_without_tls_is_named() {
    soon(async {
        let (listener, addr) = listen().await;
        let me = Identity::generate();
        let mut plain = connect(&addr, Link::LOOPBACK).await.unwrap();
        plain.send("hello", &b"four"[..]).unwrap();
        let incoming = listener.accept_tls(Link::LOOPBACK).await.unwrap();
        let error = incoming.handshake(&me, &Peers::Any).await.err().unwrap();
        assert!(matches!(error, Error::NotTls { .. }), "{error}");

        let gone = TcpStream::connect(&addr).await.unwrap();
        drop(gone);
        let incoming = listener.accept_tls(Link::LOOPBACK).await.unwrap();
        let error = incoming.handshake(&me, &Peers::Any).await.err().unwrap();
        assert!(matches!(&error, Error::NotTls { reason, .. } if reason.contains("closed")), "{error}");
    });
}

/// And the other way round: a server that has TLS off says what it got.
#[test]
fn a_server_with_tls_off_names_the_greeting() {
    soon(async {
        let (listener, addr) = listen().await;
        let me = Identity::generate();
        let serve = async {
            let (mut channel, _) = listener.accept(Link::LOOPBACK).await.unwrap();
            channel.recv("hello", 4).await.unwrap_err()
        };
        let (error, _) = tokio::join!(serve, connect_tls(&addr, Link::LOOPBACK, &me, me.fingerprint()));
        assert!(error.to_string().contains("TLS greeting"), "{error}");
    });
}

#[test]
fn a_silent_client_holds_up_nobody() {
    soon(async {
        let (listener, addr) = listen().await;
        let (server, client) = (Identity::generate(), Identity::generate());
        let silent = TcpStream::connect(&addr).await.unwrap();
        let pinned = server.fingerprint();
        let (errors, mut error) = tokio::sync::mpsc::unbounded_channel();
        let serve = tokio::spawn(async move {
            for _ in 0..2 {
                let mut incoming = listener.accept_tls(Link::LOOPBACK).await.unwrap();
                incoming.set_timeout(Duration::from_secs(3));
                let (me, errors) = (server.clone(), errors.clone());
                Runtime::spawn(async move {
                    match incoming.handshake(&me, &Peers::Any).await {
                        Ok(mut secured) => secured.channel.send("hello", &b"hi"[..]).unwrap(),
                        Err(error) => errors.send((incoming_addr(&error), error)).unwrap(),
                    }
                });
            }
        });
        let mut secured = connect_tls(&addr, Link::LOOPBACK, &client, pinned).await.unwrap();
        assert_eq!(secured.channel.recv("hello", 2).await.unwrap(), b"hi");
        assert!(error.try_recv().is_err(), "the silent client is still waited for");
        serve.await.unwrap();
        let (addr, error) = error.recv().await.unwrap();
        assert!(matches!(error, Error::HandshakeTimeout { .. }), "{error}");
        assert_eq!(addr, silent.local_addr().unwrap().to_string());
    });
}

fn incoming_addr(error: &Error) -> String {
    match error {
        Error::HandshakeTimeout { addr, .. } => addr.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn the_handshake_crosses_a_simulated_link() {
    soon(async {
        let (listener, addr) = listen().await;
        let (server, client) = (Identity::generate(), Identity::generate());
        let pinned = server.fingerprint();
        tokio::spawn(async move {
            let incoming = listener.accept_tls(Link::LOOPBACK).await.unwrap();
            let mut secured = incoming.handshake(&server, &Peers::Any).await.unwrap();
            secured.channel.exchange("a", vec![1; 8]).await.unwrap();
            secured.channel.close().await.unwrap();
        });
        let start = Instant::now();
        let mut secured = connect_tls(&addr, Link::WAN, &client, pinned).await.unwrap();
        assert!(start.elapsed() >= 2 * Link::WAN.rtt, "hello and answer, proof and welcome");
        secured.channel.exchange("a", vec![2; 8]).await.unwrap();
    });
}

#[test]
fn nobody_at_the_address_is_named() {
    soon(async {
        let addr = format!("127.0.0.1:{}", sotto_net::unused_local_port());
        let me = Identity::generate();
        let error = connect_tls(&addr, Link::LOOPBACK, &me, me.fingerprint()).await.err().unwrap();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
    });
}
