//! How a client is admitted, before the session begins.
//!
//! | client             |                         | server                              |
//! |--------------------|-------------------------|-------------------------------------|
//! | says that it waits | `-- party/join ->`      | its handshake is over               |
//! | shows its place    | `<- party/admission --` | its place in the queue              |
//! | begins the session | `<- party/admission --` | admitted, or refused and the reason |
//!
//! A place is told when it changes, and every [`HEARTBEAT`].
//! Two one-way message delays where nobody waits. A join is 5 bytes, an admission 12. The server
//! learns that the client is there; the client learns how many wait before it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sotto_net::{Channel, Error};

/// How often a waiting client hears its place, at least.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// The version of these frames; both sides must have the same.
const VERSION: u8 = 1;

/// What a client says first.
#[derive(Serialize, Deserialize)]
struct Join {
    magic: [u8; 4],
    version: u8,
}

const JOIN: Join = Join { magic: *b"join", version: VERSION };

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The session begins.
    Admitted,
    /// The client waits in the queue; 1 is the next to be admitted.
    Waiting(u32),
    /// The client is not admitted.
    Refused(Refusal),
}

/// Why a client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is at its limit.
    #[error("its queue is full; try again later")]
    QueueFull,
    /// The client's address has as many connections as one address may have.
    #[error("too many connections come from this address; end others first, or try again later")]
    Address,
    /// The client's identity has as many connections as one identity may have.
    #[error("this identity has too many connections; end others first, or try again later")]
    Client,
    /// The server is about to end.
    #[error("it is stopping; try again later")]
    Stopping,
    /// The server's list no longer has this client.
    #[error("this identity is no longer on its list of clients")]
    Removed,
}

impl Refusal {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue-full",
            Refusal::Address => "address",
            Refusal::Client => "client",
            Refusal::Stopping => "stopping",
            Refusal::Removed => "removed",
        }
    }
}

/// An admission on the wire: a number for its kind, and a number that only a waiting client needs.
#[derive(Serialize, Deserialize)]
struct Frame {
    kind: u32,
    place: u64,
}

impl Admission {
    fn frame(self) -> Frame {
        let (kind, place) = match self {
            Admission::Admitted => (0, 0),
            Admission::Waiting(place) => (1, place),
            Admission::Refused(Refusal::QueueFull) => (2, 0),
            Admission::Refused(Refusal::Address) => (3, 0),
            Admission::Refused(Refusal::Client) => (4, 0),
            Admission::Refused(Refusal::Stopping) => (5, 0),
            Admission::Refused(Refusal::Removed) => (6, 0),
        };
        Frame { kind, place: place.into() }
    }

    fn of(frame: &Frame) -> Option<Admission> {
        Some(match frame.kind {
            0 => Admission::Admitted,
            1 => Admission::Waiting(u32::try_from(frame.place).ok()?),
            2 => Admission::Refused(Refusal::QueueFull),
            3 => Admission::Refused(Refusal::Address),
            4 => Admission::Refused(Refusal::Client),
            5 => Admission::Refused(Refusal::Stopping),
            6 => Admission::Refused(Refusal::Removed),
            _ => return None,
        })
    }
}

/// The client's part: joins, and waits until it is admitted or refused. `waiting` hears each new
/// place in the queue.
///
/// # Errors
/// The connection breaks, or what comes is no admission.
pub async fn request(
    channel: &mut Channel,
    mut waiting: impl FnMut(u32),
) -> Result<Result<(), Refusal>, Error> {
    channel.send_control("party/join", &JOIN)?;
    let mut last = 0;
    loop {
        let frame: Frame = channel.recv_control("party/admission").await?;
        match Admission::of(&frame).ok_or_else(|| malformed("party/admission"))? {
            Admission::Admitted => return Ok(Ok(())),
            Admission::Refused(reason) => return Ok(Err(reason)),
            Admission::Waiting(place) if place == last => {}
            Admission::Waiting(place) => {
                last = place;
                waiting(place);
            }
        }
    }
}

/// The server's part, first half: hears that a client is there.
///
/// # Errors
/// The connection breaks, or what comes is no join of this version.
pub async fn hear(channel: &mut Channel) -> Result<(), Error> {
    let join: Join = channel.recv_control("party/join").await?;
    match join.magic == JOIN.magic && join.version == VERSION {
        true => Ok(()),
        false => Err(malformed("party/join")),
    }
}

/// The server's part, second half: tells the client where it stands.
///
/// # Errors
/// This side has closed the connection.
pub fn answer(channel: &mut Channel, admission: Admission) -> Result<(), Error> {
    channel.send_control("party/admission", &admission.frame())
}

fn malformed(step: &'static str) -> Error {
    Error::Malformed { step, reason: "another version; use the same release on both sides".into() }
}

#[cfg(test)]
mod tests {
    use sotto_net::run_pair;

    use super::*;

    #[test]
    fn a_client_hears_its_places_and_is_admitted() {
        let (client, server) = run_pair(
            |mut ch| async move {
                let mut places = vec![];
                let end = request(&mut ch, |place| places.push(place)).await;
                (end, places)
            },
            |mut ch| async move {
                hear(&mut ch).await?;
                for place in [2, 2, 1] {
                    answer(&mut ch, Admission::Waiting(place))?;
                }
                answer(&mut ch, Admission::Admitted)?;
                ch.part().await
            },
        );
        server.unwrap();
        assert_eq!(client.0.unwrap(), Ok(()));
        assert_eq!(client.1, [2, 1]);
    }

    #[test]
    fn every_refusal_arrives_as_it_was_meant() {
        use Refusal::{Address, Client, QueueFull, Removed, Stopping};
        for refusal in [QueueFull, Address, Client, Stopping, Removed] {
            let frame = Admission::Refused(refusal).frame();
            assert_eq!(Admission::of(&frame), Some(Admission::Refused(refusal)));
        }
        assert_eq!(Admission::of(&Frame { kind: 7, place: 0 }), None);
        assert_eq!(Admission::of(&Frame { kind: 1, place: 1 << 32 }), None);
    }

    #[test]
    fn what_is_no_join_is_a_named_error() {
        let (_, heard) = run_pair(
            |mut ch| async move { ch.send_control("party/join", &Join { magic: *b"join", version: 9 }) },
            |mut ch| async move { hear(&mut ch).await },
        );
        assert!(heard.unwrap_err().to_string().contains("same release"));
    }
}
