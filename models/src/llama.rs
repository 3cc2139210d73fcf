//! LLaMA, written once over any [`Evaluator`].
//!
//! Matrices that share an input are one matrix: `q|k|v` and `gate|up`. Gains of norms are folded into what follows
//! them, and `log2(e) / sqrt(head_dim)` into the queries, so that scores come in base-2 units.

use rayon::prelude::*;
use sotto_protocol::{
    Error, Precision, Schedule, Session,
    activation::Activation,
    kv_cache::{Heads, KvCache},
    linear::{Exactness, Weight, WeightShape},
    planner::{Attention, Function, Kind, Part, Step},
    rms_norm,
};
use sotto_shares::{Shape, Share};

use crate::{
    Config, Folder, Param, RealMatrix,
    attention::{attention, visible},
    audit::{self, Finding},
    error::Error as LoadError,
    evaluator::{Evaluator, RESIDUAL, RESIDUAL_FRAC, Tokens},
    quantize::MAX_FRAC,
    rope_inverse_frequencies,
};

/// A model as one side knows it: with matrices of integers, or with shapes alone.
pub struct Llama<W> {
    config: Config,
    frequencies: Vec<f64>,
    embedding: W,
    layers: Vec<Layer<W>>,
    head: W,
}

struct Layer<W> {
    qkv: W,
    output: W,
    gate_up: W,
    down: W,
}

/// Keys and values of the positions so far, layer by layer.
pub struct Cache<C> {
    layers: Vec<C>,
    length: usize,
    schedule: Schedule,
    tokens_after: usize,
}

impl<C> Default for Cache<C> {
    fn default() -> Self {
        Cache { layers: vec![], length: 0, schedule: Schedule::default(), tokens_after: 0 }
    }
}

impl<C> Cache<C> {
    /// Positions so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Says what the next step saves, and how many tokens may follow it.
    pub(crate) fn plan(&mut self, schedule: Schedule, tokens_after: usize) {
        (self.schedule, self.tokens_after) = (schedule, tokens_after);
    }
}

impl Cache<KvCache> {
    /// Bytes held by all layers.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KvCache::bytes).sum()
    }
}

/// Positions at most, whatever the model's context: sums of softmax numerators must stay in their ring.
pub const MAX_POSITIONS: usize = 1 << 16;

/// What is to be revealed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// The last position's logits: for the next token.
    Last,
    /// So many of them, the largest.
    Top(usize),
    /// The likeliest next token and nothing else, after the client has added its own numbers to the logits, if there are any.
    Token(&'a [f64]),
    /// All positions' logits: to compare with a reference.
    All,
}

/// What was revealed.
#[derive(Clone, Debug, PartialEq)]
pub enum Revealed {
    /// Logits, `[positions, V]`; those that are not revealed are minus infinity.
    Logits(Vec<f32>),
    /// The likeliest token.
    Token(u32),
}

impl Revealed {
    /// The next token: what `choose` makes of logits, if there are any.
    pub fn token(&self, choose: impl FnOnce(&[f32]) -> u32) -> u32 {
        match self {
            Revealed::Logits(logits) => choose(logits),
            Revealed::Token(token) => *token,
        }
    }
}

/// Bits that a row takes more in a layer by the latency schedule: for each neuron, score, and head. As measured, by default precision.
const LATENCY_BITS: [f64; 3] = [1300.0, 2350.0, 15_000.0];
/// Turns that it saves.
const LATENCY_TURNS: f64 = 27.0;
/// Scores of a layer at most, which bounds memory: 160 OTs each for their maximum.
const LATENCY_SCORES: f64 = 32_768.0;

impl<W> Llama<W> {
    /// By which schedule to read a prompt of `rows` tokens.
    pub(crate) fn schedule(&self, session: &Session, rows: usize) -> Schedule {
        let c = &self.config;
        let heads = c.num_attention_heads as f64;
        let scores = heads * (rows as f64 + 1.0) / 2.0;
        if rows as f64 * scores > LATENCY_SCORES {
            return Schedule::Throughput;
        }
        let [neuron, score, head] = LATENCY_BITS;
        let row = neuron * c.intermediate_size as f64 + score * scores + head * heads;
        session.cheaper(rows as f64 * row, LATENCY_TURNS)
    }

