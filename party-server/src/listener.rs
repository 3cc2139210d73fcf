//! Listening, and one thread for each connection.

use std::{
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use sotto_models::{Cache, service::Policy};
use sotto_net::{Error as Net, Link, Listener, Runtime};

use crate::{
    alarm::{Alarm, Ending, lock},
    client_session::{Deadlines, Outcome, ServerState},
    error::Error,
    events::{Event, Events},
    metrics::Metrics,
    metrics_endpoint::Endpoint,
    model::{Model, Rules},
    queue::{Connections, Limits, Place},
    quota::Quota,
    transport::{PendingClient, Transport},
};

/// Pause after the system has failed to accept a client: it has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// What connections have to end in once they are told to.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What to serve, how, and to whom.
pub struct Options {
    /// A folder, or `builtin`.
    pub model: PathBuf,
    /// Texts to see how large the model's numbers become, if the weights do not bound them; by
    /// default those inside the program.
    pub calibrate: Option<PathBuf>,
    /// Where what comes of the texts is kept.
    pub cache: Cache,
    /// Serve it even if its audit has findings.
    pub accept_unproven_ranges: bool,
    /// What its owner has decided.
    pub rules: Rules,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where counts of what happens are read by HTTP, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How clients connect.
    pub transport: Transport,
    /// How many at a time.
    pub limits: Limits,
    /// Tokens a day for each client, of prompts and answers together, if there is a limit.
    pub quota: Option<u64>,
    /// How long they may take.
    pub deadlines: Deadlines,
    /// A network to imitate.
    pub link: Link,
    /// End after the first session.
    pub once: bool,
}

/// Loads the model, listens, and serves until `stop` rings and the sessions under way have ended,
/// or have had their time. It blocks; call it outside any async runtime.
///
/// # Errors
/// What keeps the server from starting; with `once` also what ended the session.
pub fn serve(options: Options, stop: &Alarm, events: &Arc<dyn Events>) -> Result<(), Error> {
    check_transport(&options)?;
    // A port that is taken is told before the model is loaded. It is left free meanwhile: a client
    // that comes too early is told so at once, instead of waiting for the model.
    let tried = [Some(options.listen), options.metrics].into_iter().flatten();
    let tried = tried.map(|addr| TcpListener::bind(addr).map_err(|source| Net::Listen { addr, source }));
    tried.collect::<Result<Vec<_>, _>>().map(drop)?;
    let metrics = Metrics::default();
    let events = &metrics.counting(events.clone());
    let (model, policy) = load(&options, &**events)?;
    let runtime = Runtime::new();
    let connections = Connections::new(options.limits);
    let listener = runtime.block_on(Listener::bind(options.listen))?;
    let watched = options.metrics.map(|addr| Endpoint::start(addr, metrics, connections.clone()));
    let watched = watched.transpose()?;
    let (addr, fingerprint) = (listener.addr(), options.transport.fingerprint());
    let Options { transport, quota, deadlines, link, once, .. } = options;
    let server = Arc::new(Server {
        state: ServerState { model, policy, transport, runtime, quota: Quota::new(quota), deadlines, link },
        connections,
        events: events.clone(),
        once: once.then(|| Once { stop: stop.clone(), result: Mutex::default() }),
    });
    events.tell(Event::Listening { addr, fingerprint });
    watched.iter().for_each(|watched| events.tell(Event::Watched { addr: watched.addr }));
    server.listen(&listener, stop);
    drop(listener);
    let all = &server.connections;
    all.close();
    if !all.wait_until_empty(Duration::ZERO) {
        events.tell(Event::Stopping { sessions: all.sessions(), grace: deadlines.grace });
        if !all.wait_until_empty(deadlines.grace) {
            all.end_all();
            all.wait_until_empty(LAST_WORDS);
        }
    }
    match &server.once {
        Some(once) => lock(&once.result).take().unwrap_or(Ok(())),
        None => Ok(()),
    }
}

fn check_transport(options: &Options) -> Result<(), Error> {
    match options.transport {
        Transport::Open if !options.listen.ip().to_canonical().is_loopback() => Err(Error::Usage(format!(
            "--insecure-no-tls with --listen {}: without TLS only a loopback address is served, such as \
             127.0.0.1; leave --insecure-no-tls out",
            options.listen
        ))),
        _ => Ok(()),
    }
}

/// Loads the model. One that may overflow is refused, unless that is accepted.
fn load(options: &Options, events: &dyn Events) -> Result<(Model, Policy), Error> {
    let model = Model::load(&options.model, options.calibrate.as_deref(), &options.cache)?;
    let (rules, sessions) = (options.rules, options.limits.sessions);
    let lengths = model.lengths(rules, sessions)?;
    let policy = model.policy(rules.reveal, lengths.max_prompt)?;
    model.remarks().iter().for_each(|remark| events.tell(Event::Remark(remark.clone())));
    model.ranges().into_iter().for_each(|ranges| events.tell(Event::Calibrated { ranges }));
    events.tell(Event::Loaded { model: model.describe(), tokenizer: model.tokenizer_digest() });
    events.tell(Event::Lengths(lengths));
    let findings = model.findings();
    findings.iter().for_each(|finding| events.tell(Event::UnprovenRange(finding.clone())));
    match findings.first() {
        Some(first) if !options.accept_unproven_ranges => Err(Error::Usage(format!(
            "{first} ({} such findings): values beyond the limit would come out wrong; choose another model, or \
             start with --accept-unproven-ranges",
            findings.len()
        ))),
        _ => Ok((model, policy)),
    }
}

struct Server {
    state: ServerState,
    connections: Connections,
    events: Arc<dyn Events>,
    /// Whether it ends after its first session.
    once: Option<Once>,
}

struct Once {
    stop: Alarm,
    /// How the first session went.
    result: Mutex<Option<Result<(), Error>>>,
}

impl Server {
    /// Accepts clients until `stop` rings.
    fn listen(self: &Arc<Self>, listener: &Listener, stop: &Alarm) {
        loop {
            let next = self.state.transport.accept(listener, self.state.link);
            match self.state.runtime.block_on(stop.unless_rung(next)) {
                Err(_) => return,
                Ok(Ok(pending)) => self.start(pending),
                Ok(Err(e)) => {
                    self.events.tell(Event::CannotAccept(e.into()));
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn start(self: &Arc<Self>, pending: PendingClient) {
        let (addr, own) = (pending.addr(), self.clone());
        let place = self.connections.arrive(addr.ip());
        let session = move || own.receive(pending, addr, place);
        if let Err(source) = thread::Builder::new().name("session".into()).spawn(session) {
            let error = Net::Transport { step: "session/accept", source };
            self.events.tell(Event::CannotAccept(error.into()));
        }
    }

    /// One connection. Its end is told before its place is free, so that a server that stops has
    /// told all.
    fn receive(&self, pending: PendingClient, addr: SocketAddr, place: Place) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.state.receive(pending, &place, &*self.events)));
        let outcome = outcome.unwrap_or(Outcome::Session(Err(Error::Internal)));
        match outcome {
            Outcome::Before(error) => self.events.tell(Event::Failed { addr, error }),
            Outcome::Refused(reason) => self.events.tell(Event::Refused { addr, reason }),
            Outcome::Session(Ok(())) => self.end_once(Ok(())),
            Outcome::Session(Err(error)) => match &self.once {
                Some(_) => self.end_once(Err(error)),
                None => self.events.tell(Event::Failed { addr, error }),
            },
        }
    }

    fn end_once(&self, result: Result<(), Error>) {
        if let Some(once) = &self.once {
            lock(&once.result).get_or_insert(result);
            once.stop.ring(Ending::Stopping);
        }
    }
}
