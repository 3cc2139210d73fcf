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
//! Results are opened here and nowhere else: each party writes its share of a test's output to a file that the parent
//! process reads. The programs that are shipped cannot do that.

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
            let cased =
                cases::parse(case).ok_or_else(|| anyhow!("unknown case; `bench list` names all of them"))?;
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
            let case = cases::parse(case).context("a party needs a case that exists")?;
            stage::party(options, role, case)?
        }
    };
    writeln!(stdout(), "{report}")?;
    Ok(true)
}
