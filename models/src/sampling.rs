//! The next token from the logits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rand::distr::Open01;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::error::Error;

/// How to choose a token. Exists only with options in their ranges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling(Choice);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Greedy,
    Random { temperature: f32, top_k: usize, top_p: f32 },
}

impl Sampling {
    /// Always the likeliest token; of equals, the one with the smallest id.
    pub const GREEDY: Sampling = Sampling(Choice::Greedy);

    /// Whether it is [`Sampling::GREEDY`].
    pub fn is_greedy(&self) -> bool {
        matches!(self.0, Choice::Greedy)
    }

    /// A random token, by the softmax of `logits / temperature` over the `top_k` likeliest tokens,
    /// and of these over the fewest that have at least `top_p` of the probability. Temperature 0 is
    /// [`Sampling::GREEDY`].
    ///
    /// # Errors
    ///
    /// Unless `0 <= temperature <= 100`, `top_k >= 1` and `0 < top_p <= 1`; an option left out does
    /// not restrict.
    pub fn random(temperature: f32, top_k: Option<usize>, top_p: Option<f32>) -> Result<Sampling, Error> {
        let (top_k, top_p) = (top_k.unwrap_or(usize::MAX), top_p.unwrap_or(1.0));
        if !(0.0..=100.0).contains(&temperature) {
            return Err(refuse("temperature", temperature.into(), "0 to 100"));
        }
        if top_k == 0 {
            return Err(refuse("top_k", 0.0, "at least 1"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(refuse("top_p", top_p.into(), "more than 0 and at most 1"));
        }
        match temperature {
            0.0 => Ok(Sampling::GREEDY),
            _ => Ok(Sampling(Choice::Random { temperature, top_k, top_p })),
        }
    }

    /// Most tokens that it chooses among, if it says.
    pub fn top_k(&self) -> Option<usize> {
        match self.0 {
            Choice::Random { top_k, .. } if top_k != usize::MAX => Some(top_k),
            _ => None,
        }
    }

    /// Checks that [`Sampler::noise`] can do it: noise chooses among all tokens, larger noise than
    /// that of temperature 4 is cut off, and noise is rounded to `2^-8`, so that two equal tokens
    /// tie in `1 / (1024 T)` of the draws, for the first to win.
    ///
    /// # Errors
    /// If it restricts tokens, or the temperature is not zero and not among 0.05 to 4.
    pub fn check_noise(&self) -> Result<(), Error> {
        match self.0 {
            Choice::Random { temperature, .. } if !NOISE.contains(&temperature) => {
                let expected = "0 or 0.05 to 4 where the server reveals tokens only";
                Err(refuse("temperature", temperature.into(), expected))
            }
            Choice::Random { top_k, .. } if top_k != usize::MAX => {
                Err(refuse("top_k", top_k as f64, "none where the server reveals tokens only"))
            }
            Choice::Random { top_p, .. } if top_p < 1.0 => {
                Err(refuse("top_p", top_p.into(), "none where the server reveals tokens only"))
            }
            _ => Ok(()),
        }
    }
}

/// The temperatures of noise: of the largest one number in 2^45 is cut off.
const NOISE: RangeInclusive<f32> = 0.05..=4.0;

/// What tokens that the answer already has lose of their logits, before anything else is done with
/// these.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Penalties {
    presence: f32,
    frequency: f32,
}

impl Penalties {
    /// A token that the answer has `n > 0` times loses `presence + n frequency`.
    ///
    /// # Errors
    ///
    /// Unless both are from -2 to 2.
    pub fn new(presence: f32, frequency: f32) -> Result<Penalties, Error> {
        for (option, value) in [("presence_penalty", presence), ("frequency_penalty", frequency)] {
            if !(-2.0..=2.0).contains(&value) {
                return Err(refuse(option, value.into(), "-2 to 2"));
            }
        }
        Ok(Penalties { presence, frequency })
    }

    /// Whether no token loses anything.
    pub fn are_none(&self) -> bool {
        *self == Penalties::default()
    }
}

/// Chooses tokens, one after the other. The same seed and logits give the same tokens.
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha20Rng,
    penalties: Penalties,
    /// How often the answer has each of its tokens.
    made: BTreeMap<u32, u32>,
}

impl Sampler {
    /// A sampler with its own generator.
    pub fn new(sampling: Sampling, seed: u64) -> Sampler {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Sampler { sampling, rng, penalties: Penalties::default(), made: BTreeMap::new() }
    }

    /// The same, with penalties in [`Sampler::next`].
    pub fn with_penalties(self, penalties: Penalties) -> Sampler {
        Sampler { penalties, ..self }
    }

