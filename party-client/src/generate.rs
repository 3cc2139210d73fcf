//! A generation: the request, the choice of each token, the text.
//!
//! What is revealed of a step becomes a token, and the server is told whether to go on. Only then,
//! on another thread, the token becomes text and is shown: what a front end does with it, and how
//! long that takes, the server cannot see.

use std::{
    cell::Cell,
    panic::resume_unwind,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use sotto_models::{Message, Penalties, Stream, service::History};
use sotto_net::{Cost, SpanKey};

use crate::{
    error::Error,
    events::{Event, Events, Hint, Stage, Traffic, Warning},
    likelihood::of_token,
    remote_model::{InRange, Picked, RemoteModel, Step, empty_prompt, sampling},
    report::{Answer, Report},
    session::Session,
    stop_sequences::StopSequences,
};

/// A prompt, and how to continue it.
#[derive(Clone)]
pub struct GenerationRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// New tokens at most; by default 40, or what the context has room for.
    pub max_tokens: Option<usize>,
    /// How freely to choose, from 0 (the likeliest token) to 100.
    pub temperature: f32,
    /// Choose among so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that have this probability together.
    pub top_p: Option<f32>,
    /// What tokens that the answer already has lose.
    pub penalties: Penalties,
    /// Texts at which the answer ends, before them.
    pub stop_sequences: Vec<String>,
    /// Tell how likely each token was, and so many of the likeliest ones.
    pub likelihoods: Option<usize>,
    /// Make all tokens that may be made, though nobody sees those behind the answer's end: the
    /// server does not learn where that is.
    pub constant_length: bool,
    /// The server sees a multiple of this as the prompt's length, if it is more than one.
    pub pad_to: usize,
    /// What the choices follow from.
    pub seed: u64,
}

/// What to continue.
#[derive(Clone)]
pub enum Prompt {
    /// A text; not empty.
    Text(String),
    /// A conversation, by the model's own template; the answer is its next turn.
    Conversation(Vec<Message>),
    /// Tokens, as they are.
    Tokens(Vec<u32>),
}

impl GenerationRequest {
    /// The likeliest continuation.
    pub fn greedy(prompt: Prompt) -> GenerationRequest {
        GenerationRequest {
            prompt,
            max_tokens: None,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            penalties: Penalties::default(),
            stop_sequences: vec![],
            likelihoods: None,
            constant_length: false,
            pad_to: 1,
            seed: 0,
        }
    }

    /// Whether the server is not to learn how long prompt or answer is.
    fn hides_length(&self) -> bool {
        self.constant_length || self.pad_to > 1
    }

    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// Nothing to continue, or an option out of its range.
    pub fn check(&self) -> Result<(), Error> {
        sampling(self)?;
        if self.stop_sequences.iter().any(String::is_empty) {
            return Err(Error::Usage("a stop sequence is empty, expected some text; leave it out".into()));
        }
        let empty = match &self.prompt {
            Prompt::Text(text) => text.is_empty(),
            Prompt::Conversation(turns) => turns.last().is_none_or(|turn| turn.content.is_empty()),
            Prompt::Tokens(tokens) => tokens.is_empty(),
        };
        if empty { Err(empty_prompt()) } else { Ok(()) }
    }
}

