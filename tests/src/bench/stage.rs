//! A party's end of a case: its connection, its session, its stopwatch.

use std::{
    io::{Write, stdout},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sotto_net::{Channel, Cost, Half, Link, Listener, Meter, Runtime};
use sotto_protocol::{Client, Precision, Schedule, Server, Session};
use sotto_shares::{Party, Rng};

use crate::{
    cases::Case,
    machine,
    options::{Options, Role, Saving},
    tensor::{self, Header},
};

/// A peer may compute for this long without a word.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What decides how COTs are made where no link is imposed: figures must not depend on how fast the
/// loopback happens to be.
pub const UNSHAPED_RATE: f64 = 1e9;

/// A party with an established session.
pub enum Me {
    /// The client.
    Client(Box<Client>),
    /// The server.
    Server(Box<Server>),
}

impl Me {
    /// The part that both roles have.
    pub fn session(&mut self) -> &mut Session {
        match self {
            Me::Client(client) => &mut client.session,
            Me::Server(server) => &mut server.session,
        }
    }

    /// The connection.
    pub fn ch(&mut self) -> &mut Channel {
        &mut self.session().ch
    }
}

enum Dial {
    To(String, Link),
    From(Listener),
}

/// One party's end.
pub struct Stage {
    /// Which party this is.
    pub party: Party,
    /// Measures the counted part of each run.
    pub watch: Watch,
    /// The folder that the parent has put files into.
    pub scratch: PathBuf,
    schedule: Option<Schedule>,
    precision: Precision,
    dial: Dial,
}

impl Stage {
    /// A party's end; the server's prints its address.
    ///
    /// # Errors
    /// The server cannot listen.
    pub async fn open(options: &Options, role: Role) -> Result<Stage> {
        let (party, dial) = match role {
            Role::Client => (Party::Client, Dial::To(options.server.clone(), options.link()?)),
            Role::Server => {
                let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
                writeln!(stdout(), "{}", listener.addr())?;
                (Party::Server, Dial::From(listener))
            }
        };
        let schedule = options.schedule.map(Saving::schedule);
        let (precision, scratch) = (options.precision, options.scratch.clone());
        Ok(Stage { party, watch: Watch::default(), scratch, schedule, precision, dial })
    }

    /// A new connection to the other party.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn connect(&self) -> Result<Channel> {
        let mut ch = match &self.dial {
            Dial::To(addr, link) => sotto_net::connect(addr, *link).await?,
            Dial::From(listener) => listener.accept(Link::LOOPBACK).await?.0,
        };
        ch.set_timeout(PATIENCE);
        ch.state_rate(Some(ch.stated_rate().unwrap_or(UNSHAPED_RATE)));
        Ok(ch)
    }

    /// A session over `ch`.
    ///
    /// # Errors
    /// As [`Client::establish`].
    pub async fn establish(&self, ch: Channel) -> Result<Me> {
        let rng = Rng::from_os();
        let mut me = match self.party {
            Party::Client => Me::Client(Box::new(Client::establish(ch, rng, [0; 32]).await?)),
            Party::Server => Me::Server(Box::new(Server::establish(ch, rng, [0; 32]).await?)),
        };
        me.session().set_precision(self.precision);
        if let Some(schedule) = self.schedule {
            me.session().set_schedule(schedule);
            me.session().set_decode_schedule(schedule);
        }
        Ok(me)
    }
}

/// What one party saw of one run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Wall-clock time.
    pub seconds: f64,
    /// The part of it before the input is needed.
    pub seconds_offline: f64,
    /// Processor time.
    pub cpu: f64,
    /// Bytes that this party sent, framing included.
    pub sent: u64,
    /// The offline part of them.
    pub sent_offline: u64,
    /// The turn at which this party started and stopped, counted from the connection's beginning.
    pub turns: (u64, u64),
    /// The turns that ended at this party in the offline part.
    pub turns_offline: u64,
}

/// Measures the counted part of each run.
#[derive(Default)]
pub struct Watch {
    samples: Vec<Sample>,
    started: Option<Mark>,
    /// Bytes that were sent before the counted part for it, or in it for later.
    owed: f64,
}

struct Mark {
    time: Instant,
    cpu: f64,
    all: Cost,
    offline: Cost,
}

impl Watch {
    /// Waits until both parties are here, then starts; what is no half of its own counts as `half`.
    ///
    /// # Errors
    /// The peer is gone.
    pub async fn start(&mut self, ch: &mut Channel, half: Half) -> Result<()> {
        ch.exchange("bench/start", vec![0]).await?;
        ch.meter.enter("case", half);
        self.started = Some(Mark::now(&mut ch.meter));
        Ok(())
    }

    /// Counts bytes that travelled ahead: what was there at the start is used up by the counted
    /// part, what is there at its end (with a minus) was made for later. So that a run costs what
    /// it spends, however much is sent at once.
    pub fn owe(&mut self, bytes: f64) {
        self.owed += bytes;
    }

    /// Stops, and keeps the sample.
    ///
    /// # Panics
    /// If it was not started.
    pub fn stop(&mut self, ch: &mut Channel) {
        ch.meter.leave();
        let now = Mark::now(&mut ch.meter);
        let from = self.started.take().expect("a stopwatch is started before it is stopped");
        let (all, offline) = (now.all - from.all, now.offline - from.offline);
        let owed = std::mem::take(&mut self.owed).round() as i64;
        self.samples.push(Sample {
            seconds: (now.time - from.time).as_secs_f64(),
            seconds_offline: offline.seconds,
            cpu: now.cpu - from.cpu,
            sent: all.sent.saturating_add_signed(owed),
            sent_offline: offline.sent.saturating_add_signed(owed),
            turns: (from.all.turns, now.all.turns),
            turns_offline: offline.turns,
        });
    }
}

impl Mark {
    fn now(meter: &mut Meter) -> Mark {
        let spans = meter.spans();
        let offline = spans.iter().filter(|(key, _)| key.half == Half::Offline);
        let offline = offline.fold(Cost::default(), |sum, (_, &cost)| sum + cost);
        Mark { time: Instant::now(), cpu: machine::cpu_seconds(), all: meter.total(), offline }
    }
}

/// What a party reports of a case.
#[derive(Debug, Serialize, Deserialize)]
pub struct PartyReport {
    /// The counted runs.
    pub samples: Vec<Sample>,
    /// Bytes of memory.
    pub peak_rss: u64,
    /// The last run's output.
    pub outputs: Vec<Header>,
}

/// A party's whole part in a case: warm-up, counted runs, report.
///
/// # Errors
/// The peer, the network, or the file for the output.
pub fn party(options: &Options, role: Role, mut case: Box<dyn Case>) -> Result<Value> {
    Runtime::new().block_on(async {
        let mut stage = Stage::open(options, role).await?;
        let mut me = None;
        if case.needs_session() {
            me = Some(stage.establish(stage.connect().await?).await?);
        }
        let mut outputs = vec![];
        for run in 0..=options.repeat {
            outputs = case.run(&mut stage, me.as_mut()).await.with_context(|| format!("run {run}"))?;
        }
        if let Some(me) = &mut me {
            me.ch().close().await?;
        }
        let outputs = tensor::write(&options.scratch.join(role.name()), &outputs)?;
        let samples = stage.watch.samples.split_off(1);
        Ok(serde_json::to_value(PartyReport { samples, peak_rss: machine::peak_rss(), outputs })?)
    })
}
