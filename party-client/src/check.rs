//! A text's logits beside those of a reference in the clear.

use std::path::PathBuf;

use crate::{
    error::Error,
    events::{Event, Events, Stage},
    remote_model::{Reference, likeliest},
    report::{Comparison, Report},
    session::Session,
};

/// A text to compare logits on.
#[derive(Clone)]
pub struct CheckRequest {
    /// The text; not empty.
    pub text: String,
    /// The same model in the clear: a folder, or `builtin`.
    pub reference: PathBuf,
    /// Tokens to take.
    pub tokens: usize,
}

/// Where the reference's two likeliest tokens are closer than this, either will do.
const CLEAR_GAP: f32 = 0.1;

impl CheckRequest {
    /// Loads the reference, before there is a connection that would wait for it.
    ///
    /// # Errors
    /// Its files.
    pub fn load(self) -> Result<LoadedCheck, Error> {
        Ok(LoadedCheck { reference: Reference::load(&self.reference)?, request: self })
    }
}

/// A request whose reference is loaded.
pub struct LoadedCheck {
    request: CheckRequest,
    reference: Reference,
}

impl Session {
    /// Evaluates the text on both models.
    ///
    /// # Errors
    /// A mistake in the request, or a failure of the server or the connection.
    pub fn check(&mut self, check: &mut LoadedCheck, events: &mut dyn Events) -> Result<Report, Error> {
        let LoadedCheck { request, reference } = check;
        let Session { runtime, me, model, .. } = self;
        if !reference.is(model) {
            return Err(Error::Usage(format!(
                "--reference {}: another model than the server's (their configurations differ); point to the \
                 same one",
                request.reference.display()
            )));
        }
        let mut tokens = model.tokenizer().encode(&request.text, usize::MAX)?;
        tokens.truncate(request.tokens.min(model.positions()));
        events.tell(Event::Stage(Stage::Evaluating { tokens: tokens.len() }));
        let (got, in_range) = runtime.block_on(model.evaluate(me, &tokens))?;
        let comparison = compare(&got, &reference.logits(&tokens), model.vocabulary());
        let saw = model.disclosure_of_evaluation(tokens.len());
        Ok(self.report(saw, in_range).with_comparison(comparison))
    }
}

/// Compares logits `[T, vocab]`, position by position.
fn compare(got: &[f32], want: &[f32], vocab: usize) -> Comparison {
    let mut all = Comparison { clear_gap: CLEAR_GAP, ..Comparison::default() };
    for (got, want) in got.chunks(vocab).zip(want.chunks(vocab)) {
        let best = likeliest(want);
        let others = want.iter().enumerate().filter(|(i, _)| *i != best).map(|(_, &x)| x);
        let clear = want[best] - others.fold(f32::MIN, f32::max) > CLEAR_GAP;
        let agree = likeliest(got) == best;
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
