//! A text's logits beside those of a reference in the clear.

use std::path::PathBuf;

use sotto_models::{Agreement, CLEAR_LEAD};

use crate::{
    error::Error,
    events::{Event, Events, Stage},
    remote_model::Reference,
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
        let model = &self.model;
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
        self.begin()?;
        let Session { runtime, me, model, .. } = self;
        let (got, in_range) = runtime.block_on(model.evaluate(me, &tokens))?;
        self.end();
        let model = &self.model;
        let comparison = compare(&got, &reference.logits(&tokens), model.vocabulary());
        let saw = model.disclosure_of_evaluation(tokens.len());
        Ok(self.report(saw, in_range).with_comparison(comparison))
    }
}

fn compare(got: &[f32], want: &[f32], vocab: usize) -> Comparison {
    let all = Agreement::of(got, want, vocab);
    Comparison {
        positions: all.positions,
        agreeing: all.same,
        clear_gap: CLEAR_LEAD,
        clear_positions: all.clear,
        clear_agreeing: all.clear_same,
        largest_difference: all.largest,
    }
}
