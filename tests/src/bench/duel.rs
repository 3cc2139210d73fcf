//! Two parties as two processes: this program once more, twice.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::options::{Options, Role};

/// Runs `case` and returns what client and server report. The server's first line is the address it
/// listens on.
///
/// # Errors
/// A party fails; it has said why on the error output.
pub fn duel<C: DeserializeOwned, S: DeserializeOwned>(
    options: &Options,
    case: &str,
    scratch: &Path,
) -> Result<(C, S)> {
    let mut server = Party(spawn(options, case, Role::Server, "", scratch)?);
    let mut output = BufReader::new(server.0.stdout.take().context("the server's output")?);
    let mut addr = String::new();
    output.read_line(&mut addr)?;
    if addr.is_empty() {
        server.0.wait()?;
        bail!("the server did not start");
    }
    let mut client = Party(spawn(options, case, Role::Client, addr.trim(), scratch)?);
    let mut said = String::new();
    client.0.stdout.take().context("the client's output")?.read_to_string(&mut said)?;
    let client = client.result(Role::Client, &said);
    if client.is_err() {
        // The server learns of it by its connection, and says what it saw.
        server.0.wait()?;
    }
    let client = client?;
    let mut said = String::new();
    output.read_to_string(&mut said)?;
    Ok((client, server.result(Role::Server, &said)?))
}

/// A party's process, which does not outlive this one's interest in it.
struct Party(Child);

impl Party {
    fn result<T: DeserializeOwned>(&mut self, role: Role, said: &str) -> Result<T> {
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the {} failed ({status}): see the error output", role.name());
        }
        serde_json::from_str(said).with_context(|| format!("the {}'s report", role.name()))
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(options: &Options, case: &str, role: Role, server: &str, scratch: &Path) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args([case, "--party", role.name(), "--server", server, "--link", &options.link])
        .args(["--threads", &options.threads.to_string(), "--repeat", &options.repeat.to_string()])
        .args(["--model", &options.model, "--prompt-tokens", &options.prompt_tokens.to_string()])
        .args(["--new-tokens", &options.new_tokens.to_string()])
        .args(["--tokens", &options.tokens.to_string()])
        .args(["--precision", options.precision.name()])
        .args(options.schedule.iter().flat_map(|saving| ["--schedule", saving.name()]))
        .arg("--scratch")
        .arg(scratch)
        .env("RAYON_NUM_THREADS", options.threads.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.spawn().context("starting a party's process")
}
