//! Where words stand in the text of a query.

use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::dialect::Spark;

/// The line and column of the first of these words that follow each other, in any case. Texts and comments do not count.
pub(crate) fn place(query: &str, words: &[&str]) -> Option<String> {
    let tokens = Tokenizer::new(&Spark, query).tokenize_with_location().ok()?;
    let tokens: Vec<_> = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let is = |token: &Token, word: &str| matches!(token, Token::Word(w) if w.value.eq_ignore_ascii_case(word));
    let found = tokens
        .windows(words.len().max(1))
        .find(|window| !words.is_empty() && window.iter().zip(words).all(|(token, word)| is(&token.token, word)))?;
    let start = found.first()?.span.start;
    Some(format!("line {}, column {}", start.line, start.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_outside_of_texts() {
        let query = "select 'order by' -- order by\nfrom t\n  Order  BY x";
        assert_eq!(place(query, &["ORDER", "BY"]).as_deref(), Some("line 3, column 3"));
        assert_eq!(place(query, &["GROUP", "BY"]), None);
        assert_eq!(place(query, &[]), None);
    }
}
