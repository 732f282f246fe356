//! What SQL calls the columns of a row, and what verbs call them: `w.length` may be `_1.length`.

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use serde_json::Value as Json;

use super::refused;
use crate::files::json_shape::Shape;

/// A view that a SELECT names.
#[derive(Clone, Debug)]
pub(in crate::command) struct View {
    pub name: String,
    pub rows: Rows,
}

/// What the rows of a view are. Verbs are made for these.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::command) enum Rows {
    /// Tuples with this number of columns.
    Tuple(usize),
    /// Structs with these fields.
    Struct(Vec<String>),
    /// One value each, the column `value`.
    Value,
    /// Why nothing is known of them.
    Unknown(&'static str),
}

/// A column of a SELECT.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// What verbs call it; `None`: they cannot name it.
    pub path: Option<String>,
    /// Whether it is the second key of USING, which `*` leaves out.
    again: bool,
}

/// The columns of a view or subquery of FROM.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Its alias, or its name.
    pub name: String,
    /// `Err`: why they are not known.
    pub columns: Result<Vec<Column>, &'static str>,
}

/// The rows that the verbs so far make, and their columns.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub parts: Vec<Part>,
    pub rows: Rows,
    /// Whether `*` is the whole row, in its order.
    pub is_whole: bool,
}

impl Rows {
    /// What is known from some rows of a view. `tidemill query` finds the same columns.
    pub fn of(rows: &[Json]) -> Rows {
        match rows.iter().map(Shape::of).reduce(Shape::both) {
            None => Rows::Unknown("has no rows as of this batch"),
            Some(Shape::Parts(parts)) => Rows::Tuple(parts.len()),
            Some(Shape::Object(fields)) => Rows::Struct(fields.into_keys().collect()),
            Some(_) if rows.iter().any(|row| row.is_array() || row.is_object()) => Rows::Unknown("has rows of several kinds"),
            Some(_) => Rows::Value,
        }
    }

    /// Whether these columns, in this order, are the whole row.
    pub(super) fn are(&self, columns: &[Column]) -> bool {
        let are = |n: usize| columns.len() == n && columns.iter().zip(1..).all(|(c, n)| c.path.as_ref() == Some(&at(n)));
        match self {
            Rows::Tuple(n) => are(*n),
            Rows::Value => are(1),
            Rows::Struct(_) | Rows::Unknown(_) => false,
        }
    }
}

/// What verbs call a column by its place, counted from 1.
pub(super) fn at(place: usize) -> String {
    format!("_{place}")
}

/// The place of a column that verbs call by it.
fn place(path: &str) -> Option<usize> {
    path.strip_prefix('_')?.parse().ok()
}

/// Whether verbs can name a field so: `null` is a value there, and signs end a word.
fn can_be_named(field: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || "|,=!<>\".".contains(c);
    let begins = |c: char| c.is_alphabetic() || c == '_';
    field.starts_with(begins) && !field.contains(ends) && !["true", "false", "null"].contains(&field)
}

impl Column {
    pub fn new(name: &str, path: &str) -> Self {
        Column { name: name.into(), path: Some(path.into()), again: false }
    }

    /// What verbs call it.
    pub fn path(&self) -> Result<&str, String> {
        let path = self.path.as_deref();
        path.ok_or_else(|| format!("{}: verbs cannot name this column; rename the field, or leave it out", self.name))
    }

    /// The field of a struct.
    fn field(name: &str) -> Self {
        // A field that is called as a place would be read as that.
        let can = can_be_named(name) && place(name).is_none();
        Column { path: can.then(|| name.to_owned()), ..Column::new(name, "") }
    }
}

impl Part {
    fn columns(&self) -> Result<&[Column], String> {
        let unknown = |why: &&str| {
            format!("{} {why}, so its columns are not known; add it when they are, or write verbs in place of SQL", self.name)
        };
        self.columns.as_deref().map_err(unknown)
    }
}

impl Scope {
    /// The rows of a view that FROM calls so.
    pub fn view(name: &str, rows: &Rows) -> Scope {
        let columns = match rows {
            Rows::Tuple(n) => Ok((1..=*n).map(|n| Column::new(&at(n), &at(n))).collect()),
            Rows::Struct(fields) => Ok(fields.iter().map(|field| Column::field(field)).collect()),
            Rows::Value => Ok(vec![Column::new("value", &at(1))]),
            Rows::Unknown(why) => Err(*why),
        };
        Scope { parts: vec![Part { name: name.into(), columns }], rows: rows.clone(), is_whole: true }
    }

