//! Reads the text of an added computation. An error names the place, the word and the remedy.
//!
//! ```text
//! description = [NAME "="] VIEW { "|" verb } [ "|" "print" ]
//! verb        = "filter" operand ("=" | "!=" | "<" | "<=" | ">" | ">=") operand
//!             | "map" columns | "count" [ "by" columns ] | "sum" column [ "by" columns ] | "top" N [ "by" column ]
//!             | "join" VIEW "by" column [ "=" column ] | "window" DURATION [ DURATION ]
//! operand     = column | number | "text" | true | false | null
//! columns     = column { "," column }
//! column      = step { "." step }        step = _1, _2, … or the name of a field
//! ```

use std::time::Duration;

use serde_json::Value;

use super::description::{Compare, Description, MOST_BYTES, MOST_TOP, MOST_VERBS, Named, Operand, Verb};
use super::json::{Column, Json, Step};
use crate::core::question::is_in_name;
use crate::core::time::parse_duration;

const VERBS: &str = "filter, map, count, sum, top, join, window and, at the end, print";
const SIGNS: &str = "=, !=, <, <=, > or >=";

/// A word of a text, and the character at which it begins, counted from 1.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    at: usize,
}

/// Reads a text.
///
/// # Errors
/// What is wrong, where, and what to write.
pub(crate) fn parse(text: &str) -> Result<Description, String> {
    if text.len() > MOST_BYTES {
        return Err(format!(
            "the text has {} bytes, and at most {MOST_BYTES} are read: say it in several, over one another",
            text.len()
        ));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1 };
    let (first, name) = parser.view("the name of a view")?;
    let described = match parser.take("=") {
        true => (Some(checked_name(&first, name)?), parser.view("the name of a view")?),
        false => (None, (first, name)),
    };
    let (name, (at, view)) = described;
    let mut description = Description { name, view: Named { name: view, at }, verbs: Vec::new(), print: false };
    while let Some(token) = parser.word() {
        if token.text != "|" {
            return Err(token.wrong("write | between the verbs"));
        }
        let verb = parser.word().ok_or_else(|| format!("the text ends with |: a verb follows it, one of {VERBS}"))?;
        if description.print {
            return Err(verb.wrong("print is the last verb"));
        }
        if verb.text == "print" {
            description.print = true;
            continue;
        }
        if description.verbs.len() == MOST_VERBS {
            return Err(
                verb.wrong(&format!("at most {MOST_VERBS} verbs: add the first ones by a name, and the others over that name"))
            );
        }
        description.verbs.push(parser.verb(&verb)?);
    }
    Ok(description)
}

/// Checks a name that somebody chose.
///
/// # Errors
/// It cannot be the name of a view.
fn checked_name(at: &usize, name: String) -> Result<String, String> {
    if name.len() > 64 {
        return Err(format!("character {at}: a name has at most 64 characters, and this one has {}", name.len()));
    }
    Ok(name)
}

impl Token {
    fn wrong(&self, what: &str) -> String {
        format!("character {}, {:?}: {what}", self.at, self.text)
    }
}

/// The words of a text: names and numbers, quoted texts, and signs.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let (at, c) = (i + 1, chars[i]);
        let begin = i;
        i += 1;
        match c {
            c if c.is_whitespace() => continue,
            '|' | ',' | '=' => {}
            '!' | '<' | '>' => i += usize::from(chars.get(i) == Some(&'=')),
            '"' => {
                while chars.get(i).is_some_and(|c| *c != '"') {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                if i >= chars.len() {
                    return Err(format!("character {at}: this text has no end: write \" behind it"));
                }
                i += 1;
            }
            // A field may have any letters.
            _ => {
                let ends = |c: char| c.is_whitespace() || "|,=!<>\"".contains(c);
                while chars.get(i).is_some_and(|c| !ends(*c)) {
                    i += 1;
                }
            }
        }
        tokens.push(Token { text: chars[begin..i].iter().collect(), at });
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// The character behind the last one.
    end: usize,
}

