//! The two lattice parameter sets, set up once a process.

use std::sync::OnceLock;

use sotto_he::{Context, Params};

/// For weights: one unit of error in the last place now and then, dropped by the truncation that follows.
pub fn fast() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new(Params::fast()).expect("the transform of this machine is sound"))
}

/// For the head, whose outputs are revealed, and for products of shares.
pub fn strict() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new(Params::strict()).expect("the transform of this machine is sound"))
}
