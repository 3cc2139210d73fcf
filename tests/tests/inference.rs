//! The built-in model, both parties in one process.

use sotto_models::{Cache, Clear, Evaluator, Folder, Llama, Tokens, Wanted, conversation, sampling};
use sotto_protocol::{Client, Server};
use sotto_shares::Rng;

#[test]
fn greedy() {
    let folder = Folder::builtin().unwrap();
    let model = Llama::load(&folder).unwrap();
    let prompt = folder.tokenizer().encode("Once upon a time there was a little fox", 100).unwrap();
    let want = sotto_models::FloatModel::load(&folder).unwrap().generate(&prompt, 10);
    let (got, _) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            let (outline, _tok) = conversation::receive_offer(&mut me.session.ch, None).await.unwrap();
            let mut out = vec![];
            let mut t = std::time::Instant::now();
            conversation::generate(&mut me, &outline, &prompt, 10, |l| {
                let id = sampling::greedy(l);
                out.push(id);
                eprintln!("token {id} {:?}", t.elapsed());
                t = std::time::Instant::now();
                (id, true)
            })
            .await
            .unwrap();
            for (k, c) in me.session.ch.meter.spans() {
                eprintln!("{:8} {:10} {:?} {:7.3}s {:9} B {:5} turns", k.phase, k.op, k.half, c.seconds, c.bytes(), c.turns);
            }
            out
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            conversation::offer(&mut me.session.ch, &model, folder.tokenizer()).await.unwrap();
            conversation::serve(&mut me, &model).await.unwrap();
        },
    );
    assert_eq!(got, want[want.len() - got.len()..]);
}
