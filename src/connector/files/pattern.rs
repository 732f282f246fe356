//! Patterns in the path of a source of files, as Hadoop has them. `listing` asks them for a disk, and `bucket_listing` for a bucket.

use std::fmt::Display;

use regex::Regex;

type Result<T> = std::result::Result<T, String>;

/// The characters that make a part of a path a pattern.
pub(super) const MARKS: [char; 4] = ['*', '?', '[', '{'];

/// The patterns of the parts of a path, from the first part that is one. The parts before it are the root.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Vec<Regex>);

/// What the patterns say of an entry. All directories above it match.
pub(super) enum Fit {
    /// It does not match.
    No,
    /// It matches the part at its depth, and more parts follow.
    Partly,
    /// It matches the last part.
    Wholly,
    /// It is in a directory that matches the last part. Without patterns, every entry is.
    Below,
}

impl Patterns {
    /// The patterns of these parts. A part without a mark matches its own name.
    ///
    /// # Errors
    /// A part that cannot be read.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Result<Self> {
        parts.into_iter().map(compiled).collect::<Result<_>>().map(Patterns)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say of the entry with this path below the root.
    pub fn fit(&self, name: &str) -> Fit {
        let mut parts = name.rsplit('/');
        let last = parts.next().unwrap_or(name);
        let depth = parts.count();
        match self.0.get(depth) {
            None => Fit::Below,
            Some(pattern) if !pattern.is_match(last) => Fit::No,
            Some(_) if depth + 1 == self.0.len() => Fit::Wholly,
            Some(_) => Fit::Partly,
        }
    }
}

/// The expression of a pattern as Hadoop has it: `*`, `?`, `[a-c]`, `[^a]`, `{one,two}`, and `\` before a plain character.
fn compiled(pattern: &str) -> Result<Regex> {
    let (mut text, mut open, mut class) = (String::from("^"), 0, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            ']' if class => {
                class = false;
                text.push(']');
            }
            '-' if class => text.push('-'),
            c if class => text.push_str(&regex::escape(&c.to_string())),
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => {
                class = true;
                text.push('[');
                if let Some('^' | '!') = chars.peek() {
                    chars.next();
                    text.push('^');
                }
            }
            '{' => {
                open += 1;
                text.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                text.push(')');
            }
            ',' if open > 0 => text.push('|'),
            c => text.push_str(&regex::escape(&c.to_string())),
        }
    }
    let wrong = |e: &dyn Display| format!("\"{pattern}\" is not a pattern of a path: {e}");
    if class || open > 0 {
        return Err(wrong(&"a bracket is not closed; write \\[ or \\{ for the character"));
    }
    Regex::new(&(text + "$")).map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_hadoop() {
        for (pattern, yes, no) in [
            ("a*", &["a", "abc"][..], &["ba"][..]),
            ("?b", &["ab"], &["b", "aab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "-x"]),
            ("[^a]", &["b"], &["a"]),
            ("{jan,feb}-{1,2?}", &["jan-1", "feb-23"], &["mar-1", "jan-2"]),
            (r"\*.log", &["*.log"], &["a.log", "*xlog"]),
        ] {
            let pattern = compiled(pattern).unwrap();
            assert!(yes.iter().all(|name| pattern.is_match(name)) && !no.iter().any(|name| pattern.is_match(name)), "{pattern}");
        }
        for wrong in ["[a", "{a", "a{b,c"] {
            assert!(compiled(wrong).unwrap_err().contains("is not closed"), "{wrong}");
        }
    }
}
