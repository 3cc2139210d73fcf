//! Text of a model on its way to a terminal.

/// The text with its control characters made visible, except line feeds and tabs: a terminal would
/// obey them, and a model can write any of them.
///
/// C0 controls and DEL become the pictures of Unicode's block "Control Pictures" (ESC becomes
/// U+241B), C1 controls become U+FFFD; a carriage return before a line feed is left out. The text
/// may be a piece of a longer one.
pub fn for_terminal(text: &str) -> String {
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_left_alone() {
        let text = "Plain, 中文 🙂 \u{e9}\u{a0}\n\tindented\n";
        assert_eq!(for_terminal(text), text);
    }

    #[test]
    fn escapes_lose_their_power() {
        assert_eq!(for_terminal("\x1b[2J\x1b]0;title\x07"), "\u{241b}[2J\u{241b}]0;title\u{2407}");
        assert_eq!(for_terminal("a\rb\x08c\x7f\0"), "a\u{240d}b\u{2408}c\u{2421}\u{2400}");
        assert_eq!(for_terminal("\u{9b}31m"), "\u{fffd}31m");
        assert_eq!(for_terminal("one\r\ntwo"), "one\ntwo");
    }

    #[test]
    fn no_control_character_is_left() {
        let all: String = ('\0'..='\u{ff}').collect();
        assert!(for_terminal(&all).chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
    }
}
