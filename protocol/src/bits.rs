//! Protocols on shared bits: products, comparisons, lookups.

pub mod and;
pub mod compare;
pub(crate) mod cross;
pub mod decompose;
pub(crate) mod digit;
pub mod indicators;
pub mod joint_table;
pub mod leading_one;
pub mod lookup;
