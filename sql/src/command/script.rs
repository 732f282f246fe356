//! Statements of a file of SQL.

use super::watermark_clause::{WatermarkClause, taken_out};

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    CreateTable(Table),
    CreateView { name: String, watermark: Option<WatermarkClause>, query: String },
    Insert { table: String, query: String },
    Explain(String),
    Query(String),
}

/// A table that is a source, a sink, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub name: String,
    pub schema: Option<String>,
    pub watermark: Option<WatermarkClause>,
    pub format: String,
    pub options: Vec<(String, String)>,
}

impl Table {
    /// Takes an option out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.options.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(self.options.remove(place).1)
    }
}

/// The statements of a text, each ended by a semicolon; the last one needs none.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, String> {
    split(text)?.iter().map(|one| parsed(one)).collect()
}

/// Whether a text that is typed has its end: a semicolon outside of quotes and comments.
pub(super) fn is_whole(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    while let Ok(Some(piece)) = scanner.piece() {
        if piece == ";" {
            return true;
        }
    }
    false
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut all, mut begin, mut some) = (Vec::new(), 0, false);
    let mut scanner = Scanner::new(text);
    while let Some(piece) = scanner.piece()? {
        if piece == ";" {
            if some {
                all.push(text[begin..scanner.at - 1].trim().to_owned());
            }
            (begin, some) = (scanner.at, false);
        } else {
            some = true;
        }
    }
    if some {
        all.push(text[begin..].trim().to_owned());
    }
    Ok(all)
}

/// Reads pieces: words, quoted texts with their quotes, and single signs.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Scanner { text, at: 0 }
    }

    /// The byte behind the last piece.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.at += rest.find("*/").map_or(rest.len(), |end| end + 2);
            } else {
                match rest.chars().next().filter(|c| c.is_whitespace()) {
                    Some(c) => self.at += c.len_utf8(),
                    None => return,
                }
            }
        }
    }

    pub(super) fn piece(&mut self) -> Result<Option<&'t str>, String> {
        self.skip();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let length = match first {
            '\'' | '"' | '`' => {
                let mut end = 1;
                loop {
                    let Some(next) = rest[end..].find(first) else {
                        return Err(format!("a {first} has no end: {}", rest.lines().next().unwrap_or_default()));
                    };
                    end += next + 1;
                    if !rest[end..].starts_with(first) {
                        break end;
                    }
                    end += 1;
                }
            }
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        self.at += length;
        Ok(Some(&rest[..length]))
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let at = self.at;
        let is = self.piece().ok().flatten().is_some_and(|piece| piece.eq_ignore_ascii_case(word));
        if !is {
            self.at = at;
        }
        is
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.word(word) {
            true => Ok(()),
            false => Err(format!("{word} is missing before: {}", self.rest().trim().lines().next().unwrap_or("the end"))),
        }
    }

    /// A name, also in quotes.
    pub(super) fn name(&mut self) -> Result<String, String> {
        match self.piece()? {
            Some(piece) => Ok(unquoted(piece)),
            None => Err("the statement ends where a name belongs".to_owned()),
        }
    }

    /// The text between parentheses.
    fn parenthesised(&mut self) -> Result<&'t str, String> {
        self.expect("(")?;
        let (begin, mut depth) = (self.at, 1);
        while depth > 0 {
            match self.piece()? {
                Some("(") => depth += 1,
                Some(")") => depth -= 1,
                Some(_) => {}
                None => return Err("a ( has no )".to_owned()),
            }
        }
        Ok(&self.text[begin..self.at - 1])
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn unquoted(piece: &str) -> String {
    match piece.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => piece[1..piece.len() - 1].replace(&format!("{quote}{quote}"), &quote.to_string()),
        _ => piece.to_owned(),
    }
}

fn parsed(text: &str) -> Result<Statement, String> {
    let mut scanner = Scanner::new(text);
    if scanner.word("EXPLAIN") {
        return Ok(Statement::Explain(scanner.rest().trim().to_owned()));
    }
    if scanner.word("INSERT") {
        scanner.expect("INTO")?;
        scanner.word("TABLE");
        let table = scanner.name()?;
        return Ok(Statement::Insert { table, query: scanner.rest().trim().to_owned() });
    }
    if !scanner.word("CREATE") {
        return Ok(Statement::Query(text.to_owned()));
    }
    if scanner.word("OR") {
        scanner.expect("REPLACE")?;
    }
    let _ = scanner.word("TEMPORARY") || scanner.word("TEMP");
    if scanner.word("VIEW") {
        let name = scanner.name()?;
        scanner.skip();
        let mut watermark = None;
        if scanner.rest().starts_with('(') {
            let (columns, found) = taken_out(scanner.parenthesised()?).map_err(|e| format!("CREATE VIEW {name}: {e}"))?;
            if let Some(columns) = columns {
                return Err(format!("CREATE VIEW {name}: the columns {columns} have their names in the query: SELECT .. AS .."));
            }
            watermark = found;
        }
        scanner.expect("AS")?;
        return Ok(Statement::CreateView { name, watermark, query: scanner.rest().trim().to_owned() });
    }
    scanner.expect("TABLE").map_err(|_| "CREATE TABLE and CREATE VIEW are what there is to create".to_owned())?;
    if scanner.word("IF") {
        scanner.expect("NOT")?;
        scanner.expect("EXISTS")?;
    }
    table(&mut scanner).map(Statement::CreateTable)
}

