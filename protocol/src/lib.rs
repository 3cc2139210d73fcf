//! Secure operations on shares: one protocol a file, both roles in it, the figure first.
//!
//! | file | functionality | source | turns | error |
//! |------|---------------|--------|-------|-------|
//! | `cross` | `choice * x` both ways | Cheetah, this project | 1 | exact |
//! | [`mux`], [`pick`] | bit times number, one of several numbers | CrypTFlow2 | 1 | exact |
//! | [`and`] | bit times bit vector | GMW | 1 | exact |
//! | [`lookup`] | public table at a shared index | FLUTE | 1 | exact |
//! | [`joint_table`], [`mod@indicators`] | public function of two private numbers | CrypTFlow2, this project | 2, 1 | exact |
//! | [`b2a`] | XOR to additive | ABY | 1 | exact |
//! | [`extend`] | to a larger ring | SIRNN | 1 | exact within the bound |
//! | [`truncate`] | drop low bits | Cheetah | 0, 1, or a comparison's and 1 | one unit, or none |
//! | [`compare`] | less than, carry, sign | CrypTFlow2, this project | `2 + log2(l/2)`, or fewer | exact |
//! | [`mul`], [`square`] | products, squares | Beaver, Gilboa, SPU | 1 | exact, or a unit |
//! | [`mul_small`] | few bits times many | SIRNN, Gilboa | 1 | exact within the bound |
//! | [`rows`] | a row times a number | Beaver, BumbleBee | 1 | stated by the shape |
//! | [`linear`] | private matrix times rows | Delphi, Cheetah, BumbleBee | 1 | `2^-18` deviation, or none |
//! | [`matmul`] | shared matrix times shared matrix | Beaver, BumbleBee | 1 | `2^7` units |
//! | [`ahead`] | what these three need, made together | this project | 2, offline | |
//! | [`kv_cache`] | products with rows that stay | Beaver, BumbleBee | 1 each | `2^7`, `2^11` units |
//! | [`segments`] | piecewise-linear table | FLUTE, this project | 2 | the table's |
//! | [`activation`] | SiLU, GELU, softplus, sigmoid, tanh | this project | 5, 4 or 3 | 1.1e-3, SiLU 2.9e-3 |
//! | [`exp2`] | `2^z` | OPAF, this project | 7 or 3 | 2.5e-4 |
//! | [`leading_one`] | leading one, to a position | Schmookler-Nowka, this project | 2 to 4 | one position |
//! | [`reciprocal`] | `1/x`, `1/sqrt(x)` | SIRNN, this project | 7 to 10, or 3 | `2^-14` relative, two units |
//! | [`maximum`] | row maxima and their positions | Cheetah, this project | per level | exact |
//! | [`mod@attend`] | attention from scores to values | this project | softmax's, and two or none | the parts' |
//! | [`softmax`], [`rms_norm`], [`layer_norm`], [`rope`] | layer functions | this project | the parts' | stated there |
//! | [`ranges`] | whether numbers stayed in range | this project | at the end | stated there |
//! | [`mod@decompose`] | base-4 digits | Sklansky | `2 + log2(l/2)` | exact |
//! | [`reveal`] | a value to the client | CrypTFlow2 | a truncation's | `2^-8`, rounded down |
//! | [`top_k`] | the largest values to the client | this project | 55 or so | `2^-8`, rounded down |
//!
//! Two numbers of turns are those of the two schedules ([`Schedule`]): fewest bits, fewest turns. Errors are those of [`Precision::Default`]; of what is computed by
//! [`Precision::High`], in as many turns, they are a third or a quarter, but for activations at the edges of their windows; the files state them.
//!
//! Where it is more than an operator, a file has its functionality in plain arithmetic, `ideal`. What is made before the input exists, and how
//! it meets the input, is in `pool` and each file's table.

pub mod activation;
pub mod ahead;
pub mod and;
pub mod attend;
pub mod b2a;
mod beside;
pub mod compare;
pub mod cost;
mod cross;
pub mod decompose;
mod digit;
mod errand;
mod error;
pub mod exp2;
pub mod extend;
pub mod fit;
pub mod indicators;
pub mod joint_table;
pub mod kv_cache;
pub mod lattice;
pub mod layer_norm;
pub mod leading_one;
pub mod linear;
pub mod lookup;
pub mod matmul;
pub mod maximum;
pub mod mul;
pub mod mul_small;
pub mod mux;
mod open;
pub mod pick;
mod pool;
mod precision;
pub mod ranges;
pub mod reciprocal;
pub mod reveal;
pub mod rms_norm;
pub mod rope;
pub mod rows;
pub mod segments;
mod session;
pub mod softmax;
pub mod square;
pub mod tables;
#[cfg(test)]
pub(crate) mod testing;
pub mod top_k;
pub mod truncate;

pub use error::Error;
pub use precision::{ParsePrecisionError, Precision};
pub use session::{Client, Schedule, Server, Session, VERSION};