    /// The model's public shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs the model on `tokens`, which follow those in the cache. The client gets what is wanted.
    ///
    /// # Errors
    /// What the peer or the network does.
    ///
    /// # Panics
    /// If there are no tokens, or more than the context holds.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        tokens: Tokens<'_>,
        cache: &mut Cache<E::Cache>,
        wanted: Wanted<'_>,
    ) -> Result<Option<Revealed>, Error> {
        let count = tokens.count();
        assert!(
            count > 0 && cache.length + count <= self.config.max_position_embeddings,
            "tokens in context"
        );
        let last = if wanted == Wanted::All { count } else { 1 };
        let heads = self.heads();
        cache.layers.resize_with(self.layers.len(), || e.cache(heads));
        let step = self.step(e.precision(), count, last, cache);
        e.enter_step(&step, &mut cache.layers).await?;
        let mut h = e.embed(&self.embedding, tokens).await?;
        for i in 0..self.layers.len() {
            e.enter_part(&step, 1 + i, &mut cache.layers).await?;
            h = self.layer(e, i, &h, cache).await?;
            e.layer_done().await?;
        }
        e.enter_part(&step, 1 + self.layers.len(), &mut cache.layers).await?;
        cache.length += count;
        if wanted != Wanted::All {
            h = h.rows(count - 1..count);
        }
        let x = e.rms_norm(&h, self.config.rms_norm_eps).await?;
        let logits = e.linear(&self.head, &x).await?;
        match wanted {
            Wanted::Token(added) => {
                Ok(e.reveal_best(&logits, added).await?.map(|best| Revealed::Token(best[0])))
            }
            Wanted::Top(k) => Ok(e.reveal_top(&logits, k).await?.map(|largest| {
                let mut logits = vec![f32::NEG_INFINITY; self.config.vocab_size];
                largest.into_iter().for_each(|(token, x)| logits[token] = x as f32);
                Revealed::Logits(logits)
            })),
            Wanted::Last | Wanted::All => {
                let revealed = e.reveal(&logits).await?;
                Ok(revealed.map(|logits| Revealed::Logits(logits.iter().map(|&x| x as f32).collect())))
            }
        }
    }

    /// What a step of `rows` rows, the `last` of which are revealed, will take.
    fn step<C>(&self, precision: Precision, rows: usize, last: usize, cache: &Cache<C>) -> Step<&W> {
        let c = &self.config;
        let part = |kind, matrices, functions| Part { kind, matrices, attention: None, functions };
        let embedding = part(Kind::Embedding, vec![(&self.embedding, rows)], vec![]);
        let norm = Function::RmsNorm(Shape::new(last, c.hidden_size), c.rms_norm_eps);
        let head = part(Kind::Head, vec![(&self.head, last)], vec![(norm, 1)]);
        let layers = (0..self.layers.len()).map(|i| self.part(precision, i, rows, cache));
        Step {
            parts: [embedding].into_iter().chain(layers).chain([head]).collect(),
            schedule: cache.schedule,
            tokens: rows,
            tokens_after: cache.tokens_after,
        }
    }

    /// What a layer will take for `rows` rows.
    fn part<C>(&self, precision: Precision, index: usize, rows: usize, cache: &Cache<C>) -> Part<&W> {
        let (c, heads, layer, length) = (&self.config, self.heads(), &self.layers[index], cache.length);
        let norm = Function::RmsNorm(Shape::new(rows, c.hidden_size), c.rms_norm_eps);
        let softmax = Function::Softmax(visible(heads, rows, |t| length + t + 1));
        let gate = Function::Activation(Activation::Silu, rows * c.intermediate_size, precision.argument());
        Part {
            kind: Kind::Layer,
            matrices: [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(|w| (w, rows)).into(),
            attention: Some(Attention { cache: index, heads, positions: rows }),
            functions: vec![(norm, 2), (softmax, 1), (gate, 1)],
        }
    }

    fn heads(&self) -> Heads {
        let c = &self.config;
        Heads { key_value: c.num_key_value_heads, group: c.group_size(), width: c.head_dim }
    }

    /// Layer `index` on the residual stream `[T, d]`. The cache gets its keys and values; its length is the caller's business.
    ///
    /// # Errors
    /// What the peer or the network does.
    ///
    /// # Panics
    /// If there is no such layer.
    pub async fn block<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &Share,
        cache: &mut Cache<E::Cache>,
    ) -> Result<Share, Error> {
        let heads = self.heads();
        cache.layers.resize_with(self.layers.len(), || e.cache(heads));
        let (part, tokens) = (self.part(e.precision(), index, h.shape.rows, cache), h.shape.rows);
        let (schedule, tokens_after) = (cache.schedule, cache.tokens_after);
        let step = Step { parts: vec![part], schedule, tokens, tokens_after };
        e.enter_part(&step, 0, &mut cache.layers).await?;
        self.layer(e, index, h, cache).await
    }

    async fn layer<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &Share,
        cache: &mut Cache<E::Cache>,
    ) -> Result<Share, Error> {
        let layer = &self.layers[index];
        let h = h + &self.attention(e, layer, h, cache, index).await?;
        let after = self.mlp(e, layer, &h).await?;
        Ok(&h + &after)
    }

    async fn attention<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: &Layer<W>,
        h: &Share,
        cache: &mut Cache<E::Cache>,
        index: usize,
    ) -> Result<Share, Error> {
        let c = &self.config;
        let (q_size, kv_size) = (c.query_size(), c.key_value_size());
        let x = e.rms_norm(h, c.rms_norm_eps).await?;
        let qkv = e.linear(&layer.qkv, &x).await?;
        let (qk, v) = (qkv.columns(0..q_size + kv_size), qkv.columns(q_size + kv_size..q_size + 2 * kv_size));
        let [qk, v] = e.rope(&qk, &self.frequencies, cache.length, &v).await?;
        let (q, k) = (qk.columns(0..q_size), qk.columns(q_size..q_size + kv_size));
        let heads = self.heads();
        let (held, length) = (&mut cache.layers[index], cache.length);
        let means = attention(e, heads, held, [&q, &k, &v], |t| length + t + 1).await?;
        let y = e.linear(&layer.output, &means).await?;
        residual(e, &y).await
    }

    async fn mlp<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: &Layer<W>,
        h: &Share,
    ) -> Result<Share, Error> {
        let (width, p) = (self.config.intermediate_size, e.precision());
        let x = e.rms_norm(h, self.config.rms_norm_eps).await?;
        let both = e.linear(&layer.gate_up, &x).await?;
        let drop = both.frac - p.frac();
        let gate = e.truncate(&both.columns(0..width), drop, p.argument()).await?;
        let product = e.gate(Activation::Silu, &gate, &both.columns(width..2 * width)).await?;
        let product = e.truncate(&product, p.frac(), p.linear()).await?;
        e.watch(&product).await?;
        let y = e.linear(&layer.down, &product).await?;
        residual(e, &y).await
    }
}

