//! Models with numbers of unusual size: refused by the audit, told to the client at the end, or
//! right. Never wrong without a sign.

#![allow(clippy::unwrap_used)]

use sotto_models::{
    Config, Fields, Folder, Model, Reference, Texts,
    evaluator::{Scales, two_party::Caches},
    random::RandomFolder,
    service::{self, History, Policy, Ranges, Revealed, TokenizerSource},
};
use sotto_protocol::{Client, Precision, Server};
use sotto_shares::Rng;
use tempfile::TempDir;

const TOKENS: [u32; 8] = [1, 17, 140, 5, 5, 64, 128, 77];

/// What became of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// The audit found something; nothing was run.
    Refused,
    /// The client was told that a number left its range.
    Told,
    /// All in range; the largest difference of a logit from f32.
    Evaluated(f32),
}

/// A small LLaMA, edited, by default scales, on two parties: the same by either precision.
fn fate(edit: impl FnOnce(RandomFolder) -> RandomFolder) -> Fate {
    fate_by(&Precision::ALL, by_default, edit)
}

/// How scales are chosen: without a look at texts.
fn by_default(folder: &Folder) -> Model {
    Model::by_scales(folder, Scales::default()).unwrap()
}

/// As a server chooses them.
fn calibrated(folder: &Folder) -> Model {
    Model::load(folder, &Texts::Tokens(vec![TOKENS.to_vec()])).unwrap()
}

/// A small LLaMA.
fn small_fields() -> Fields {
    Fields {
        vocab_size: 150,
        hidden_size: 48,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 12,
        max_position_embeddings: 32,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..Fields::default()
    }
}

/// A small LLaMA, edited.
fn small(edit: impl FnOnce(RandomFolder) -> RandomFolder) -> (TempDir, Folder) {
    written(small_fields(), edit)
}

fn written(fields: Fields, edit: impl FnOnce(RandomFolder) -> RandomFolder) -> (TempDir, Folder) {
    let config = Config::try_from(fields).unwrap();
    let dir = tempfile::tempdir().unwrap();
    edit(RandomFolder::new(&config, 3)).write(dir.path()).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    (dir, folder)
}

/// The same as [`fate`] by some precisions, with scales that are chosen so.
fn fate_by(
    precisions: &[Precision],
    load: fn(&Folder) -> Model,
    edit: impl FnOnce(RandomFolder) -> RandomFolder,
) -> Fate {
    let (_dir, folder) = small(edit);
    let model = load(&folder);
    let findings = model.findings();
    if let Some(first) = findings.first() {
        eprintln!("{first}");
        return Fate::Refused;
    }
    let fates = precisions.iter().map(|&precision| evaluated(&folder, &model, precision));
    let worse = |one, other| match (one, other) {
        (Fate::Evaluated(a), Fate::Evaluated(b)) => Fate::Evaluated(a.max(b)),
        _ => {
            assert_eq!(one, other, "limits do not depend on the precision");
            one
        }
    };
    fates.reduce(worse).unwrap()
}

/// What becomes of a model that the audit has cleared.
fn evaluated(folder: &Folder, model: &Model, precision: Precision) -> Fate {
    let ((logits, ranges), served) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            me.session.set_precision(precision);
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            service::evaluate(&mut me, &offered, &TOKENS).await.unwrap()
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            let policy = Policy::default();
            service::offer(&mut me.session.ch, model, folder.tokenizer(), policy).await.unwrap();
            service::serve(&mut me, model, policy, &mut Caches::default()).await
        },
    );
    served.unwrap();
    if ranges == Ranges::Left {
        return Fate::Told;
    }
    let reference = Reference::load(folder).unwrap().logits(&TOKENS);
    let off = |(a, b): (&f32, &f32)| (a - b).abs();
    Fate::Evaluated(logits.iter().zip(&reference).map(off).fold(0.0, f32::max))
}

type Edit = fn(&mut [f32]);

/// The direction in which neuron 3 of the first MLP looks.
fn direction(i: usize) -> f32 {
    if i % 5 < 3 { 1.0 } else { -1.0 }
}

/// Token 17 looks in that direction, so that with gains and weights of `strength` the neuron fires
/// with about `(48 strength)^2`; of that `weight` times as much goes to coordinate 5.
fn firing(strength: Edit, weight: Edit) -> Fate {
    firing_by(by_default, strength, weight)
}

fn firing_by(load: fn(&Folder) -> Model, strength: Edit, weight: Edit) -> Fate {
    fate_by(&Precision::ALL, load, |f| fired(f, strength, weight))
}

