//! An HTTP endpoint in the form of OpenAI's API. Each answer is a private session with the server.
//!
//! Programs of this machine send prompts to it in clear, and it sends none of them any further: the
//! server gets shares and ciphertexts, as from any other front end.
//!
//! | file         | subject                                                     |
//! |--------------|-------------------------------------------------------------|
//! | `access`     | who may ask: the key, the names of this machine             |
//! | `body`       | bodies of HTTP messages, whole and as streams               |
//! | `connection` | a connection: its limits, readers that do not read          |
//! | `embeddings` | which texts a request has, and their vectors                |
//! | `events`     | what a front end is told meanwhile                          |
//! | `fields`     | the fields of a request, each with its type and range       |
//! | `job`        | a session for an answer, on a thread of its own             |
//! | `places`     | how many requests at a time; who waits                      |
//! | `refusal`    | errors in OpenAI's form                                     |
//! | `reply`      | answers in OpenAI's form, whole and in pieces               |
//! | `request`    | what a request wants, and what cannot be had                |
//! | `routes`     | which request is answered how                               |
//! | `sessions`   | sessions that stay open between requests                    |
//! | `stream`     | answers as they grow                                        |
//! | `page.html`  | a chat in the browser                                       |

mod access;
mod body;
mod connection;
mod embeddings;
mod events;
mod fields;
mod job;
mod places;
mod refusal;
mod reply;
mod request;
mod routes;
mod sessions;
mod stream;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sotto_models::Task;
use sotto_net::{Error as Net, Runtime};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    error::Error,
    remote_model::RemoteModel,
    session::{Security, Session},
    stop::{GivenUp, Stop},
};
use access::Access;
use places::Places;
use sessions::Sessions;

pub use access::ApiKey;
pub use events::{Event, Events};

/// Connections at a time.
const CONNECTIONS: usize = 256;
/// How long sessions that are told to stop may take.
const LAST: Duration = Duration::from_secs(6);
/// How often sessions are looked at that nobody has used for long.
const EXPIRY: Duration = Duration::from_secs(1);
/// How long to wait after the system has refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How to serve.
pub struct Options {
    /// The server that computes the answers, and how to reach it.
    pub upstream: crate::Options,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What the model is called.
    pub name: String,
    /// The key that requests must carry, if any.
    pub key: Option<ApiKey>,
    /// Names by which browsers may call this machine, besides `localhost` and loopback addresses.
    pub hosts: Vec<String>,
    /// Requests that are answered at a time.
    pub requests: usize,
    /// Requests that wait at most.
    pub waiting: usize,
    /// Whether answers are made to their greatest length, though nobody sees what is behind their
    /// end.
    pub constant_length: bool,
    /// The server sees a multiple of this as a prompt's length, if it is more than one.
    pub pad_to: usize,
    /// How long a session stays open after a request, so that the next one can go on.
    pub keep: Duration,
    /// How long requests under way may take when the endpoint is told to stop.
    pub grace: Duration,
}

/// What all requests have in common.
struct Endpoint {
    upstream: crate::Options,
    model: RemoteModel,
    name: String,
    /// When the model was seen first, in seconds of Unix time.
    created: u64,
    access: Access,
    places: Places,
    sessions: Sessions,
    /// See [`Options::constant_length`].
    constant_length: bool,
    /// See [`Options::pad_to`].
    pad_to: usize,
    /// Requests that are read at a time: a body becomes many times as large on its way to tokens.
    reading: Semaphore,
    events: Arc<dyn Events>,
}

/// Requests that are read at a time.
const READ_AT_ONCE: usize = 2;

impl Endpoint {
    /// The server's identity, or that there is none.
    fn fingerprint(&self) -> String {
        match &self.upstream.security {
            Security::Tls { server, .. } => server.to_string(),
            Security::None => "none".into(),
        }
    }
}

