//! Who is connected, who waits, whose turn it is.
//!
//! ```text
//! connection -> handshake -> queue -> session
//! ```
//!
//! | stage     | limit                            | beyond it                           |
//! |-----------|----------------------------------|-------------------------------------|
//! | handshake | in all; of an address            | the oldest of them is displaced     |
//! | queue     | in all; with sessions also of an | refused, and told why               |
//! |           | address and of an identity       |                                     |
//! | session   | in all                           | waits, first come first served; who |
//! |           |                                  | has waited for some seconds ends    |
//! |           |                                  | the session that is idle longest    |
//!
//! A connection leaves the handshake stage when the client has shown its key and has joined. Those
//! that say nothing displace each other and take no place in the queue.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sotto_net::Fingerprint;
use sotto_party::admission::Refusal;

use crate::alarm::{Alarm, Ending, lock};

/// How many at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Clients in the queue.
    pub queue: usize,
    /// Connections in the handshake stage.
    pub handshakes: usize,
    /// Of one address: connections in the handshake stage, and clients in queue and sessions.
    pub per_address: usize,
    /// Of one identity: clients in queue and sessions.
    pub per_client: usize,
}

/// All connections. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    limits: Limits,
    all: Mutex<All>,
    changed: Condvar,
}

#[derive(Default)]
struct All {
    /// In order of arrival.
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Nobody new is admitted.
    closed: bool,
}

struct Connection {
    network: IpAddr,
    client: Option<Fingerprint>,
    stage: Stage,
    /// When the stage began.
    since: Instant,
    alarm: Alarm,
}

/// How long a client waits before an idle session ends for it: who only comes and goes ends none.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Handshake,
    /// Displaced from the handshake stage, and about to end.
    Displaced,
    /// With the order of joining.
    Waiting(u64),
    Session,
    /// Between two requests of a session.
    Idle,
}

/// How many connections there are in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Not joined yet.
    pub handshake: usize,
    /// In the queue.
    pub waiting: usize,
    /// Served.
    pub session: usize,
    /// Between two requests.
    pub idle: usize,
}

impl Stage {
    fn has_session(self) -> bool {
        matches!(self, Stage::Session | Stage::Idle)
    }
}

/// One connection's place; free again when dropped.
pub struct Place {
    connections: Connections,
    id: u64,
    /// What ends this connection.
    pub alarm: Alarm,
}

impl Connections {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Connections {
        Connections(Arc::new(Shared { limits, all: Mutex::default(), changed: Condvar::new() }))
    }

    /// A connection from `address` arrives. Older ones in the handshake stage may have to go for
    /// it.
    pub fn arrive(&self, address: IpAddr) -> Place {
        let (alarm, network, limits) = (Alarm::default(), network(address), self.0.limits);
        let mut all = lock(&self.0.all);
        all.displace(limits.per_address, |c| c.network == network);
        all.displace(limits.handshakes, |_| true);
        all.next += 1;
        let id = all.next;
        let connection = Connection {
            network,
            client: None,
            stage: Stage::Handshake,
            since: Instant::now(),
            alarm: alarm.clone(),
        };
        all.connections.insert(id, connection);
        Place { connections: self.clone(), id, alarm }
    }

    /// Admits nobody any more; those who wait are told, those who have not joined or are idle go at
    /// once.
    pub fn close(&self) {
        let mut all = lock(&self.0.all);
        all.closed = true;
        all.connections
            .values()
            .filter(|c| matches!(c.stage, Stage::Handshake | Stage::Idle))
            .for_each(|c| c.alarm.ring(Ending::Stopping));
        self.0.changed.notify_all();
    }

    /// Sessions under way.
    pub fn sessions(&self) -> usize {
        lock(&self.0.all).sessions()
    }

    /// Whether nobody is admitted any more.
    pub fn is_closed(&self) -> bool {
        lock(&self.0.all).closed
    }

    /// How many connections there are, by stage.
    pub fn stages(&self) -> Stages {
        let mut stages = Stages::default();
        for connection in lock(&self.0.all).connections.values() {
            *match connection.stage {
                Stage::Handshake | Stage::Displaced => &mut stages.handshake,
                Stage::Waiting(_) => &mut stages.waiting,
                Stage::Session => &mut stages.session,
                Stage::Idle => &mut stages.idle,
            } += 1;
        }
        stages
    }

