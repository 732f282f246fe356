//! Which table a stream is written to, and the statements that do it.

/// A table of a database: its columns, its key, and how often each row is written. For `DStream::to_sqlite` and
/// `DStream::to_postgres`.
///
/// Rows are structs or tuples. The fields of a struct go to the columns with their names. Those of a tuple go to the columns in order, and
/// a tuple in a tuple counts as its fields: `((city, street), n)` has three.
///
/// Without a [`key`](Table::key) every row is inserted. With one a row replaces the row with the same key; of two such rows in a batch the
/// last one stays. The table must exist. If it is missing or different, the job does not start, and the error has the statement that makes
/// it.
///
/// ```
/// use tidemill::connector::database::Table;
/// let readings = Table::new("public.readings").text("sensor").integer("at").float("celsius").boolean("valid").bytes("raw");
/// // A reading that comes again replaces the first one. Four transactions write a batch, once.
/// let readings = readings.key(["sensor", "at"]).shards(4).exactly_once();
/// assert!(format!("{readings:?}").contains("celsius"));
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    key: Vec<String>,
    pub(super) shards: u32,
    pub(super) exactly_once: bool,
    pub(super) dead_letters: Option<String>,
}

/// A column: its name, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    Bytes,
}

impl Table {
    /// A table with this name, which may have a schema before it: `public.counts`. Its columns follow.
    pub fn new(name: impl Into<String>) -> Self {
        Table { name: name.into(), columns: Vec::new(), key: Vec::new(), shards: 1, exactly_once: false, dead_letters: None }
    }

    fn column(mut self, name: impl Into<String>, kind: Kind) -> Self {
        self.columns.push(Column { name: name.into(), kind });
        self
    }

    /// The next column holds text.
    pub fn text(self, column: impl Into<String>) -> Self {
        self.column(column, Kind::Text)
    }

    /// The next column holds integers of 64 bits.
    pub fn integer(self, column: impl Into<String>) -> Self {
        self.column(column, Kind::Integer)
    }

    /// The next column holds floats of 64 bits.
    pub fn float(self, column: impl Into<String>) -> Self {
        self.column(column, Kind::Float)
    }

    /// The next column holds booleans.
    pub fn boolean(self, column: impl Into<String>) -> Self {
        self.column(column, Kind::Boolean)
    }

    /// The next column holds bytes.
    pub fn bytes(self, column: impl Into<String>) -> Self {
        self.column(column, Kind::Bytes)
    }

    /// A row replaces the row with the same values in these columns. The table must have a primary key or a unique index on them.
    pub fn key<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Writes each row exactly once: the position of the job is in the table `tidemill_progress`, in the transaction of the rows. Needs a
    /// checkpoint directory and sources that can be read again. Default: at least once.
    pub fn exactly_once(mut self) -> Self {
        self.exactly_once = true;
        self
    }