impl Session {
    /// Continues a prompt. The text comes through `events`, and again with the report.
    ///
    /// # Errors
    /// A mistake in the request, or a failure of the server or the connection.
    pub fn generate(
        &mut self,
        request: &GenerationRequest,
        events: &mut dyn Events,
    ) -> Result<Report, Error> {
        request.check()?;
        let (prompt, new) = self.model.plan(request)?;
        self.begin()?;
        // Hidden tokens are not part of what comes next, and whether there were any is not to show.
        if request.hides_length() {
            self.history = History::padded(request.pad_to);
        }
        let Session { runtime, me, model, stop, history, .. } = self;
        let (model, stop) = (&*model, &*stop);
        let past = history.covered(&prompt);
        if matches!(request.prompt, Prompt::Text(_)) && model.is_conversational() {
            events.tell(Event::Hint(Hint::Conversational));
        }
        events.tell(Event::Stage(Stage::Prompt { tokens: prompt.len() }));
        let (sender, tokens) = channel();
        let (mut begun, ends) = (Instant::now(), model.ends());
        let mut cut = Cut::new(model, &prompt, &request.stop_sequences)?;
        let made = Cell::new(0);
        let (steps, mut over) = (&made, false);
        let next = move |step: Step<'_>| {
            let (made, go_on) = match step {
                Step::Prompt(InRange(true)) => return true,
                Step::Prompt(InRange(false)) => (Made::Garbage, true),
                Step::Token(Picked { token, logits, cost }) => {
                    steps.set(steps.get() + 1);
                    let (ended, seconds) = (ends.contains(&token), begun.elapsed().as_secs_f64());
                    begun = Instant::now();
                    // What follows the end is worked on like the rest, so that it takes as long.
                    let (hidden, cut_here) = (over, cut.falls_at(token));
                    over |= ended || cut_here;
                    let go_on = (!over || request.constant_length) && !stop.is_asked();
                    let logits = request.likelihoods.and(logits).map(<[f32]>::to_vec);
                    let traffic = Traffic { sent: cost.sent, received: cost.received };
                    (Made::Token { token, ended, hidden, seconds, traffic, logits }, go_on)
                }
            };
            // If the other thread has failed, the server is not to know.
            let _ = sender.send(made);
            go_on
        };
        let (in_range, answer) = thread::scope(|scope| {
            let prompt = &prompt[..];
            let shown = scope.spawn(move || show(model, (prompt, new), request, &tokens, events));
            let in_range =
                runtime.block_on(stop.or_soon(model.generate(me, history, prompt, new, request, next)));
            // The sender is gone with `next`: the other thread ends.
            (in_range, shown.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let in_range = in_range.unwrap_or(Err(Error::Stopped))?;
        self.end();
        if request.hides_length() {
            self.history = History::default();
        }
        let answer = answer?;
        let seen = self.model.padded(prompt.len(), new, request.pad_to)?;
        let saw = self.model.disclosure([past, seen], new, made.get());
        Ok(self.report(saw, in_range).with_answer(answer))
    }

    /// A report of what has gone before.
    pub(crate) fn report(&mut self, saw: crate::Disclosure, InRange(in_range): InRange) -> Report {
        let all = self.me.session.ch.meter.spans();
        let before = std::mem::replace(&mut self.spent, all.clone());
        let since =
            |(key, cost): (SpanKey, Cost)| (key, cost - before.get(&key).copied().unwrap_or_default());
        let spans = all.into_iter().map(since).filter(|(_, cost)| *cost != Cost::default()).collect();
        Report::new(&self.options, self.fingerprint(), saw, (self.model.audited(), in_range), &spans)
    }
}

/// What comes of a generation.
enum Made {
    /// Numbers left their ranges while the prompt was read: what follows says nothing.
    Garbage,
    /// A token that was chosen.
    Token {
        token: u32,
        /// Whether it ends the answer.
        ended: bool,
        /// Whether it stands behind the end.
        hidden: bool,
        seconds: f64,
        /// Of the session so far.
        traffic: Traffic,
        /// What it was chosen by, if that is asked for.
        logits: Option<Vec<f32>>,
    },
}

/// Where stop sequences cut an answer.
struct Cut<'a>(Option<(Stream<'a>, StopSequences<'a>)>);

impl<'a> Cut<'a> {
    fn new(model: &'a RemoteModel, prompt: &[u32], sequences: &'a [String]) -> Result<Cut<'a>, Error> {
        if sequences.is_empty() {
            return Ok(Cut(None));
        }
        Ok(Cut(Some((model.tokenizer().stream(prompt)?, StopSequences::new(sequences)))))
    }

    /// Whether the answer ends with this token.
    fn falls_at(&mut self, token: u32) -> bool {
        self.0.as_mut().is_some_and(|(stream, sequences)| {
            // What is no text, the other thread reports.
            stream.push(token).is_ok_and(|text| {
                sequences.push(&text);
                sequences.hit()
            })
        })
    }
}

/// Turns tokens into text for the front end until there are no more. An error ends the text, and so
/// does garbage; the answer is made to its end all the same, since the server would see when it is
/// given up.
fn show(
    model: &RemoteModel,
    (prompt, new): (&[u32], usize),
    request: &GenerationRequest,
    tokens: &Receiver<Made>,
    events: &mut dyn Events,
) -> Result<Answer, Error> {
    let mut stream = model.tokenizer().stream(prompt)?;
    let mut sequences = StopSequences::new(&request.stop_sequences);
    let mut answer = Answer::default();
    let mut garbage = false;
    for made in tokens {
        let Made::Token { token, ended, hidden, seconds, traffic, logits } = made else {
            garbage = true;
            events.tell(Event::Warning(Warning::PromptOutOfRange));
            continue;
        };
        if hidden {
            continue;
        }
        answer.tokens.push(token);
        answer.token_seconds.push(seconds);
        answer.ended = ended;
        let count = request.likelihoods.unwrap_or(0);
        let likelihood = match logits {
            Some(logits) if !ended && !garbage => {
                Some(of_token((model.tokenizer(), &stream), &logits, token, count)?)
            }
            _ => None,
        };
        answer.likelihoods.extend(likelihood.clone());
        let made = answer.tokens.len();
        events.tell(Event::Token { made, most: new, traffic, likelihood });
        if !ended && !garbage {
            add(&mut answer, sequences.push(&stream.push(token)?), events);
        }
    }
    if !garbage {
        add(&mut answer, sequences.push(&stream.finish()?), events);
        add(&mut answer, sequences.finish(), events);
    }
    answer.stopped = sequences.hit();
    Ok(answer)
}

fn add(answer: &mut Answer, text: String, events: &mut dyn Events) {
    if !text.is_empty() {
        answer.text.push_str(&text);
        events.tell(Event::Text(text));
    }
}
