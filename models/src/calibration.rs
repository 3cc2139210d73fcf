//! Scales by measurement: how large a model's numbers become on texts, with room to spare.
//!
//! Trained networks have a few numbers that are thousands of times larger than the others, at the
//! first position and in a few columns, in every text. The weights do not bound them usefully. So
//! the owner runs the f32 model on texts of several kinds, never on what clients ask, and takes
//! powers of two with two bits of room. What leaves that room all the same is noticed while the
//! model runs.

mod cache;

use std::path::Path;

use crate::{
    Folder, Reference,
    content::read_small,
    error::Error,
    evaluator::{
        Scales,
        fixed_point::{SCORE_UNIT, STREAM_UNIT, VALUE_TOP},
        float::Observed,
        scales::{EXPONENTS, LOGITS, Scale, Stream},
    },
    model::Bounded,
    weights::FEWEST_FRAC,
};

pub use cache::Cache;

/// Texts to calibrate on.
#[derive(Clone, Debug, Default)]
pub enum Texts {
    /// Those that come with the program, in several languages and kinds.
    #[default]
    Bundled,
    /// The owner's own.
    Own(String),
    /// Texts by their tokens.
    Tokens(Vec<Vec<u32>>),
}

const BUNDLED: &str = include_str!("calibration/texts.txt");
/// Tokens of a text at most.
const LENGTH: usize = 40;
/// Tokens of a text on which large scores are looked at, at most.
const FAR: usize = 1024;
/// Bytes of an owner's file at most.
const LIMIT: u64 = 1 << 20;

impl Texts {
    /// The owner's file: texts that are separated by empty lines.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or is no text.
    pub fn open(file: &Path) -> Result<Texts, Error> {
        let cure = "point --calibrate to a text file";
        let bytes = read_small(file, LIMIT, cure)?;
        let malformed = |reason: &str| Error::Malformed { file: file.into(), reason: reason.into(), cure };
        let text = String::from_utf8(bytes).map_err(|_| malformed("no text in UTF-8"))?;
        match text.trim().is_empty() {
            true => Err(malformed("no text in it")),
            false => Ok(Texts::Own(text)),
        }
    }

    /// The texts' tokens, each text from the start.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn tokens(&self, folder: &Folder) -> Result<Vec<Vec<u32>>, Error> {
        let all = match self {
            Texts::Bundled => BUNDLED,
            Texts::Own(text) => text,
            Texts::Tokens(tokens) => return Ok(tokens.clone()),
        };
        let limit = LENGTH.min(folder.config().longest());
        let texts = all.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
        let tokens = texts.map(|text| {
            let mut tokens = folder.tokenizer().encode(text, usize::MAX)?;
            tokens.truncate(limit);
            // A model that looks for what is in place of a mask gets one.
            if let Some(mask) = folder.config().encoder.as_ref().and_then(|encoder| encoder.mask_token) {
                let middle = tokens.len() / 2;
                tokens[middle] = mask;
            }
            Ok(tokens)
        });
        tokens.collect()
    }
}

/// Room above what was observed: two bits.
const ROOM: f64 = 4.0;
/// What a row of the overflow check may reach, in its units: see
/// [`sotto_protocol::overflow_check`].
const REACH: f64 = 3.0;

