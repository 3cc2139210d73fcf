//! The built-in model on two parties, in the clear, and in f32.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sotto_models::{
    Checkpoint, Config, Fields, Folder, Llama3Scaling, Model, Reference, Sampler, Sampling, Texts, Tokens,
    evaluator::{
        Clear, Evaluator, FixedPoint, Part, Plan, Progress, Scaled, Scales, TwoParty, immediate,
        two_party::Caches,
    },
    layers::{EncoderLayer, LayerNames, LayerShape},
    network::{Network, Outputs},
    random::{self, RandomFolder, write_random_tensors},
    sampling::greedy,
    service::{self, Answers, Choose, History, Policy, Ranges, Revealed, TokenizerSource},
    weights::{At, Listing, Outline, Quantised, Source},
};
use sotto_net::{Half, Link};
use sotto_protocol::{Client, Precision, Role, Schedule, Server, activation::Activation};
use sotto_shares::{Ring, Rng, Shape, Share, decode, encode};

const PROMPT: &str = "Once upon a time there was a little fox";

/// How both parties of a test compute.
type Mode = (Precision, Schedule);

/// A connection whose delay is felt, by far.
const FAR: Link = Link { rate: Some(1e9), rtt: Duration::from_millis(2) };
const NEAR: Link = Link { rate: Some(1e9), ..Link::LOOPBACK };

/// Runs `client` and a server of the built-in model in one process, decoding by the mode's
/// schedule. The same shares in every run, on every machine.
fn with_server<T: Send>(
    folder: &Folder,
    model: &Model,
    mode: Mode,
    client: impl AsyncFnOnce(Client) -> T + Send,
) -> T {
    with_policy(folder, model, mode, Policy { max_prompt: 256, ..Policy::default() }, client)
}

/// As [`with_server`], by the rules of an owner.
fn with_policy<T: Send>(
    folder: &Folder,
    model: &Model,
    (precision, schedule): Mode,
    policy: Policy,
    client: impl AsyncFnOnce(Client) -> T + Send,
) -> T {
    with_policy_over(NEAR, folder, model, (precision, schedule), policy, client)
}

/// As [`with_policy`], over a link.
fn with_policy_over<T: Send>(
    link: Link,
    folder: &Folder,
    model: &Model,
    (precision, schedule): Mode,
    policy: Policy,
    client: impl AsyncFnOnce(Client) -> T + Send,
) -> T {
    let (result, served) = sotto_net::run_pair_over(
        link,
        |ch| async move {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            if link == NEAR {
                me.session.assume_low_latency();
            }
            me.session.set_decode_schedule(schedule);
            me.session.set_precision(precision);
            client(me).await
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            if link == NEAR {
                me.session.assume_low_latency();
            }
            me.session.set_decode_schedule(schedule);
            service::offer(&mut me.session.ch, model, folder.tokenizer(), policy).await.unwrap();
            service::serve(&mut me, model, policy, &mut Caches::default()).await.map(|_| ())
        },
    );
    served.unwrap();
    result
}

/// The logits of all positions from two parties, every number in range.
fn evaluated(folder: &Folder, model: &Model, precision: Precision, tokens: &[u32]) -> Vec<f32> {
    let (logits, ranges) = with_server(folder, model, (precision, Schedule::Throughput), async |mut me| {
        let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
        service::evaluate(&mut me, &offered, tokens).await.unwrap()
    });
    assert_eq!(ranges, Ranges::Kept);
    logits
}

fn clear_logits(model: &Model, precision: Precision, tokens: &[u32]) -> Vec<f32> {
    let mut e = FixedPoint::new(Clear::new(precision), model.scales());
    let logits = immediate(model.network().forward(&mut e, Tokens::Known(tokens), Outputs::All)).unwrap();
    e.arithmetic.reveal(&logits.share).into_iter().map(|x| x as f32).collect()
}

/// Of the differences.
fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

/// The distance of the two largest logits.
fn gap(logits: &[f32]) -> f32 {
    let best = greedy(logits) as usize;
    let others = logits.iter().enumerate().filter(|&(i, _)| i != best).map(|(_, &x)| x);
    logits[best] - others.fold(f32::MIN, f32::max)
}

