//! Questions to the views of a running job, and their answers.
//!
//! A question goes from its asker to the planner, which chooses the batch, and to every worker (`operator/view/queryable.rs`). Each worker
//! answers for the rows that it owns, and the planner puts the parts together (`job/questions.rs`).

use std::cmp::{Ordering, Reverse};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::float::F64;
use crate::core::time::BatchTime;

/// The most rows of one answer.
pub const MOST_ROWS: u32 = 10_000;
/// The most bytes of the rows that one worker gives for one answer.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// Whether a view may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_in_name)
}

/// Whether a name may have this character.
pub(crate) fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// What is asked of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub view: String,
    /// The batch as of which the answer is; `None`: the newest one.
    pub at: Option<BatchTime>,
    pub filter: Filter,
    /// Whether the rows with the largest last number come first. Otherwise rows are in the order of their JSON text.
    pub top: bool,
    /// The most rows of the answer.
    pub limit: u32,
    /// Whether somebody follows the view.
    pub follow: Option<Follow>,
}

/// What somebody who follows a view asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Follow {
    /// For all rows. The batch of the answer is held from then on.
    Begin,
    /// For what has changed since the previous answer, whose batch was held.
    Next {
        /// The number of the first question.
        first: u64,
        /// The batch of the previous answer.
        since: BatchTime,
    },
}

impl Question {
    /// All rows of a view as of the newest batch, at most 100.
    pub fn all(view: &str) -> Self {
        Question { view: view.into(), at: None, filter: Filter::All, top: false, limit: 100, follow: None }
    }

    /// All rows of a view, as of this batch or the newest one.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
    pub fn whole(view: &str, at: Option<BatchTime>) -> Self {
        Question { at, limit: u32::MAX, ..Question::all(view) }
    }

    /// Whether an answer may have as many rows as this question asks for.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result<(), String> {
        match (1..=MOST_ROWS).contains(&self.limit) {
            true => Ok(()),
            false => Err(format!("{} rows: an answer has 1 to {MOST_ROWS}", self.limit)),
        }
    }

    /// Of a follower that has an answer: the number of its first question, and the batch of the last answer.
    pub fn since(&self) -> Option<(u64, BatchTime)> {
        match self.follow {
            Some(Follow::Next { first, since }) => Some((first, since)),
            _ => None,
        }
    }
}

/// Which rows are asked for. The key of a row is its first element if it is a tuple, otherwise the row itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filter {
    All,
    /// The rows with this key, as JSON text.
    Key(String),
    /// The rows whose key is a text that begins so.
    Prefix(String),
    /// The rows with a key from the first one on and before the second one, both as JSON text. A side that is missing has no bound.
    Range(Option<String>, Option<String>),
}

/// The order of two keys of one type: numbers by their value, texts by their letters, tuples part by part. `None`: they have no order.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i128(), y.as_i128()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(y)),
        (Value::Array(x), Value::Array(y)) => {
            for (a, b) in x.iter().zip(y) {
                match order(a, b)? {
                    Ordering::Equal => {}
                    other => return Some(other),
                }
            }
            Some(x.len().cmp(&y.len()))
        }
        _ => None,
    }
}

impl Filter {
    /// Whether a row is asked for.
    pub fn takes(&self, row: &Value) -> bool {
        let key = match row {
            Value::Array(parts) if !parts.is_empty() => &parts[0],
            row => row,
        };
        match self {
            Filter::All => true,
            Filter::Key(wanted) => serde_json::to_string(key).is_ok_and(|key| key == *wanted),
            Filter::Prefix(prefix) => key.as_str().is_some_and(|key| key.starts_with(prefix)),
            Filter::Range(from, until) => {
                let than = |bound: &str| serde_json::from_str(bound).ok().and_then(|bound| order(key, &bound));
                from.as_ref().is_none_or(|from| than(from).is_some_and(Ordering::is_ge))
                    && until.as_ref().is_none_or(|until| than(until).is_some_and(Ordering::is_lt))
            }
        }
    }
}

/// A row of an answer as JSON text, with what orders it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RankedRow {
    /// The whole part and the fraction of the last number of the row, if the answer is ordered by it.
    rank: Reverse<Option<(i128, F64)>>,
    pub json: String,
}

impl RankedRow {
    pub fn new(row: &Value, top: bool) -> Self {
        let last = match row {
            Value::Array(parts) => parts.iter().rev().find(|part| part.is_number()),
            row => Some(row),
        };
        let rank = |n: &Value| match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), ..) => Some((i128::from(n), F64::default())),
            (_, Some(n), _) => Some((i128::from(n), F64::default())),
            (.., Some(n)) => Some((n.floor() as i128, F64::from(n - n.floor()))),
            _ => None,
        };
        RankedRow { rank: Reverse(last.filter(|_| top).and_then(rank)), json: row.to_string() }
    }
}

