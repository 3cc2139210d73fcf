//! The whole thing with one command: a server and a client, two processes on this machine, the
//! built-in model.
//!
//! The two are this same program, started again with `server` or `client` in front of the other's
//! options.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, ExitCode, Stdio, exit},
    thread,
};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use sotto_net::Link;
use sotto_party::{
    command_line,
    output::{note, one_line},
    process::{self, Signal},
};
use sotto_protocol::Precision;

/// As in the programs that it is both of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shows a private answer: starts a server with the built-in model and a client with a prompt, as
/// two processes that talk over TLS on this machine.
///
/// The client's report tells who learned what, and what it cost.
#[derive(Parser)]
#[command(name = "demo", version, max_term_width = 100)]
struct Args {
    /// The text to continue.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(default_value = "Once upon a time there was a little fox")]
    prompt: String,

    /// Tokens to make, at most.
    #[arg(long, value_name = "N", default_value_t = 40)]
    max_tokens: usize,

    /// Imitate a network: loopback, lan, wan or RATE,RTT such as 100mbit,40ms.
    #[arg(long, default_value = "loopback")]
    link: String,

    /// The model: a folder, or `builtin`.
    #[arg(long, value_name = "DIR|builtin", default_value = "builtin")]
    model: OsString,

    /// The precision of activations: default or high.
    #[arg(long, value_name = "HOW", default_value = "default")]
    precision: Precision,

    /// The report at the end: summary, full or none.
    #[arg(long, value_name = "HOW", default_value = "summary")]
    report: String,

    /// Print answer and report as one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let mut args = env::args_os();
    let name = args.next().unwrap_or_default();
    match env::args_os().nth(1) {
        Some(role) if role == "server" => {
            process::end_with_parent();
            party_server::command_line::main(args)
        }
        Some(role) if role == "client" => {
            process::end_with_parent();
            party_client::command_line::main(args)
        }
        _ => match command_line::parse([name].into_iter().chain(args).collect()) {
            Ok(args) => run(&args).unwrap_or_else(|e| {
                note(&format!("demo: {}", one_line(&*e)));
                ExitCode::FAILURE
            }),
            Err(code) => code,
        },
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    args.link.parse::<Link>().context("--link")?;
    let folder = tempfile::tempdir().context("a folder for the identities")?;
    let keys = folder.path().to_owned();
    // The two processes end with this one.
    process::on_signals(move |signal| {
        let _ = fs::remove_dir_all(&keys);
        exit(match signal {
            Signal::End(number) => 128 + i32::from(number),
            Signal::Reload => 129,
        })
    });
    let identity = |name| folder.path().join(name).into_os_string();
    let mut server = Server::start(&args.model, &identity("server.pem"))?;
    let mut client = Command::new(env::current_exe()?);
    client.args([
        "client",
        "--server",
        &server.addr,
        "--fingerprint",
        &server.fingerprint,
        "--link",
        &args.link,
    ]);
    client.arg("--identity").arg(identity("client.pem"));
    client.args(["--precision", args.precision.name()]);
    client.args(["--prompt", &args.prompt, "--max-tokens", &args.max_tokens.to_string()]);
    client.args(["--report", &args.report]);
    if args.json {
        client.arg("--json");
    }
    note(&format!("prompt: {}", args.prompt));
    let status = client.status().context("cannot start the client")?;
    server.stop();
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The server's process, ended with this one.
struct Server {
    process: Child,
    addr: String,
    fingerprint: String,
}

impl Server {
    fn start(model: &OsString, identity: &OsString) -> Result<Server> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["server", "--once", "--listen", "127.0.0.1:0", "--model"]).arg(model);
        command.arg("--identity").arg(identity).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start the server")?;
        let stderr = process.stderr.take().context("the server's standard error")?;
        let mut server = Server { process, addr: String::new(), fingerprint: String::new() };
        server.await_address(stderr)?;
        Ok(server)
    }

    /// Reads on until the server says where it is; passes on all that it says.
    fn await_address(&mut self, stderr: ChildStderr) -> Result<()> {
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            note(&format!("[server] {line}"));
            let rest = line.split_once("listening on ").map(|(_, rest)| rest);
            if let Some((addr, fingerprint)) = rest.and_then(|rest| rest.split_once(", fingerprint ")) {
                (self.addr, self.fingerprint) = (addr.into(), fingerprint.into());
                thread::spawn(move || lines.for_each(|line| note(&format!("[server] {line}"))));
                return Ok(());
            }
        }
        Err(anyhow!("the server has ended before it was ready"))
    }

    /// Waits for a server that has served; ends one that has not.
    fn stop(&mut self) {
        for _ in 0..20 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
