//! `bench`: measures the protocols and the main job with two real processes over loopback TCP.
//!
//! | file       | subject                                                                    |
//! |------------|----------------------------------------------------------------------------|
//! | `options`  | the command line                                                           |
//! | `names`    | every case's name                                                          |
//! | `cases`    | what each case does: inputs, protocol, right answer                        |
//! | `stage`    | a party's end: connection, session, stopwatch                              |
//! | `machine`  | cores, processor time, memory of a process                                 |
//! | `duel`     | starts both parties as processes and collects what they report             |
//! | `tensor`   | what a party hands to its parent so that the result can be checked         |
//! | `report`   | two parties' samples to one line of JSON                                   |
//! | `generate` | the main job: a prompt continued by a model                                |
//! | `accuracy` | agreement with the reference in f32                                        |
//!
//! Results are opened here and nowhere else: each party writes its share of a test's output to a
//! file that the parent process reads. The programs that are shipped cannot do that.
//!
//! Where a case is about one protocol, the bytes and turns that its formulas state for the online
//! half (`bill` in the protocol's file) are printed beside those that were measured, and what was
//! measured beyond them. Bytes agree to the last one; of turns the parties' clocks may miss one
//! where the offline half has waited for the same message.
//!
//! # Beside another RLWE library
//!
//! Microsoft SEAL 4.4.3 (`-O3`, GCC 12, without HEXL, hence without vector code) and `he/` on the
//! same core of the same machine (AMD Zen 5, AVX-512 IFMA), N = 8192, the same four 44-bit primes,
//! microseconds, medians of three alternating runs. Ours: `RAYON_NUM_THREADS=1 taskset -c 0 cargo
//! test --release -p sotto-he --lib -- --ignored --nocapture kernels`.
//!
//! | kernel                                                              | SEAL | ours | ratio | with our AVX-512 off |
//! |---------------------------------------------------------------------|------|------|-------|------|
//! | forward NTT modulo one prime                                        | 85.6 | 6.4  | 13    | 2.4  |
//! | symmetric encryption, seeded, serialised, three primes (CKKS)       | 946  | 233  | 4.1   | 2.6  |
//! | ciphertext times plaintext in slots, both parts, three primes       | 106  | 16.9 | 6.3   | 0.86 |
//! | automorphism with key switch, three data primes (BFV)               | 1612 | 226  | 7.1   | 1.3  |
//!
//! The encryption is mostly sampling: Blake2 there, AES in counter mode here.

mod accuracy;
mod cases;
mod duel;
mod generate;
mod machine;
mod model;
mod names;
mod options;
mod report;
mod stage;
mod tensor;

use std::{
    fs::File,
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow};
use clap::Parser;

use crate::{
    options::{Options, Role},
    report::Printed,
};

/// As in the programs that are shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.party {
        Some(role) => party(&options, *role),
        None => all(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every case that was asked for; whether all of them came out right.
fn all(options: &Options) -> Result<bool> {
    let mut file = match &options.json {
        Some(path) => Some(File::create(path).with_context(|| format!("{}", path.display()))?),
        None => None,
    };
    let mut good = true;
    for case in &options.cases {
        if case == "list" {
            names::print()?;
            continue;
        }
        let line = match measured(options, case) {
            Ok(line) => line,
            Err(error) => {
                eprintln!("bench: {case}: {error:#}");
                report::failure(case, &error)?
            }
        };
        good &= line.ok;
        writeln!(stdout(), "{}", line.json)?;
        if let Some(file) = &mut file {
            writeln!(file, "{}", line.json)?;
        }
    }
    Ok(good)
}

/// One case from the parent's side.
fn measured(options: &Options, case: &str) -> Result<Printed> {
    match case {
        "generate" => generate::parent(options),
        "accuracy" => accuracy::parent(options),
        _ => {
            if let Some(reason) = names::unwritten(case) {
                return Err(anyhow!("not written yet: {reason}"));
            }
            let cased = cases::parse(case, options.precision)
                .ok_or_else(|| anyhow!("unknown case; `bench list` names all of them"))?;
            report::parent(options, case, cased)
        }
    }
}

/// One case from a party's side: the last line of its output is its report.
fn party(options: &Options, role: Role) -> Result<bool> {
    machine::pin(role, options.threads);
    let case = options.cases.first().context("a party needs a case")?;
    let report = match case.as_str() {
        "generate" => generate::party(options, role)?,
        "accuracy" => accuracy::party(options, role)?,
        _ => {
            let case = cases::parse(case, options.precision).context("a party needs a case that exists")?;
            stage::party(options, role, case)?
        }
    };
    writeln!(stdout(), "{report}")?;
    Ok(true)
}
