//! What encoders are for: texts, and what comes of each.
//!
//! What is revealed of a text becomes its outcome here, in the clear: a vector is divided by its
//! norm, numbers become probabilities and names, positions become pieces of the text.

use std::{
    fmt::{self, Display, Formatter},
    ops::Range,
    panic::resume_unwind,
    sync::mpsc::channel,
    thread,
};

use serde::Serialize;
use sotto_models::{Encoded, Scores, Task, service::Revealed, service::Text};

use crate::{
    error::Error,
    events::{Event, Events, Stage},
    remote_model::{RemoteModel, empty_prompt},
    report::Report,
    session::Session,
};

/// Texts, and what to do with them.
#[derive(Clone)]
pub struct TaskRequest {
    /// What.
    pub task: Task,
    /// The texts.
    pub inputs: Vec<Input>,
}

/// A text.
#[derive(Clone)]
pub struct Input {
    /// The text, or a question.
    pub text: String,
    /// The text that has the question's answer.
    pub context: Option<String>,
}

/// What came of a text.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Its vector.
    Vector {
        /// The numbers.
        vector: Vec<f32>,
    },
    /// Its labels, the likeliest first.
    Labels {
        /// The labels.
        labels: Vec<Named>,
    },
    /// Its tokens and their labels.
    Tokens {
        /// The tokens.
        tokens: Vec<Tagged>,
    },
    /// What may stand in place of its mask, the likeliest first.
    Words {
        /// The words.
        words: Vec<Named>,
    },
    /// Where the answer is.
    Answer {
        /// The words.
        answer: String,
        /// Their bytes in the text.
        bytes: Range<usize>,
        /// The probability of their beginning times that of their end.
        score: f32,
    },
}

/// A label or a word.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its probability, or its number where that is none; nothing where the server reveals none.
    pub score: Option<f32>,
}

/// A token and its label.
#[derive(Clone, Debug, Serialize)]
pub struct Tagged {
    /// The token as it is in the text.
    pub text: String,
    /// Its bytes there.
    pub bytes: Range<usize>,
    /// The label.
    #[serde(flatten)]
    pub label: Named,
}

/// Words that are shown at most.
const WORDS: usize = 5;
/// Tokens of an answer at most.
const ANSWER: usize = 15;

impl TaskRequest {
    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// A text is empty.
    pub fn check(&self) -> Result<(), Error> {
        let is_empty = |input: &Input| input.text.is_empty() || input.context.as_deref() == Some("");
        if self.inputs.is_empty() || self.inputs.iter().any(is_empty) { Err(empty_prompt()) } else { Ok(()) }
    }
}