/// A linear layer's output in the residual stream; local.
async fn residual<E: Evaluator>(e: &mut E, y: &Share) -> Result<Share, Error> {
    e.truncate(y, y.frac - RESIDUAL_FRAC, RESIDUAL).await
}

impl Llama<Weight> {
    /// Reads and quantises a model's matrices.
    ///
    /// # Errors
    /// A weight is missing, no number, or too large for 16 bits.
    pub fn load(folder: &Folder) -> Result<Llama<Weight>, LoadError> {
        let c = folder.config().clone();
        let mut id = 0;
        let mut matrix =
            |parts: &[(Param, f32)], gain: Option<Param>, exactness| -> Result<Weight, LoadError> {
                let mut weights = vec![];
                for &(param, factor) in parts {
                    weights.extend(folder.param(param)?.into_iter().map(|w| w * factor));
                }
                let inner = parts[0].0.shape(&c)[1];
                let name = parts[0].0.name(&c);
                let gain = gain.map(|g| folder.param(g)).transpose()?;
                let real = RealMatrix::new(&name, &weights, [weights.len() / inner, inner]);
                // What a norm multiplies by is divided out.
                let real = gain
                    .iter()
                    .fold(real, |real, gain| real.scale_inputs(gain).times(rms_norm::factor(inner).recip()));
                let quantised = real.quantize(MAX_FRAC)?;
                if quantised.frac() < FEWEST_FRAC {
                    let actual = f64::from(i16::MAX) * (-f64::from(quantised.frac())).exp2();
                    return Err(LoadError::WeightTooLarge { matrix: name, actual });
                }
                let shape = WeightShape {
                    id,
                    inner: quantised.rows_in(),
                    outer: quantised.cols_out(),
                    frac: quantised.frac(),
                    exactness,
                };
                id += 1;
                Ok(Weight { shape, data: quantised.into_data().into(), bias: vec![] })
            };
        let rounded = Exactness::Rounded;
        let score_scale = (std::f64::consts::LOG2_E / (c.head_dim as f64).sqrt()) as f32;
        let layers = (0..c.num_hidden_layers).map(|i| {
            let qkv = [(Param::Query(i), score_scale), (Param::Key(i), 1.0), (Param::Value(i), 1.0)];
            let gate_up = [(Param::Gate(i), 1.0), (Param::Up(i), 1.0)];
            Ok(Layer {
                qkv: matrix(&qkv, Some(Param::AttentionNorm(i)), rounded)?,
                output: matrix(&[(Param::Output(i), 1.0)], None, rounded)?,
                gate_up: matrix(&gate_up, Some(Param::MlpNorm(i)), rounded)?,
                down: matrix(&[(Param::Down(i), 1.0)], None, rounded)?,
            })
        });
        let layers = layers.collect::<Result<_, LoadError>>()?;
        let head = matrix(&[(Param::Head, 1.0)], Some(Param::FinalNorm), Exactness::Exact)?;
        let embedding = folder.param(Param::Embedding)?;
        let embedding = embedding_table(&embedding, &c, head.shape.id + 1)?;
        Ok(Llama { frequencies: rope_inverse_frequencies(&c), config: c, embedding, layers, head })
    }