impl Parser {
    fn word(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    /// Whether the next word is this one; takes it then.
    fn take(&mut self, word: &str) -> bool {
        let is = self.tokens.get(self.next).is_some_and(|token| token.text == word);
        self.next += usize::from(is);
        is
    }

    /// The next word, which must be there, and not `|`.
    fn needed(&mut self, what: &str) -> Result<Token, String> {
        match self.tokens.get(self.next) {
            Some(token) if token.text != "|" => {
                self.next += 1;
                Ok(token.clone())
            }
            Some(token) => Err(token.wrong(&format!("{what} is missing before it"))),
            None => Err(format!("character {}: {what} is missing at the end", self.end)),
        }
    }

    fn view(&mut self, what: &str) -> Result<(usize, String), String> {
        let token = self.needed(what)?;
        if !token.text.chars().all(is_in_name) {
            return Err(token.wrong("the name of a view has letters, digits, '-', '_' and '.'"));
        }
        Ok((token.at, token.text))
    }

    fn verb(&mut self, verb: &Token) -> Result<Verb, String> {
        Ok(match verb.text.as_str() {
            "filter" => {
                let left = self.operand()?;
                let sign = self.needed(&format!("a comparison ({SIGNS})"))?;
                let compare = Compare::ALL.iter().find(|(_, text)| *text == sign.text);
                let (compare, _) = compare.ok_or_else(|| sign.wrong(&format!("a comparison is {SIGNS}")))?;
                Verb::Filter(left, *compare, self.operand()?)
            }
            "map" => Verb::Map(self.columns()?),
            "count" => Verb::Count(self.keys()?),
            "sum" => Verb::Sum(self.column()?, self.keys()?),
            "top" => {
                let n = self.needed("the number of rows")?;
                let most = n.text.parse().ok().filter(|n| (1..=MOST_TOP).contains(n));
                let most = most.ok_or_else(|| n.wrong(&format!("a number of rows is 1 to {MOST_TOP}")))?;
                Verb::Top(most, if self.take("by") { Some(self.column()?) } else { None })
            }
            "join" => {
                let (at, name) = self.view("the name of the other view")?;
                let by = self.needed("by and a column")?;
                if by.text != "by" {
                    return Err(by.wrong("write by and a column: join VIEW by _1"));
                }
                let left = self.column()?;
                let right = if self.take("=") { self.column()? } else { left.clone() };
                Verb::Join { view: Named { name, at }, left, right }
            }
            "window" => {
                let length = self.duration("the length of the window")?;
                let more = self.tokens.get(self.next).is_some_and(|token| token.text != "|");
                Verb::Window { length, slide: if more { Some(self.duration("the slide")?) } else { None } }
            }
            _ => return Err(verb.wrong(&format!("there is no such verb; verbs are {VERBS}"))),
        })
    }

    fn duration(&mut self, what: &str) -> Result<Duration, String> {
        let token = self.needed(what)?;
        let time = parse_duration(&token.text).ok().filter(|time| !time.is_zero());
        time.ok_or_else(|| token.wrong("write a whole number above 0 and a unit, as 100ms, 5s, 5m or 1h"))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.needed("a column or a value")?;
        match serde_json::from_str::<Value>(&token.text) {
            Ok(value) if !value.is_array() && !value.is_object() => Ok(Operand::Value(Json::from(value))),
            _ if token.text.starts_with('"') => Err(token.wrong("this is not a text of JSON")),
            _ => column(&token).map(Operand::Column),
        }
    }

    fn column(&mut self) -> Result<Column, String> {
        column(&self.needed("a column")?)
    }

    fn columns(&mut self) -> Result<Vec<Column>, String> {
        let mut columns = vec![self.column()?];
        while self.take(",") {
            columns.push(self.column()?);
        }
        Ok(columns)
    }

    fn keys(&mut self) -> Result<Vec<Column>, String> {
        if self.take("by") { self.columns() } else { Ok(Vec::new()) }
    }
}

/// A column: `_2`, `name`, `_1.name`.
fn column(token: &Token) -> Result<Column, String> {
    let what = "a column is _1, _2 and so on, or the name of a field; a text is in double quotes";
    let step = |step: &str| match step.strip_prefix('_').and_then(|n| n.parse::<usize>().ok()) {
        Some(0) => Err(token.wrong("columns are counted from 1: the first one is _1")),
        Some(n) => Ok(Step::Element(n)),
        None if step.starts_with(|c: char| c.is_alphabetic() || c == '_') => Ok(Step::Field(step.into())),
        None => Err(token.wrong(what)),
    };
    token.text.split('.').map(step).collect()
}

/// See the fuzz targets.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(read) = parse(text) else { return false };
    // What is kept can be read again.
    assert!(parse(&read.to_string()).is_ok_and(|again| again.verbs.len() == read.verbs.len()), "{read}");
    true
}

