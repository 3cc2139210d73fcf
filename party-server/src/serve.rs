//! Listening, and one thread for each client.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use sotto_models::{
    Folder, Model, Texts,
    service::{self, Error, Policy, Served},
};
use sotto_net::{Channel, Cost, Fingerprint, Identity, Incoming, Link, Listener, Peers, Runtime};
use sotto_protocol::Server;
use sotto_shares::Rng;
use tracing::{error, info, warn};

use crate::{
    args::Args,
    error::{Usage, farewell},
    process::one_line,
    slots::Slots,
};

/// Clients that may be in a handshake or wait for their turn; more are turned away at once.
const WAITING: usize = 64;
/// Pause after the system has failed to accept a client: it has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Loads the model, listens, and serves for as long as the program runs.
///
/// # Errors
/// What keeps the server from starting; with `--once` also what ended the session.
pub fn run(args: &Args) -> Result<()> {
    let door = door(args)?;
    let texts = args.calibrate.as_deref().map(Texts::open).transpose()?.unwrap_or_default();
    let (model, folder) = load(&args.model, &texts)?;
    let audited = audit(&model, args.accept_unproven_ranges)?;
    ctrlc::set_handler(|| {
        eprintln!("party-server: stopped");
        std::process::exit(0);
    })?;
    let runtime = Runtime::new();
    let listener = runtime.block_on(Listener::bind(args.listen))?;
    match &door {
        Door::Tls { me, .. } => {
            eprintln!("party-server: listening on {}, fingerprint {}", listener.addr(), me.fingerprint());
        }
        Door::Open => {
            eprintln!(
                "party-server: listening on {}, WITHOUT TLS: for tests on this machine only",
                listener.addr()
            );
        }
    }
    let house = Arc::new(House {
        model,
        folder,
        door,
        runtime,
        sessions: Slots::new(args.max_sessions.into()),
        patience: args.patience(),
        link: args.link,
        policy: args.policy(audited),
    });
    if args.once {
        let guest = house.accept(&listener)?;
        return catch_unwind(AssertUnwindSafe(|| house.receive(guest)))
            .unwrap_or_else(|_| Err(anyhow!("the session ended by an internal error")));
    }
    let waiting = Slots::new(WAITING + usize::from(args.max_sessions));
    loop {
        let guest = match house.accept(&listener) {
            Ok(guest) => guest,
            Err(e) => {
                warn!("cannot accept a client: {}", one_line(&e));
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let Some(place) = waiting.try_take() else {
            warn!("{}: turned away, too many clients are waiting", guest.addr());
            continue;
        };
        let own = house.clone();
        let session = move || {
            let _place = place;
            let addr = guest.addr();
            match catch_unwind(AssertUnwindSafe(|| own.receive(guest))) {
                Ok(Ok(())) => {}
                Ok(Err(e)) => warn!("{addr}: {}", one_line(&e)),
                Err(_) => error!("{addr}: the session ended by an internal error"),
            }
        };
        if let Err(e) = thread::Builder::new().name("session".into()).spawn(session) {
            warn!("cannot start a session: {e}");
        }
    }
}

/// Refuses a model that may overflow, unless that is accepted; whether it cannot.
fn audit(model: &Model, accepted: bool) -> Result<bool> {
    let findings = model.findings();
    for finding in findings {
        warn!("unproven range: {finding}");
    }
    match findings.first() {
        Some(first) if !accepted => Err(Usage(format!(
            "{first} ({} such findings): values beyond the limit would come out wrong; choose another model, or start \
             with --accept-unproven-ranges",
            findings.len()
        ))
        .into()),
        first => Ok(first.is_none()),
    }
}

/// What all sessions have in common.
struct House {
    model: Model,
    folder: Folder,
    door: Door,
    runtime: Runtime,
    sessions: Slots,
    patience: Duration,
    link: Link,
    policy: Policy,
}

/// How clients come in.
enum Door {
    Tls { me: Identity, clients: Peers },
    Open,
}

/// A client that has connected.
enum Guest {
    Tls(Incoming),
    Open(Box<Channel>, SocketAddr),
}

impl Guest {
    fn addr(&self) -> SocketAddr {
        match self {
            Guest::Tls(incoming) => incoming.addr(),
            Guest::Open(_, addr) => *addr,
        }
    }
}

fn door(args: &Args) -> Result<Door> {
    if args.insecure_no_tls {
        if !args.listen.ip().is_loopback() {
            let reason = format!(
                "--insecure-no-tls with --listen {}: without TLS only a loopback address is served, such as \
                 127.0.0.1; leave --insecure-no-tls out",
                args.listen
            );
            return Err(Usage(reason).into());
        }
        return Ok(Door::Open);
    }
    let file = args.identity.clone().or_else(default_identity).ok_or_else(|| {
        Usage("there is no home directory to keep this server's identity in: pass --identity FILE".into())
    })?;
    let me = Identity::load_or_create(&file)?;
    let clients = match BTreeSet::from_iter(args.allow.iter().copied()) {
        list if list.is_empty() => Peers::Any,
        list => Peers::Only(list),
    };
    Ok(Door::Tls { me, clients })
}

fn default_identity() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(config.join("sotto/server.pem"))
}

fn load(model: &Path, texts: &Texts) -> Result<(Model, Folder)> {
    let folder = if model == Path::new("builtin") { Folder::builtin()? } else { Folder::open(model)? };
    folder.warnings().iter().for_each(|warning| warn!("{warning}"));
    let loaded = Model::load(&folder, texts)?;
    if loaded.is_calibrated() {
        let scales = loaded.scales();
        let largest = scales.stream.last().map_or(0, |stream| stream.exponent);
        info!(
            "ranges chosen on texts: residual stream in units of up to 2^{largest}, logits in units of 2^{}, at most {} \
             positions",
            scales.logits,
            loaded.positions()
        );
    }
    info!(
        "model loaded: {} layers of width {}",
        folder.config().num_hidden_layers,
        folder.config().hidden_size
    );
    Ok((loaded, folder))
}

impl House {
    fn accept(&self, listener: &Listener) -> Result<Guest> {
        let guest = self.runtime.block_on(async {
            match &self.door {
                Door::Tls { .. } => listener.accept_tls(self.link).await.map(Guest::Tls),
                Door::Open => listener.accept(self.link).await.map(|(ch, addr)| Guest::Open(ch.into(), addr)),
            }
        })?;
        Ok(guest)
    }

    /// One client, from its handshake to its end.
    fn receive(&self, guest: Guest) -> Result<()> {
        let addr = guest.addr();
        let (mut ch, binding, peer) = self.runtime.block_on(self.let_in(guest))?;
        ch.set_timeout(self.patience);
        let _session = self.sessions.take();
        let name = peer.map_or_else(|| "no identity".to_string(), |peer| peer.to_string());
        info!("{addr}: session begins ({name})");
        let (served, cost) = self.runtime.block_on(self.converse(ch, binding))?;
        info!(
            "{addr}: served: {} prompt tokens, {} of at most {} new ones, {:.1} s, {:.1} MB, {} turns, {:.1} kB of cache a token",
            served.request.prompt,
            served.made,
            served.request.new,
            cost.seconds,
            cost.bytes() as f64 / 1e6,
            cost.turns,
            served.cached.1 as f64 / 1e3 / served.cached.0.max(1) as f64
        );
        Ok(())
    }

    async fn let_in(&self, guest: Guest) -> Result<(Channel, [u8; 32], Option<Fingerprint>)> {
        match (guest, &self.door) {
            (Guest::Tls(incoming), Door::Tls { me, clients }) => {
                let secured = incoming.handshake(me, clients).await?;
                Ok((secured.channel, secured.exporter, Some(secured.peer)))
            }
            (Guest::Open(ch, _), _) => Ok((*ch, [0; 32], None)),
            (Guest::Tls(_), Door::Open) => unreachable!("an open door has no TLS guests"),
        }
    }

    async fn converse(&self, ch: Channel, binding: [u8; 32]) -> Result<(Served, Cost)> {
        let mut me =
            Server::establish(ch, Rng::from_os(), binding).await.map_err(Error::from).context("set-up")?;
        let served = async {
            service::offer(&mut me.session.ch, &self.model, self.folder.tokenizer(), self.policy).await?;
            let served = service::serve(&mut me, &self.model, self.policy).await?;
            let cost = me.session.ch.meter.total();
            me.session.ch.part().await?;
            Ok::<_, Error>((served, cost))
        };
        match served.await {
            Ok(served) => Ok(served),
            Err(e) => {
                if let Some(code) = farewell(&e) {
                    me.session.ch.abort(code).await;
                }
                Err(e.into())
            }
        }
    }
}
