//! The lattice parameters and transforms, set up once a process.

use std::sync::OnceLock;

use sotto_he::Context;

/// For everything under encryption.
pub fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new().expect("the transform of this machine is sound"))
}