/// Scales for numbers as large as those observed.
pub(crate) fn choose(observed: &Observed, bounds: &Bounded) -> Scales {
    let unit = REACH * f64::from(STREAM_UNIT).exp2();
    let mut most = 0f64;
    let needed = observed.stream.iter().map(|&reach| {
        most = most.max(f64::from(reach));
        doublings(most * ROOM / unit)
    });
    let needed: Vec<i32> = needed.collect();
    let last = needed.last().copied().unwrap_or(0);
    // Each step costs a message: one step, where the first exceeds the default.
    // What is larger still is noticed while the model runs.
    let last = last.min(*EXPONENTS.end());
    let stream = needed.iter().map(|&e| if e > 0 { last } else { 0 });
    let stream: Vec<Stream> = stream.map(|exponent| Stream { exponent, ..Stream::default() }).collect();
    let positions = 2.0 * WANTED_POSITIONS * 1.001;
    let layers = observed.inner.iter().enumerate().map(|(i, &reach)| {
        let inner = 11 + doublings(f64::from(reach) * ROOM / unit).clamp(0, 3) as u32;
        let (bound, seen) = (
            bounds.values.get(i).copied().unwrap_or_default(),
            observed.values.get(i).copied().unwrap_or(0.0),
        );
        // As large as what was seen, and as what the check cannot see otherwise.
        let unseen = doublings(bound * 1.002) - (VALUE_TOP as i32 - 1);
        let checked = doublings(f64::from(seen) * ROOM / REACH).max(unseen).clamp(0, 9) as u32;
        let values = (bound * positions >= SUM).then_some(checked);
        let largest = |all: &[f32]| all.get(i).copied().unwrap_or_default();
        let (score, spread) = (largest(&observed.scores), largest(&observed.spread));
        Scale {
            inner,
            relative: is_large(score) && 2.0 * spread <= score,
            values: values.filter(|&unit| 4.0 * f64::from(unit).exp2() < bound),
            ..Scale::default()
        }
    });
    let logits = doublings(bounds.logits * 1.001 / 127.5).clamp(0, 6);
    let layers = layers.collect();
    let mut scales = Scales { stream, layers, logits };
    raise_tops(&mut scales, &bounds.added);
    scales.shorten();
    scales
}

/// Whether scores of this size leave too little room in their check.
fn is_large(score: f32) -> bool {
    f64::from(score) * ROOM > REACH * f64::from(SCORE_UNIT).exp2()
}

/// What a model's numbers are on texts. Where scores are large, on a long one as well: what keys
/// have in common cancels less the further they are away.
pub(crate) fn observe(reference: &mut Reference, texts: &[Vec<u32>]) -> Observed {
    let observed = reference.observe(texts);
    if !observed.scores.iter().any(|&score| is_large(score)) {
        return observed;
    }
    let length = FAR.min(reference.config().longest());
    let far: Vec<u32> = texts.iter().flatten().copied().cycle().take(length).collect();
    observed.or(reference.observe(&[far]))
}

/// The unit of a vector whose numbers are bounded by this, from a matrix of so many fraction bits:
/// as fine as both permit.
pub(crate) fn vector_unit(bound: f64, frac: Option<u32>) -> i32 {
    let least = FEWEST_FRAC as i32 - frac.unwrap_or(FEWEST_FRAC) as i32;
    doublings(bound * 1.001 / 127.5).max(least).clamp(*LOGITS.start(), *LOGITS.end())
}

/// Positions for which sums of values should stay in their ring.
const WANTED_POSITIONS: f64 = 2048.0;
/// Limit of attention's sums before they are divided.
const SUM: f64 = 262_144.0 - 65536.0;

/// The least `e` with `x <= 2^e`.
fn doublings(x: f64) -> i32 {
    x.max(1e-9).log2().ceil() as i32
}

/// Lets the stream's overflow check look at as many bits as what joins the stream requires; whether
/// that changed anything.
pub(crate) fn raise_tops(scales: &mut Scales, added: &[f64]) -> bool {
    let before = scales.stream.clone();
    let default = vec![Stream::default(); added.len()];
    let mut stream = if before.is_empty() { default.clone() } else { before.clone() };
    for (stream, &added) in stream.iter_mut().zip(added) {
        let units = added * 1.002 * (-f64::from(stream.exponent)).exp2();
        let needed = doublings(units) + 1 - STREAM_UNIT as i32;
        stream.top = (stream.top as i32).max(needed).clamp(5, 8) as u32;
    }
    let changed = stream != if before.is_empty() { default } else { before };
    if changed {
        scales.stream = stream;
    }
    changed
}
