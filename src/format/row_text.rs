//! The text of a row, as `print` shows it and `save_as_text_files` writes it.
//!
//! A row is printed as `{:?}`, with the text of its strings and characters as it was written. `Debug` alone escapes quotes, tabs,
//! and the marks of many scripts: the vowels of Hindi and Thai, the joints of an emoji.

use std::any::Any;
use std::fmt::Debug;

/// A string without quotes. Any other row as `{:?}`, with strings and characters as they were written.
pub(crate) fn row_text<T: Debug + 'static>(row: &T) -> String {
    let any: &dyn Any = row;
    match (any.downcast_ref::<String>(), any.downcast_ref::<&'static str>()) {
        (Some(s), _) => s.clone(),
        (_, Some(s)) => s.to_string(),
        _ => {
            let text = format!("{row:?}");
            // Most rows have no escape, and need no second text.
            if text.contains('\\') { as_written(&text).unwrap_or(text) } else { text }
        }
    }
}

/// The text with the escapes of its quoted strings and characters undone. `None`: a quote is never closed, so a `Debug` of the
/// program wrote it in its own way.
fn as_written(debug: &str) -> Option<String> {
    let mut text = String::with_capacity(debug.len());
    let mut rest = debug;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = if rest[at..].starts_with('"') { '"' } else { '\'' };
        text.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        // An apostrophe that does not enclose one character is an apostrophe.
        if quote == '"' || is_character(rest) {
            rest = unescape(rest, quote, &mut text)?;
        }
    }
    text.push_str(rest);
    Some(text)
}

/// Whether the text after a single quote is one character, or one escape, and a single quote.
fn is_character(rest: &str) -> bool {
    let after = match rest.strip_prefix('\\') {
        Some(code) => escape(code).map(|(_, after)| after),
        None => {
            let mut chars = rest.chars();
            chars.next().filter(|c| *c != '\'').map(|_| chars.as_str())
        }
    };
    after.is_some_and(|after| after.starts_with('\''))
}

/// Writes a quoted text up to its closing quote, which is written too. Returns what follows. `None`: there is no closing quote.
fn unescape<'a>(mut rest: &'a str, quote: char, text: &mut String) -> Option<&'a str> {
    loop {
        let at = rest.find([quote, '\\'])?;
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if rest[at..].starts_with(quote) {
            text.push(quote);
            return Some(after);
        }
        rest = match escape(after) {
            Some((c, after)) => {
                text.push(c);
                after
            }
            // Not an escape of a string: the bytes of a path that is not UTF-8, as `\xff`.
            None => {
                text.push('\\');
                after
            }
        };
    }
}

/// The character of an escape, from behind its backslash, and what follows it.
fn escape(rest: &str) -> Option<(char, &str)> {
    let mut chars = rest.chars();
    let c = match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        c @ ('\\' | '\'' | '"') => c,
        'u' => {
            let (code, after) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            return Some((u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?, after));
        }
        _ => return None,
    };
    Some((c, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "Debug reads them")]
    struct Visit {
        page: String,
        kind: Option<char>,
    }

    #[test]
    fn strings_in_rows_are_as_they_were_written() {
        for word in [
            "नमस्ते",
            "สวัสดี",
            "مَرْحَبًا",
            "👩\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}",
            "e\u{301}",
            "\"q\"",
            "it's",
            "a\tb",
            "C:\\new",
            "\0",
            "",
        ] {
            assert_eq!(row_text(&word), word);
            assert_eq!(row_text(&word.to_owned()), word);
            assert_eq!(row_text(&(word, 3)), format!("(\"{word}\", 3)"));
            assert_eq!(row_text(&vec![Some(word), None]), format!("[Some(\"{word}\"), None]"));
            let visit = Visit { page: word.into(), kind: Some('\u{94d}') };
            assert_eq!(row_text(&visit), format!("Visit {{ page: \"{word}\", kind: Some('\u{94d}') }}"));
        }
        assert_eq!(row_text(&('\'', '"', '\\', '\n', "'")), "(''', '\"', '\\', '\n', \"'\")");
    }

    /// The text of a `Debug` that is not derived stays as the program wrote it.
    #[test]
    fn other_text_stays_as_it_is() {
        struct Own(&'static str);
        impl Debug for Own {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        for own in [r"C:\new", r"it's \n", r#"5" \t"#, r"'\n", r"'\n\n'", r"'a\n'", r"\", r#""\xff""#, r#""\u{110000}""#, "5'"] {
            assert_eq!(row_text(&Own(own)), own);
        }
    }

    proptest! {
        #[test]
        fn any_string_is_as_it_was_written(words in proptest::collection::vec(any::<(String, char, i64)>(), 0..4)) {
            let one = |(word, c, n): &(String, char, i64)| format!("(\"{word}\", '{c}', {n})");
            let expected = format!("[{}]", words.iter().map(one).collect::<Vec<_>>().join(", "));
            prop_assert_eq!(row_text(&words), expected);
        }

        #[test]
        fn any_text_of_a_program_is_text(text in "[\"'\\\\nu{}0x9a ]{0,30}") {
            if let Some(written) = as_written(&text) {
                prop_assert!(written.len() <= text.len());
            }
        }
    }
}