/// Texts for the fuzzer.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "best = a | filter _2 >= -1.5e3 | filter \"x\" != b.c | map _1, _2._1 | print",
        "a | join b by _1 = x | count by _1, _2 | sum _3 by _1 | sum _1 | top 10 by _1 | window 90s 1500ms",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_it_is_kept() {
        for (text, kept) in [
            ("authors", "authors"),
            (" best=authors|top 10 |print ", "best = authors | top 10 | print"),
            ("a | filter _2>=10 | filter \"x | y\" != _1.name", "a | filter _2 >= 10 | filter \"x | y\" != _1.name"),
            ("a | map _2 , _1._2 | count | sum _1", "a | map _2, _1._2 | count | sum _1"),
            ("a | count by _1,_2 | sum total by _1 | top 3 by total", "a | count by _1, _2 | sum total by _1 | top 3 by total"),
            ("a | join b by _1 | join b by _2=_1", "a | join b by _1 | join b by _2 = _1"),
            ("a | window 3600s 1500ms | window 90s", "a | window 1h 1500ms | window 90s"),
            (
                "a | filter _1 = null | filter _1 = -1.5 | filter größe < true",
                "a | filter _1 = null | filter _1 = -1.5 | filter größe < true",
            ),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(read.to_string(), kept);
            assert_eq!(parse(kept).unwrap(), read);
        }
    }

    #[test]
    fn an_error_names_the_place_the_word_and_the_remedy() {
        let long = "x".repeat(5_000);
        let many = format!("a{}", " | count".repeat(33));
        for (text, why) in [
            ("", "character 1: the name of a view is missing at the end"),
            ("a b", "character 3, \"b\": write | between the verbs"),
            (
                "a |",
                "the text ends with |: a verb follows it, one of filter, map, count, sum, top, join, window and, at the end, print",
            ),
            ("a | fliter _1 = 2", "character 5, \"fliter\": there is no such verb; verbs are filter, map,"),
            ("a | print | count", "character 13, \"count\": print is the last verb"),
            ("a | filter _1", "character 14: a comparison (=, !=, <, <=, > or >=) is missing at the end"),
            ("a | filter _1 is 2", "character 15, \"is\": a comparison is =, !=, <, <=, > or >="),
            ("a | filter _1 = | count", "character 17, \"|\": a column or a value is missing before it"),
            ("a | filter _1 = \"x", "character 17: this text has no end: write \" behind it"),
            ("a | filter _1 = \"\\x\"", "character 17, \"\\\"\\\\x\\\"\": this is not a text of JSON"),
            ("a | map _0", "character 9, \"_0\": columns are counted from 1: the first one is _1"),
            ("a | map 1", "character 9, \"1\": a column is _1, _2 and so on, or the name of a field"),
            ("a | top many", "character 9, \"many\": a number of rows is 1 to 10000"),
            ("a | top 0", "character 9, \"0\": a number of rows is 1 to 10000"),
            ("a | join b", "character 11: by and a column is missing at the end"),
            ("a | join b on _1", "character 12, \"on\": write by and a column: join VIEW by _1"),
            ("a | window 0s", "character 12, \"0s\": write a whole number above 0 and a unit"),
            ("a | window 5 min", "character 12, \"5\": write a whole number above 0 and a unit, as 100ms, 5s, 5m or 1h"),
            ("\"a\" | count", "character 1, \"\\\"a\\\"\": the name of a view has letters, digits, '-', '_' and '.'"),
            (&long, "the text has 5000 bytes, and at most 4096 are read"),
            (&many, "character 261, \"count\": at most 32 verbs"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_name_is_made_of_the_view_and_the_verbs() {
        let read = parse("authors | filter _2 > 3 | top 10").unwrap();
        assert_eq!(read.free_name(|_| false), "authors.filter.top");
        assert_eq!(read.free_name(|name| !name.ends_with('3')), "authors.filter.top.3");
        assert_eq!(parse("authors").unwrap().free_name(|name| name == "authors"), "authors.rows");
        assert_eq!(parse("x = authors").unwrap().free_name(|_| true), "x");
    }
}
