//! A model as its owner serves it: integers, the scales that fit its numbers into the rings, and
//! what is proven of them.

use std::collections::BTreeMap;

use sotto_protocol::linear::Weight;

use crate::{
    ChatTemplate, Config, Folder, Reference, Task,
    calibration::{self, Cache, Texts},
    error::Error,
    evaluator::{
        Bounds, Scales, Tokens,
        bounds::{Bound, Finding},
        immediate,
        scales::Scale,
    },
    network::{AnyNetwork, Network, Outputs},
    weights::Quantised,
};

/// A model ready to be served.
pub struct Model {
    pub(crate) config: Config,
    pub(crate) network: AnyNetwork<Weight>,
    pub(crate) scales: Scales,
    pub(crate) fractions: Vec<u32>,
    /// The chat template as it is offered; empty if there is none.
    pub(crate) template: Vec<u8>,
    findings: Vec<Finding>,
    positions: usize,
    observed: bool,
}

impl Model {
    /// Reads and quantises a model's matrices, and chooses its scales: the default ones where the
    /// weights prove that these suffice, otherwise by running the f32 model on texts.
    ///
    /// # Errors
    /// A weight is missing, no number, or too large for 16 bits.
    pub fn load(folder: &Folder, texts: &Texts) -> Result<Model, Error> {
        Model::load_cached(folder, texts, &Cache::default())
    }

    /// The same; what was observed on texts is taken from a cache, if it is there.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_cached(folder: &Folder, texts: &Texts, cache: &Cache) -> Result<Model, Error> {
        let mut seen = BTreeMap::new();
        let plain = Model::by_scales(folder, Scales::default())?;
        let whole = plain.config.max_position_embeddings <= plain.positions;
        let bounds = bound(&plain.network, &plain.config, &plain.scales, &seen);
        let small = bounds.added.iter().sum::<f64>() < SMALL && bounds.scores < SMALL_SCORES;
        if plain.findings.is_empty() && whole && small {
            return Ok(plain);
        }
        drop(plain.network);
        let tokens = texts.tokens(folder)?;
        let observed = cache
            .observed(folder, &tokens, || Ok(calibration::observe(&mut Reference::load(folder)?, &tokens)))?;
        let scales = calibration::choose(&observed, &bounds);
        for &(visit, least) in &observed.least_square {
            let seen = seen.entry(visit).or_insert(least);
            *seen = seen.min(least);
        }
        let model = Model::fitted(folder, scales, &seen)?;
        Ok(Model { observed: model.scales != plain.scales, ..model })
    }

    /// The same by given scales.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn by_scales(folder: &Folder, scales: Scales) -> Result<Model, Error> {
        Model::fitted(folder, scales, &BTreeMap::new())
    }

    /// The same, where rows of the residual stream were seen to have so large variances at least,
    /// by their visit of it.
    fn fitted(folder: &Folder, mut scales: Scales, seen: &BTreeMap<usize, f64>) -> Result<Model, Error> {
        let config = folder.config().clone();
        let mut caps = BTreeMap::new();
        loop {
            let source = Quantised::new(folder.checkpoint(), &caps);
            let network = AnyNetwork::load(&config, &source)?;
            let fractions = source.fractions();
            let found = settled(&network, &config, &mut scales, &fractions, seen);
            if found.caps.iter().any(|(id, cap)| caps.get(id).is_none_or(|old| cap < old)) {
                caps.extend(found.caps);
                continue;
            }
            let (positions, findings) = (found.positions, found.findings);
            let template = folder.chat_template().map_or(vec![], ChatTemplate::to_bytes);
            let observed = false;
            return Ok(Model { config, network, scales, fractions, template, findings, positions, observed });
        }
    }

    /// The model's public shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &AnyNetwork<Weight> {
        &self.network
    }

    /// The scales that were chosen.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Whether texts have led to others than the weights alone.
    pub fn is_calibrated(&self) -> bool {
        self.observed
    }

    /// What the weights do not rule out: values beyond what their rings hold, which are not checked
    /// while the model runs.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Positions at most for which all ranges are proven or checked.
    pub fn positions(&self) -> usize {
        self.positions.min(self.config.longest()).min(MAX_POSITIONS)
    }
}

/// Positions at most, whatever the model's context: sums of softmax numerators must stay in their
/// ring.
pub const MAX_POSITIONS: usize = 1 << 16;

/// A residual stream of numbers below this needs no other scales than the default ones.
const SMALL: f64 = 1536.0;
/// Scores below this pass their check in any case.
const SMALL_SCORES: f64 = 767.0;

/// What a network's weights admit.
pub(crate) struct Bounded {
    pub(crate) caps: BTreeMap<u32, u32>,
    pub(crate) wanted: BTreeMap<usize, Scale>,
    /// What joins the residual stream, visit by visit.
    pub(crate) added: Vec<f64>,
    /// Largest values, layer by layer.
    pub(crate) values: Vec<f64>,
    /// Largest scores, in base-2 units.
    scores: f64,
    /// Of logits, in real units.
    pub(crate) logits: f64,
    positions: usize,
    findings: Vec<Finding>,
}

fn bound(
    network: &AnyNetwork<Weight>,
    config: &Config,
    scales: &Scales,
    seen: &BTreeMap<usize, f64>,
) -> Bounded {
    let mut bounds = Bounds::new(scales, seen);
    let types = config.encoder.as_ref().map_or(0, |encoder| encoder.token_types);
    // Of the types that a token may have, the second one adds to the first.
    let tokens = if types > 1 { Tokens::Pair(&[0], 0) } else { Tokens::Hidden(1) };
    let logits: Bound =
        immediate(network.forward(&mut bounds, tokens, Outputs::Last)).expect("bounds talk to nobody");
    Bounded {
        caps: std::mem::take(&mut bounds.caps),
        wanted: std::mem::take(&mut bounds.wanted),
        added: std::mem::take(&mut bounds.added),
        values: bounds.values.clone(),
        scores: bounds.scores,
        logits: logits.largest(),
        positions: bounds.positions(),
        findings: bounds.findings(&logits),
    }
}

/// The same, once the scales have what these bounds ask of them; the network's matrices have so
/// many fraction bits.
fn settled(
    network: &AnyNetwork<Weight>,
    config: &Config,
    scales: &mut Scales,
    fractions: &[u32],
    seen: &BTreeMap<usize, f64>,
) -> Bounded {
    loop {
        let found = bound(network, config, scales, seen);
        if scales.adopt(&found.wanted, config.num_hidden_layers) {
            continue;
        }
        let unit = match config.task() {
            Task::Embed => calibration::vector_unit(found.logits, fractions.last().copied()),
            _ => scales.logits,
        };
        let finer = std::mem::replace(&mut scales.logits, unit) != unit;
        if !calibration::raise_tops(scales, &found.added) && !finer {
            return found;
        }
    }
}
