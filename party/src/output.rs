//! Writing to streams that may be gone, full, or a terminal.
//!
//! Standard error carries what helps the user and nothing that the program needs, so a failure to
//! write there is ignored: `eprintln!` would panic, and take every session with it.

use std::{
    borrow::Cow,
    error::Error,
    io::{self, Write},
};

/// Writes one line to standard error. Control characters of the text are made visible; that the
/// stream is gone or full changes nothing.
pub fn note(line: &str) {
    let line = printable(line);
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// A text without control characters other than newline and tab: each of the others becomes U+FFFD.
/// A terminal obeys such characters, and the text may come from a stranger.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    match text.contains(obeyed) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.replace(obeyed, "\u{fffd}")),
    }
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
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("two\nlines,\ta tab, é and 😀"), "two\nlines,\ta tab, é and 😀");
        assert_eq!(
            printable("\u{1b}[2Jgone\r\u{7}\u{9b}31m\u{7f}"),
            "\u{fffd}[2Jgone\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}"
        );
    }

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