/// Positions at which both choose the same token: of those with a clear winner, and of all.
fn agreement(got: &[f32], want: &[f32], vocabulary: usize) -> ((usize, usize), (usize, usize)) {
    let (mut clear, mut all) = ((0, 0), (0, 0));
    for (got, want) in got.chunks(vocabulary).zip(want.chunks(vocabulary)) {
        let same = usize::from(greedy(got) == greedy(want));
        all = (all.0 + same, all.1 + 1);
        if gap(want) > 0.1 {
            clear = (clear.0 + same, clear.1 + 1);
        }
    }
    (clear, all)
}

#[test]
fn generated_text_is_the_float_models_greedy_text() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let want = Reference::load(&folder).unwrap().generate(&prompt, 12);
    let generated = |precision, schedule| {
        with_server(&folder, &model, (precision, schedule), async |mut me| {
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let mut out = vec![];
            let mut choose = |revealed: &Revealed| {
                out.push(revealed.token(greedy));
                (revealed.token(greedy), true)
            };
            let ranges =
                service::generate(&mut me, &offered, &mut History::default(), &prompt, 12, &mut choose)
                    .await
                    .unwrap();
            assert_eq!(ranges, Ranges::Kept);
            // Layers only; the last norm belongs to none.
            let layers =
                ["rms_norm", "linear", "rope", "attention", "softmax", "mul", "truncate", "activation"];
            let spans = me.session.ch.meter.spans().into_iter();
            let decode = spans.filter(|(key, _)| {
                key.phase == "decode" && key.half == Half::Online && layers.contains(&key.op)
            });
            (out, decode.map(|(_, cost)| cost.turns).sum::<u64>())
        })
    };
    let layers = 11 * folder.config().num_hidden_layers as u64;
    for precision in Precision::ALL {
        let (saved_bits, turns) = generated(precision, Schedule::Throughput);
        let (saved_turns, fewer) = generated(precision, Schedule::Latency);
        assert_eq!(saved_bits, want[want.len() - 12..]);
        assert_eq!(saved_turns, want[want.len() - 12..]);
        assert!(
            fewer <= 42 * layers && turns <= 90 * layers,
            "{fewer} and {turns} turns for {layers} layers"
        );
    }
}

/// What a token takes is made while the messages of the one before travel, also where a batch of
/// tokens ends: what is waited for is the first one's one-hots, of up to eleven bits, and those of
/// the verdict.
#[test]
fn far_parties_make_ahead_while_messages_travel() {
    const NEW: usize = 18;
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let want = Reference::load(&folder).unwrap().generate(&prompt, NEW);
    let (mode, policy) = ((Precision::Default, Schedule::Latency), Policy::default());
    let (bytes, turns) = with_policy_over(FAR, &folder, &model, mode, policy, async |mut me| {
        let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
        let mut out = vec![];
        let mut choose = |revealed: &Revealed| {
            out.push(revealed.token(greedy));
            (revealed.token(greedy), true)
        };
        let ranges = service::generate(&mut me, &offered, &mut History::default(), &prompt, NEW, &mut choose)
            .await
            .unwrap();
        assert_eq!((ranges, &out[..]), (Ranges::Kept, &want[want.len() - NEW..]));
        let spans = me.session.ch.meter.spans().into_iter();
        let made = spans.filter(|(key, _)| key.half == Half::Offline && key.phase == "decode");
        made.fold((0, 0), |(bytes, turns), (_, cost)| (bytes + cost.bytes(), turns + cost.turns))
    });
    assert!(bytes > 8_000_000, "{bytes} bytes: a batch and more is made in this phase");
    assert_eq!(turns, 10);
}

#[test]
fn an_owner_may_reveal_tokens_only() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let want = Reference::load(&folder).unwrap().generate(&prompt, 6);
    let policy = Policy { answers: Answers::Tokens, ..Policy::default() };
    for schedule in [Schedule::Throughput, Schedule::Latency] {
        let (seen, refused) =
            with_policy(&folder, &model, (Precision::Default, schedule), policy, async |mut me| {
                let offered =
                    service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
                assert_eq!(offered.answers, Answers::Tokens);
                let refused = service::evaluate(&mut me, &offered, &prompt).await;
                let mut seen = vec![];
                let mut take = |revealed: &Revealed| {
                    seen.push(revealed.clone());
                    (revealed.token(|_| unreachable!("no logits")), true)
                };
                let ranges =
                    service::generate(&mut me, &offered, &mut History::default(), &prompt, 6, &mut take)
                        .await
                        .unwrap();
                assert_eq!(ranges, Ranges::Kept);
                (seen, matches!(refused, Err(service::Error::NoLogits)))
            });
        let tokens: Vec<Revealed> =
            want[want.len() - 6..].iter().map(|&token| Revealed::Token(token)).collect();
        assert!(seen == tokens, "the likeliest tokens and nothing else");
        assert!(refused, "logits of all positions are not to be had");
    }
}

