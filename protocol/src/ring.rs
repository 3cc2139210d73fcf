//! Protocols on shared ring elements: conversions between rings, products, openings; and which
//! rings there are.

pub mod b2a;
pub mod extend;
pub mod mul;
pub mod mul_small;
pub mod mux;
pub(crate) mod open;
pub(crate) mod precision;
pub mod select;
pub mod square;
pub mod truncate;
