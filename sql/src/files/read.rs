//! `session.read()`: files as a table.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tidemill::connector::files::sink_log::FileStreamSinkLog;

use super::line_format::{LineFormat, known};
use super::options::Options;
use super::values::{Values, batch};
use super::{ddl, infer};
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::parquet;
use crate::rows::Columns;
use crate::session::TableSession;

/// Options of every format of files.
pub(crate) const FILE_OPTIONS: [&str; 3] = ["path", "pathGlobFilter", "recursiveFileLookup"];

/// Reads files as a table: Spark's `DataFrameReader`. [`TableSession::read`] makes one.
///
/// | format | columns |
/// |---|---|
/// | `csv` | by the schema, in the order of the fields; without one all are `STRING`, named by the header or `_c0`, `_c1` |
/// | `json` | by the schema, by name, a line for each row; without one they are inferred |
/// | `text` | `value` |
/// | `parquet` | those of the files (feature `parquet`) |
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-read-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("trips.csv").display().to_string();
/// use tidemill_sql::TableSession;
/// std::fs::write(&path, "station,minutes\nFerry,63\nMarket,5\n").unwrap();
/// let session = TableSession::new();
/// let trips = session.read().schema("station STRING, minutes INT").option("header", true).csv(&path)?;
/// assert_eq!(trips.filter("minutes > 10")?.collect::<(String, i32)>()?, [("Ferry".to_owned(), 63)]);
/// let inferred = session.read().option("header", true).option("inferSchema", true).csv(&path)?;
/// assert_eq!(inferred.schema_string(), "root\n |-- station: string (nullable = true)\n |-- minutes: long (nullable = true)\n");
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it describes what to read"]
pub struct DataFrameReader {
    session: TableSession,
    format: String,
    schema: Option<Result<Arc<Schema>>>,
    options: Options,
}

impl DataFrameReader {
    pub(crate) fn new(session: &TableSession) -> Self {
        DataFrameReader { session: session.clone(), format: String::new(), schema: None, options: Options::default() }
    }

    /// The format: `csv`, `json`, `text` or `parquet`.
    pub fn format(mut self, format: &str) -> Self {
        self.format = format.to_lowercase();
        self
    }

    /// The columns, in Spark's words: `"station STRING, minutes INT"`.
    pub fn schema(mut self, ddl: &str) -> Self {
        self.schema = Some(ddl::parsed(ddl).map(Arc::new).map_err(|reason| SqlError::new("read", reason)));
        self
    }