    /// What to add to logits so that the largest sum is a sample of the softmax of
    /// `logits / temperature`: Gumbel noise times the temperature (Gumbel, 1954; Yellott, 1977).
    /// Nothing if the likeliest token is wanted.
    pub fn noise(&mut self, vocabulary: usize) -> Vec<f64> {
        match self.sampling.0 {
            Choice::Greedy => vec![],
            Choice::Random { temperature, .. } => {
                let rng = &mut self.rng;
                let gumbel = |u: f64| -(-u.ln()).ln();
                (0..vocabulary).map(|_| f64::from(temperature) * gumbel(rng.sample(Open01))).collect()
            }
        }
    }

    /// The next token, `< logits.len()`. A NaN is never chosen unless there is nothing else.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        if self.penalties.are_none() {
            return self.choose(logits);
        }
        let mut logits = logits.to_vec();
        for (&token, &count) in &self.made {
            let Penalties { presence, frequency } = self.penalties;
            logits[token as usize] -= presence + frequency * count as f32;
        }
        let token = self.choose(&logits);
        *self.made.entry(token).or_default() += 1;
        token
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        match self.sampling.0 {
            Choice::Greedy => greedy(logits),
            Choice::Random { temperature, top_k, top_p } => {
                let candidates = nucleus(&softmax(logits, temperature, top_k), top_p);
                pick(&candidates, self.rng.random())
            }
        }
    }
}

/// The position of the largest logit; of equals, the first.
///
/// # Panics
///
/// If there are no logits.
pub fn greedy(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits to choose from");
    let best = |best: usize, i: usize| if below_all(logits[i]) > below_all(logits[best]) { i } else { best };
    (0..logits.len()).fold(0, best) as u32
}

/// A token and its probability, not normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    token: u32,
    weight: f64,
}

/// The `top_k` likeliest tokens, likeliest first, with weight 1 for the first.
fn softmax(logits: &[f32], temperature: f32, top_k: usize) -> Vec<Candidate> {
    assert!(!logits.is_empty(), "no logits to choose from");
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let logit = |token: u32| f64::from(below_all(logits[token as usize]));
    let likelier = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
    if top_k < order.len() {
        order.select_nth_unstable_by(top_k, likelier);
        order.truncate(top_k);
    }
    order.sort_unstable_by(likelier);
    let largest = logit(order[0]);
    let weight = |token| ((logit(token) - largest) / f64::from(temperature)).exp();
    order.into_iter().map(|token| Candidate { token, weight: weight(token) }).collect()
}

/// The shortest prefix with at least `top_p` of the weight; never empty.
fn nucleus(candidates: &[Candidate], top_p: f32) -> Vec<Candidate> {
    let enough = f64::from(top_p) * candidates.iter().map(|c| c.weight).sum::<f64>();
    let mut before = 0.0;
    let inside = candidates.iter().take_while(|c| {
        let wanted = before < enough;
        before += c.weight;
        wanted
    });
    inside.copied().collect()
}

/// The candidate at `point`, in `[0, 1)`, of the weights laid end to end.
fn pick(candidates: &[Candidate], point: f64) -> u32 {
    let mut left = point * candidates.iter().map(|c| c.weight).sum::<f64>();
    for candidate in candidates {
        left -= candidate.weight;
        if left < 0.0 {
            return candidate.token;
        }
    }
    // Rounding can leave a crumb at the very end of the line.
    candidates[0].token
}

/// NaN as less than any number; infinities as the largest finite numbers, so that differences are
/// defined.
fn below_all(logit: f32) -> f32 {
    if logit.is_nan() { f32::MIN } else { logit.clamp(f32::MIN, f32::MAX) }
}