/// What one worker says, or the whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The first rows that are asked for, in order. For a follower, the rows that are new.
    pub rows: Vec<RankedRow>,
    /// For a follower, the rows that are gone.
    pub removed: Vec<RankedRow>,
    /// How many rows are asked for.
    pub matched: u64,
}

impl Part {
    /// Adds the part of another worker.
    pub(crate) fn add(&mut self, other: Part, limit: u32) {
        self.matched += other.matched;
        self.rows.extend(other.rows);
        self.rows.sort_unstable();
        self.rows.truncate(limit as usize);
        self.removed.extend(other.removed);
        self.removed.sort_unstable();
    }
}

/// The answer to a question: rows of a view as of one batch.
///
/// [`JobHandle::query`](crate::job::JobHandle::query) asks.
///
/// ```
/// use tidemill::core::question::Answer;
/// use tidemill::prelude::*;
/// let rows = vec![serde_json::json!(["tide", 2]), serde_json::json!(["mill", 1])];
/// let answer = Answer { time: BatchTime::from_millis(5), rows, matched: 7 };
/// assert_eq!(answer.rows_as::<(String, i64)>().unwrap()[1], ("mill".to_string(), 1));
/// assert!(answer.rows_as::<i64>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The batch as of which the rows are.
    pub time: BatchTime,
    /// The rows, at most as many as were asked for.
    pub rows: Vec<Value>,
    /// How many rows there are in all.
    pub matched: u64,
}

impl Answer {
    pub(crate) fn new((time, part): (BatchTime, Part)) -> Self {
        let rows = part.rows.iter().map(|row| serde_json::from_str(&row.json).unwrap_or_default()).collect();
        Answer { time, rows, matched: part.matched }
    }

    /// The rows as a type, such as `(String, i64)`.
    ///
    /// # Errors
    /// A row is not of this type.
    pub fn rows_as<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<Vec<T>> {
        self.rows.iter().map(|row| T::deserialize(row)).collect()
    }
}

/// What becomes of the answer as of a batch, on the thread of the planner. So its rows are still text: who asks reads them.
pub(crate) type Reply = Box<dyn FnOnce(Result<(BatchTime, Part), String>) + Send>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_ordered_by_their_last_number_and_then_by_their_text() {
        let rows = [json!(["a", 3]), json!(["b", 3.5]), json!(["c", -7]), json!(["d", u64::MAX]), json!(["e", 3]), json!(["f"])];
        let ordered = |top| {
            let mut rows: Vec<RankedRow> = rows.iter().map(|row| RankedRow::new(row, top)).collect();
            rows.sort();
            rows.into_iter().map(|row| row.json.chars().nth(2).unwrap()).collect::<String>()
        };
        assert_eq!(ordered(true), "dbaecf");
        assert_eq!(ordered(false), "abcdef");
    }

    #[test]
    fn the_key_of_a_row_is_its_first_element_or_the_row() {
        let (pair, word, number) = (json!(["tide", 4]), json!("tide"), json!(7));
        let key = |key: &str| Filter::Key(key.into());
        assert!(key("\"tide\"").takes(&pair) && key("\"tide\"").takes(&word) && key("7").takes(&number));
        assert!(!key("4").takes(&pair) && !key("tide").takes(&word));
        let prefix = Filter::Prefix("ti".into());
        assert!(prefix.takes(&pair) && prefix.takes(&word) && !prefix.takes(&number));
    }

    #[test]
    fn keys_of_a_range_have_an_order() {
        let takes = |from: Option<&str>, until: Option<&str>, row: Value| {
            Filter::Range(from.map(str::to_owned), until.map(str::to_owned)).takes(&row)
        };
        assert!(takes(Some("9"), Some("11"), serde_json::json!([10, "x"])) && takes(Some("9"), None, serde_json::json!(9)));
        assert!(!takes(Some("9"), Some("10"), serde_json::json!([10, "x"])) && !takes(Some("-1.5"), None, serde_json::json!(-2)));
        assert!(
            takes(Some("\"b\""), Some("\"c\""), serde_json::json!(["bz", 1]))
                && !takes(None, Some("\"b\""), serde_json::json!(["b"]))
        );
        assert!(
            takes(Some("[1,\"b\"]"), None, serde_json::json!([[1, "c"], 7]))
                && !takes(Some("[2]"), None, serde_json::json!([[1, "c"], 7]))
        );
        assert!(!takes(Some("1"), None, serde_json::json!(["1", 7])), "a text has no order with a number");
    }
}