    /// The columns of a type: those of [`TableSession::create_data_frame`].
    pub fn schema_of<T: Deserialize<'static>>(mut self) -> Self {
        self.schema = Some(Columns::of::<T>().map(|columns| columns.schema().clone()));
        self
    }

    /// An option, by Spark's name. Its case does not matter.
    ///
    /// For all formats `pathGlobFilter` (which names, as `*.csv`) and `recursiveFileLookup`. For `csv` and `json` also `timestampFormat`,
    /// `dateFormat`, and `mode`: `FAILFAST`, the default, makes a bad row an error, and `DROPMALFORMED` leaves it out, with a warning. For
    /// `csv` also `header`, `inferSchema`, `sep`, `quote`, `nullValue`, `ignoreLeadingWhiteSpace`.
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// The files of a path as a table: a file, or the files of a directory in the order of their names. Names that begin with `.` or `_`
    /// are left out. A file of gzip is unpacked. Of a directory that a file sink has written, those are read that its `_spark_metadata` names.
    ///
    /// # Errors
    /// If the path cannot be read, an option is unknown, or a row does not fit the schema. The error names file and byte.
    pub fn load(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        let thing = format!("{} {}", self.format, path.as_ref().display());
        let fault = |reason: String| SqlError::new(&thing, reason);
        let schema = self.schema.clone().transpose()?;
        let files = files(path.as_ref(), &self.options).map_err(fault)?;
        if self.format == "parquet" {
            return parquet::read(&self.session, &thing, &files, &self.options);
        }
        let lines = self.lines(&files, &FILE_OPTIONS, schema).map_err(fault)?;
        let (mut rows, mut bad) = (Vec::new(), 0);
        for file in &files {
            let opened = opened(file).map_err(fault)?;
            bad += lines.read(&file.display().to_string(), opened, &mut rows).map_err(fault)?;
        }
        say_left_out(bad);
        let table = batch(&lines.schema, &rows).map_err(|e| fault(e.to_string()))?;
        self.session.table_of(lines.schema, vec![table])
    }

    /// [`load`](Self::load) of format `csv`.
    ///
    /// # Errors
    /// As `load`.
    pub fn csv(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("csv").load(path)
    }

    /// [`load`](Self::load) of format `json`.
    ///
    /// # Errors
    /// As `load`.
    pub fn json(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("json").load(path)
    }

    /// [`load`](Self::load) of format `text`.
    ///
    /// # Errors
    /// As `load`.
    pub fn text(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("text").load(path)
    }

    /// [`load`](Self::load) of format `parquet`.
    ///
    /// # Errors
    /// As `load`.
    pub fn parquet(self, path: impl AsRef<Path>) -> Result<DataFrame> {
        self.format("parquet").load(path)
    }

    /// The same reader of files with these columns.
    pub(crate) fn with_columns(mut self, schema: Arc<Schema>) -> Self {
        self.schema = Some(Ok(schema));
        self
    }

    /// How the lines of these files become rows. `more`: options beside those of the format. Without a schema the first file has it.
    fn lines(&self, files: &[PathBuf], more: &[&str], schema: Option<Arc<Schema>>) -> Result<Lines, String> {
        let format = LineFormat::named(&self.format, &self.options)?;
        let format = format.ok_or("this is not a format; there are: csv, json, text, parquet")?;
        let mut options = [more, known(&self.format)].concat();
        match format {
            LineFormat::Csv(_) => options.extend(["header", "inferSchema", "mode"]),
            LineFormat::Json(_) => options.push("mode"),
            LineFormat::Text => {}
        }
        self.options.only(&self.format, &options)?;
        let schema = match schema {
            Some(schema) => schema,
            None => inferred(&format, files, &self.options, false)?,
        };
        format.check(&schema)?;
        let drops = match self.options.get("mode").map(str::to_ascii_uppercase).as_deref() {
            None | Some("FAILFAST") => false,
            Some("DROPMALFORMED") => true,
            Some(other) => return Err(format!("option mode is `{other}`; there are FAILFAST and DROPMALFORMED")),
        };
        let header = self.options.flag("header")?.unwrap_or(false);
        Ok(Lines { format, schema, header, drops })
    }

    /// How the content of one file becomes a table. Without a schema the file has it.
    pub(crate) fn content(&self, path: &Path) -> Result<Content> {
        let thing = format!("{} {}", self.format, path.display());
        let schema = self.schema.clone().transpose()?;
        self.content_with(path, schema).map_err(|reason| SqlError::new(&thing, reason))
    }

    fn content_with(&self, path: &Path, schema: Option<Arc<Schema>>) -> Result<Content, String> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        if self.format == "parquet" {
            parquet::there()?;
            self.options.only("parquet", &[])?;
            let schema = match schema {
                Some(schema) => schema,
                None => parquet::schema(path)?,
            };
            return Ok(Content::Parquet(schema));
        }
        Ok(Content::Lines(self.lines(&[path.to_owned()], &[], schema)?))
    }
}

/// How the lines of files become rows.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    format: LineFormat,
    schema: Arc<Schema>,
    /// Whether the first line of a file is left out.
    header: bool,
    /// Whether rows that do not fit the schema are left out.
    drops: bool,
}

impl Lines {
    /// Adds the rows of a file. Returns how many were left out.
    fn read(&self, name: &str, bytes: impl Read, rows: &mut Vec<Values>) -> Result<u64, String> {
        let mut bad = 0;
        each_line_of(name, bytes, |at, line| {
            if self.header && at == 0 {
                return Ok(true);
            }
            match line.and_then(|line| self.format.values(line, &self.schema)) {
                Ok(row) => rows.extend(row),
                Err(_) if self.drops => bad += 1,
                Err(reason) => {
                    let remedy = "option mode=DROPMALFORMED leaves such rows out";
                    return Err(format!("{name}, byte {at}: {reason}; {remedy}"));
                }
            }
            Ok(true)
        })?;
        Ok(bad)
    }
}

fn say_left_out(bad: u64) {
    if bad > 0 {
        tracing::warn!(rows = bad, "rows that do not fit the schema are left out (mode=DROPMALFORMED)");
    }
}

/// How the content of one file becomes a table.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Lines(Lines),
    Parquet(Arc<Schema>),
}

impl Content {
    pub(crate) fn schema(&self) -> &Arc<Schema> {
        match self {
            Content::Lines(lines) => &lines.schema,
            Content::Parquet(schema) => schema,
        }
    }

