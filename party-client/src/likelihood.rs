//! How likely the model found a token, from revealed logits.

use serde::Serialize;
use sotto_models::{Stream, Tokenizer};

use crate::error::Error;

/// A token of an answer, and how likely the model found it and its rivals, before temperature and
/// penalties.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenLikelihood {
    /// The token that was chosen.
    pub chosen: Likelihood,
    /// The likeliest ones, likeliest first; as many as the request asks for.
    pub likeliest: Vec<Likelihood>,
}

/// A token and its likelihood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Likelihood {
    /// The text that the token adds to what is before it; of one that adds none, its name.
    pub text: String,
    /// The natural logarithm of its probability.
    pub logprob: f64,
}

/// The likelihood of `token`, and of the `count` likeliest, after what `before` has read.
///
/// # Errors
/// An id that the tokenizer does not have.
pub(crate) fn of_token(
    (tokenizer, before): (&Tokenizer, &Stream<'_>),
    logits: &[f32],
    token: u32,
    count: usize,
) -> Result<TokenLikelihood, Error> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    let entry = |token: u32| {
        let logprob = f64::from(logits[token as usize]) - largest - sum.ln();
        Ok(Likelihood { text: text(tokenizer, before, token)?, logprob })
    };
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let likelier = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let count = count.min(order.len());
    if count < order.len() {
        order.select_nth_unstable_by(count, likelier);
        order.truncate(count);
    }
    order.sort_unstable_by(likelier);
    let likeliest: Result<Vec<Likelihood>, Error> = order.into_iter().map(entry).collect();
    Ok(TokenLikelihood { chosen: entry(token)?, likeliest: likeliest? })
}

fn text(tokenizer: &Tokenizer, before: &Stream<'_>, token: u32) -> Result<String, Error> {
    let text = before.clone().push(token)?;
    Ok(match text.is_empty() {
        true => tokenizer.name_of(token),
        false => text,
    })
}
