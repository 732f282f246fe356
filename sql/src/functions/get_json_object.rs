//! `get_json_object`: the value at a path of a text of JSON.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};
use serde_json::Value as Json;

use super::{Function, constant, plan, text_of};

/// `get_json_object(text, path)`: the value at a path such as `$.user.tags[0]` or `$['first name']`. A text is as it is. Any other value is
/// JSON, with the fields of objects by name. Null if the text is not JSON, or has no value at the path.
pub(super) fn get_json_object() -> Function {
    Function { name: "get_json_object", signature: Signature::any(2, Volatility::Immutable), kind, values }
}

fn kind(args: &ReturnFieldArgs) -> Result<DataType> {
    path_of(args.scalar_arguments[1].and_then(text_of))?;
    Ok(DataType::Utf8)
}

fn values(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let path = path_of(constant(&args.args[1]))?;
    let texts = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Utf8)?;
    let found = texts.as_string::<i32>().iter().map(|text| found(text?, &path));
    Ok(Arc::new(found.collect::<StringArray>()))
}

fn path_of(text: Option<&str>) -> Result<Vec<Step>> {
    let Some(text) = text else { return plan("the path of get_json_object is a text in quotes") };
    parsed(text).map_err(|reason| DataFusionError::Plan(format!("get_json_object: {reason}")))
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

fn parsed(path: &str) -> std::result::Result<Vec<Step>, String> {
    let wrong = || format!("the path `{path}` is wrong; write for example $.user.tags[0] or $['first name']");
    let mut rest = path.trim().strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(more) = rest.strip_prefix('.') {
            let end = more.find(['.', '[']).unwrap_or(more.len());
            let name = &more[..end];
            if name.is_empty() || name == "*" {
                return Err(wrong());
            }
            steps.push(Step::Name(name.to_owned()));
            rest = &more[end..];
        } else {
            let more = rest.strip_prefix('[').ok_or_else(wrong)?;
            let (inside, after) = match more.strip_prefix('\'') {
                Some(quoted) => {
                    let (name, after) = quoted.split_once("']").ok_or_else(wrong)?;
                    (Step::Name(name.to_owned()), after)
                }
                None => {
                    let (number, after) = more.split_once(']').ok_or_else(wrong)?;
                    (Step::Index(number.trim().parse().map_err(|_| wrong())?), after)
                }
            };
            steps.push(inside);
            rest = after;
        }
    }
    Ok(steps)
}

fn found(text: &str, path: &[Step]) -> Option<String> {
    let json: Json = serde_json::from_str(text).ok()?;
    let value = path.iter().try_fold(&json, |json, step| match step {
        Step::Name(name) => json.get(name),
        Step::Index(index) => json.get(index),
    })?;
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_value() {
        let text = r#"{"user": {"tags": ["a", {"b": 1}], "first name": "x"}, "no": null}"#;
        let of = |path: &str| found(text, &parsed(path).unwrap());
        assert_eq!(of("$.user.tags[0]").as_deref(), Some("a"));
        assert_eq!(of("$.user.tags[1]").as_deref(), Some(r#"{"b":1}"#));
        assert_eq!(of("$['user']['first name']").as_deref(), Some("x"));
        assert_eq!((of("$.no"), of("$.user.tags[7]"), of("$.x.y")), (None, None, None));
        assert_eq!(found("{", &[]), None);
        for wrong in ["user", "$.", "$[x]", "$['a", "$.a.*"] {
            assert!(parsed(wrong).unwrap_err().contains("$.user.tags[0]"), "{wrong}");
        }
        let session = crate::TableSession::new();
        let rows = session.sql(r#"select get_json_object('{"a": 7}', '$.a')"#).unwrap().collect::<String>().unwrap();
        assert_eq!(rows, ["7"]);
        assert!(session.sql("select get_json_object('{}', 'a')").unwrap_err().to_string().contains("$.user.tags[0]"));
    }
}
