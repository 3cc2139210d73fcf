//! One client, from its connection to its end.

use std::time::Duration;

use sotto_models::service::Policy;
use sotto_net::{Channel, Link, Runtime};
use sotto_party::admission::{self, Admission, HEARTBEAT, Refusal};
use sotto_protocol::Server;
use sotto_shares::Rng;

use crate::{
    alarm::Ending,
    error::Error,
    events::{Event, Events},
    model::{Model, Turn},
    queue::Place,
    quota::{Purse, Quota},
    transport::{JoinedClient, PendingClient, Transport},
};

/// How long the stages of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// TLS handshake and join.
    pub handshake: Duration,
    /// Set-up of the session.
    pub set_up: Duration,
    /// The session after its set-up.
    pub session: Duration,
    /// A silence of the client while it has a request.
    pub silence: Duration,
    /// A silence between two requests.
    pub idle: Duration,
    /// What sessions have left when the server stops.
    pub grace: Duration,
}

/// What all sessions have in common.
pub struct ServerState {
    /// The model.
    pub model: Model,
    /// What clients may ask for.
    pub policy: Policy,
    /// How clients connect.
    pub transport: Transport,
    /// Where connections are read and written.
    pub runtime: Runtime,
    /// How many tokens a day.
    pub quota: Quota,
    /// The deadlines.
    pub deadlines: Deadlines,
    /// The network to imitate.
    pub link: Link,
}

/// How far a connection came.
pub enum Outcome {
    /// It ended before a session was set up.
    Before(Error),
    /// The client was not admitted.
    Refused(Refusal),
    /// There was a session.
    Session(Result<(), Error>),
}

impl ServerState {
    /// Serves one client to its end.
    pub fn receive(&self, pending: PendingClient, place: &Place, events: &dyn Events) -> Outcome {
        let addr = pending.addr();
        let limit = self.deadlines.handshake + 4 * self.link.rtt;
        let joined = self.runtime.block_on(place.alarm.unless_rung(self.transport.join(pending, limit)));
        let JoinedClient { mut channel, binding, client } = match joined {
            Ok(Ok(joined)) => joined,
            Ok(Err(e)) => return Outcome::Before(e.into()),
            Err(ending) => return Outcome::Before(ending.into()),
        };
        let admitted = place.join(client).and_then(|()| {
            place.wait(HEARTBEAT, |place| {
                events.tell(Event::Waiting { addr, place });
                // A client that is gone shows at its turn.
                let _ = admission::answer(&mut channel, Admission::Waiting(place));
            })
        });
        let admitted = admitted.and_then(|()| match self.transport.still_allows(client.as_ref()) {
            true => Ok(()),
            false => Err(Refusal::Removed),
        });
        match admitted {
            Err(refusal) => {
                self.runtime.block_on(refuse(&mut channel, refusal));
                Outcome::Refused(refusal)
            }
            Ok(()) => {
                events.tell(Event::Begun { addr, client });
                let each = |turn| match turn {
                    Turn::Served(served) => {
                        place.set_idle(true);
                        events.tell(Event::Served { addr, served });
                    }
                    Turn::Next => place.set_idle(false),
                    Turn::Left => events.tell(Event::Left { addr }),
                };
                self.converse(channel, binding, place, &self.quota.of(client), each)
            }
        }
    }

    /// A session with a client that is admitted.
    fn converse(
        &self,
        mut channel: Channel,
        binding: [u8; 32],
        place: &Place,
        purse: &Purse,
        each: impl FnMut(Turn),
    ) -> Outcome {
        let (deadlines, alarm) = (self.deadlines, &place.alarm);
        self.runtime.block_on(async {
            channel.set_timeout(deadlines.silence);
            channel.set_deadline("set-up", deadlines.set_up);
            if let Err(e) = admission::answer(&mut channel, Admission::Admitted) {
                return Outcome::Before(e.into());
            }
            let established = alarm.unless_rung(Server::establish(channel, Rng::from_os(), binding));
            let mut me = match established.await {
                Ok(Ok(me)) => me,
                Ok(Err(e)) => return Outcome::Before(Error::SetUp(e)),
                Err(ending) => return Outcome::Before(ending.into()),
            };
            me.session.ch.set_deadline("session", deadlines.session);
            let served =
                self.model.serve(&mut me, self.policy, purse, [deadlines.silence, deadlines.idle], each);
            let served = alarm.unless_rung(served).await;
            let served = served.unwrap_or_else(|ending| Err(ending.into()));
            match &served {
                Ok(()) => _ = me.session.ch.part().await,
                Err(e) => {
                    if let Some(code) = e.farewell() {
                        // The client may hear of a deadline that has passed.
                        me.session.ch.clear_deadline();
                        me.session.ch.abort(code).await;
                    }
                }
            }
            match served {
                // All its requests were served.
                Err(Error::Ended(Ending::Idle)) => Outcome::Session(Ok(())),
                served => Outcome::Session(served),
            }
        })
    }
}

async fn refuse(channel: &mut Channel, refusal: Refusal) {
    if admission::answer(channel, Admission::Refused(refusal)).is_ok() {
        let _ = channel.part().await;
    }
}