fn fired(f: RandomFolder, strength: Edit, weight: Edit) -> RandomFolder {
    let token: Edit = |w| (0..48).for_each(|i| w[17 * 48 + i] = direction(i));
    let f = f.edit("model.embed_tokens.weight", token);
    let f = f.edit("model.layers.0.mlp.gate_proj.weight", strength);
    let f = f.edit("model.layers.0.mlp.up_proj.weight", strength);
    f.edit("model.layers.0.mlp.down_proj.weight", weight)
}

macro_rules! neuron {
    ($strength:expr) => {
        |w: &mut [f32]| (0..48).for_each(|i| w[3 * 48 + i] = $strength * direction(i))
    };
}

macro_rules! weight {
    ($weight:expr) => {
        |w: &mut [f32]| w[5 * 40 + 3] = $weight
    };
}

macro_rules! times {
    ($factor:expr) => {
        |w: &mut [f32]| w.iter_mut().for_each(|w| *w *= $factor)
    };
}

fn right(fate: Fate) -> bool {
    matches!(fate, Fate::Evaluated(error) if error < 0.05)
}

#[test]
fn spikes_of_two_thousand_are_right() {
    assert!(right(firing(neuron!(0.62), weight!(2.4))));
    assert!(right(firing(neuron!(0.62), weight!(-2.8))));
}

#[test]
fn larger_spikes_are_told() {
    let weights: [Edit; 3] = [weight!(5.0), weight!(-7.0), weight!(12.0)];
    for weight in weights {
        assert_eq!(firing(neuron!(1.0), weight), Fate::Told);
    }
    // A neuron out of bounds whose output stays small, and one whose output wraps.
    assert_eq!(firing(neuron!(2.4), weight!(0.05)), Fate::Told);
    assert_eq!(firing(neuron!(8.0), weight!(1.0)), Fate::Told);
}

/// A verdict is of what a request reads anew. What a text has left in the caches stays there.
#[test]
fn a_text_that_is_continued_keeps_its_verdict() {
    let (_dir, folder) = small(|f| fired(f, neuron!(1.0), weight!(5.0)));
    let model = by_default(&folder);
    let (verdicts, served) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let (mut history, mut verdicts) = (History::default(), vec![]);
            let texts: [&[u32]; 3] = [&[1, 17], &[1, 17, 5, 64], &[1, 5, 64]];
            for (i, text) in texts.into_iter().enumerate() {
                if i > 0 {
                    service::wake(&mut me).await.unwrap();
                }
                let covered = history.covered(text);
                let mut choose = |_: &Revealed| (5, true);
                let ranges = service::generate(&mut me, &offered, &mut history, text, 1, &mut choose).await;
                verdicts.push((covered, ranges.unwrap()));
            }
            service::tell_no_more(&mut me).unwrap();
            verdicts
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            let policy = Policy::default();
            service::offer(&mut me.session.ch, &model, folder.tokenizer(), policy).await.unwrap();
            let mut history = Caches::default();
            loop {
                service::serve(&mut me, &model, policy, &mut history).await?;
                if !service::hear_more(&mut me).await? {
                    return Ok::<_, service::Error>(());
                }
            }
        },
    );
    served.unwrap();
    assert_eq!(verdicts, [(0, Ranges::Left), (2, Ranges::Left), (0, Ranges::Kept)]);
}

/// Trained models have such numbers at the first position, in every text.
#[test]
fn spikes_of_thirty_thousand_are_right_once_calibrated() {
    assert!(right(firing_by(calibrated, neuron!(1.0), weight!(13.0))));
    assert!(right(firing_by(calibrated, neuron!(1.0), weight!(-13.0))));
}

#[test]
fn what_may_wrap_to_where_it_looks_small_is_refused() {
    // As far as the check can be widened, it is; beyond, the model is refused.
    assert_eq!(firing(neuron!(1.5), weight!(20.0)), Fate::Told);
    // Gates and what they multiply are checked where they are not bounded.
    assert_eq!(firing(neuron!(12.0), weight!(0.1)), Fate::Told);
    assert_eq!(firing(neuron!(400.0), weight!(0.001)), Fate::Refused);
    let scaled = |param: &'static str, edit: Edit| fate(|f| f.edit(param, edit));
    assert_eq!(scaled("model.layers.1.mlp.gate_proj.weight", times!(200.0)), Fate::Told);
    assert_eq!(scaled("model.layers.1.mlp.gate_proj.weight", times!(20000.0)), Fate::Refused);
    assert_eq!(scaled("lm_head.weight", times!(50.0)), Fate::Refused);
    let attention = fate(|f| {
        f.edit("model.layers.0.self_attn.v_proj.weight", times!(120.0))
            .edit("model.layers.0.self_attn.o_proj.weight", times!(120.0))
    });
    assert_eq!(attention, Fate::Told);
}

