//! The client's program; all of it is in the library, so that the demo can run it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    party_client::main(std::env::args_os())
}
