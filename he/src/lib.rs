//! `[X W] <- X, W`: the client's encrypted matrix times the server's plain one, as additive shares
//! modulo 2^l.
//!
//! | client: `X` `[T, K]`, secret key |  | server: `W` `[K, M]`, evaluation keys |
//! | --- | --- | --- |
//! | once: [`keygen`] | `-- keys ->` | [`EvaluationKeys::decode`] |
//! | [`encrypt_random`], making X, | `-- ciphertexts ->` | [`EncryptedMatrix::decode_random`] |
//! | or [`encrypt`] | `-- ciphertexts ->` | [`EncryptedMatrix::decode`] |
//! |  | `<- parts of ciphertexts --` | [`multiply`], returns its shares |
//! | [`decrypt()`], returns its shares |  |  |
//!
//! The crate does no I/O: every message is a byte vector whose length both parties compute
//! beforehand from public values ([`EvaluationKeys::encoded_len`], [`Layout::upload_len`],
//! [`reply_len`]). A [`Layout`] is chosen from the shape, the ring and the tolerance alone, so both
//! parties find the same one.
//!
//! # Scheme
//!
//! RLWE over Z\[X\]/(X^N + 1), N = 8192, with Q a product of two or three primes just below 2^44
//! and one special prime P just below 2^44 for key switching (module `params`). A ciphertext
//! `(b, a)` of x in Z_{2^l} has `b + a s = round(Q x / 2^l) + e`, coefficient by coefficient: no
//! plaintext modulus but the ring itself, no slots, and sums wrap modulo 2^l as shares must. Secret
//! ternary, errors centred binomial with eta = 21 (deviation 3.24).
//!
//! * Layout: inner products by polynomial products (Cheetah), outputs of many products interleaved
//!   into dense ciphertexts by log2 N Galois keys (BumbleBee), some levels moved to the input
//!   (Rhombus): module `layout`.
//! * Key switching: hybrid, digits are the data primes: module `keyswitch`.
//! * Noise: formulas in module `noise`; a test holds them against measurement. [`Layout::search`]
//!   offers no layout whose estimate breaks the tolerance that the caller asks for.
//!
//! * Products of vectors element by element are another matter: slots of two plaintext primes, all
//!   four primes as Q, no key switch: module `elementwise`.
//! * What the server multiplies in the clear, rows of the ring by its integers, is [`product`].
//!
//! # Two savings
//!
//! * A *random* X is not sent: half of it comes from a public seed, and the other half is what the
//!   ciphertext happens to be there. 44 bits a value remain of 88 in the linear layers' ring;
//!   [`encrypt`] is the plain way. Module `upload` has the argument.
//! * Of the reply, only the second part is sent, in `l + 5 - tolerance` bits a coefficient: the
//!   first is the server's share. Module `reply` has the argument.
//!
//! # What the server sees
//!
//! The public key, Galois keys and ciphertexts under a key it does not have, and its own share: it
//! learns nothing about X if RLWE with these parameters is hard and the Galois keys, which encrypt
//! functions of s under s, do no harm (circular security). X may be anything, not only random
//! masks.
//!
//! # What the client sees
//!
//! Per reply ciphertext `a' = round(2^kr / Q (a + p1 u + e1))`, with u ternary and e1 fresh for
//! *every* ciphertext and added after the last key switch. `(p1, p1 u + e1)` is an RLWE sample of
//! the server's secret u, with p1 uniform because its seed is not the client's to choose; so `a'`
//! is pseudo-random whatever W is and whoever chose a. Without it, `a' = sum w_i a_i` with all a_i
//! known to the client would be linear equations in the weights.
//!
//! The client's view is therefore simulated by uniform values. What remains is the *result*: the
//! shares add up to X W + delta, where delta depends on the noise and so, for a small part, on W.
//! [`EXACT`] makes delta = 0 but for probability 2^-40 per output. With a larger tolerance the
//! functionality is "X W + delta": do not open such sums to the client unless they have lost most
//! of their low bits, and never to the server, who knows a linear function of s in delta.
//!
//! Both parties are semi-honest. Messages are checked for length and range, so a malicious one
//! cannot crash or overrun the receiver; malformed Galois keys or ciphertexts are not detected.
//!
//! # Constant time
//!
//! Sampling of s, e and u, encoding, encryption, reply and decryption have no branch, index or
//! division that depends on a secret; reductions are by multiplication. Public uniform polynomials
//! are sampled by rejection. Transforms have no branches on values either; where they compute in
//! double precision (module `kernel`), all values are integers, so no operation meets a subnormal
//! number. Secrets are wiped when dropped, and so is the memory in which W was worked on; the
//! caller's slices are the caller's.
//!
//! # The library underneath
//!
//! Transforms are this crate's own on x86-64 with AVX2 or AVX-512, and `tfhe-ntt`'s elsewhere and
//! in small rings; both have the same slots, and both prove themselves at start-up (module `ntt`).
//! From `tfhe` come the parameter types and the security curve of the parameter lock; its GLWE
//! encryption multiplies without transforms and has neither residue systems nor automorphisms, so
//! it is not in the path. Both are BSD-3-Clause-Clear: no patent licence.
//!
//! # Sources
//!
//! Cheetah (USENIX Security 2022): coefficient packing. BumbleBee (ePrint 2023/1678): interleaving.
//! Rhombus (CCS 2024): split point. Conversion between LWE and ring-LWE ciphertexts (ePrint
//! 2020/015): automorphisms for packing. Parameters: homomorphic encryption standard (2018) and the
//! guidelines of 2024 (ePrint 2024/463).

mod automorphism;
mod bits;
mod context;
mod decrypt;
mod elementwise;
mod error;
mod evaluation;
mod images;
mod interleave;
mod kernel;
#[cfg(test)]
mod kernels;
mod keys;
mod keyswitch;
mod layout;
mod modulus;
mod noise;
mod ntt;
mod params;
mod plain;
mod pool;
mod prg;
mod product;
mod reply;
mod rlwe;
mod rows;
mod sample;
mod schedule;
mod search;
#[cfg(test)]
mod testing;
mod upload;
mod weights;

pub use context::Context;
pub use decrypt::decrypt;
pub use elementwise::{
    MAX_BITS, decrypt_products, encrypt_factors, factors_len, multiply_factors, products_len,
};
pub use error::Error;
pub use evaluation::EvaluationKeys;
pub use keys::{SecretKey, keygen};
pub use layout::{EXACT, Layout, MatmulShape, Operand};
pub use params::PARAMETERS;
pub use plain::product;
pub use product::{Job, multiply};
pub use reply::reply_len;
pub use upload::{EncryptedMatrix, encrypt, encrypt_random};
pub use weights::{Plain, Weights};
