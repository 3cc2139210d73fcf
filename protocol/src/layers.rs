//! What layers of a model are made of, what is checked of them, and what is revealed at the end.

pub mod attend;
pub mod gate;
pub mod layer_norm;
pub mod overflow_check;
pub mod reveal;
pub mod rms_norm;
pub mod rope;
pub mod softmax;
