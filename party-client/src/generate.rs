//! The answer, as it grows.

use std::{
    io::{self, IsTerminal, Write, stdout},
    time::Instant,
};

use anyhow::{Context, Result};
use sotto_models::{
    Message, Sampler, Stream,
    service::{self, Answers, Choose, Revealed},
    text::for_terminal,
};

use crate::{
    args::{Args, Wish},
    connection::Connection,
    error::Usage,
    progress::Progress,
    report::{Answer, Report, Saw},
};

/// Tokens to make unless the user says how many.
const DEFAULT_NEW: usize = 40;

/// Continues the prompt and prints the answer.
///
/// # Errors
/// A mistake in the request, or a failure of the server or the connection.
pub async fn run(args: &Args, wish: Wish) -> Result<Report> {
    let progress = Progress::new(!args.quiet, !args.json, "setting up keys and oblivious transfers");
    let mut connection = Connection::open(args).await?;
    let result = converse(args, wish, &mut connection, &progress).await;
    progress.end();
    connection.finish(result).await
}

async fn converse(
    args: &Args,
    wish: Wish,
    connection: &mut Connection,
    progress: &Progress,
) -> Result<Report> {
    let offered = connection.offer(args).await?;
    let (config, tokenizer) = (&offered.config, &offered.tokenizer);
    match (offered.answers, wish.sampling.top_k()) {
        (Answers::Tokens, _) => wish.sampling.check_noise()?,
        (Answers::Top(most), Some(k)) if k > most as usize => {
            let reason =
                format!("this server reveals the {most} largest logits: --top-k must be {most} or less");
            return Err(Usage(reason).into());
        }
        _ => {}
    }
    let context = offered.positions;
    let prompt = match (&wish.chat, &offered.template) {
        (Some(chat), Some(template)) => {
            let system = chat.system.iter().map(|text| Message::new("system", text));
            let turns: Vec<Message> = system.chain([Message::new("user", &wish.prompt)]).collect();
            tokenizer.encode_rendered(&template.render(&turns, true)?, context)?
        }
        (Some(_), None) => {
            let reason = "this server's model has no chat template: leave --chat out";
            return Err(Usage(reason.into()).into());
        }
        (None, template) => {
            if template.is_some() && !args.quiet {
                eprintln!("party-client: the model was made for conversations: --chat applies its template");
            }
            tokenizer.encode(&wish.prompt, context)?
        }
    };
    let new = wish.max_tokens.unwrap_or(DEFAULT_NEW.min(context + 1 - prompt.len()));
    progress.now(format!("reading the prompt, {} tokens, and preparing for the answer", prompt.len()));

    let mut answer = Growing {
        sampler: Sampler::new(wish.sampling, wish.seed),
        stream: tokenizer.stream(&prompt)?,
        ends: &config.eos_token_ids,
        silent: args.json,
        begun: Instant::now(),
        so_far: Answer::default(),
        failure: None,
        progress,
        new,
    };
    let ranges = service::generate(&mut connection.me, &offered, &prompt, new, &mut answer).await?;
    progress.end();
    let answer = answer.finish().context("the answer cannot be shown")?;

    let made = answer.tokens.len();
    let logits = match offered.answers {
        Answers::Logits => [made, config.vocab_size],
        Answers::Top(k) => [made, k as usize],
        Answers::Tokens => [0; 2],
    };
    let saw = Saw::new(config, prompt.len(), new, made, logits);
    let spans = connection.me.session.ch.meter.spans();
    Ok(Report::new(args, connection.server, saw, (offered.audited, ranges), &spans).with_answer(answer))
}

enum Next {
    GoOn,
    Stop,
}

/// An answer that is not yet complete.
struct Growing<'a> {
    progress: &'a Progress,
    /// Tokens at most.
    new: usize,
    sampler: Sampler,
    stream: Stream<'a>,
    /// Tokens that end it.
    ends: &'a [u32],
    /// Whether nothing of it is printed yet.
    silent: bool,
    begun: Instant,
    so_far: Answer,
    /// Why it cannot be shown.
    failure: Option<anyhow::Error>,
}

impl Choose for Growing<'_> {
    fn noise(&mut self, vocabulary: usize) -> Vec<f64> {
        self.sampler.noise(vocabulary)
    }

    fn next(&mut self, revealed: &Revealed) -> (u32, bool) {
        self.progress.token(self.so_far.tokens.len() + 1, self.new);
        let taken = self.take(revealed);
        let go_on = matches!(taken, Ok(Next::GoOn));
        self.failure = taken.err();
        (self.so_far.tokens.last().copied().unwrap_or_default(), go_on)
    }
}

impl Growing<'_> {
    /// Chooses the next token from what is revealed.
    fn take(&mut self, revealed: &Revealed) -> Result<Next> {
        let token = revealed.token(|logits| self.sampler.next(logits));
        self.so_far.tokens.push(token);
        self.so_far.token_seconds.push(self.begun.elapsed().as_secs_f64());
        self.begun = Instant::now();
        if self.ends.contains(&token) {
            self.so_far.ended = true;
            return Ok(Next::Stop);
        }
        let text = self.stream.push(token)?;
        show(&mut self.so_far, self.silent, &text)?;
        Ok(Next::GoOn)
    }

    fn finish(self) -> Result<Answer> {
        let Growing { stream, silent, mut so_far, failure, .. } = self;
        failure.map_or(Ok(()), Err)?;
        let rest = stream.finish()?;
        show(&mut so_far, silent, &rest)?;
        if !silent {
            writeln!(stdout())?;
        }
        Ok(so_far)
    }
}

/// Adds `text` to the answer, and prints it unless `silent`.
fn show(answer: &mut Answer, silent: bool, text: &str) -> io::Result<()> {
    answer.text.push_str(text);
    if silent || text.is_empty() {
        return Ok(());
    }
    let mut out = stdout().lock();
    match out.is_terminal() {
        true => out.write_all(for_terminal(text).as_bytes())?,
        false => out.write_all(text.as_bytes())?,
    }
    out.flush()
}