    /// Waits until nobody is connected any more, for `limit` at most. Whether that is so.
    pub fn wait_until_empty(&self, limit: Duration) -> bool {
        let all = lock(&self.0.all);
        let waited = self.0.changed.wait_timeout_while(all, limit, |all| !all.connections.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Ends all connections.
    pub fn end_all(&self) {
        lock(&self.0.all).connections.values().for_each(|c| c.alarm.ring(Ending::Stopping));
        self.0.changed.notify_all();
    }
}

impl All {
    /// Makes room for one more among `most` connections in the handshake stage that are `alike`.
    fn displace(&mut self, most: usize, alike: impl Fn(&Connection) -> bool) {
        let young = self.connections.values_mut().filter(|c| c.stage == Stage::Handshake && alike(c));
        let mut young: Vec<&mut Connection> = young.collect();
        let surplus = (young.len() + 1).saturating_sub(most);
        for oldest in young.iter_mut().take(surplus) {
            oldest.stage = Stage::Displaced;
            oldest.alarm.ring(Ending::Displaced);
        }
    }

    /// Ends as many idle sessions as clients have waited for, those that are idle for longest.
    fn make_way(&self, sessions: usize, patience: Duration) {
        let patient = |c: &&Connection| matches!(c.stage, Stage::Waiting(_)) && c.since.elapsed() >= patience;
        let waiting = self.connections.values().filter(patient).count();
        let going = |c: &&Connection| c.stage.has_session() && c.alarm.rung().is_some();
        let going = self.connections.values().filter(going).count();
        let missing = (waiting + self.sessions()).saturating_sub(sessions + going);
        self.idle(|_| true).into_iter().take(missing).for_each(|c| c.alarm.ring(Ending::Idle));
    }

    /// Idle sessions that are `alike` and have not been ended, those that are idle for longest
    /// first.
    fn idle(&self, alike: impl Fn(&Connection) -> bool) -> Vec<&Connection> {
        let idle = |c: &&Connection| c.stage == Stage::Idle && c.alarm.rung().is_none() && alike(c);
        let mut idle: Vec<&Connection> = self.connections.values().filter(idle).collect();
        idle.sort_by_key(|c| c.since);
        idle
    }

    /// Whether there is room for one more of those that are `alike`, of which there are `most`; an
    /// idle session of theirs gives way.
    fn has_room(&self, most: usize, alike: impl Fn(&Connection) -> bool) -> bool {
        let joined = self.joined(|c| alike(c) && c.alarm.rung().is_none());
        let surplus = (joined + 1).saturating_sub(most);
        let idle = self.idle(&alike);
        let room = idle.len() >= surplus;
        if room {
            idle.into_iter().take(surplus).for_each(|c| c.alarm.ring(Ending::Idle));
        }
        room
    }

    fn sessions(&self) -> usize {
        self.connections.values().filter(|c| c.stage.has_session()).count()
    }

    fn waiting(&self) -> usize {
        self.connections.values().filter(|c| matches!(c.stage, Stage::Waiting(_))).count()
    }

    /// Clients in queue and sessions that are `alike`.
    fn joined(&self, alike: impl Fn(&Connection) -> bool) -> usize {
        let joined = |c: &&Connection| matches!(c.stage, Stage::Waiting(_)) || c.stage.has_session();
        self.connections.values().filter(joined).filter(|c| alike(c)).count()
    }

    /// How many must go before this one may begin; 0 is now.
    fn ahead(&self, id: u64, sessions: usize) -> usize {
        let own = self.connections[&id].stage;
        let before = |c: &&Connection| matches!(c.stage, Stage::Waiting(_)) && c.stage < own;
        let waiting = self.connections.values().filter(before).count();
        (waiting + 1 + self.sessions()).saturating_sub(sessions)
    }
}

impl Place {
    /// The client has shown that it is `client` and has joined: it gets a place in the queue.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn join(&self, client: Option<Fingerprint>) -> Result<(), Refusal> {
        let limits = self.connections.0.limits;
        let mut all = lock(&self.connections.0.all);
        let network = all.connections[&self.id].network;
        if all.closed {
            return Err(Refusal::Stopping);
        }
        // Displaced in the moment in which it has joined.
        if self.alarm.rung().is_some() {
            return Err(Refusal::QueueFull);
        }
        let waits = all.waiting() + all.sessions() >= limits.sessions;
        // Who takes an idle session's place hardly waits.
        if waits && all.waiting() >= limits.queue + all.idle(|_| true).len() {
            return Err(Refusal::QueueFull);
        }
        if !all.has_room(limits.per_address, |c| c.network == network) {
            return Err(Refusal::Address);
        }
        if client.is_some() && !all.has_room(limits.per_client, |c| c.client == client) {
            return Err(Refusal::Client);
        }
        all.next += 1;
        let order = all.next;
        if let Some(own) = all.connections.get_mut(&self.id) {
            (own.client, own.stage, own.since) = (client, Stage::Waiting(order), Instant::now());
        }
        Ok(())
    }

    /// The session is idle, or has a request again.
    pub fn set_idle(&self, idle: bool) {
        let mut all = lock(&self.connections.0.all);
        let stage = if idle { Stage::Idle } else { Stage::Session };
        if let Some(own) = all.connections.get_mut(&self.id) {
            (own.stage, own.since) = (stage, Instant::now());
        }
        if all.closed && idle {
            self.alarm.ring(Ending::Stopping);
        }
        self.connections.0.changed.notify_all();
    }

    /// Waits for a session's place. `tell` hears the place in the queue: when it has changed, and
    /// every `heartbeat`.
    ///
    /// # Errors
    /// Why the server will not serve this client after all.
    pub fn wait(&self, heartbeat: Duration, mut tell: impl FnMut(u32)) -> Result<(), Refusal> {
        let sessions = self.connections.0.limits.sessions;
        let (begun, mut told, mut next) = (Instant::now(), 0, Instant::now());
        loop {
            let mut all = lock(&self.connections.0.all);
            if all.closed || self.alarm.rung().is_some() {
                return Err(Refusal::Stopping);
            }
            let ahead = all.ahead(self.id, sessions);
            if ahead == 0 {
                if let Some(own) = all.connections.get_mut(&self.id) {
                    own.stage = Stage::Session;
                }
                self.connections.0.changed.notify_all();
                return Ok(());
            }
            all.make_way(sessions, PATIENCE);
            let mut left = next.saturating_duration_since(Instant::now());
            if ahead == told && !left.is_zero() {
                // To look again once it has waited long enough.
                if let Some(rest) = PATIENCE.checked_sub(begun.elapsed()) {
                    left = left.min(rest);
                }
                let _ = self.connections.0.changed.wait_timeout(all, left);
                continue;
            }
            // Telling may take its time; the others do not wait for it.
            drop(all);
            (told, next) = (ahead, Instant::now() + heartbeat);
            tell(u32::try_from(ahead).unwrap_or(u32::MAX));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.0.all).connections.remove(&self.id);
        self.connections.0.changed.notify_all();
    }
}

/// What counts as one address: of IPv6 the network of 64 bits, which one host may have all to
/// itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    const LIMITS: Limits = Limits { sessions: 1, queue: 2, handshakes: 3, per_address: 2, per_client: 2 };
    const LONG: Duration = Duration::from_secs(60);

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn those_who_do_not_join_displace_each_other() {
        let all = Connections::new(LIMITS);
        let (a, b, other) = (all.arrive(address(1)), all.arrive(address(1)), all.arrive(address(2)));
        let c = all.arrive(address(1));
        assert_eq!(a.alarm.rung(), Some(Ending::Displaced), "the oldest of its address");
        assert!([&b, &c, &other].iter().all(|place| place.alarm.rung().is_none()));
        let d = all.arrive(address(3));
        assert_eq!(b.alarm.rung(), Some(Ending::Displaced), "the oldest of all");
        assert!([&c, &d, &other].iter().all(|place| place.alarm.rung().is_none()));
        // Who has joined is out of reach.
        other.join(None).unwrap();
        let _more = [4, 5, 6, 7].map(|last| all.arrive(address(last)));
        assert_eq!(other.alarm.rung(), None);
    }