    /// What the weights do not rule out: values beyond what their rings hold.
    pub fn audit(&self) -> Vec<Finding> {
        let c = &self.config;
        let width = c.intermediate_size;
        let rotated = c.query_size() + c.key_value_size();
        let layers = self.layers.iter().enumerate().flat_map(|(i, l)| {
            let qk = audit::bound(&l.qkv, 0..rotated) * std::f64::consts::SQRT_2;
            let v = audit::bound(&l.qkv, rotated..l.qkv.shape.outer);
            let gate = audit::bound(&l.gate_up, 0..width);
            let up = audit::bound(&l.gate_up, width..2 * width);
            let (score, attended) = self.attention_bounds(l);
            [
                ("rotated queries and keys", qk, audit::EXTENDED),
                ("values", v, audit::VALUE),
                ("sums of values", v * 2.0 * c.max_position_embeddings.min(MAX_POSITIONS) as f64, audit::SUM),
                ("the gate", gate, audit::GATE),
                ("up", up, audit::EXTENDED),
                ("the gate's product", gate.min(audit::GATE) * up, audit::PRODUCT),
                ("scores", score, audit::SCORE),
                ("attention's output", attended, audit::ADDED),
                ("the MLP's output", self.mlp_bound(l), audit::ADDED),
            ]
            .map(|(what, bound, limit)| Finding {
                what: format!("layer {i}: {what}"),
                bound,
                limit,
            })
        });
        let bound = audit::bound(&self.head, 0..c.vocab_size);
        let head = Finding { what: "logits".into(), bound, limit: audit::LOGIT };
        layers.chain([head]).filter(Finding::is_one).collect()
    }

    /// Bounds on a layer's scores, and on what its attention adds to the residual stream.
    fn attention_bounds(&self, l: &Layer<Weight>) -> (f64, f64) {
        let (c, h) = (&self.config, self.config.head_dim);
        let norms: Vec<f64> = (0..l.qkv.shape.outer / h)
            .into_par_iter()
            .map(|i| audit::norm_bound(&l.qkv, i * h..(i + 1) * h))
            .collect();
        let (queries, others) = norms.split_at(c.num_attention_heads);
        let (keys, values) = others.split_at(c.num_key_value_heads);
        let scores = queries.iter().enumerate().map(|(i, q)| q * keys[i / c.group_size()]);
        let mut attended = vec![0f64; c.hidden_size];
        for head in 0..c.num_attention_heads {
            let columns = audit::column_norms(&l.output, head * h..(head + 1) * h, 0..c.hidden_size);
            let value = values[head / c.group_size()];
            attended.iter_mut().zip(columns).for_each(|(sum, norm)| *sum += norm * value);
        }
        (scores.fold(0.0, f64::max), attended.into_iter().fold(0.0, f64::max))
    }

