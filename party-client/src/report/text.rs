//! A report as text: on one screen, or with every operation.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::{Comparison, Costs, Disclosure, Operation, Price, Report, SimulatedLink};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tls = match &self.fingerprint {
            Some(fingerprint) => format!("TLS, {fingerprint}"),
            None => "WITHOUT TLS".into(),
        };
        writeln!(f, "server      {} ({tls})", self.server)?;
        writeln!(f, "model       {}", self.saw.client.model.text)?;
        writeln!(f, "precision   {}{}", self.precision.name(), self.link)?;
        if let Some(comparison) = &self.comparison {
            write!(f, "{comparison}")?;
        }
        write!(f, "{}", self.saw)?;
        self.cost.write_phases(f)?;
        if f.alternate() { self.cost.write_operations(f) } else { Ok(()) }
    }
}

impl Display for SimulatedLink {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.bits_per_second {
            None => Ok(()),
            Some(rate) => {
                let rtt = Duration::from_secs_f64(self.rtt_seconds);
                write!(f, "; simulated network of {} Mbit/s, {rtt:?}", rate / 1e6)
            }
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        let (all, same) = (self.positions, self.agreeing);
        writeln!(f, "same likeliest token      {same} of {all} positions ({:.2} %)", share(same, all))?;
        let (all, same) = (self.clear_positions, self.clear_agreeing);
        let percent = share(same, all);
        writeln!(f, "  where it leads by {}   {same} of {all} positions ({percent:.2} %)", self.clear_gap)?;
        writeln!(f, "largest logit difference  {:.4}", self.largest_difference)
    }
}

impl Display for Disclosure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (s, c) = (&self.server, &self.client);
        match &s.text_tokens[..] {
            [] => writeln!(
                f,
                "the server saw  the number of tokens: {} in the prompt, {} made, at most {} wanted; the\n\
                 {:16}precision; the times of messages",
                s.prompt_tokens, s.new_tokens, s.new_tokens_at_most, ""
            )?,
            texts => writeln!(
                f,
                "the server saw  the number of texts, {}, and of the tokens of each: {};\n\
                 {:16}precision; the times of messages",
                texts.len(),
                few(texts),
                ""
            )?,
        }
        writeln!(
            f,
            "the client saw  the model's shape, its tokenizer, the fraction bits of its {} matrices,\n\
             {:16}{}, and whether numbers left their ranges",
            c.model.matrices,
            "",
            logits(c.logits.rows, c.logits.in_row)
        )?;
        writeln!(f, "nothing else    was shown to either: all other messages are encrypted, masked or random")
    }
}

/// The first of some lengths.
fn few(lengths: &[usize]) -> String {
    let first: Vec<String> = lengths.iter().take(8).map(ToString::to_string).collect();
    let more = if lengths.len() > first.len() { ", .." } else { "" };
    format!("{}{more}", first.join(", "))
}

fn logits(rows: usize, in_row: usize) -> String {
    match rows {
        0 => "no logits".into(),
        _ => format!("{rows} rows of {in_row} logits"),
    }
}

impl Costs {
    fn write_phases(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:28}{:>9}{:>10}{:>13}{:>9}", "", "seconds", "MB sent", "MB received", "turns")?;
        row(f, "set-up", self.setup)?;
        row(f, "offline (any input)", self.offline)?;
        row(f, "prefill, online (prompt)", self.prefill)?;
        row(f, "decode, online (answer)", self.decode)?;
        row(f, "total", self.total)?;
        if let Some(mean) = &self.per_token {
            let megabytes = mean.bytes / 1e6;
            let what = "each token after the first";
            writeln!(f, "{what:28}{:>9.3}{megabytes:>23.3}{:>9.0}", mean.seconds, mean.turns)?;
        }
        Ok(())
    }

    fn write_operations(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for phase in ["setup", "prefill", "decode"] {
            let operations: Vec<&Operation> = self.operations.iter().filter(|o| o.phase == phase).collect();
            if !operations.is_empty() {
                writeln!(f, "{phase:69}{:>12}", "COTs")?;
            }
            for operation in operations {
                let name = format!("  {}, {}", operation.operation, operation.half);
                line(f, &name, operation.price)?;
                writeln!(f, "{:>12}", operation.price.cots)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, what: &str, price: Price) -> fmt::Result {
    line(f, what, price)?;
    writeln!(f)
}

fn line(f: &mut Formatter<'_>, what: &str, p: Price) -> fmt::Result {
    let (sent, received) = (p.sent_bytes as f64 / 1e6, p.received_bytes as f64 / 1e6);
    write!(f, "{what:28}{:>9.3}{sent:>10.3}{received:>13.3}{:>9}", p.seconds, p.turns)
}
