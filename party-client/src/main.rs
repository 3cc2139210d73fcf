//! The client's program; all of it is in the library, so that the demo can run it too.

use std::process::ExitCode;

/// Large tensors come and go all the time; this allocator does not hand their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    party_client::main(std::env::args_os())
}
