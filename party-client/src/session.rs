//! A session with a server: TLS, the server's queue, set-up, and the end.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use sotto_models::service::{self, History, TokenizerSource};
use sotto_net::{
    Channel, Cost, Error as Net, Fingerprint, Identity, Link, Runtime, SpanKey, connect, connect_tls,
};
use sotto_party::{address::is_loopback, admission, key_file};
use sotto_protocol::{Client, Precision};
use sotto_shares::Rng;

use crate::{
    error::Error,
    events::{Event, Events, Stage, Warning},
    remote_model::RemoteModel,
    stop::{GivenUp, Stop},
};

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT`.
    pub server: String,
    /// How the connection is secured.
    pub security: Security,
    /// A network to imitate.
    pub link: Link,
    /// How exact the model is computed.
    pub precision: Precision,
    /// How long a silent server is waited for.
    pub patience: Duration,
    /// Where the model's tokenizer comes from.
    pub tokenizer: TokenizerSource,
    /// Bytes that a session may come to hold; by default, what is free.
    pub memory: Option<usize>,
}

/// How a connection is secured.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS 1.3 with pinned keys.
    Tls {
        /// The server's fingerprint.
        server: Fingerprint,
        /// The file of this client's key; without it the key is a new one.
        identity: Option<PathBuf>,
    },
    /// No TLS, to a loopback address.
    None,
}

/// A session that is set up, with the model that the server offers.
pub struct Session {
    pub(crate) runtime: Runtime,
    pub(crate) me: Client,
    pub(crate) model: RemoteModel,
    pub(crate) options: Options,
    pub(crate) stop: Stop,
    /// What it has read, and what can be continued.
    pub(crate) history: History,
    state: State,
    /// What these have cost.
    pub(crate) spent: BTreeMap<SpanKey, Cost>,
}

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server waits for a request.
    Ready,
    /// A request is under way, or has failed.
    Busy,
    /// The server has done its part.
    Idle,
}

impl Session {
    /// Connects, waits to be admitted, sets up keys and oblivious transfers, and hears of the
    /// model. It blocks; call it outside any async runtime.
    ///
    /// # Errors
    /// The server is not there, is another, does not admit this client, does not follow the
    /// protocol, or offers a model that contradicts itself.
    pub fn connect(options: &Options, events: &mut dyn Events) -> Result<Session, Error> {
        Session::connect_until(options, events, &Stop::default())
    }

    /// As [`Session::connect`]; `stop` ends it, and the session's requests, before their time.
    ///
    /// # Errors
    /// As [`Session::connect`]; [`Error::Stopped`].
    pub fn connect_until(options: &Options, events: &mut dyn Events, stop: &Stop) -> Result<Session, Error> {
        if matches!(options.security, Security::None) && is_loopback(&options.server) == Some(false) {
            return Err(Error::Usage(format!(
                "--insecure-no-tls with --server {}: without TLS only a loopback address is used, such as \
                 127.0.0.1; pass --fingerprint instead",
                options.server
            )));
        }
        let runtime = Runtime::new();
        let (me, model) = runtime.block_on(async {
            let established = stop.or_stop(establish(options, events)).await;
            let mut me = established.unwrap_or(Err(Error::Stopped))?;
            let received = stop.or_stop(RemoteModel::receive(&mut me, options)).await;
            match received.unwrap_or(Err(Error::Stopped)) {
                Ok(model) => Ok((me, model)),
                Err(e) => {
                    say_farewell(&mut me, Err(&e)).await;
                    Err(e)
                }
            }
        })?;
        if !model.audited() {
            events.tell(Event::Warning(Warning::Unaudited));
        }
        let (options, stop, history) = (options.clone(), stop.clone(), History::default());
        let (state, spent) = (State::Ready, BTreeMap::new());
        Ok(Session { runtime, me, model, options, stop, history, state, spent })
    }

    /// How many tokens of a prompt the session has read already, so that they cost nothing more.
    pub fn covered(&self, prompt: &[u32]) -> usize {
        self.history.covered(prompt)
    }

    /// Gets ready for one more request: the server may have ended a session that was idle. Nothing
    /// of a request is told before. Requests do this by themselves.
    ///
    /// # Errors
    /// The session has ended.
    fn wake(&mut self) -> Result<(), Error> {
        if self.state == State::Idle {
            match self.runtime.block_on(self.stop.or_stop(service::wake(&mut self.me))) {
                Ok(woken) => woken?,
                Err(GivenUp) => return Err(Error::Stopped),
            }
            self.state = State::Ready;
        }
        Ok(())
    }

    /// The session for a next request, which `stop` ends, if the server still keeps it. Otherwise
    /// it is over.
    pub fn woken(mut self, stop: &Stop) -> Option<Session> {
        self.stop = stop.clone();
        match self.wake() {
            Ok(()) => Some(self),
            Err(e) => {
                self.close(&Err::<(), _>(e));
                None
            }
        }
    }

    /// A request begins.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.wake()?;
        self.state = State::Busy;
        Ok(())
    }

    /// The server has done its part of a request.
    pub(crate) fn end(&mut self) {
        self.state = State::Idle;
    }

    /// Whether it can take another request.
    pub(crate) fn is_whole(&self) -> bool {
        self.state != State::Busy
    }

    /// The model that the server offers.
    pub fn model(&self) -> &RemoteModel {
        &self.model
    }

    /// Ends the session: all is said, or the server is told why not.
    pub fn close<T>(mut self, result: &Result<T, Error>) {
        // What goes wrong once the server has done its part is none of its business.
        let idle = self.state == State::Idle;
        let result = if idle { Ok(()) } else { result.as_ref().map(|_| ()) };
        if idle {
            // If the server has gone, so be it.
            let _ = service::tell_no_more(&mut self.me);
        }
        self.runtime.block_on(say_farewell(&mut self.me, result));
    }

    /// Ends the session, and keeps what is known of the model.
    pub fn into_model(mut self) -> RemoteModel {
        self.runtime.block_on(say_farewell(&mut self.me, Ok(())));
        self.model
    }

    /// The server's identity; none without TLS.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        match self.options.security {
            Security::Tls { server, .. } => Some(server),
            Security::None => None,
        }
    }
}

async fn establish(options: &Options, events: &mut dyn Events) -> Result<Client, Error> {
    events.tell(Event::Stage(Stage::Connecting));
    let (mut channel, binding) = open(options).await?;
    channel.set_timeout(options.patience);
    let admitted = admission::request(&mut channel, |place| {
        events.tell(Event::Stage(Stage::Waiting { place }));
    });
    let admitted = admitted.await.map_err(|e| match (&options.security, &e) {
        // A TLS server answers what is not TLS with an alert, or hangs up.
        (Security::None, Net::Closed { .. } | Net::Transport { .. }) => Error::WithoutTls(e),
        _ => e.into(),
    })?;
    if let Err(refusal) = admitted {
        let _ = channel.part().await;
        return Err(Error::NotAdmitted(refusal));
    }
    events.tell(Event::Stage(Stage::SettingUp));
    let mut me = Client::establish(channel, Rng::from_os(), binding).await?;
    me.session.set_precision(options.precision);
    Ok(me)
}

/// A connection, and what ties the session to it.
async fn open(options: &Options) -> Result<(Channel, [u8; 32]), Error> {
    let Security::Tls { server, identity } = &options.security else {
        return Ok((connect(&options.server, options.link).await?, [0; 32]));
    };
    let me = match identity {
        Some(file) => key_file::open(file)?,
        None => Identity::generate(),
    };
    match connect_tls(&options.server, options.link, &me, *server).await {
        Ok(secured) => Ok((secured.channel, secured.exporter)),
        Err(e @ Net::Rejected { .. }) if identity.is_none() => Err(Error::NewIdentity(e)),
        Err(e) => Err(e.into()),
    }
}

async fn say_farewell(me: &mut Client, result: Result<(), &Error>) {
    let channel = &mut me.session.ch;
    match result {
        // The server has nothing more to say, and needs nothing more.
        Ok(()) => _ = channel.part().await,
        Err(e) => {
            if let Some(code) = e.farewell() {
                channel.abort(code).await;
            }
        }
    }
}
