//! A text's logits beside those of a reference in the clear.

use std::path::Path;

use anyhow::Result;
use sotto_models::{Folder, Reference, sampling::greedy, service};

use crate::{
    args::{Args, Check},
    connection::Connection,
    error::Usage,
    progress::Progress,
    report::{Comparison, Report, Saw},
};

/// Where the reference's two likeliest tokens are closer than this, either will do.
const CLEAR_GAP: f32 = 0.1;

/// Evaluates the text on both models.
///
/// # Errors
/// A mistake in the request, or a failure of the server or the connection.
pub async fn run(args: &Args, check: Check) -> Result<Report> {
    let builtin = check.reference == Path::new("builtin");
    let folder = if builtin { Folder::builtin()? } else { Folder::open(&check.reference)? };
    let reference = Reference::load(&folder)?;
    let progress = Progress::new(!args.quiet, false, "setting up keys and oblivious transfers");
    let mut connection = Connection::open(args).await?;
    let result = converse(args, &check, reference, &mut connection, &progress).await;
    progress.end();
    connection.finish(result).await
}

async fn converse(
    args: &Args,
    check: &Check,
    mut reference: Reference,
    connection: &mut Connection,
    progress: &Progress,
) -> Result<Report> {
    let offered = connection.offer(args).await?;
    let config = &offered.config;
    if reference.config() != config {
        let reason = format!(
            "--reference {}: another model than the server's (their configurations differ); point to the same one",
            check.reference.display()
        );
        return Err(Usage(reason).into());
    }
    let mut tokens = offered.tokenizer.encode(&check.text, usize::MAX)?;
    tokens.truncate(check.tokens.min(offered.positions));
    progress.now(format!("evaluating {} tokens", tokens.len()));
    let (got, ranges) = service::evaluate(&mut connection.me, &offered, &tokens).await?;
    let comparison = compare(&got, &reference.logits(&tokens), config.vocab_size);
    let saw = Saw::new(config, tokens.len(), 1, 1, [tokens.len(), config.vocab_size]);
    let spans = connection.me.session.ch.meter.spans();
    Ok(Report::new(args, connection.server, saw, (offered.audited, ranges), &spans)
        .with_comparison(comparison))
}

/// Compares logits `[T, vocab]`, position by position.
fn compare(got: &[f32], want: &[f32], vocab: usize) -> Comparison {
    let mut all = Comparison { clear_gap: CLEAR_GAP, ..Comparison::default() };
    for (got, want) in got.chunks(vocab).zip(want.chunks(vocab)) {
        let best = greedy(want) as usize;
        let others = want.iter().enumerate().filter(|(i, _)| *i != best).map(|(_, &x)| x);
        let clear = want[best] - others.fold(f32::MIN, f32::max) > CLEAR_GAP;
        let agree = greedy(got) as usize == best;
        all.positions += 1;
        all.agreeing += usize::from(agree);
        all.clear_positions += usize::from(clear);
        all.clear_agreeing += usize::from(clear && agree);
        let distance = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        all.largest_difference = all.largest_difference.max(distance);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_calls_count_apart() {
        let want = [1.0, 0.0, 0.0, /* a close call */ 0.5, 0.55, 0.0];
        let got = [0.9, 0.0, 0.0, 0.6, 0.55, 0.0];
        let all = compare(&got, &want, 3);
        assert_eq!((all.positions, all.agreeing, all.clear_positions, all.clear_agreeing), (2, 1, 1, 1));
        assert!((all.largest_difference - 0.1).abs() < 1e-6);
    }
}