impl Session {
    /// Does what the request says, one text after the other. Outcomes come through `events` as
    /// lines, and again with the report.
    ///
    /// # Errors
    /// A mistake in the request, or a failure of the server or the connection.
    pub fn run(&mut self, request: &TaskRequest, events: &mut dyn Events) -> Result<Report, Error> {
        self.model.expect(request.task)?;
        let model = &self.model;
        let encoded = request.inputs.iter().map(|input| {
            let encoded =
                model.tokenizer().encode_places(&input.text, input.context.as_deref(), model.positions())?;
            Ok(encoded)
        });
        let encoded: Vec<Encoded> = encoded.collect::<Result<_, Error>>()?;
        let texts: Vec<Text> =
            encoded.iter().map(|text| Text { ids: text.ids.clone(), first: text.first }).collect();
        self.begin()?;
        let Session { runtime, me, model, .. } = self;
        let of = texts.len();
        events.tell(Event::Stage(Stage::Texts { done: 0, of }));
        let (sender, all) = channel();
        // What a text comes to, and how long the front end takes to show it, the server cannot see.
        let (in_range, results) = thread::scope(|scope| {
            let model = &*model;
            let shown = scope.spawn(move || {
                let mut results = vec![];
                for (i, revealed) in all {
                    let outcome = outcome(model, &request.inputs[i], &encoded[i], revealed);
                    events.tell(Event::Text(outcome.to_string()));
                    events.tell(Event::Stage(Stage::Texts { done: i + 1, of }));
                    results.push(outcome);
                }
                results
            });
            let mut each = move |i: usize, revealed: Revealed| {
                // If the other thread has failed, the server is not to know.
                let _ = sender.send((i, revealed));
            };
            let in_range = runtime.block_on(model.run(me, &texts, &mut each));
            drop(each);
            (in_range, shown.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let in_range = in_range?;
        self.end();
        let saw = self.model.disclosure_of_task(texts.iter().map(|text| text.ids.len()).collect());
        Ok(self.report(saw, in_range).with_results(results))
    }
}

/// What comes of what is revealed.
fn outcome(model: &RemoteModel, input: &Input, encoded: &Encoded, revealed: Revealed) -> Outcome {
    let config = model.config();
    let encoder = config.encoder();
    let numbers = match revealed {
        Revealed::Token(best) => {
            let best = best as usize;
            let named = |name| vec![Named { name, score: None }];
            return match encoder.task {
                Task::FillMask => Outcome::Words { words: named(word(model, best)) },
                _ => Outcome::Labels { labels: named(encoder.labels[best].clone()) },
            };
        }
        Revealed::Logits(numbers) => numbers,
    };
    match encoder.task {
        Task::Embed => {
            Outcome::Vector { vector: if encoder.normalise { normalised(&numbers) } else { numbers } }
        }
        Task::FillMask => {
            let best = ranked(&softmax(&numbers)).into_iter().filter(|(id, _)| numbers[*id].is_finite());
            let words =
                best.take(WORDS).map(|(id, score)| Named { name: word(model, id), score: Some(score) });
            Outcome::Words { words: words.collect() }
        }
        Task::Tag => {
            let rows = numbers.chunks(encoder.labels.len()).zip(&encoded.places);
            let tag = |(row, place): (&[f32], &Option<(usize, Range<usize>)>)| {
                let (_, bytes) = place.clone()?;
                let (best, score) = ranked(&softmax(row))[0];
                let label = Named { name: encoder.labels[best].clone(), score: Some(score) };
                Some(Tagged { text: input.text.get(bytes.clone())?.into(), bytes, label })
            };
            Outcome::Tokens { tokens: rows.filter_map(tag).collect() }
        }
        Task::Answer => answer(input.context.as_deref().unwrap_or_default(), encoded, &numbers),
        Task::Classify | Task::Generate => {
            let scores = match encoder.scores {
                Scores::Softmax => softmax(&numbers),
                Scores::Sigmoid => numbers.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
                Scores::Plain => numbers.clone(),
            };
            // Of labels that the server does not reveal, there is nothing to say.
            let known = ranked(&scores).into_iter().filter(|(i, _)| numbers[*i].is_finite());
            let named =
                |(i, score): (usize, f32)| Named { name: encoder.labels[i].clone(), score: Some(score) };
            Outcome::Labels { labels: known.map(named).collect() }
        }
    }
}

fn word(model: &RemoteModel, id: usize) -> String {
    let id = id as u32;
    let text = model.tokenizer().decode(&[id]).unwrap_or_default();
    if text.trim().is_empty() { model.tokenizer().name_of(id) } else { text.trim().into() }
}

/// The likeliest span in the second text, which has the larger product of the probabilities of its
/// beginning and its end.
fn answer(context: &str, encoded: &Encoded, numbers: &[f32]) -> Outcome {
    let place = |at: usize| encoded.places[at].clone().filter(|(of, _)| *of == 1).map(|(_, bytes)| bytes);
    let inside: Vec<(usize, Range<usize>)> =
        (0..encoded.places.len()).filter_map(|at| Some((at, place(at)?))).collect();
    let column = |j: usize| softmax(&inside.iter().map(|(at, _)| numbers[2 * at + j]).collect::<Vec<_>>());
    let (begins, ends) = (column(0), column(1));
    let mut best = (0, 0, 0.0);
    for (i, begin) in begins.iter().enumerate() {
        for (j, end) in ends.iter().enumerate().skip(i).take(ANSWER) {
            if begin * end > best.2 {
                best = (i, j, begin * end);
            }
        }
    }
    let (begin, end, score) = best;
    let bytes = match (inside.get(begin), inside.get(end)) {
        (Some((_, begin)), Some((_, end))) => begin.start..end.end,
        _ => 0..0,
    };
    Outcome::Answer { answer: context.get(bytes.clone()).unwrap_or_default().into(), bytes, score }
}

fn normalised(numbers: &[f32]) -> Vec<f32> {
    let norm = numbers.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    numbers.iter().map(|x| x / norm).collect()
}

fn softmax(numbers: &[f32]) -> Vec<f32> {
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = numbers.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|x| x / sum).collect()
}

/// Places and numbers, the largest first.
fn ranked(numbers: &[f32]) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = numbers.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// A line; of tokens, a line each, and an empty one.
impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Vector { vector } => {
                let numbers: Vec<String> = vector.iter().map(|x| format!("{x:.6}")).collect();
                writeln!(f, "{}", numbers.join(" "))
            }
            Outcome::Labels { labels: names } | Outcome::Words { words: names } => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                writeln!(f, "{}", names.join("\t"))
            }
            Outcome::Tokens { tokens } => {
                tokens.iter().try_for_each(|token| writeln!(f, "{}\t{}", token.text, token.label))?;
                writeln!(f)
            }
            Outcome::Answer { answer, score, .. } => writeln!(f, "{answer}\t{score:.4}"),
        }
    }
}

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.score {
            Some(score) => write!(f, "{} {score:.4}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_span_does_not_end_before_it_begins() {
        let places =
            vec![None, Some((0, 0..3)), None, Some((1, 0..3)), Some((1, 4..9)), Some((1, 10..12)), None];
        let encoded = Encoded { ids: vec![0; 7], first: Some(3), places };
        // Begins: the second token of the text; ends: the first would be likelier than the last.
        let numbers = [9.0, 9.0, 9.0, 9.0, 0.0, 0.0, 1.0, 5.0, 4.0, 0.0, 0.0, 3.0, 9.0, 9.0];
        let Outcome::Answer { answer, bytes, .. } = answer("the large ox", &encoded, &numbers) else {
            panic!("an answer")
        };
        assert_eq!((answer.as_str(), bytes), ("large ox", 4..12));
    }

    #[test]
    fn vectors_have_norm_one() {
        assert_eq!(normalised(&[3.0, 0.0, -4.0]), [0.6, 0.0, -0.8]);
        assert_eq!(ranked(&softmax(&[0.0, f32::NEG_INFINITY, 0.0])), [(0, 0.5), (2, 0.5), (1, 0.0)]);
    }
}
