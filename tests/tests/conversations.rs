//! Several requests in a session, and prompts that are read part by part.

#![allow(clippy::unwrap_used)]

use sotto_models::{
    Config, Fields, Folder, Model, Reference, Texts,
    evaluator::two_party::Caches,
    random::write_random_folder,
    sampling::greedy,
    service::{self, History, Policy, Ranges, RemoteModel, Revealed, Served, TokenizerSource},
};
use sotto_protocol::{Client, Precision, Server};
use sotto_shares::Rng;

/// A client, and a server that serves requests as long as there are more: what the client returns,
/// and what the server saw, or why it ended.
fn session<T: Send>(
    folder: &Folder,
    model: &Model,
    client: impl AsyncFnOnce(Client, RemoteModel) -> T + Send,
) -> (T, Result<Vec<Served>, service::Error>) {
    sotto_net::run_pair(
        |ch| async move {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            me.session.assume_low_latency();
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            client(me, offered).await
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            me.session.assume_low_latency();
            let policy = Policy::default();
            service::offer(&mut me.session.ch, model, folder.tokenizer(), policy).await.unwrap();
            let (mut history, mut seen) = (Caches::default(), vec![]);
            loop {
                seen.push(service::serve(&mut me, model, policy, &mut history).await?);
                if !service::hear_more(&mut me).await? {
                    return Ok(seen);
                }
            }
        },
    )
}

/// Greedy tokens.
async fn answer(
    me: &mut Client,
    offered: &RemoteModel,
    history: &mut History,
    prompt: &[u32],
    new: usize,
) -> Vec<u32> {
    let mut out = vec![];
    let mut choose = |revealed: &Revealed| {
        out.push(revealed.token(greedy));
        (revealed.token(greedy), true)
    };
    let ranges = service::generate(me, offered, history, prompt, new, &mut choose).await.unwrap();
    assert_eq!(ranges, Ranges::Kept);
    out
}

#[test]
fn a_conversation_goes_on_without_reading_what_was_read() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let encode = |text: &str| folder.tokenizer().encode(text, 100).unwrap();
    let mut reference = Reference::load(&folder).unwrap();
    let prompt = encode("Once upon a time there was a little fox");
    // What the reference makes of a prompt, and of that with a sentence behind.
    let first = reference.generate(&prompt, 5);
    let first = &first[first.len() - 5..];
    let longer: Vec<u32> = [&prompt[..], first, &encode(" The child was happy.")[1..]].concat();
    let second = reference.generate(&longer, 5);
    let second = &second[second.len() - 5..];
    let (bytes, seen) = session(&folder, &model, async |mut me, offered| {
        let mut history = History::default();
        assert_eq!(answer(&mut me, &offered, &mut history, &prompt, 5).await, first);
        // The last token is not read yet.
        assert_eq!(history.covered(&longer), prompt.len() + 4);
        let total = |me: &Client| me.session.ch.meter.total().bytes();
        let before = total(&me);
        service::wake(&mut me).await.unwrap();
        assert_eq!(answer(&mut me, &offered, &mut history, &longer, 5).await, second);
        let went_on = total(&me) - before;
        // Another text is read from its start.
        assert_eq!(history.covered(&prompt), 0);
        service::wake(&mut me).await.unwrap();
        assert_eq!(answer(&mut me, &offered, &mut history, &prompt, 5).await, first);
        service::wake(&mut me).await.unwrap();
        let before = total(&me);
        let mut fresh = History::default();
        assert_eq!(answer(&mut me, &offered, &mut fresh, &longer, 5).await, second);
        service::tell_no_more(&mut me).unwrap();
        (went_on, total(&me) - before)
    });
    let past: Vec<(u32, u32)> =
        seen.unwrap().iter().map(|served| (served.request.past, served.request.prompt)).collect();
    let (read, all) = (prompt.len() as u32 + 4, longer.len() as u32);
    assert_eq!(past, [(0, prompt.len() as u32), (read, all - read), (0, prompt.len() as u32), (0, all)]);
    assert!(bytes.0 < bytes.1, "{bytes:?}");
}

#[test]
fn a_client_cannot_continue_what_the_session_has_not_read() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = folder.tokenizer().encode("a fox", 100).unwrap();
    for other_precision in [false, true] {
        let (refused, seen) = session(&folder, &model, async |mut me, offered| {
            let mut history = History::default();
            answer(&mut me, &offered, &mut history, &prompt, 2).await;
            service::wake(&mut me).await.unwrap();
            // A request as the library does not make it.
            let past = if other_precision { prompt.len() as u32 + 1 } else { 1 };
            let precision = if other_precision { Precision::High } else { me.session.precision() };
            let request = service::Request { prompt: 2, past, new: 1, all_positions: false, precision };
            me.session.ch.send_control("model/request", &request).unwrap();
            me.session.ch.recv("model/verdict", 1).await.unwrap() == [0]
        });
        assert!(refused && matches!(seen, Err(service::Error::Past)));
    }
}

/// What a part leaves in the caches is what the next one sees.
#[test]
fn a_long_prompt_is_read_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let fields = Fields {
        vocab_size: 60,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        max_position_embeddings: 320,
        ..Fields::default()
    };
    write_random_folder(dir.path(), &Config::try_from(fields).unwrap(), 5).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let tokens: Vec<u32> = (0..280).map(|i| i * 7 % 60).collect();
    let ((logits, made), seen) = session(&folder, &model, async |mut me, offered| {
        let (logits, ranges) = service::evaluate(&mut me, &offered, &tokens).await.unwrap();
        assert_eq!(ranges, Ranges::Kept);
        service::wake(&mut me).await.unwrap();
        (logits, answer(&mut me, &offered, &mut History::default(), &tokens, 1).await)
    });
    assert_eq!(seen.unwrap().len(), 2);
    let want = model.clear_logits(&tokens, Precision::Default);
    let off = logits.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(logits.len() == want.len() && off < 0.02, "the largest difference is {off}");
    assert_eq!(made[0], greedy(&logits[279 * 60..]));
}
