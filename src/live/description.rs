//! What the text of an added computation says. Its `Display` is the text that is kept.

use std::fmt;
use std::time::Duration;

use super::json::{Column, Json, Step};

/// The most bytes of a text.
pub(crate) const MOST_BYTES: usize = 4_096;
/// The most verbs of a text.
pub(crate) const MOST_VERBS: usize = 32;
/// The most rows of `top`.
pub(crate) const MOST_TOP: usize = 10_000;

/// A computation over views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The name of its result; `None`: one is made.
    pub name: Option<String>,
    pub view: Named,
    pub verbs: Vec<Verb>,
    /// Whether it ends in `print`.
    pub print: bool,
}

/// The name of a view in a text.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub name: String,
    /// The character at which it is, counted from 1.
    pub at: usize,
}

/// Where it is does not matter.
impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Named {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Rows for which the comparison is true.
    Filter(Operand, Compare, Operand),
    /// Rows of these columns.
    Map(Vec<Column>),
    /// How many rows there are for each value of the columns; without columns, in all.
    Count(Vec<Column>),
    /// The sum of a column for each value of the columns.
    Sum(Column, Vec<Column>),
    /// The rows with the largest column, or the largest last number.
    Top(usize, Option<Column>),
    /// Rows with the rows of another view that have the same value in a column.
    Join { view: Named, left: Column, right: Column },
    /// Rows that were not there `length` ago, looked at every `slide`.
    Window { length: Duration, slide: Option<Duration> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Column(Column),
    Value(Json),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Compare {
    pub const ALL: [(Compare, &'static str); 6] = [
        (Compare::Equal, "="),
        (Compare::Unequal, "!="),
        (Compare::Less, "<"),
        (Compare::AtMost, "<="),
        (Compare::Greater, ">"),
        (Compare::AtLeast, ">="),
    ];

    /// Whether the comparison is true. Values of different types are only unequal.
    pub fn holds(self, left: &Json, right: &Json) -> bool {
        let order = left.order(right);
        match self {
            Compare::Equal => order.is_some_and(|o| o.is_eq()),
            Compare::Unequal => !order.is_some_and(|o| o.is_eq()),
            Compare::Less => order.is_some_and(|o| o.is_lt()),
            Compare::AtMost => order.is_some_and(|o| o.is_le()),
            Compare::Greater => order.is_some_and(|o| o.is_gt()),
            Compare::AtLeast => order.is_some_and(|o| o.is_ge()),
        }
    }
}

impl Operand {
    pub fn of<'a>(&'a self, row: &'a Json) -> &'a Json {
        match self {
            Operand::Column(column) => row.column(column),
            Operand::Value(value) => value,
        }
    }
}

impl Description {
    /// All views that it reads.
    pub fn views(&self) -> impl Iterator<Item = &Named> {
        let joined = self.verbs.iter().filter_map(|verb| match verb {
            Verb::Join { view, .. } => Some(view),
            _ => None,
        });
        std::iter::once(&self.view).chain(joined)
    }

    /// A name for its result, if it has none: the view and the verbs, numbered from the second one on.
    pub fn free_name(&self, taken: impl Fn(&str) -> bool) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let verbs = self.verbs.iter().map(|verb| format!(".{}", verb.word()));
        let name: String = std::iter::once(self.view.name.clone()).chain(verbs).collect();
        let name: String = name.chars().take(48).collect();
        // A verb at least, or it would be the name of the view.
        let name = if self.verbs.is_empty() { format!("{name}.rows") } else { name };
        let numbered = (2..).map(|n| format!("{name}.{n}"));
        std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }

    /// The text without its name and without `print`.
    pub fn text(&self) -> String {
        Description { name: None, print: false, ..self.clone() }.to_string()
    }
}

impl Verb {
    /// The word of this verb.
    pub fn word(&self) -> &'static str {
        match self {
            Verb::Filter(..) => "filter",
            Verb::Map(_) => "map",
            Verb::Count(_) => "count",
            Verb::Sum(..) => "sum",
            Verb::Top(..) => "top",
            Verb::Join { .. } => "join",
            Verb::Window { .. } => "window",
        }
    }
}

/// A column as it is written.
struct Shown<'a>(&'a Column);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            let dot = if n > 0 { "." } else { "" };
            match step {
                Step::Element(n) => write!(f, "{dot}_{n}")?,
                Step::Field(name) => write!(f, "{dot}{name}")?,
            }
        }
        Ok(())
    }
}

fn columns(columns: &[Column]) -> String {
    columns.iter().map(|column| Shown(column).to_string()).collect::<Vec<_>>().join(", ")
}

fn by(keys: &[Column]) -> String {
    if keys.is_empty() { String::new() } else { format!(" by {}", columns(keys)) }
}

/// A duration in the largest unit that is whole.
fn duration(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)).unwrap_or((1, "ms"));
    format!("{}{}", ms / unit.0, unit.1)
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Column(column) => Shown(column).fmt(f),
            Operand::Value(value) => f.write_str(&value.text()),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Verb::Filter(left, compare, right) => {
                let sign = Compare::ALL.iter().find(|(c, _)| c == compare).map_or("", |(_, sign)| sign);
                write!(f, " {left} {sign} {right}")
            }
            Verb::Map(keys) => write!(f, " {}", columns(keys)),
            Verb::Count(keys) => f.write_str(&by(keys)),
            Verb::Sum(column, keys) => write!(f, " {}{}", Shown(column), by(keys)),
            Verb::Top(n, None) => write!(f, " {n}"),
            Verb::Top(n, Some(column)) => write!(f, " {n} by {}", Shown(column)),
            Verb::Join { view, left, right } if left == right => write!(f, " {} by {}", view.name, Shown(left)),
            Verb::Join { view, left, right } => write!(f, " {} by {} = {}", view.name, Shown(left), Shown(right)),
            Verb::Window { length, slide: None } => write!(f, " {}", duration(*length)),
            Verb::Window { length, slide: Some(slide) } => write!(f, " {} {}", duration(*length), duration(*slide)),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name} = ")?;
        }
        f.write_str(&self.view.name)?;
        self.verbs.iter().try_for_each(|verb| write!(f, " | {verb}"))?;
        if self.print { f.write_str(" | print") } else { Ok(()) }
    }
}
