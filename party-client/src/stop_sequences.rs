//! Texts at which an answer ends.

/// An answer's text on its way to the reader, cut before the first stop sequence. What may be the
/// beginning of one is held back.
pub(crate) struct StopSequences<'a> {
    sequences: &'a [String],
    held: String,
    hit: bool,
}

impl<'a> StopSequences<'a> {
    /// None of `sequences` is empty.
    pub fn new(sequences: &'a [String]) -> StopSequences<'a> {
        StopSequences { sequences, held: String::new(), hit: false }
    }

    /// Whether a sequence was found: nothing follows it.
    pub fn hit(&self) -> bool {
        self.hit
    }

    /// Takes the next piece and returns what may be shown.
    pub fn push(&mut self, text: &str) -> String {
        if self.hit {
            return String::new();
        }
        self.held.push_str(text);
        // The one that ends first: so the cut does not depend on how the text comes in pieces.
        let ends = |stop: &String| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at));
        let settled = match self.sequences.iter().filter_map(ends).min() {
            Some((_, at)) => {
                self.hit = true;
                at
            }
            None => self.held.len() - self.pending(),
        };
        let rest = self.held.split_off(settled);
        std::mem::replace(&mut self.held, rest)
    }

    /// What is held back at the end of the answer.
    pub fn finish(&mut self) -> String {
        if self.hit { String::new() } else { std::mem::take(&mut self.held) }
    }

    /// Bytes at the end that may be the beginning of a sequence.
    fn pending(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        let begins = |text: &&str| self.sequences.iter().any(|stop| stop.starts_with(*text));
        starts.filter(begins).map(str::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(sequences: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let sequences: Vec<String> = sequences.iter().map(|s| s.to_string()).collect();
        let mut stop = StopSequences::new(&sequences);
        let mut shown: Vec<String> = pieces.iter().map(|piece| stop.push(piece)).collect();
        shown.push(stop.finish());
        (shown, stop.hit())
    }

    #[test]
    fn the_text_ends_before_the_first_sequence() {
        let (shown, hit) = through(&["\n\n", "END"], &["one E", "N", "DED\n\n", "more"]);
        assert_eq!((shown.concat().as_str(), hit), ("one ", true));
        let (shown, _) = through(&["b", "abc"], &["xabc"]);
        assert_eq!(shown.concat(), "xa", "the one that ends first");
    }

    #[test]
    fn what_may_begin_one_is_held_back_and_shown_if_it_does_not() {
        let (shown, hit) = through(&["aab"], &["xa", "a", "a", "c", "a"]);
        assert_eq!(shown, ["x", "", "a", "aac", "", "a"]);
        assert!(!hit);
        let (shown, hit) = through(&["\u{e9}!"], &["caf\u{e9}", "s"]);
        assert_eq!((shown.concat().as_str(), hit), ("caf\u{e9}s", false));
        let (shown, hit) = through(&[], &["a", "b"]);
        assert_eq!((shown.concat().as_str(), hit), ("ab", false));
    }
}