/// A client that samples by noise, and remembers it.
struct Noisy {
    sampler: Sampler,
    noise: Vec<Vec<f64>>,
    tokens: Vec<u32>,
}

impl Choose for Noisy {
    fn noise(&mut self, vocabulary: usize) -> Vec<f64> {
        self.noise.push(self.sampler.noise(vocabulary));
        self.noise[self.noise.len() - 1].clone()
    }

    fn next(&mut self, revealed: &Revealed) -> (u32, bool) {
        self.tokens.push(revealed.token(|_| unreachable!("no logits")));
        (self.tokens[self.tokens.len() - 1], true)
    }
}

#[test]
fn tokens_are_sampled_by_the_clients_noise() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let policy = Policy { answers: Answers::Tokens, ..Policy::default() };
    let seen =
        with_policy(&folder, &model, (Precision::Default, Schedule::Throughput), policy, async |mut me| {
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let sampler = Sampler::new(Sampling::random(2.0, None, None).unwrap(), 5);
            let mut noisy = Noisy { sampler, noise: vec![], tokens: vec![] };
            let ranges =
                service::generate(&mut me, &offered, &mut History::default(), &prompt, 5, &mut noisy)
                    .await
                    .unwrap();
            assert_eq!(ranges, Ranges::Kept);
            noisy
        });
    let mut reference = Reference::load(&folder).unwrap();
    let (mut read, mut likeliest) = (prompt, 0);
    for (noise, token) in seen.noise.iter().zip(seen.tokens) {
        let logits = reference.next_logits(&read);
        let sums: Vec<f32> = logits.iter().zip(noise).map(|(x, z)| x + *z as f32).collect();
        assert!(sums[greedy(&sums) as usize] - sums[token as usize] < 0.1, "the largest sum");
        likeliest += usize::from(token == greedy(&logits));
        read = vec![token];
    }
    assert!(likeliest < 5, "the noise is felt");
}

#[test]
fn an_owner_may_reveal_the_largest_logits_only() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    for (answers, k) in [(Answers::Top(7), 7), (Answers::Top(u32::MAX), 1024)] {
        let policy = Policy { answers, ..Policy::default() };
        let seen =
            with_policy(&folder, &model, (Precision::Default, Schedule::Latency), policy, async |mut me| {
                let offered =
                    service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
                assert_eq!(offered.answers, Answers::Top(k as u32));
                let refused = service::evaluate(&mut me, &offered, &prompt).await;
                assert!(matches!(refused, Err(service::Error::NoLogits)));
                let mut seen = vec![];
                let mut take = |revealed: &Revealed| {
                    let Revealed::Logits(logits) = revealed else { unreachable!("logits") };
                    seen.push(logits.clone());
                    (revealed.token(greedy), true)
                };
                let ranges =
                    service::generate(&mut me, &offered, &mut History::default(), &prompt, 3, &mut take)
                        .await
                        .unwrap();
                assert_eq!(ranges, Ranges::Kept);
                seen
            });
        let mut reference = Reference::load(&folder).unwrap();
        let mut read = prompt.clone();
        assert_eq!(seen.len(), 3);
        for seen in seen {
            let want = reference.next_logits(&read);
            let shown: Vec<usize> = (0..seen.len()).filter(|&j| seen[j].is_finite()).collect();
            let least = shown.iter().map(|&j| seen[j]).fold(f32::INFINITY, f32::min);
            // More than wanted are equal to the last of them.
            assert!(shown.len() >= k && shown.iter().filter(|&&j| seen[j] > least).count() < k);
            assert!(shown.iter().all(|&j| (seen[j] - want[j]).abs() < 0.1));
            assert!((0..want.len()).all(|j| seen[j].is_finite() || want[j] < least + 0.1));
            read = vec![greedy(&seen)];
        }
    }
}

