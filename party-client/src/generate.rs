//! A generation: the request, the choice of each token, the text.
//!
//! What is revealed of a step becomes a token, and the server is told whether to go on. Only then,
//! on another thread, the token becomes text and is shown: what a front end does with it, and how
//! long that takes, the server cannot see.

use std::{
    panic::resume_unwind,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use crate::{
    error::Error,
    events::{Event, Events, Hint, Stage, Warning},
    remote_model::{InRange, RemoteModel, Step, empty_prompt, sampling},
    report::{Answer, Report},
    session::Session,
};

/// A prompt, and how to continue it.
#[derive(Clone)]
pub struct GenerationRequest {
    /// The text to continue; not empty.
    pub prompt: String,
    /// Whether the prompt is a user's turn in a conversation.
    pub chat: Option<Chat>,
    /// New tokens at most; by default 40, or what the context has room for.
    pub max_tokens: Option<usize>,
    /// How freely to choose, from 0 (the likeliest token) to 100.
    pub temperature: f32,
    /// Choose among so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that have this probability together.
    pub top_p: Option<f32>,
    /// What the choices follow from.
    pub seed: u64,
}

/// A conversation of one turn, by the model's own template.
#[derive(Clone, Default)]
pub struct Chat {
    /// What the model is told before the user's turn.
    pub system: Option<String>,
}

impl GenerationRequest {
    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// No text, or an option out of its range.
    pub fn check(&self) -> Result<(), Error> {
        sampling(self)?;
        if self.prompt.is_empty() { Err(empty_prompt()) } else { Ok(()) }
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
        let Session { runtime, me, model, .. } = self;
        let (prompt, new) = model.plan(request)?;
        if request.chat.is_none() && model.is_conversational() {
            events.tell(Event::Hint(Hint::Conversational));
        }
        events.tell(Event::Stage(Stage::Prompt { tokens: prompt.len() }));
        let (sender, tokens) = channel();
        let (mut begun, ends) = (Instant::now(), model.ends());
        let next = move |step| {
            let (made, go_on) = match step {
                Step::Prompt(InRange(true)) => return true,
                Step::Prompt(InRange(false)) => (Made::Garbage, true),
                Step::Token(token) => {
                    let (ended, seconds) = (ends.contains(&token), begun.elapsed().as_secs_f64());
                    begun = Instant::now();
                    (Made::Token { token, ended, seconds }, !ended)
                }
            };
            // If the other thread has failed, the server is not to know.
            let _ = sender.send(made);
            go_on
        };
        let (made, answer) = thread::scope(|scope| {
            let (model, prompt) = (&*model, &prompt);
            let shown = scope.spawn(move || show(model, prompt, new, &tokens, events));
            let made = runtime.block_on(model.generate(me, prompt, new, request, next));
            (made, shown.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let (in_range, answer) = (made?, answer?);
        let saw = model.disclosure(prompt.len(), new, answer.tokens.len());
        Ok(self.report(saw, in_range).with_answer(answer))
    }

    /// A report of what has gone before.
    pub(crate) fn report(&mut self, saw: crate::Disclosure, InRange(in_range): InRange) -> Report {
        let spans = self.me.session.ch.meter.spans();
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
        seconds: f64,
    },
}

/// Turns tokens into text for the front end until there are no more. An error ends the text, and so
/// does garbage; the answer is made to its end all the same, since the server would see when it is
/// given up.
fn show(
    model: &RemoteModel,
    prompt: &[u32],
    new: usize,
    tokens: &Receiver<Made>,
    events: &mut dyn Events,
) -> Result<Answer, Error> {
    let mut stream = model.tokenizer().stream(prompt)?;
    let mut answer = Answer::default();
    let mut garbage = false;
    for made in tokens {
        let Made::Token { token, ended, seconds } = made else {
            garbage = true;
            events.tell(Event::Warning(Warning::PromptOutOfRange));
            continue;
        };
        answer.tokens.push(token);
        answer.token_seconds.push(seconds);
        answer.ended = ended;
        events.tell(Event::Token { made: answer.tokens.len(), most: new });
        if !ended && !garbage {
            add(&mut answer, stream.push(token)?, events);
        }
    }
    if !garbage {
        add(&mut answer, stream.finish()?, events);
    }
    Ok(answer)
}

fn add(answer: &mut Answer, text: String, events: &mut dyn Events) {
    if !text.is_empty() {
        answer.text.push_str(&text);
        events.tell(Event::Text(text));
    }
}