    /// The columns of `*`.
    pub fn star(&self) -> Result<Vec<Column>, String> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.columns()?.iter().filter(|column| !column.again).cloned());
        }
        Ok(all)
    }

    /// What verbs call a column of SQL: `w.length`, `length`, or with a field of its value `_1.name`.
    pub fn column(&self, expr: &Expr) -> Result<String, String> {
        let names: &[Ident] = match expr {
            Expr::Nested(inner) => return self.column(inner),
            Expr::Identifier(name) => std::slice::from_ref(name),
            Expr::CompoundIdentifier(names) => names,
            other => return Err(refused(other, "verbs take columns, count(*) and sum(column), and compute nothing else")),
        };
        let is_of = |part: &&Part| names.len() > 1 && part.name.eq_ignore_ascii_case(&names[0].value);
        let (parts, names) = match self.parts.iter().find(is_of) {
            Some(part) => (vec![part], &names[1..]),
            None => (self.parts.iter().collect(), names),
        };
        let mut columns: Vec<&Column> = Vec::new();
        for part in parts {
            columns.extend(part.columns()?);
        }
        let [wanted, fields @ ..] = names else { return Err(refused(expr, "a column has a name")) };
        let called = |is: &dyn Fn(&str) -> bool| columns.iter().copied().filter(|c| is(&c.name)).collect::<Vec<_>>();
        let exactly = called(&|name| name == wanted.value);
        // Case does not matter, unless two fields differ by it alone.
        let found = if exactly.is_empty() { called(&|name| name.eq_ignore_ascii_case(&wanted.value)) } else { exactly };
        let Some(first) = found.first() else {
            let there: Vec<&str> = columns.iter().map(|column| column.name.as_str()).filter(|name| !name.is_empty()).collect();
            return Err(refused(expr, &format!("there is no such column; columns are {}", there.join(", "))));
        };
        if found.iter().any(|column| column.path != first.path) {
            return Err(refused(expr, "several columns are called so; write VIEW.column"));
        }
        let mut path = first.path()?.to_owned();
        for field in fields {
            if !can_be_named(&field.value) {
                return Err(refused(expr, &format!("verbs cannot name the field {field}")));
            }
            path = format!("{path}.{}", field.value);
        }
        Ok(path)
    }

    /// How many columns a row has for `join`. A struct is one.
    pub fn width(&self) -> Result<usize, String> {
        match self.rows {
            Rows::Tuple(n) => Ok(n),
            Rows::Struct(_) | Rows::Value => Ok(1),
            Rows::Unknown(_) => self.star().map(|columns| columns.len()),
        }
    }

    /// What `join` makes: the columns of the left row, and those of the right row without its key. `other` is a view.
    pub fn joined(self, other: Scope, left: &str, right: &str, using: bool) -> Result<Scope, String> {
        let (width, more, key_place) = (self.width()?, other.width()?, place(right));
        let (is_struct, is_other_struct) = (matches!(self.rows, Rows::Struct(_)), matches!(other.rows, Rows::Struct(_)));
        let of_left = |path: &str| if is_struct { format!("_1.{path}") } else { path.to_owned() };
        let of_right = |path: &str| match place(path) {
            // Both keys are equal, and only the left one stays.
            _ if path == right => of_left(left),
            Some(n) if !is_other_struct => at(width + n - usize::from(key_place.is_some_and(|key| key < n))),
            _ => format!("{}.{path}", at(width + 1)),
        };
        let moved = |part: Part, path_of: &dyn Fn(&str) -> String, using: bool| {
            let moved = |column: Column| Column {
                again: column.again || using && column.path.as_deref() == Some(right),
                path: column.path.as_deref().map(path_of),
                name: column.name,
            };
            Part { columns: part.columns.map(|columns| columns.into_iter().map(moved).collect()), ..part }
        };
        let mut parts: Vec<Part> = self.parts.into_iter().map(|part| moved(part, &of_left, false)).collect();
        parts.extend(other.parts.into_iter().map(|part| moved(part, &of_right, using)));
        let rows = match width + more - usize::from(key_place.is_some()) {
            1 => Rows::Value,
            n => Rows::Tuple(n),
        };
        let mut scope = Scope { parts, rows, is_whole: false };
        scope.is_whole = scope.rows.are(&scope.star()?);
        Ok(scope)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_columns_of_a_view_are_read_off_its_rows() {
        let of = |rows: Json| Rows::of(rows.as_array().unwrap());
        assert_eq!(of(json!([["a", 1], ["b", 2]])), Rows::Tuple(2));
        assert_eq!(of(json!([{"word": "a"}, {"length": 1}])), Rows::Struct(vec!["length".into(), "word".into()]));
        assert_eq!((of(json!(["a", "b"])), of(json!([1, null]))), (Rows::Value, Rows::Value));
        for (rows, why) in
            [(json!([]), "no rows"), (json!([[1], [1, 2]]), "several kinds"), (json!([1, {"a": 1}]), "several kinds")]
        {
            assert!(matches!(of(rows), Rows::Unknown(said) if said.contains(why)), "{why}");
        }
    }
}
