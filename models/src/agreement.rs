//! How far a model in fixed point agrees with the same model in f32.

use std::ops::Add;

use sotto_protocol::Precision;

use crate::{
    Folder, Model, Reference, Task, Tokens,
    error::Error,
    evaluator::{Clear, FixedPoint, immediate},
    network::Network,
    sampling::greedy,
};

/// Where the reference's two likeliest tokens are closer than this, either will do.
pub const CLEAR_LEAD: f32 = 0.1;

/// Two sets of logits of one text, position by position.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Positions compared.
    pub positions: usize,
    /// Positions at which the same token is the likeliest.
    pub same: usize,
    /// Positions at which it leads by [`CLEAR_LEAD`] in the reference.
    pub clear: usize,
    /// Of these, those at which it is the same.
    pub clear_same: usize,
    /// Largest difference of a logit.
    pub largest: f32,
}

impl Agreement {
    /// Of logits `[T, V]` with those of a reference.
    ///
    /// # Panics
    /// If a row is empty.
    pub fn of(logits: &[f32], reference: &[f32], vocabulary: usize) -> Agreement {
        let mut all = Agreement::default();
        for (got, want) in logits.chunks(vocabulary).zip(reference.chunks(vocabulary)) {
            let best = greedy(want) as usize;
            let others = want.iter().enumerate().filter(|(i, _)| *i != best).map(|(_, &x)| x);
            let clear = want[best] - others.fold(f32::MIN, f32::max) > CLEAR_LEAD;
            let same = greedy(got) as usize == best;
            all.positions += 1;
            all.same += usize::from(same);
            all.clear += usize::from(clear);
            all.clear_same += usize::from(clear && same);
            let distance = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            all.largest = all.largest.max(distance);
        }
        all
    }
}

impl Add for Agreement {
    type Output = Agreement;

    /// Of both texts.
    fn add(self, other: Agreement) -> Agreement {
        Agreement {
            positions: self.positions + other.positions,
            same: self.same + other.same,
            clear: self.clear + other.clear,
            clear_same: self.clear_same + other.clear_same,
            largest: self.largest.max(other.largest),
        }
    }
}

impl Model {
    /// Logits `[T, V]` of all positions, or what an encoder gives for each, computed in the clear
    /// on the numbers, tables and roundings of the protocols.
    pub fn clear_logits(&self, tokens: &[u32], precision: Precision) -> Vec<f32> {
        self.clear(Tokens::Known(tokens), true, precision)
    }

    /// The same of all positions, or what the task takes.
    pub fn clear(&self, tokens: Tokens<'_>, all: bool, precision: Precision) -> Vec<f32> {
        let mut e = FixedPoint::new(Clear::new(precision), self.scales());
        let logits = immediate(self.network().forward(&mut e, tokens, all.into()));
        let logits = logits.expect("nobody is talked to");
        // They come in units of 2^logits.
        let (unit, share) = (self.scales().logits, logits.share);
        let frac = share.frac().wrapping_add_signed(unit);
        let revealed = e.arithmetic.reveal(&share.with_frac(frac));
        let mut logits: Vec<f32> =
            revealed.into_iter().map(|x| (x * f64::from(unit).exp2()) as f32).collect();
        self.config().cap_logits(&mut logits);
        logits
    }

    /// How the logits of all positions, or what an encoder's task takes, agree with the f32 model
    /// on texts, each from its start.
    ///
    /// # Errors
    /// If a weight is no finite number.
    pub fn agreement(
        &self,
        folder: &Folder,
        texts: &[Vec<u32>],
        precision: Precision,
    ) -> Result<Agreement, Error> {
        let wanted = self.wanted(folder, texts)?;
        Ok(self.compare(texts, &wanted, |tokens, all| self.clear(tokens, all, precision)))
    }

    /// The same of a model in f32 whose weights are rounded as this one's: what the weights' 16
    /// bits alone cost.
    ///
    /// # Errors
    /// If a weight is no finite number.
    pub fn agreement_of_weights(&self, folder: &Folder, texts: &[Vec<u32>]) -> Result<Agreement, Error> {
        // One model in f32 after the other: both would not fit where one does.
        let wanted = self.wanted(folder, texts)?;
        let mut rounded = Reference::rounded(folder, &self.fractions)?;
        Ok(self.compare(texts, &wanted, |tokens, all| {
            rounded.reset();
            rounded.evaluate(tokens, all)
        }))
    }

    /// What the f32 model makes of texts.
    fn wanted(&self, folder: &Folder, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        let mut reference = Reference::load(folder)?;
        let of_text = |tokens: &Vec<u32>| {
            reference.reset();
            reference.evaluate(Tokens::Known(tokens), self.config().task() == Task::Generate)
        };
        Ok(texts.iter().map(of_text).collect())
    }

    fn compare(
        &self,
        texts: &[Vec<u32>],
        wanted: &[Vec<f32>],
        mut evaluate: impl FnMut(Tokens<'_>, bool) -> Vec<f32>,
    ) -> Agreement {
        let all = self.config().task() == Task::Generate;
        let of_text = |(tokens, want): (&Vec<u32>, &Vec<f32>)| {
            Agreement::of(&evaluate(Tokens::Known(tokens), all), want, self.config().outputs())
        };
        texts.iter().zip(wanted).map(of_text).fold(Agreement::default(), Agreement::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_calls_count_apart() {
        let want = [1.0, 0.0, 0.0, /* a close call */ 0.5, 0.55, 0.0];
        let got = [0.9, 0.0, 0.0, 0.6, 0.55, 0.0];
        let all = Agreement::of(&got, &want, 3);
        assert_eq!((all.positions, all.same, all.clear, all.clear_same), (2, 1, 1, 1));
        assert!((all.largest - 0.1).abs() < 1e-6);
    }
}