    /// The number of transactions of a batch, 1 to `max_parallelism`, by default 128. They spread over the processes of the job, each with one
    /// connection. Rows of one key of the stream are in one of them. Fixed when the checkpoint directory is made. Default: 1.
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards;
        self
    }

    /// Rows that violate a constraint of the table, such as a `CHECK`, a `UNIQUE`, or a foreign key, go to this other table, in the
    /// transaction of the others. Default: such a row ends the job. The table is made if it is missing, with the columns `table_name`, `row_json`
    /// and `reason`. A row that cannot be deleted still ends the job, and so does a constraint that is checked at the commit.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use tidemill::connector::database::Table;
    /// use tidemill::prelude::*;
    /// let file = std::env::temp_dir().join(format!("tidemill-doc-dead-letters-{}.db", std::process::id()));
    /// let open = || rusqlite::Connection::open(&file).unwrap();
    /// open().execute_batch("CREATE TABLE ages (name TEXT, age INTEGER CHECK (age >= 0))").unwrap();
    /// let (queue, path) = (QueueSource::from_batches([vec![("ada".to_owned(), 36), ("bob".to_owned(), -1)]]), file.clone());
    /// StreamingContext::builder("ages", millis(10)).without_checkpoint().run(move |ssc| {
    ///     let table = Table::new("ages").text("name").integer("age").dead_letters("ages_refused");
    ///     ssc.queue_stream(&queue).to_sqlite(&path, table);
    ///     Ok(())
    /// }).unwrap();
    /// let refused: String = open().query_row("SELECT row_json FROM ages_refused", [], |row| row.get(0)).unwrap();
    /// assert_eq!(refused, r#"{"age":-1,"name":"bob"}"#);
    /// # std::fs::remove_file(file).unwrap();
    /// # }
    /// ```
    pub fn dead_letters(mut self, table: impl Into<String>) -> Self {
        self.dead_letters = Some(table.into());
        self
    }

    /// What is wrong with it. `deletes`: rows may leave the table.
    pub(super) fn problem(&self, deletes: bool) -> Option<String> {
        let name = &self.name;
        let known = |column: &String| self.columns.iter().any(|c| c.name == *column);
        let twice = self.columns.iter().enumerate().find(|(i, c)| self.columns[..*i].iter().any(|other| other.name == c.name));
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Some(format!("the table \"{name}\": write a name such as counts or public.counts"));
        }
        if let Some(letters) = self.dead_letters.as_ref().filter(|letters| letters.split('.').any(str::is_empty)) {
            return Some(format!("the table \"{letters}\" for dead letters: write a name such as refused or public.refused"));
        }
        if self.columns.is_empty() {
            return Some(format!("the table {name} has no columns: name them, as Table::new(\"{name}\").text(\"word\")"));
        }
        if let Some((_, column)) = twice {
            return Some(format!("the table {name} has two columns \"{}\"", column.name));
        }
        if let Some(column) = self.key.iter().find(|column| !known(column)) {
            return Some(format!("the key of the table {name} has \"{column}\", which is not one of its columns"));
        }
        if deletes && self.key.is_empty() {
            return Some(format!("changes of rows need a key, by which rows of the table {name} are found: add key(..)"));
        }
        (deletes && self.shards > 1)
            .then(|| format!("changes are written in order, in one shard, and {} are asked for", self.shards))
    }

    /// Whether rows replace others.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The places of the key's columns in a row.
    pub(super) fn key_places(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().enumerate().filter(|(_, c)| self.key.contains(&c.name)).map(|(at, _)| at)
    }

    /// Inserts or replaces this many rows.
    pub(super) fn insert(&self, rows: usize) -> String {
        self.insert_with(rows, |i| format!("${i}"))
    }

    /// Like `insert`, with these words in the places of values, which count from 1.
    pub(super) fn insert_with(&self, rows: usize, place: impl Fn(usize) -> String) -> String {
        let (into, columns) = (self.insert_into(), self.columns.len());
        let row = |row| (1..=columns).map(|i| place(row * columns + i)).collect::<Vec<_>>().join(", ");
        let rows: Vec<String> = (0..rows).map(|n| format!("({})", row(n))).collect();
        format!("{into} VALUES {}{}", rows.join(", "), self.on_conflict())
    }

    /// Inserts or replaces rows, whose columns are arrays of these types.
    #[cfg(feature = "postgres")]
    pub(super) fn insert_arrays(&self, types: &[&str]) -> String {
        format!("{} SELECT * FROM {}{}", self.insert_into(), unnest(types), self.on_conflict())
    }

    fn insert_into(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quoted(&c.name)).collect();
        format!("INSERT INTO {} ({})", quoted_path(&self.name), names.join(", "))
    }

    /// What an `INSERT` does with a row whose key is in the table.
    fn on_conflict(&self) -> String {
        if !self.has_key() {
            return String::new();
        }
        let key: Vec<String> = self.key.iter().map(|c| quoted(c)).collect();
        let others = self.columns.iter().filter(|c| !self.key.contains(&c.name)).map(|c| quoted(&c.name));
        let set: Vec<String> = others.map(|c| format!("{c} = excluded.{c}")).collect();
        let then = if set.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(" ON CONFLICT ({}) DO {then}", key.join(", "))
    }

    /// Deletes the row with a key. Its values are in the order of [`key_places`](Self::key_places).
    #[cfg(feature = "sqlite")]
    pub(super) fn delete(&self) -> String {
        let places = self.key_places().zip(1..).map(|(at, i)| format!("{} = ${i}", quoted(&self.columns[at].name)));
        format!("DELETE FROM {} WHERE {}", quoted_path(&self.name), places.collect::<Vec<_>>().join(" AND "))
    }

    /// Deletes the rows with these keys, whose columns are arrays of these types.
    #[cfg(feature = "postgres")]
    pub(super) fn delete_arrays(&self, types: &[&str]) -> String {
        let key: Vec<String> = self.key_places().map(|at| quoted(&self.columns[at].name)).collect();
        let same: Vec<String> = key.iter().map(|c| format!("kept.{c} = gone.{c}")).collect();
        let (name, keys, from) = (quoted_path(&self.name), key.join(", "), unnest(types));
        format!("DELETE FROM {name} AS kept USING {from} AS gone ({keys}) WHERE {}", same.join(" AND "))
    }

    /// Inserts a row into the table of dead letters.
    pub(super) fn insert_dead_letter(&self) -> String {
        let name = quoted_path(self.dead_letters.as_deref().unwrap_or_default());
        format!("INSERT INTO {name} (table_name, row_json, reason) VALUES ($1, $2, $3)")
    }

    /// The table of dead letters, and what makes it.
    pub(super) fn create_dead_letters(&self, type_of: fn(Kind) -> &'static str) -> Option<(&str, String)> {
        let (name, text) = (self.dead_letters.as_deref()?, type_of(Kind::Text));
        let columns = format!("table_name {text}, row_json {text}, reason {text}");
        Some((name, format!("CREATE TABLE IF NOT EXISTS {} ({columns})", quoted_path(name))))
    }

    /// Makes the table, with these types for the columns.
    pub(super) fn create(&self, type_of: fn(Kind) -> &'static str) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(|c| format!("{} {}", quoted(&c.name), type_of(c.kind))).collect();
        if self.has_key() {
            let key: Vec<String> = self.key.iter().map(|c| quoted(c)).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        format!("CREATE TABLE {} ({})", quoted_path(&self.name), parts.join(", "))
    }
}

