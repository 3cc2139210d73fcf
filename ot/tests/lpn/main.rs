//! How hard the LPN instances of silent OT are: an estimator, what it was checked against, and the
//! figures for the sets in use. `cargo test -p sotto-ot --test lpn -- --nocapture figures` prints
//! them.

#![allow(clippy::unwrap_used)]

mod estimator;
mod parameters;
mod published;
mod rank;
mod toy;
mod window_attack;
