//! What is made before its input exists.
//!
//! | file | what |
//! |------|------|
//! | `demand` | what a step of a model takes, and the needs that follow |
//! | [`planner`] | makes what is needed, or begins to |
//! | `one_hots` | how many one-hots to make, and when |
//! | `background` | a request that travels behind other messages |
//! | `stock`, `stocks` | what is there, handed out once |

pub(crate) mod background;
mod demand;
pub(crate) mod one_hots;
pub mod planner;
pub(crate) mod stock;
pub(crate) mod stocks;
