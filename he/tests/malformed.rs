//! Bytes from the peer that are not what they should be end in a named error, never in a panic.

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sotto_he::{
    Context, EXACT, EncryptedMatrix, Error, EvaluationKeys, Layout, MatmulShape, Operand, decrypt, encrypt,
    encrypt_random, keygen, reply_len,
};

const SEED: [u8; 32] = [0; 32];

fn layout(context: &Context) -> Layout {
    let shape = MatmulShape { tokens: 2, inner: 8192, outer: 3 };
    Layout::search(context, shape, Operand::Weights, 40, EXACT, 1).expect("a shape that can be served")
}

#[test]
fn lengths_and_residues_are_checked() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let context = Context::new().unwrap();
    let (key, message) = keygen(&context, &SEED, &mut rng);
    let layout = layout(&context);
    let upload = encrypt(&context, &key, &layout, &vec![1; 2 * 8192], &mut rng);

    for wrong in [&upload[1..], &[], &[&upload[..], &[0]].concat()] {
        assert!(matches!(EncryptedMatrix::decode(&context, &layout, wrong), Err(Error::Length { .. })));
        assert!(matches!(EvaluationKeys::decode(&context, &SEED, wrong), Err(Error::Length { .. })));
        assert!(matches!(decrypt(&context, &key, &[layout], wrong), Err(Error::Length { .. })));
    }
    let (random, _) = encrypt_random(&context, &key, &layout, &mut rng);
    for wrong in [&random[1..], &[], &[&random[..], &[0]].concat()] {
        assert!(matches!(
            EncryptedMatrix::decode_random(&context, &layout, wrong),
            Err(Error::Length { .. })
        ));
    }
    // Any v will do: it is reduced.
    let any = vec![0xff; random.len()];
    let zeros = EncryptedMatrix::decode_random(&context, &layout, &any);
    assert!(matches!(zeros, Ok(_) | Err(Error::Residue { .. })));
    // The last bits of each message set: a residue above its prime.
    let mut wrong = upload.clone();
    let end = wrong.len();
    wrong[end - 8..].fill(0xff);
    assert!(matches!(
        EncryptedMatrix::decode(&context, &layout, &wrong),
        Err(Error::Residue { index: 8191, .. })
    ));
    let mut wrong = message.clone();
    let end = wrong.len();
    wrong[end - 8..].fill(0xff);
    assert!(matches!(EvaluationKeys::decode(&context, &SEED, &wrong), Err(Error::Residue { .. })));
    let mut wrong = message;
    wrong[..8].fill(0xff);
    assert!(matches!(EvaluationKeys::decode(&context, &SEED, &wrong), Err(Error::Residue { index: 0, .. })));
}

#[test]
fn any_reply_of_the_right_length_decrypts_to_something() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let context = Context::new().unwrap();
    let (key, _) = keygen(&context, &SEED, &mut rng);
    let layout = layout(&context);
    for byte in [0, 0x80, 0xff] {
        let reply = vec![byte; reply_len(&context, &[layout])];
        let share = decrypt(&context, &key, &[layout], &reply).unwrap();
        assert!(share[0].len() == 6 && share[0].iter().all(|&x| x < 1 << 40));
    }
}

#[test]
fn requests_that_cannot_be_served_are_named() {
    let context = Context::new().unwrap();
    let search = |tokens, inner, outer, bits| {
        Layout::search(&context, MatmulShape { tokens, inner, outer }, Operand::Weights, bits, EXACT, 1)
    };
    assert!(matches!(search(0, 1, 1, 40), Err(Error::Shape { .. })));
    assert!(matches!(search(1, 1, usize::MAX, 40), Err(Error::Shape { .. })));
    assert!(matches!(search(1, 1, 1, 65), Err(Error::Ring { bits: 65, max: 64 })));
    assert!(matches!(search(1, 1, 1, 1), Err(Error::Ring { .. })));
    let tolerated = |tolerance| {
        let shape = MatmulShape { tokens: 1, inner: 1, outer: 1 };
        Layout::search(&context, shape, Operand::Weights, 40, tolerance, 1)
    };
    assert!(matches!(tolerated(-41), Err(Error::Tolerance { tolerance: -41, bits: 40 })));
    assert!(matches!(tolerated(40), Err(Error::Tolerance { .. })));
}

/// Secrets can be neither printed nor copied, and are wiped.
#[test]
fn secrets_have_no_debug_and_no_clone() {
    trait Ambiguous<A> {
        fn check() {}
    }
    struct Forbidden;
    impl<T: ?Sized> Ambiguous<()> for T {}
    impl<T: ?Sized + std::fmt::Debug> Ambiguous<Forbidden> for T {}
    impl<T: Clone> Ambiguous<[Forbidden; 2]> for T {}
    <sotto_he::SecretKey as Ambiguous<_>>::check();
    assert!(std::mem::needs_drop::<sotto_he::SecretKey>());
}