/// Serves until `stop`, and until the requests under way have ended. It blocks; call it outside any
/// async runtime.
///
/// # Errors
/// The server cannot be reached or offers no model that makes sense, or the address cannot be
/// listened on.
pub fn serve(options: Options, stop: &Stop, events: Arc<dyn Events>) -> Result<(), Error> {
    let local = options.listen.ip().to_canonical().is_loopback();
    if !local && options.key.is_none() {
        return Err(Error::Usage(format!(
            "--listen {} without --api-key-file: other machines could use it; pass --api-key-file FILE, or \
             listen on 127.0.0.1",
            options.listen
        )));
    }
    let Options {
        upstream,
        listen,
        name,
        key,
        hosts,
        requests,
        waiting,
        constant_length,
        pad_to,
        keep,
        grace,
    } = options;
    let model = meet(&upstream, stop, &*events)?;
    let described = model.summary().text;
    let endpoint = Arc::new(Endpoint {
        access: Access::new(key, (local || !hosts.is_empty()).then_some(hosts)),
        created: reply::unix_time(),
        places: Places::new(requests, waiting),
        sessions: Sessions::new(requests, keep),
        constant_length,
        pad_to,
        reading: Semaphore::new(READ_AT_ONCE),
        upstream,
        model,
        name,
        events,
    });
    Runtime::new().block_on(async {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.map_err(|source| Net::Listen { addr: listen, source })?;
        let addr = listener.local_addr().map_err(|source| Net::Listen { addr: listen, source })?;
        endpoint.events.tell(Event::Listening { addr, model: described });
        if !local {
            endpoint.events.tell(Event::InClear);
        }
        accept(&endpoint, &listener, stop, grace).await;
        Ok(())
    })
}

/// Hears what the server offers.
fn meet(upstream: &crate::Options, stop: &Stop, events: &dyn Events) -> Result<RemoteModel, Error> {
    struct Warnings<'a>(&'a dyn Events);
    impl crate::Events for Warnings<'_> {
        fn tell(&mut self, event: crate::Event) {
            if let crate::Event::Warning(warning) = event {
                self.0.tell(Event::Warning(warning));
            }
        }
    }
    let model = Session::connect_until(upstream, &mut Warnings(events), stop)?.into_model();
    match model.task() {
        Task::Generate | Task::Embed => Ok(model),
        other => Err(Error::Usage(format!(
            "this server's model is for `{}`, and there is no such path in OpenAI's API: use \
             `party-client {}`",
            other.name(),
            other.name()
        ))),
    }
}

/// Takes connections until `stop`, then waits for those that are there.
async fn accept(endpoint: &Arc<Endpoint>, listener: &TcpListener, stop: &Stop, grace: Duration) {
    let (room, idle) = (Arc::new(Semaphore::new(CONNECTIONS)), endpoint.clone());
    let expiry = tokio::spawn(async move {
        loop {
            sleep(EXPIRY).await;
            let sessions = idle.clone();
            let _ = spawn_blocking(move || sessions.sessions.expire()).await;
        }
    });
    let (ending, ends) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let next = stop.or_stop(async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        });
        match next.await {
            Err(GivenUp) => break,
            Ok((place, Ok((stream, _)))) => {
                let (endpoint, ends) = (endpoint.clone(), ends.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection::serve(&endpoint, stream, ends).await;
                });
            }
            Ok((_, Err(e))) => {
                endpoint.events.tell(Event::CannotAccept(e));
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    endpoint.events.tell(Event::Stopping { under_way: endpoint.places.taken() });
    endpoint.places.close();
    let _ = ending.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(grace, all).await;
    // What is left is told to stop: its connection is gone.
    connections.abort_all();
    let _ = timeout(LAST, endpoint.places.empty()).await;
    expiry.abort();
    let sessions = endpoint.clone();
    let _ = timeout(LAST, spawn_blocking(move || sessions.sessions.end_all())).await;
}
