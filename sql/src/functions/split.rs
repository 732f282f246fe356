//! `split`: the parts of a text.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};
use regex::Regex;

use super::{Function, constant, plan};

/// `split(text, regex)`: the parts of a text between the matches of a regular expression.
pub(super) fn split() -> Function {
    let kind = |_: &ReturnFieldArgs| Ok(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))));
    Function { name: "split", signature: Signature::any(2, Volatility::Immutable), kind, values }
}

fn values(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let [text, pattern] = &args.args[..] else { return plan("split takes a text and a pattern") };
    let Some(pattern) = constant(pattern) else { return plan("the pattern of split is a text in quotes") };
    parts(&text.to_array(args.number_rows)?, &Pattern::of(pattern)?)
}

/// A pattern without special characters is found without a regular expression.
enum Pattern {
    Plain(String),
    Regex(Regex),
}

impl Pattern {
    fn of(text: &str) -> Result<Self> {
        if !text.is_empty() && regex::escape(text) == text {
            return Ok(Pattern::Plain(text.to_owned()));
        }
        let regex = Regex::new(text).map_err(|e| DataFusionError::Plan(format!("split: the pattern `{text}` is wrong: {e}")))?;
        Ok(Pattern::Regex(regex))
    }
}

fn parts(texts: &ArrayRef, pattern: &Pattern) -> Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..texts.len() {
        if texts.is_valid(row) {
            let text = texts.value(row);
            match pattern {
                Pattern::Plain(plain) => text.split(plain.as_str()).for_each(|part| lists.values().append_value(part)),
                Pattern::Regex(regex) => regex.split(text).for_each(|part| lists.values().append_value(part)),
            }
        }
        lists.append(texts.is_valid(row));
    }
    Ok(Arc::new(lists.finish()))
}