fn table(scanner: &mut Scanner<'_>) -> Result<Table, String> {
    let mut table = Table { name: scanner.name()?, ..Table::default() };
    let within = |reason: String, name: &str| format!("CREATE TABLE {name}: {reason}");
    scanner.skip();
    if scanner.rest().starts_with('(') {
        let columns = scanner.parenthesised().and_then(taken_out).map_err(|e| within(e, &table.name))?;
        (table.schema, table.watermark) = columns;
    }
    loop {
        if scanner.word("USING") {
            table.format = scanner.name()?;
        } else if scanner.word("OPTIONS") || scanner.word("WITH") || scanner.word("TBLPROPERTIES") {
            let list = scanner.parenthesised().map_err(|e| within(e, &table.name))?;
            table.options.extend(options(list).map_err(|e| within(e, &table.name))?);
        } else if scanner.word("LOCATION") {
            table.options.push(("path".to_owned(), scanner.name()?));
        } else {
            break;
        }
    }
    if let Some(more) = scanner.piece()? {
        return Err(within(format!("`{more}` is not known here; write USING format OPTIONS (name 'value', ..)"), &table.name));
    }
    // Flink's option has the format too.
    if let Some(format) = table.take("format").or_else(|| table.take("connector")).filter(|_| table.format.is_empty()) {
        table.format = format;
    }
    match table.format.as_str() {
        "" => Err(within("it has no format; write USING csv, or WITH (format = 'csv')".to_owned(), &table.name)),
        _ => Ok(table),
    }
}

/// `name 'value'` or `name = 'value'`, with commas between.
fn options(list: &str) -> Result<Vec<(String, String)>, String> {
    let mut scanner = Scanner::new(list);
    let mut options = Vec::new();
    loop {
        scanner.skip();
        if scanner.rest().is_empty() {
            return Ok(options);
        }
        let name = scanner.name()?;
        scanner.word("=");
        let value = scanner.name().map_err(|_| format!("the option {name} has no value"))?;
        options.push((name, value));
        if !scanner.word(",") && scanner.piece()?.is_some() {
            return Err("options have commas between them".to_owned());
        }
    }
}

/// Whether a query names a table.
pub(super) fn names(query: &str, table: &str) -> bool {
    let mut scanner = Scanner::new(query);
    while let Ok(Some(piece)) = scanner.piece() {
        let is_text = piece.starts_with('\'') || piece.starts_with('"');
        if !is_text
            && (unquoted(piece).eq_ignore_ascii_case(table) || piece.split('.').any(|part| part.eq_ignore_ascii_case(table)))
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read() {
        let text = "-- words; and so on\nCREATE TABLE lines (value STRING, d DECIMAL(5,2)) USING text OPTIONS (path 'a;b', header = true);\n\
                    create or replace temp view v as select 'it''s; so' /* ; */ from lines;\n;\n\
                    INSERT INTO `out` SELECT * FROM v;\nEXPLAIN select 1;\nselect 2";
        let table = Table {
            name: "lines".into(),
            schema: Some("value STRING, d DECIMAL(5,2)".into()),
            format: "text".into(),
            options: vec![("path".into(), "a;b".into()), ("header".into(), "true".into())],
            watermark: None,
        };
        let expected = [
            Statement::CreateTable(table),
            Statement::CreateView { name: "v".into(), watermark: None, query: "select 'it''s; so' /* ; */ from lines".into() },
            Statement::Insert { table: "out".into(), query: "SELECT * FROM v".into() },
            Statement::Explain("select 1".into()),
            Statement::Query("select 2".into()),
        ];
        assert_eq!(statements(text).unwrap(), expected);
    }

    #[test]
    fn options_may_be_flinks() {
        let table = "CREATE TABLE k WITH ('connector' = 'kafka', 'kafka.bootstrap.servers' = '127.0.0.1:9092', topic = 'a')";
        let Ok([Statement::CreateTable(table)]) =
            statements(table).as_deref().map(|all| <[_; 1]>::try_from(all.to_vec()).unwrap())
        else {
            panic!("it is a table");
        };
        assert_eq!((table.format.as_str(), table.options.len()), ("kafka", 2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("create table t (a INT)", "has no format"),
            ("create table t (a INT using csv", "a ( has no )"),
            ("create table t using csv partitioned by (a)", "`partitioned` is not known"),
            ("create table t (a INT, watermark for a) using csv", "CREATE TABLE t: write WATERMARK FOR"),
            ("create view v (a) as select 1", "CREATE VIEW v: the columns a have their names in the query"),
            ("create index i", "CREATE TABLE and CREATE VIEW"),
            ("insert t select 1", "INTO is missing"),
            ("select 'a", "has no end"),
            ("create table t using csv options (path)", "the option path has no value"),
        ] {
            let error = statements(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_typed_text_is_whole_with_its_semicolon() {
        assert!(is_whole("select 1;") && !is_whole("select ';'") && !is_whole("select 1 -- ;"));
        assert!(names("select * from a.Lines", "lines") && names("from `lines`", "lines") && !names("select 'lines'", "lines"));
    }
}
