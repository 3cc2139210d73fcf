//! The server's program; all of it is in the library.

use std::process::ExitCode;

/// Large tensors come and go all the time; this allocator does not hand their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    party_server::command_line::main(std::env::args_os())
}