    #[test]
    fn an_address_and_a_client_have_their_limits() {
        let all = Connections::new(Limits { queue: 9, ..LIMITS });
        let someone = sotto_net::Identity::generate().fingerprint();
        let join = |last, client| {
            let place = all.arrive(address(last));
            let joined = place.join(client);
            (place, joined)
        };
        let first = [join(1, None), join(1, None), join(2, Some(someone)), join(3, Some(someone))];
        assert!(first.iter().all(|(_, joined)| joined.is_ok()));
        assert_eq!(join(1, None).1, Err(Refusal::Address));
        assert_eq!(join(4, Some(someone)).1, Err(Refusal::Client));
        drop(first);
        assert_eq!(join(1, None).1, Ok(()));
        assert_eq!(join(4, Some(someone)).1, Ok(()));
    }

    #[test]
    fn the_queue_is_ordered_and_has_an_end() {
        let all = Connections::new(Limits { handshakes: 4, ..LIMITS });
        let places: Vec<_> = (1..=4).map(|last| all.arrive(address(last))).collect();
        let [first, second, third, fourth] = places.try_into().ok().unwrap();
        first.join(None).unwrap();
        first.wait(LONG, |_| panic!("nobody is before it")).unwrap();
        second.join(None).unwrap();
        third.join(None).unwrap();
        assert_eq!(fourth.join(None), Err(Refusal::QueueFull));
        let (sender, heard) = channel();
        thread::scope(|scope| {
            let told = sender.clone();
            scope.spawn(move || {
                third.wait(LONG, |place| told.send((3, place)).unwrap()).unwrap();
                told.send((3, 0)).unwrap();
            });
            assert_eq!(heard.recv().unwrap(), (3, 2));
            drop(first);
            assert_eq!(heard.recv().unwrap(), (3, 1), "the second has not asked yet, and keeps its place");
            second.wait(LONG, |_| panic!("it is the first")).unwrap();
            drop(second);
            assert_eq!(heard.recv().unwrap(), (3, 0));
        });
    }