/// A layer of BERT with random weights: two parties against the clear layer.
#[test]
fn a_layer_of_bert_runs_on_two_parties() {
    Precision::ALL.into_iter().for_each(bert);
}

fn bert(precision: Precision) {
    let (rows, shape) =
        (5, LayerShape { width: 24, heads: 3, inner: 40, function: Activation::Gelu, eps: 1e-12 });
    let d = shape.width;
    fn load<S: Source>(shape: LayerShape, source: &S) -> EncoderLayer<S::Weight> {
        let layer = At::root(source).at("encoder.layer.0");
        EncoderLayer::load(shape, &layer, LayerNames::BERT, &shape.norm("embeddings.LayerNorm")).unwrap()
    }
    let (dir, listing) = (tempfile::tempdir().unwrap(), Listing::default());
    load(shape, &listing);
    write_random_tensors(dir.path(), listing.tensors(), 5).unwrap();
    let (checkpoint, caps) = (Checkpoint::open(dir.path()).unwrap(), Default::default());
    let source = Quantised::new(&checkpoint, &caps);
    let layer = load(shape, &source);
    let outline = load(shape, &Outline::new(&source.fractions()).unwrap());
    let mut rng = Rng::from_seed([5; 32]);
    let words = rng.elements(rows * d, Ring::new(24));
    let values = words.into_iter().map(|w| 2.0 * (w as f64 / f64::from(1 << 23) - 1.0));
    let (ring, frac) = (precision.linear(), precision.frac());
    let data = values.map(|x| encode(x, frac, ring)).collect();
    let x = Share::new(ring, frac, Shape::new(rows, d), data);
    let nothing = Share::zeros(ring, frac, x.shape());
    let scales = Scales::default();
    let mut clear = FixedPoint::new(Clear::new(precision), &scales);
    let want = immediate(layer.forward(&mut clear, 0, &x.duplicate().into())).unwrap().share;
    let real = |x: &Share, i: usize| decode(x.data()[i], x.frac(), x.ring());
    // The same shares in every run, on every machine; three times, as the largest of so many
    // differences is a matter of luck.
    let mut largest = [1u8, 3, 5].map(|seed| {
        let (client, server) = sotto_net::run_pair(
            |mut ch| async {
                ch.state_rate(Some(1e9));
                let mut me = Client::establish(ch, Rng::from_seed([seed; 32]), [0; 32]).await.unwrap();
                me.session.set_precision(precision);
                one_layer(&mut me, &outline, &x).await
            },
            |mut ch| async {
                ch.state_rate(Some(1e9));
                let mut me = Server::establish(ch, Rng::from_seed([seed + 1; 32]), [0; 32]).await.unwrap();
                me.session.set_precision(precision);
                one_layer(&mut me, &layer, &nothing).await
            },
        );
        let got = &client + &server;
        let differences: Vec<f64> = (0..got.len()).map(|i| (real(&got, i) - real(&want, i)).abs()).collect();
        let largest = differences.iter().copied().fold(0.0, f64::max);
        let rms = (differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64).sqrt();
        eprintln!("BERT, {precision:?}: largest difference {largest:.1e}, root mean square {rms:.1e}");
        assert!(rms < [3e-3, 8e-4][precision as usize], "root mean square of differences: {rms}");
        largest
    });
    largest.sort_by(f64::total_cmp);
    assert!(largest[1] < [1e-2, 2.5e-3][precision as usize], "largest differences: {largest:?}");
}

/// A layer of BERT on shares.
async fn one_layer<R: Role<Weight: Clone>>(me: &mut R, layer: &EncoderLayer<R::Weight>, x: &Share) -> Share {
    let (scales, mut caches) = (Scales::default(), Caches::default());
    let (precision, schedule) = (me.session().precision(), me.session().schedule());
    let mut plan = Plan::new(0, precision, &scales);
    plan.rows = x.shape().rows;
    for part in [Part::Embedding, Part::Layer(0)] {
        plan.enter(part).await.unwrap();
    }
    layer.forward(&mut plan, 0, &x.shape()).await.unwrap();
    plan.enter(Part::Head).await.unwrap();
    let mut e = FixedPoint::new(TwoParty::new(me, &mut caches, plan, Progress::alone(schedule)), &scales);
    e.enter(Part::Layer(0)).await.unwrap();
    let x: Scaled = x.duplicate().into();
    layer.forward(&mut e, 0, &x).await.unwrap().share
}