fn refuse(option: &'static str, actual: f64, expected: &'static str) -> Error {
    Error::Sampling { option, actual, expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-30f32..30.0, 1..60)
    }

    /// The largest of logits with noise is a token of the softmax, and nothing else will do for it.
    #[test]
    fn noise_samples_the_softmax() {
        let logits = [1.0, 0.0, -0.5, 1.125, -30.0];
        for temperature in [0.05f32, 0.5, 1.0, 4.0] {
            let sampling = Sampling::random(temperature, None, None).unwrap();
            sampling.check_noise().unwrap();
            let (mut sampler, n) = (Sampler::new(sampling, 3), 20_000);
            let mut counts = [0f64; 5];
            for _ in 0..n {
                let noise = sampler.noise(logits.len());
                // As they are rounded where they are compared.
                let sums: Vec<f32> =
                    logits.iter().zip(noise).map(|(x, z)| x + (256.0 * z as f32).round() / 256.0).collect();
                counts[greedy(&sums) as usize] += 1.0;
            }
            let weights = logits.map(|x| f64::from(x / temperature).exp());
            let expected = weights.map(|w| f64::from(n) * w / weights.iter().sum::<f64>());
            let terms =
                counts.iter().zip(expected).filter(|(_, e)| *e > 1.0).map(|(c, e)| (c - e).powi(2) / e);
            let square: f64 = terms.sum();
            assert!(
                square < 25.0,
                "chi-square {square} of 4 degrees of freedom at temperature {temperature}"
            );
        }
        assert!(Sampler::new(Sampling::GREEDY, 3).noise(9).is_empty());
        Sampling::GREEDY.check_noise().unwrap();
        for (temperature, k, p) in
            [(4.5, None, None), (0.04, None, None), (1.0, Some(5), None), (1.0, None, Some(0.9))]
        {
            assert!(Sampling::random(temperature, k, p).unwrap().check_noise().is_err());
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        let message = |r: Result<Sampling, Error>| r.err().unwrap().to_string();
        for temperature in [-0.1, f32::NAN, f32::INFINITY] {
            assert!(message(Sampling::random(temperature, None, None)).starts_with("temperature is"));
        }
        assert!(message(Sampling::random(1.0, Some(0), None)).contains("top_k is 0, expected at least 1"));
        for top_p in [0.0, 1.1, f32::NAN] {
            assert!(message(Sampling::random(1.0, None, Some(top_p))).starts_with("top_p is"));
        }
    }

    #[test]
    fn penalties_wear_down_what_the_answer_has() {
        let greedy = |presence, frequency| {
            let penalties = Penalties::new(presence, frequency).unwrap();
            let mut sampler = Sampler::new(Sampling::GREEDY, 0).with_penalties(penalties);
            [(); 5].map(|()| sampler.next(&[3.0, 2.5, 0.0]))
        };
        assert_eq!(greedy(0.0, 0.0), [0; 5]);
        assert_eq!(greedy(1.0, 0.0), [0, 1, 0, 0, 0]);
        assert_eq!(greedy(0.0, 1.0), [0, 1, 0, 1, 0]);
        assert_eq!(greedy(-1.0, -1.0), [0; 5]);
        for (presence, frequency) in [(2.1, 0.0), (0.0, -2.1), (f32::NAN, 0.0)] {
            let refused = Penalties::new(presence, frequency).unwrap_err().to_string();
            assert!(refused.contains("_penalty is") && refused.contains("-2 to 2"), "{refused}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_no_nan() {
        assert_eq!(greedy(&[1.0, 3.0, f32::NAN, 3.0]), 1);
        assert_eq!(greedy(&[f32::NAN, f32::NEG_INFINITY, -5.0]), 2);
        assert_eq!(greedy(&[f32::NAN]), 0);
        assert_eq!(Sampling::random(0.0, Some(5), Some(0.5)).unwrap(), Sampling::GREEDY);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let mut sampler = Sampler::new(Sampling::random(2.0, None, None).unwrap(), 7);
        let logits = [0.0, 2.0 * 2f32.ln(), 2.0 * 5f32.ln()];
        let mut counts = [0u32; 3];
        (0..8000).for_each(|_| counts[sampler.next(&logits) as usize] += 1);
        for (count, expected) in counts.into_iter().zip([1000, 2000, 5000]) {
            assert!(count.abs_diff(expected) < 160, "{counts:?}");
        }
    }

    #[test]
    fn infinite_logits_do_not_break_it() {
        let mut sampler = Sampler::new(Sampling::random(0.7, None, Some(0.9)).unwrap(), 1);
        assert_eq!(sampler.next(&[0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]), 1);
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_token(logits in logits(), seed: u64) {
            let sampling = Sampling::random(0.8, Some(20), Some(0.95)).unwrap();
            let mut samplers = [Sampler::new(sampling, seed), Sampler::new(sampling, seed)];
            let [a, b] = samplers.each_mut().map(|s| [s.next(&logits), s.next(&logits)]);
            prop_assert_eq!(a, b);
            prop_assert!((a[0] as usize) < logits.len());
        }

        #[test]
        fn top_1_is_greedy(logits in logits(), seed: u64) {
            let token = Sampler::new(Sampling::random(1.0, Some(1), None).unwrap(), seed).next(&logits);
            prop_assert_eq!(token, greedy(&logits));
            let token = Sampler::new(Sampling::random(1.0, None, Some(1e-9)).unwrap(), seed).next(&logits);
            prop_assert_eq!(token, greedy(&logits));
        }

        #[test]
        fn top_k_keeps_the_likeliest(logits in logits(), k in 1usize..70, seed: u64) {
            let token = Sampler::new(Sampling::random(1.5, Some(k), None).unwrap(), seed).next(&logits);
            let likelier = logits.iter().filter(|&&l| l > logits[token as usize]).count();
            prop_assert!(likelier < k);
        }

        #[test]
        fn the_nucleus_is_the_shortest_that_suffices(logits in logits(), top_p in 0.01f32..1.0) {
            let all = softmax(&logits, 1.0, usize::MAX);
            let inside = nucleus(&all, top_p);
            let weight = |c: &[Candidate]| c.iter().map(|c| c.weight).sum::<f64>();
            let mass = |c: &[Candidate]| weight(c) / weight(&all);
            prop_assert!(mass(&inside) >= f64::from(top_p) - 1e-12);
            prop_assert!(mass(&inside[..inside.len() - 1]) < f64::from(top_p) + 1e-12);
        }
    }
}