    /// A bound on what a layer's MLP adds to the residual stream: from what its neurons can reach, or from the norms that are watched.
    fn mlp_bound(&self, l: &Layer<Weight>) -> f64 {
        let (width, d) = (self.config.intermediate_size, self.config.hidden_size);
        let inputs = audit::column_norms(&l.gate_up, 0..d, 0..2 * width);
        let norm = audit::input_norm(&l.gate_up);
        // With what the activation's table is off.
        let neuron = |i: usize| (inputs[i] * norm + 0.003).min(audit::GATE) * inputs[width + i] * norm;
        let unit = (-f64::from(l.down.shape.frac)).exp2();
        let mut reached = vec![0f64; d];
        for (i, row) in l.down.data.chunks(d).enumerate() {
            let neuron = neuron(i) * unit;
            reached.iter_mut().zip(row).for_each(|(sum, &q)| *sum += neuron * f64::from(q).abs());
        }
        let watched =
            audit::column_norms(&l.down, 0..width, 0..d).into_iter().map(|norm| norm * audit::WATCHED_NORM);
        reached.into_iter().zip(watched).map(|(a, b)| a.min(b)).fold(0.0, f64::max)
    }

    /// The fraction bits of every matrix, in the order of use: all that the client learns of them beyond shapes.
    pub fn fractions(&self) -> Vec<u32> {
        let matrices = self.layers.iter().flat_map(|l| [&l.qkv, &l.output, &l.gate_up, &l.down]);
        matrices.chain([&self.head, &self.embedding]).map(|w| w.shape.frac).collect()
    }
}

/// The embedding as a matrix `[V, d]` that one-hot rows multiply.
fn embedding_table(rows: &[f32], c: &Config, id: u32) -> Result<Weight, LoadError> {
    let (vocabulary, width) = (c.vocab_size, c.hidden_size);
    let transposed: Vec<f32> =
        (0..width).flat_map(|i| (0..vocabulary).map(move |v| rows[v * width + i])).collect();
    let real = RealMatrix::new("model.embed_tokens.weight", &transposed, [width, vocabulary]);
    let quantised = real.quantize(MAX_FRAC)?;
    let frac = quantised.frac();
    if frac < FEWEST_FRAC {
        let actual = f64::from(i16::MAX) * (-f64::from(frac)).exp2();
        return Err(LoadError::WeightTooLarge { matrix: "model.embed_tokens.weight".into(), actual });
    }
    let shape = WeightShape { id, inner: vocabulary, outer: width, frac, exactness: Exactness::Rounded };
    Ok(Weight { shape, data: quantised.into_data().into(), bias: vec![] })
}

impl Llama<WeightShape> {
    /// The model as the client knows it: from the configuration and the fraction bits that the server tells it.
    ///
    /// Returns `None` if there is not one fraction of at most 16 bits for every matrix.
    pub fn outline(config: Config, fractions: &[u32]) -> Option<Llama<WeightShape>> {
        let c = &config;
        let matrices = 4 * c.num_hidden_layers + 2;
        if fractions.len() != matrices || fractions.iter().any(|&f| !(FEWEST_FRAC..=MAX_FRAC).contains(&f)) {
            return None;
        }
        let mut next = 0;
        let mut matrix = |inner: usize, outer: usize, exactness| {
            let frac = fractions[next as usize];
            next += 1;
            WeightShape { id: next - 1, inner, outer, frac, exactness }
        };
        let rounded = Exactness::Rounded;
        let (d, width) = (c.hidden_size, c.intermediate_size);
        let layers = (0..c.num_hidden_layers).map(|_| Layer {
            qkv: matrix(d, c.query_size() + 2 * c.key_value_size(), rounded),
            output: matrix(c.query_size(), d, rounded),
            gate_up: matrix(d, 2 * width, rounded),
            down: matrix(width, d, rounded),
        });
        let layers = layers.collect();
        let head = matrix(d, c.vocab_size, Exactness::Exact);
        let embedding = matrix(c.vocab_size, d, rounded);
        Some(Llama { frequencies: rope_inverse_frequencies(c), config, embedding, layers, head })
    }
}

/// The fewest fraction bits a matrix may have: logits lose at least twelve bits before they are revealed.
pub const FEWEST_FRAC: u32 = 8;