    /// The table that these bytes are.
    pub(crate) fn table(&self, bytes: &[u8]) -> Result<RecordBatch, String> {
        match self {
            Content::Lines(lines) => {
                let mut rows = Vec::new();
                say_left_out(lines.read("the file", bytes, &mut rows)?);
                batch(&lines.schema, &rows).map_err(|e| e.to_string())
            }
            Content::Parquet(schema) => parquet::table(bytes, schema),
        }
    }
}

impl TableSession {
    /// Reads files as a table.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("tidemill-doc-session-read-{}.json", std::process::id()));
    /// use tidemill_sql::TableSession;
    /// std::fs::write(&path, "{\"name\": \"Ferry\", \"docks\": 27}\n").unwrap();
    /// let session = TableSession::new();
    /// session.read().json(&path)?.create_or_replace_temp_view("docks")?;
    /// assert_eq!(session.sql("select name from docks where docks > 20")?.collect::<String>()?, ["Ferry"]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self)
    }
}

/// The schema of the first file's first lines. The rule and its result are logged.
pub(crate) fn inferred(format: &LineFormat, files: &[PathBuf], options: &Options, typed: bool) -> Result<Arc<Schema>, String> {
    let mut lines = Vec::new();
    if let (Some(first), false) = (files.first(), matches!(format, LineFormat::Text)) {
        each_line(first, |_, line| {
            lines.extend(line.ok().map(str::to_owned));
            Ok(lines.len() <= infer::LINES)
        })?;
    }
    let typed = typed || options.flag("inferSchema")?.unwrap_or(false);
    let (schema, rule) = format.inferred(&lines, options, typed)?;
    if typed || matches!(format, LineFormat::Json(_)) {
        tracing::info!(schema = ddl::text(&schema), rule, "a schema is inferred; schema() keeps it");
    }
    Ok(Arc::new(schema))
}

/// The files of a path, in the order of their names.
pub(crate) fn files(path: &Path, options: &Options) -> Result<Vec<PathBuf>, String> {
    let unreadable = |e: std::io::Error| format!("the path cannot be read: {e}");
    let path = path.strip_prefix("file://").unwrap_or(path);
    if std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let wanted = |name: &str| options.get("pathGlobFilter").is_none_or(|glob| matches(glob, name));
    // Other files of a directory that a sink writes are not complete.
    if let Some(mut logged) = FileStreamSinkLog::files(path).map_err(|e| e.to_string())? {
        logged.retain(|file| file.file_name().is_some_and(|name| wanted(&name.to_string_lossy())));
        logged.sort();
        return Ok(logged);
    }
    let recursive = options.flag("recursiveFileLookup")?.unwrap_or(false);
    let (mut found, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(unreadable)?;
            let hidden = name.starts_with(['.', '_']);
            if kind.is_dir() && recursive && !hidden {
                folders.push(entry.path());
            } else if kind.is_file() && !hidden && wanted(&name) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is one of a pattern with `*` and `?`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            matches(rest, name) || name.chars().next().is_some_and(|c| matches(pattern, &name[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => matches(&pattern[1..], &name[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => matches(&pattern[p.len_utf8()..], &name[c.len_utf8()..]),
        _ => false,
    }
}

/// Calls `f` with the first byte and the text of each line of a file, until it returns false.
fn each_line(file: &Path, f: impl FnMut(u64, Result<&str, String>) -> Result<bool, String>) -> Result<(), String> {
    each_line_of(&file.display().to_string(), opened(file)?, f)
}

fn opened(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|e| unreadable(&file.display().to_string(), &e))
}

fn unreadable(name: &str, e: &std::io::Error) -> String {
    format!("{name} cannot be read: {e}")
}

/// The same of any bytes, which errors call by a name. Those of gzip are unpacked.
fn each_line_of(
    name: &str,
    mut bytes: impl Read,
    mut f: impl FnMut(u64, Result<&str, String>) -> Result<bool, String>,
) -> Result<(), String> {
    let unreadable = |e| unreadable(name, &e);
    let mut first = Vec::new();
    bytes.by_ref().take(2).read_to_end(&mut first).map_err(unreadable)?;
    let packed = first == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(first).chain(bytes);
    let text: Box<dyn Read + '_> = if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
    let (mut reader, mut line, mut at) = (BufReader::new(text), Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        let mut bytes = line.strip_suffix(b"\n").unwrap_or(&line);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if at == 0 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if !f(at, std::str::from_utf8(bytes).map_err(|e| e.to_string()))? {
            return Ok(());
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_selects_names() {
        for (pattern, name, is) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a?c*", "abcd", true),
            ("*é*", "caféx", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