/// Arrays of these types as a table: PostgreSQL's `unnest`.
#[cfg(feature = "postgres")]
fn unnest(types: &[&str]) -> String {
    let arrays: Vec<String> = types.iter().zip(1..).map(|(of, i)| format!("${i}::pg_catalog.{of}[]")).collect();
    format!("unnest({})", arrays.join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_path(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_columns_and_key() {
        let table = Table::new("public.counts").text("word").integer("n").boolean("a\"b").key(["word", "a\"b"]);
        let into = r#"INSERT INTO "public"."counts" ("word", "n", "a""b") VALUES ($1, $2, $3)"#;
        let then = r#" ON CONFLICT ("word", "a""b") DO UPDATE SET "n" = excluded."n""#;
        assert_eq!(table.insert(1), format!("{into}{then}"));
        assert_eq!(table.insert(2), format!("{into}, ($4, $5, $6){then}"));
        #[cfg(feature = "sqlite")]
        assert_eq!(table.delete(), r#"DELETE FROM "public"."counts" WHERE "word" = $1 AND "a""b" = $2"#);
        assert_eq!(table.key_places().collect::<Vec<_>>(), [0, 2]);
        let create = r#"CREATE TABLE "public"."counts" ("word" x, "n" x, "a""b" x, PRIMARY KEY ("word", "a""b"))"#;
        assert_eq!(table.create(|_| "x"), create);
        assert!(Table::new("t").text("only").key(["only"]).insert(1).ends_with("DO NOTHING"));
        assert!(!Table::new("t").text("only").insert(1).contains("CONFLICT"));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn statements_take_columns_as_arrays() {
        let table = Table::new("counts").text("word").integer("n").key(["word"]);
        let into = r#"INSERT INTO "counts" ("word", "n") SELECT * FROM unnest($1::pg_catalog.text[], $2::pg_catalog.int8[])"#;
        let then = r#" ON CONFLICT ("word") DO UPDATE SET "n" = excluded."n""#;
        assert_eq!(table.insert_arrays(&["text", "int8"]), format!("{into}{then}"));
        let from = r#"DELETE FROM "counts" AS kept USING unnest($1::pg_catalog.text[]) AS gone ("word")"#;
        assert_eq!(table.delete_arrays(&["text"]), format!(r#"{from} WHERE kept."word" = gone."word""#));
    }

    #[test]
    fn a_table_that_cannot_be_is_named() {
        let table = || Table::new("t").text("a").integer("b");
        for (table, deletes, expected) in [
            (Table::new(""), false, "write a name"),
            (Table::new("a..b").text("a"), false, "write a name"),
            (Table::new("t"), false, "no columns"),
            (table().text("a"), false, "two columns \"a\""),
            (table().key(["c"]), false, "\"c\", which is not one of its columns"),
            (table(), true, "need a key"),
            (table().key(["a"]).shards(2), true, "in one shard, and 2"),
        ] {
            let problem = table.problem(deletes).unwrap();
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!((table().problem(false), table().key(["a"]).problem(true)), (None, None));
    }
}
