//! Writing to streams that may be gone or full.
//!
//! Standard error carries what helps the user and nothing that the program needs, so a failure to
//! write there is ignored: `eprintln!` would panic, and take every session with it.

use std::{
    error::Error,
    io::{self, Write},
};

use sotto_models::text::for_terminal;

/// Writes one line to standard error. Control characters of the text are made visible: it may come
/// from a stranger. That the stream is gone or full changes nothing.
pub fn note(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{}\n", for_terminal(line)).as_bytes());
}

/// An error and its causes as one line; a cause that the line already tells is not told twice.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !line.contains(&told) {
            line = format!("{line}: {told}");
        }
        next = cause.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("set-up")]
        struct Outer(#[source] sotto_net::Error);
        let cause = io::Error::other("refused");
        let error = Outer(sotto_net::Error::Connect { addr: "a:1".into(), source: cause });
        let line = one_line(&error);
        assert!(line.starts_with("set-up: cannot reach a:1: refused; "), "{line}");
        assert_eq!(line.matches("refused").count(), 1);
    }
}