    #[test]
    fn idle_sessions_give_way_to_those_who_wait() {
        let all = Connections::new(Limits { sessions: 2, handshakes: 9, ..LIMITS });
        let places: Vec<_> = (1..=4).map(|last| all.arrive(address(last))).collect();
        let [first, second, third, fourth] = places.try_into().ok().unwrap();
        for place in [&first, &second] {
            place.join(None).unwrap();
            place.wait(LONG, |_| ()).unwrap();
            place.set_idle(true);
        }
        assert_eq!((all.sessions(), first.alarm.rung()), (2, None), "nobody waits");
        first.set_idle(false);
        third.join(None).unwrap();
        let make_way = |patience| lock(&all.0.all).make_way(2, patience);
        make_way(LONG);
        assert_eq!(second.alarm.rung(), None, "nobody has waited for long");
        make_way(Duration::ZERO);
        assert_eq!((first.alarm.rung(), second.alarm.rung()), (None, Some(Ending::Idle)));
        fourth.join(None).unwrap();
        make_way(Duration::ZERO);
        assert_eq!(first.alarm.rung(), None, "it has a request");
        first.set_idle(true);
        make_way(Duration::ZERO);
        assert_eq!(first.alarm.rung(), Some(Ending::Idle), "two wait, and one goes already");
        drop((first, second));
        third.wait(LONG, |_| panic!("its turn")).unwrap();
        all.close();
        third.set_idle(true);
        assert_eq!(third.alarm.rung(), Some(Ending::Stopping));
    }

    #[test]
    fn an_idle_session_locks_nobody_out() {
        let someone = Some(sotto_net::Identity::generate().fingerprint());
        let all = Connections::new(Limits { queue: 0, per_address: 1, per_client: 1, ..LIMITS });
        let first = all.arrive(address(1));
        first.join(someone).unwrap();
        first.wait(LONG, |_| ()).unwrap();
        let (other, again) = (all.arrive(address(2)), all.arrive(address(1)));
        assert_eq!(other.join(None), Err(Refusal::QueueFull));
        assert_eq!(again.join(None), Err(Refusal::QueueFull));
        first.set_idle(true);
        again.join(someone).unwrap();
        assert_eq!(first.alarm.rung(), Some(Ending::Idle), "its own client needs the place");
        drop(first);
        again.wait(LONG, |_| panic!("its turn")).unwrap();
        again.set_idle(true);
        other.join(None).unwrap();
        assert_eq!(again.alarm.rung(), None, "it may wait for some seconds");
    }

    #[test]
    fn a_server_that_stops_tells_those_who_wait() {
        let all = Connections::new(LIMITS);
        let (first, second, young) = (all.arrive(address(1)), all.arrive(address(2)), all.arrive(address(3)));
        first.join(None).unwrap();
        first.wait(LONG, |_| ()).unwrap();
        second.join(None).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| second.wait(LONG, |_| ()));
            thread::sleep(Duration::from_millis(20));
            all.close();
            assert_eq!(waiting.join().unwrap(), Err(Refusal::Stopping));
        });
        assert_eq!(young.alarm.rung(), Some(Ending::Stopping));
        assert_eq!(all.arrive(address(4)).join(None), Err(Refusal::Stopping));
        assert_eq!(all.sessions(), 1);
        drop((second, young));
        assert!(!all.wait_until_empty(Duration::from_millis(1)));
        all.end_all();
        assert_eq!(first.alarm.rung(), Some(Ending::Stopping));
        drop(first);
        assert!(all.wait_until_empty(LONG));
    }

    #[test]
    fn hosts_of_one_ipv6_network_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), address(1));
    }
}