#[test]
fn scores_are_right_or_told_or_refused() {
    let scaled = |edit: Edit| {
        fate(|f| {
            f.edit("model.layers.1.self_attn.q_proj.weight", edit)
                .edit("model.layers.1.self_attn.k_proj.weight", edit)
        })
    };
    // Scores up to about 20, 250, 1400 in base-2 units, and what the audit cannot tell from 0.
    assert!(right(scaled(times!(4.0))));
    assert!(right(scaled(times!(14.0))));
    assert_eq!(scaled(times!(33.0)), Fate::Told);
    // Beyond what there is room for without a fraction bit of queries and keys, and with it.
    assert_eq!(scaled(times!(60.0)), Fate::Told);
    assert_eq!(scaled(times!(200.0)), Fate::Refused);
}

/// Large queries and large keys that never meet: bounds need the room, scores do not.
#[test]
fn scores_with_more_room_are_right() {
    // One number of each head, of another pair in keys than in queries.
    let queries: Edit = |w| (0..4).for_each(|h| w[h * 12 * 48..][..48].iter_mut().for_each(|w| *w *= 70.0));
    let keys: Edit =
        |w| (0..2).for_each(|h| w[(h * 12 + 1) * 48..][..48].iter_mut().for_each(|w| *w *= 70.0));
    let load: fn(&Folder) -> Model = |folder| {
        let model = by_default(folder);
        assert_eq!(model.scales().layer(1).scores, 1);
        model
    };
    let fate = fate_by(&Precision::ALL, load, |f| {
        f.edit("model.layers.1.self_attn.q_proj.weight", queries)
            .edit("model.layers.1.self_attn.k_proj.weight", keys)
    });
    eprintln!("{fate:?}");
    assert!(right(fate));
}

/// What keys have in common, such as a bias of which most is hardly rotated, moves all scores of a
/// row alike. The softmax does not feel it, and so the check does not either.
#[test]
fn scores_that_are_large_together_are_right_once_calibrated() {
    // The slowest pair of the first head, in queries and in keys: scores of 1700, 10 700, 33 000.
    let biased = |load: fn(&Folder) -> Model, edit: Edit| {
        let fields = Fields { qkv_bias: true, output_bias: true, ..small_fields() };
        let (_dir, folder) = written(fields, |f| {
            f.edit("model.layers.1.self_attn.q_proj.bias", edit)
                .edit("model.layers.1.self_attn.k_proj.bias", edit)
        });
        let model = load(&folder);
        assert_eq!(model.findings(), &[]);
        let scale = model.scales().layer(1);
        let fates = Precision::ALL.map(|precision| evaluated(&folder, &model, precision));
        (scale.relative, scale.scores, fates)
    };
    let edits: [Edit; 3] = [|w| w[5] = 64.0, |w| w[5] = 160.0, |w| w[5] = 280.0];
    for (room, edit) in (0..).zip(edits) {
        let (relative, bits, fates) = biased(calibrated, edit);
        eprintln!("{fates:?}");
        assert_eq!((relative, bits), (true, room));
        assert!(fates.into_iter().all(right));
    }
    // Without a look at texts they are told, as ever.
    let (relative, _, fates) = biased(by_default, edits[0]);
    assert_eq!((relative, fates), (false, [Fate::Told; 2]));
}

/// Means of values have less room than values: a short context leaves nothing else to catch them.
#[test]
fn values_beyond_their_means_room_are_refused() {
    let column: Edit = |w| (0..48).for_each(|i| w[i] = 104.0 * direction(i));
    assert_eq!(fate(|f| f.edit("model.layers.0.self_attn.v_proj.weight", column)), Fate::Refused);
    let column: Edit = |w| (0..48).for_each(|i| w[i] = 30.0 * direction(i));
    let token: Edit =
        |w| TOKENS.iter().for_each(|&t| (0..48).for_each(|i| w[t as usize * 48 + i] = direction(i)));
    assert!(right(fate(|f| f
        .edit("model.layers.0.self_attn.v_proj.weight", column)
        .edit("model.embed_tokens.weight", token))));
}

/// Whatever grows, and however far: refused, told, or right.
#[test]
fn nothing_is_wrong_without_a_sign() {
    let factors: [Edit; 3] = [times!(0.01), times!(10.0), times!(100.0)];
    let params = [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
    ];
    for param in params {
        for (edit, factor) in factors.into_iter().zip(["1/100", "10", "100"]) {
            let fate = fate_by(&[Precision::Default], by_default, |f| f.edit(param, edit));
            let wrong = matches!(fate, Fate::Evaluated(error) if error >= 0.05);
            assert!(!wrong, "{param} times {factor}: {fate:?}");
        }
    }
}
