//! Secure operations on shares: one protocol a file, both roles in it, the figure first.
//!
//! | `bits/` | functionality | source | turns | error |
//! |---|---|---|---|---|
//! | `cross` | `choice * x` both ways | Cheetah, this project | 1 | exact |
//! | [`and`] | bit times bit vector | GMW | 1 | exact |
//! | [`lookup`] | public table at a shared index | FLUTE | 1 | exact |
//! | [`joint_table`], [`mod@indicators`] | function of private `x, y` | CrypTFlow2 | 2, 1 | exact |
//! | [`compare`] | less than, carry, sign | CrypTFlow2 | `2 + log2(l/2)`, or fewer | exact |
//! | [`mod@decompose`] | base-4 digits | Sklansky | `2 + log2(l/2)` | exact |
//! | [`leading_one`] | leading one, to a position | Schmookler-Nowka | 2 to 4 | one position |
//!
//! | `ring/` | functionality | source | turns | error |
//! |------|---------------|--------|-------|-------|
//! | [`mux`], [`select`] | bit times number, one of several numbers | CrypTFlow2 | 1 | exact |
//! | [`b2a`] | XOR to additive | ABY | 1 | exact |
//! | [`extend`] | to a larger ring | SIRNN | 1 | exact within the bound |
//! | [`truncate`] | drop low bits | Cheetah | 0, 1, or a comparison's and 1 | one unit, or none |
//! | [`mul`], [`square`] | products, squares | Beaver, Gilboa, SPU | 1 | exact, or a unit |
//! | [`mul_small`] | few bits times many | SIRNN, Gilboa | 1 | exact within the bound |
//!
//! | `linear/` | functionality | source | turns | error |
//! |---|---|---|---|---|
//! | [`linear`] | private matrix times rows | Delphi, BumbleBee | 1 | `2^-18`, or none |
//! | [`rows`] | a row times a number | Beaver, BumbleBee | 1 | stated by the shape |
//! | [`matmul`] | shared matrix times shared matrix | Beaver, BumbleBee | 1 | `2^7` units |
//! | [`kv_cache`] | products with rows that stay | Beaver, BumbleBee | 1 | `2^7`, `2^11` units |
//!
//! | `functions/` | functionality | source | turns | error |
//! |---|---|---|---|---|
//! | [`segments`] | piecewise-linear table | FLUTE, this project | 2 | the table's |
//! | [`activation`] | SiLU, GELU, sigmoid, a soft cap, .. | this project | 5, 4 or 3 | 1.1e-3, SiLU 2.9e-3 |
//! | `relu` | ReLU, by [`activation`] | CrypTFlow2 | a comparison's, and 2 | exact |
//! | [`exp2`] | `2^z` | OPAF, this project | 7 or 3 | 2.5e-4 |
//! | [`reciprocal`] | `1/x`, `1/sqrt(x)` | SIRNN | 7 to 10, or 3 | `2^-14` relative, two units |
//! | [`maximum`] | row maxima and their positions | Cheetah, this project | per level | exact |
//! | [`top_k`] | largest values to the client | this project | about 55 | `2^-8`, rounded down |
//!
//! | `layers/` | functionality | source | turns | error |
//! |---|---|---|---|---|
//! | [`mod@attend`] | attention after scores | this project | softmax's, and 2 or 0 | the parts' |
//! | [`softmax`], [`rope`] | layer functions | this project | the parts' | stated there |
//! | [`gate`] | an activation times numbers | this project | 1, or 2 | exact, or a unit |
//! | [`rms_norm`], [`layer_norm`] | norms | this project | the parts' | stated there |
//! | [`overflow_check`] | did numbers stay in range? | this project | at the end | stated there |
//! | [`reveal`] | a value to the client | CrypTFlow2 | a truncation's and 1 | `2^-8`, rounded down |
//!
//! | `preprocessing/` | what |
//! |------|---------------|
//! | [`planner`] | what the steps of a model will draw, made together or in the background |
//! | `background` | a request that is made while other messages travel |
//! | `stock` | correlations, handed out once |
//!
//! `session/` has the two parties, how they meet, and what protocols draw.
//!
//! Where two numbers of turns are given, they are those of the two schedules ([`Schedule`]): fewest
//! bits, fewest turns. Errors are those of [`Precision::Default`]. By [`Precision::High`] they are
//! a third or a quarter, in as many turns, except for activations at the edges of their windows;
//! the files state them.
//!
//! Where it is more than an operator, a file has its functionality in plain arithmetic, `ideal`.
//! What is made before the input exists, and how it meets the input, is in each file's table.

mod bits;
pub mod cost;
mod error;
mod functions;
mod layers;
pub mod linear;
mod preprocessing;
mod ring;
mod session;
#[cfg(test)]
pub(crate) mod testing;

pub use bits::{and, compare, decompose, indicators, joint_table, leading_one, lookup};
pub use error::Error;
pub use functions::{activation, exp2, fit, maximum, reciprocal, segments, tables, top_k};
pub use layers::{attend, gate, layer_norm, overflow_check, reveal, rms_norm, rope, softmax};
pub use linear::{kv_cache, lattice, matmul, rows};
pub use preprocessing::planner::{self, Role};
pub use ring::{
    b2a, extend, mul, mul_small, mux,
    precision::{ParsePrecisionError, Precision},
    select, square, truncate,
};
pub use session::{Client, Established, Schedule, Server, Session, VERSION};

use bits::{cross, digit};
use functions::{curve, in_parallel, relu};
use preprocessing::{background, one_hots, stock, stocks};
use ring::open;