#[test]
fn two_parties_the_clear_model_and_f32_agree_on_every_position() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let mut float = Reference::load(&folder).unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let tokens: Vec<u32> = [&prompt[..], &float.generate(&prompt, 30)].concat();
    let tokens = &tokens[..tokens.len().min(40)];
    float.reset();
    let reference = float.logits(tokens);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let errors = Precision::ALL.map(|precision| {
        let clear = clear_logits(&model, precision, tokens);
        let secure = evaluated(&folder, &model, precision, tokens);
        assert!(distance(&secure, &clear) < 0.25, "two parties and clear: {}", distance(&secure, &clear));
        assert!(distance(&clear, &reference) < 0.25, "clear and f32: {}", distance(&clear, &reference));
        let vocabulary = folder.config().vocab_size;
        let ((same, of), _) = agreement(&secure, &reference, vocabulary);
        assert!(of > 10 && same == of, "{same} of {of} clear positions");
        [mean_square(&secure, &reference), mean_square(&clear, &reference)]
    });
    // Logits are rounded down to 2^-8, whatever the precision.
    let rounding = 2f64.powi(-16) / 3.0;
    let [default, high] = errors.map(|errors| errors.map(|error| error - rounding));
    eprintln!("squares beyond a logit's rounding, of two parties and clear: {default:?}, high {high:?}");
    assert!(high[1] < default[1] / 4.0, "{default:?}, {high:?}");
    // Two parties' rounding is drawn by chance: so few positions tell its square to 3e-7 of 1e-6.
    assert!(high[0] < default[0] / 2.0, "{default:?}, {high:?}");
}

#[test]
fn the_clear_model_chooses_as_f32_does_over_many_positions() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let mut float = Reference::load(&folder).unwrap();
    let prompts = [PROMPT, "Anna went to the market", "One day a boy", "The old man had a red boat"];
    let (mut clear_positions, mut all_positions) = ((0, 0), (0, 0));
    for prompt in prompts {
        let prompt = folder.tokenizer().encode(prompt, 100).unwrap();
        let tokens = [&prompt[..], &float.generate(&prompt, 110)].concat();
        float.reset();
        let reference = float.logits(&tokens);
        let (clear, all) = agreement(
            &clear_logits(&model, Precision::Default, &tokens),
            &reference,
            folder.config().vocab_size,
        );
        clear_positions = (clear_positions.0 + clear.0, clear_positions.1 + clear.1);
        all_positions = (all_positions.0 + all.0, all_positions.1 + all.1);
    }
    eprintln!("agreement: {clear_positions:?} where the gap exceeds 0.1, {all_positions:?} of all");
    assert!(all_positions.1 >= 300, "{} positions", all_positions.1);
    assert!(clear_positions.0 * 100 >= clear_positions.1 * 99, "{clear_positions:?}");
}

#[test]
fn the_built_in_model_cannot_overflow_where_the_audit_can_prove_it() {
    let model = Model::load(&Folder::builtin().unwrap(), &Texts::default()).unwrap();
    assert_eq!((model.findings(), model.is_calibrated()), (&[][..], false));
}

/// A model of odd sizes, in bf16 and two shards, with all that a LLaMA 3 has: two parties against
/// the clear model.
#[test]
fn a_folder_of_odd_sizes_runs_on_two_parties() {
    let fields = Fields {
        vocab_size: 301,
        hidden_size: 36,
        intermediate_size: 50,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 6,
        max_position_embeddings: 64,
        norm_eps: 1e-6,
        rope_theta: 500_000.0,
        rope_scaling: Some(
            Llama3Scaling {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 32,
            }
            .into(),
        ),
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..Fields::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let config = Config::try_from(fields).unwrap();
    RandomFolder::new(&config, 7).precision(random::Precision::Bf16).shards(2).write(dir.path()).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let tokens = [1, 17, 300, 5, 5, 64, 128];
    let reference = Reference::load(&folder).unwrap().logits(&tokens);
    let secure = evaluated(&folder, &model, Precision::Default, &tokens);
    let worst = secure.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.05, "largest difference of a logit: {worst}");
}
