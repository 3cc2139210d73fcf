//! Every kind of layer on two parties against the outputs of another implementation. Architectures
//! that differ in loading only are compared in f32 (`models/tests/golden.rs`).

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/golden.rs"]
mod golden;

use sotto_models::{
    Model, Texts,
    service::{self, Policy, Ranges},
};
use sotto_protocol::{Client, Server};
use sotto_shares::Rng;

/// Logits of all positions, by two parties.
fn evaluated(golden: &golden::Golden) -> (Vec<f32>, Ranges) {
    let texts = Texts::Tokens(vec![golden.tokens.clone()]);
    let model = Model::load(&golden.folder, &texts).unwrap();
    let tokenizer = golden.folder.tokenizer();
    let (logits, served) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            let offered = service::receive_offer(&mut me.session.ch, None).await.unwrap();
            service::evaluate(&mut me, &offered, &golden.tokens).await.unwrap()
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            service::offer(&mut me.session.ch, &model, tokenizer, Policy::default()).await.unwrap();
            service::serve(&mut me, &model, Policy::default()).await
        },
    );
    served.unwrap();
    logits
}

#[test]
fn every_kind_of_layer_runs_on_two_parties() {
    for name in golden::LAYERS {
        let golden = golden::open(name).unwrap();
        let (logits, ranges) = evaluated(&golden);
        assert_eq!(ranges, Ranges::Kept, "{name}");
        let off = logits.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.05, "{name}: the largest difference of a logit is {off}");
    }
}
