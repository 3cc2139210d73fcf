//! Answers as they grow, as server-sent events.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc::Sender, time::timeout};

use super::{
    Endpoint,
    job::{Job, News, Work},
    places::Place,
    refusal::Refusal,
    reply::{Reply, Usage},
    request::{StreamOptions, Wanted},
};
use crate::events::{Event, Stage, Traffic};

/// How often a stream that has nothing to say says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a reader may leave a piece where it is: whoever reads more slowly has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream to a reader.
pub struct Stream {
    /// What all pieces have in common.
    pub reply: Reply,
    /// What comes along.
    pub options: StreamOptions,
    /// Where pieces go.
    pub pieces: Sender<Bytes>,
}

/// The reader has gone.
struct Gone;

enum Failure {
    Gone,
    Refused(Refusal),
}

impl From<Gone> for Failure {
    fn from(Gone: Gone) -> Failure {
        Failure::Gone
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

impl Stream {
    /// Sends all choices, of which the first is under way. Ends early when the reader has gone.
    pub async fn run(self, endpoint: Arc<Endpoint>, wanted: Wanted, first: Job, place: Place) {
        let done = self.answers(&endpoint, wanted, first, place).await;
        // If the reader has gone, so be it.
        let _ = match done {
            Err(Failure::Refused(refusal)) => self.event(&refusal.object().to_string()).await,
            Ok(()) => self.event("[DONE]").await,
            Err(Failure::Gone) => Ok(()),
        };
    }

    async fn answers(
        &self,
        endpoint: &Arc<Endpoint>,
        wanted: Wanted,
        first: Job,
        place: Place,
    ) -> Result<(), Failure> {
        let mut usage = Usage { prompt: wanted.prompt_tokens, new: 0 };
        let (mut job, mut in_range) = (Some(first), true);
        for (index, generation) in wanted.generations.into_iter().enumerate() {
            let job = match job.take() {
                Some(first) => first,
                None => Job::start(endpoint, Work::Answer(generation), &place)?,
            };
            let (tokens, kept) = self.answer(index, job).await?;
            (usage.new, in_range) = (usage.new + tokens, in_range && kept);
        }
        // Whoever sees the end may ask again at once.
        drop(place);
        // Only now: the server sees how many sessions there are.
        if !in_range {
            return Err(Refusal::out_of_range().into());
        }
        if self.options.usage {
            self.send(self.reply.usage(usage)).await?;
        }
        Ok(())
    }

    /// Sends a choice; returns its tokens, and whether every number stayed in its range.
    async fn answer(&self, index: usize, mut job: Job) -> Result<(usize, bool), Failure> {
        if let Some(start) = self.reply.start(index) {
            self.send(start).await?;
        }
        // How likely the tokens were whose text is still to come.
        let (mut likelihoods, mut offset) = (vec![], 0);
        loop {
            match self.next(&mut job).await? {
                News::Event(Event::Stage(stage)) => self.progress(stage_object(&stage)).await?,
                News::Event(Event::Token { made, most, traffic, likelihood }) => {
                    likelihoods.extend(likelihood);
                    let Traffic { sent, received } = traffic;
                    let about = json!({
                        "stage": "answer", "tokens": made, "tokens_at_most": most,
                        "sent_bytes": sent, "received_bytes": received,
                    });
                    self.progress(about).await?;
                }
                News::Event(Event::Text(text)) => {
                    let tokens = std::mem::take(&mut likelihoods);
                    self.send(self.reply.text(index, &text, &tokens, &mut offset)).await?;
                }
                News::Event(Event::Warning(warning)) => {
                    self.progress(json!({ "stage": "warning", "message": warning.to_string() })).await?;
                }
                News::Event(Event::Hint(_)) => {}
                News::End(end) => {
                    let report = (*end)?;
                    let Some(answer) = report.answer() else {
                        return Err(Refusal::internal("a session ended without an answer").into());
                    };
                    if !likelihoods.is_empty() {
                        self.send(self.reply.text(index, "", &likelihoods, &mut offset)).await?;
                    }
                    let mut about = report.outline();
                    about["stage"] = "end".into();
                    self.progress(about).await?;
                    if report.in_range() {
                        self.send(self.reply.finish(index, answer)).await?;
                    }
                    return Ok((answer.tokens.len(), report.in_range()));
                }
            }
        }
    }

    /// What happens next in a job; meanwhile the reader hears that the stream is alive.
    async fn next(&self, job: &mut Job) -> Result<News, Gone> {
        loop {
            tokio::select! {
                () = self.pieces.closed() => return Err(Gone),
                news = timeout(HEARTBEAT, job.next()) => match news {
                    Ok(news) => return Ok(news),
                    Err(_) => self.write(": still at work\n\n".into()).await?,
                },
            }
        }
    }

    async fn progress(&self, about: Value) -> Result<(), Gone> {
        if self.options.progress { self.send(self.reply.progress(about)).await } else { Ok(()) }
    }

    async fn send(&self, mut piece: Value) -> Result<(), Gone> {
        if self.options.usage && piece.get("usage").is_none() {
            piece["usage"] = Value::Null;
        }
        self.event(&piece.to_string()).await
    }

    async fn event(&self, data: &str) -> Result<(), Gone> {
        self.write(format!("data: {data}\n\n")).await
    }

    async fn write(&self, text: String) -> Result<(), Gone> {
        let sent = timeout(PATIENCE, self.pieces.send(text.into())).await;
        if let Ok(Ok(())) = sent { Ok(()) } else { Err(Gone) }
    }
}

fn stage_object(stage: &Stage) -> Value {
    match stage {
        Stage::Connecting => json!({ "stage": "connecting" }),
        Stage::Waiting { place } => json!({ "stage": "waiting", "place": place }),
        Stage::SettingUp => json!({ "stage": "set-up" }),
        Stage::Prompt { tokens } => json!({ "stage": "prompt", "prompt_tokens": tokens }),
        Stage::Texts { done, of } => json!({ "stage": "texts", "done": done, "of": of }),
        Stage::Evaluating { tokens } => json!({ "stage": "evaluating", "tokens": tokens }),
    }
}
