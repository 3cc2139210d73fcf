//! A session for one answer, on a thread of its own.

use std::{sync::Arc, thread};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Endpoint, Event as Told, places::Place, refusal::Refusal};
use crate::{
    error::Error,
    events::{Event, Events, Stage},
    generate::{GenerationRequest, Prompt},
    report::Report,
    session::Session,
    stop::Stop,
    task::TaskRequest,
};

/// An answer in the making. The session stops when this is dropped, and keeps its place until it
/// has ended.
pub struct Job {
    news: UnboundedReceiver<News>,
    stop: Stop,
}

/// What is to be done in a session.
#[derive(Clone)]
pub enum Work {
    /// An answer.
    Answer(GenerationRequest),
    /// Vectors of texts.
    Texts(TaskRequest),
}

/// What a job tells.
pub enum News {
    /// Something has happened.
    Event(Event),
    /// It is over. Nothing follows.
    End(Box<Result<Report, Refusal>>),
}

struct Ear(UnboundedSender<News>);

impl Events for Ear {
    fn tell(&mut self, event: Event) {
        let _ = self.0.send(News::Event(event));
    }
}

impl Job {
    /// Begins it.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(endpoint: &Arc<Endpoint>, work: Work, place: &Place) -> Result<Job, Refusal> {
        let (sender, news) = unbounded_channel();
        let stop = Stop::default();
        let (endpoint, place, told) = (endpoint.clone(), place.clone(), stop.clone());
        let run = move || {
            let mut ear = Ear(sender);
            let result = perform(&endpoint, &work, &told, &mut ear);
            match &result {
                Ok(report) => endpoint.events.tell(Told::served(report)),
                Err(Failure::Session(e)) if matches!(**e, Error::Stopped) => {
                    endpoint.events.tell(Told::Stopped)
                }
                Err(failure) => endpoint.events.tell(Told::failed(&failure.refusal())),
            }
            let result = result.map_err(|failure| failure.refusal());
            // The place is free before the answer is complete: a client may ask again at once.
            drop(place);
            let _ = ear.0.send(News::End(Box::new(result)));
        };
        let started = thread::Builder::new().name("session".into()).spawn(run);
        started.map_err(|e| Refusal::internal(format_args!("no thread for a session: {e}")))?;
        Ok(Job { news, stop })
    }

    /// What happens next. A job without an end has failed.
    pub async fn next(&mut self) -> News {
        let next = self.news.recv().await;
        next.unwrap_or_else(|| {
            News::End(Box::new(Err(Refusal::internal("a session ended without a result"))))
        })
    }

    /// Waits until the session is set up and the prompt is under way.
    ///
    /// # Errors
    /// Why it never is.
    pub async fn begun(&mut self) -> Result<(), Refusal> {
        loop {
            match self.next().await {
                News::Event(Event::Stage(Stage::Prompt { .. })) => return Ok(()),
                News::Event(_) => {}
                News::End(end) => {
                    return Err((*end)
                        .err()
                        .unwrap_or_else(|| Refusal::internal("an answer before the prompt")));
                }
            }
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn end(&mut self) -> Result<Report, Refusal> {
        loop {
            if let News::End(end) = self.next().await {
                return *end;
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop.now();
    }
}

/// Why there is no answer.
enum Failure {
    Session(Box<Error>),
    ModelChanged,
}

impl Failure {
    fn refusal(&self) -> Refusal {
        match self {
            Failure::Session(e) => e.as_ref().into(),
            Failure::ModelChanged => Refusal::model_changed(),
        }
    }
}

fn perform(endpoint: &Endpoint, work: &Work, stop: &Stop, events: &mut Ear) -> Result<Report, Failure> {
    let prompt = match work {
        Work::Answer(GenerationRequest { prompt: Prompt::Tokens(tokens), .. }) => &tokens[..],
        Work::Answer(_) | Work::Texts(_) => &[],
    };
    // The server may have ended it meanwhile, or is gone: a new session tells.
    if let Some(session) = endpoint.sessions.take(prompt).and_then(|session| session.woken(stop)) {
        return perform_in(session, endpoint, work, events);
    }
    let session =
        Session::connect_until(&endpoint.upstream, events, stop).map_err(|e| Failure::Session(e.into()))?;
    if !session.model().is_like(&endpoint.model) {
        session.into_model();
        return Err(Failure::ModelChanged);
    }
    perform_in(session, endpoint, work, events)
}

/// In a session that is kept if it can be used again.
fn perform_in(
    mut session: Session,
    endpoint: &Endpoint,
    work: &Work,
    events: &mut Ear,
) -> Result<Report, Failure> {
    let result = match work {
        Work::Answer(request) => session.generate(request, events),
        Work::Texts(request) => session.run(request, events),
    };
    match &result {
        Ok(_) => endpoint.sessions.give(session),
        Err(_) => session.close(&result),
    }
    result.map_err(|e| Failure::Session(e.into()))
}
