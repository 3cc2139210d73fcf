//! How clients connect: over TLS, or on this machine without.

use std::{net::SocketAddr, time::Duration};

use sotto_net::{Channel, Error, Fingerprint, Identity, Incoming, Link, Listener};
use sotto_party::admission;

use crate::allow_list::AllowList;

/// How clients connect.
pub enum Transport {
    /// TLS 1.3 with pinned keys.
    Tls {
        /// Who this server is.
        me: Identity,
        /// Whom it serves.
        clients: AllowList,
    },
    /// No TLS, on a loopback address.
    Open,
}

/// A client that has connected, and has not said anything yet.
pub enum PendingClient {
    /// Before its TLS handshake.
    Tls(Incoming),
    /// Without TLS.
    Open(Box<Channel>, SocketAddr),
}

/// A client that has shown its key, if there is TLS, and has joined.
pub struct JoinedClient {
    /// The connection.
    pub channel: Channel,
    /// What ties the session to the connection.
    pub binding: [u8; 32],
    /// Who the client is; nobody knows without TLS.
    pub client: Option<Fingerprint>,
}

impl PendingClient {
    /// Where it connects from.
    pub fn addr(&self) -> SocketAddr {
        match self {
            PendingClient::Tls(incoming) => incoming.addr(),
            PendingClient::Open(_, addr) => *addr,
        }
    }
}

impl Transport {
    /// The server's fingerprint, if it has one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Transport::Tls { me, .. } => Some(me.fingerprint()),
            Transport::Open => None,
        }
    }

    /// The next client that connects.
    ///
    /// # Errors
    /// The system cannot accept one.
    pub async fn accept(&self, listener: &Listener, link: Link) -> Result<PendingClient, Error> {
        match self {
            Transport::Tls { .. } => listener.accept_tls(link).await.map(PendingClient::Tls),
            Transport::Open => {
                listener.accept(link).await.map(|(ch, addr)| PendingClient::Open(ch.into(), addr))
            }
        }
    }

    /// Does the TLS handshake, and waits until the client has joined; each of the two may take
    /// `limit`.
    ///
    /// # Errors
    /// The client is not on the list, does not speak Sotto, is too slow, or the connection breaks.
    pub async fn join(&self, pending: PendingClient, limit: Duration) -> Result<JoinedClient, Error> {
        let mut joined = match (pending, self) {
            (PendingClient::Tls(mut incoming), Transport::Tls { me, clients }) => {
                incoming.set_timeout(limit);
                let secured = incoming.handshake(me, &clients.peers()).await?;
                JoinedClient {
                    channel: secured.channel,
                    binding: secured.exporter,
                    client: Some(secured.peer),
                }
            }
            (PendingClient::Open(channel, _), _) => {
                JoinedClient { channel: *channel, binding: [0; 32], client: None }
            }
            (PendingClient::Tls(_), Transport::Open) => unreachable!("without TLS no client waits for it"),
        };
        joined.channel.set_deadline("handshake", limit);
        admission::hear(&mut joined.channel).await?;
        joined.channel.clear_deadline();
        Ok(joined)
    }

    /// Whether a client that has joined is still on the list.
    pub fn still_allows(&self, client: Option<&Fingerprint>) -> bool {
        match (self, client) {
            (Transport::Tls { clients, .. }, Some(client)) => clients.has(client),
            _ => true,
        }
    }
}
