//! Schemas as Spark writes them: `station STRING, minutes INT, at TIMESTAMP`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

/// What text a schema is, for errors.
const THING: &str = "the schema";

/// The schema that a text describes: columns with commas between them, each with its name and its type. A name in backticks may have any
/// characters.
pub(crate) fn parsed(text: &str) -> Result<Schema, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let fields = parser.columns(&[])?;
    match parser.next() {
        None => Ok(Schema::new(fields)),
        Some(more) => Err(format!("{THING} `{text}` has `{}` behind its last column; put a comma between columns", more.text())),
    }
}

/// The type that a text names, as in a schema.
pub(crate) fn parsed_type(text: &str) -> Result<DataType, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let kind = parser.kind("of this type")?;
    match parser.next() {
        None => Ok(kind),
        Some(more) => Err(format!("the type `{text}` has `{}` behind its end", more.text())),
    }
}

/// The text of a schema: what [`parsed`] reads.
pub(crate) fn text(schema: &Schema) -> String {
    schema.fields().iter().map(|f| format!("{} {}", name(f.name()), type_text(f.data_type()))).collect::<Vec<_>>().join(", ")
}

fn name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty();
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

/// Spark's name of a type.
pub(crate) fn type_text(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Binary => "BINARY".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(item) => format!("ARRAY<{}>", type_text(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{}: {}", name(f.name()), type_text(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", type_text(pair[0].data_type()), type_text(pair[1].data_type()))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// Spark's timestamps count microseconds.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A map from one type to another.
pub(crate) fn map(key: DataType, value: DataType) -> DataType {
    let pair = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// A name in backticks, or a text in quotes.
    Quoted(String),
    Sign(char),
}

impl Token {
    fn text(&self) -> String {
        match self {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            Token::Sign(sign) => sign.to_string(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '`' | '\'' | '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c && chars.peek() == Some(&c) => {
                            chars.next();
                            quoted.push(c);
                        }
                        Some(end) if end == c => break,
                        Some(other) => quoted.push(other),
                        None => return Err(format!("{THING} `{text}` has a {c} without its end")),
                    }
                }
                tokens.push(Token::Quoted(quoted));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(more) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(more);
                }
                tokens.push(Token::Word(word));
            }
            ',' | '<' | '>' | '(' | ')' | ':' => tokens.push(Token::Sign(c)),
            other => {
                return Err(format!(
                    "{THING} `{text}` has the character `{other}`; put a name with such characters in backticks"
                ));
            }
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn sign(&mut self, sign: char) -> bool {
        let is = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: char, after: &str) -> Result<(), String> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(format!("{THING}: `{sign}` is missing after {after}")),
        }
    }

    /// Columns, up to the end of the text or one of these signs.
    fn columns(&mut self, ends: &[char]) -> Result<Vec<Field>, String> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let name = match self.next() {
                Some(Token::Word(name) | Token::Quoted(name)) if !name.is_empty() => name,
                Some(other) => return Err(format!("{THING}: `{}` stands where a column's name belongs", other.text())),
                None => return Err(format!("{THING} ends where a column belongs; write: name TYPE, name TYPE")),
            };
            if fields.iter().any(|f| f.name().eq_ignore_ascii_case(&name)) {
                return Err(format!("{THING} has two columns {name}; give each a name of its own"));
            }
            // The colon of a STRUCT may be left out.
            self.sign(':');
            let kind = self.kind(&name)?;
            let nullable = !(self.word("NOT") && self.word("NULL"));
            if self.word("COMMENT") {
                self.next();
            }
            fields.push(Field::new(name, kind, nullable));
            let end = match self.tokens.get(self.at) {
                None => true,
                Some(Token::Sign(sign)) => ends.contains(sign),
                Some(_) => false,
            };
            if end || !self.sign(',') {
                return Ok(fields);
            }
        }
    }

    fn kind(&mut self, column: &str) -> Result<DataType, String> {
        let Some(Token::Word(word)) = self.next() else {
            return Err(format!("{THING}: the column {column} has no type; write for example: {column} STRING"));
        };
        Ok(match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => DataType::Boolean,
            "TINYINT" | "BYTE" => DataType::Int8,
            "SMALLINT" | "SHORT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" | "LONG" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" => timestamp(),
            "STRING" => DataType::Utf8,
            "BINARY" => DataType::Binary,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal(column)?,
            "ARRAY" => {
                self.expect('<', "ARRAY")?;
                let item = self.kind(column)?;
                self.expect('>', "the type of ARRAY")?;
                DataType::List(Arc::new(Field::new("item", item, true)))
            }
            "MAP" => {
                self.expect('<', "MAP")?;
                let key = self.kind(column)?;
                self.expect(',', "the type of MAP's keys")?;
                let value = self.kind(column)?;
                self.expect('>', "the type of MAP's values")?;
                map(key, value)
            }
            "STRUCT" => {
                self.expect('<', "STRUCT")?;
                let fields = self.columns(&['>'])?;
                self.expect('>', "the fields of STRUCT")?;
                DataType::Struct(fields.into())
            }
            _ => {
                let types = "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), DATE, TIMESTAMP, STRING, BINARY, \
                             ARRAY<..>, MAP<..> and STRUCT<..>";
                return Err(format!("{THING}: the column {column} has the type {word}; there are {types}"));
            }
        })
    }

    fn decimal(&mut self, column: &str) -> Result<DataType, String> {
        let (mut precision, mut scale) = (10, 0);
        if self.sign('(') {
            precision = self.number(column)?;
            if self.sign(',') {
                scale = self.number(column)?;
            }
            self.expect(')', "the digits of DECIMAL")?;
        }
        if precision == 0 || precision > 38 || scale > precision {
            let limits = "at most 38 digits, and not more behind the point";
            return Err(format!("{THING}: the column {column} is a DECIMAL({precision},{scale}); it may have {limits}"));
        }
        Ok(DataType::Decimal128(precision, scale as i8))
    }

    fn number(&mut self, column: &str) -> Result<u8, String> {
        let number = self.next().and_then(|token| token.text().parse().ok());
        number.ok_or_else(|| format!("{THING}: the DECIMAL of the column {column} has no number of digits; write DECIMAL(10,2)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_and_written_in_sparks_words() {
        let text_of = |ddl: &str| text(&parsed(ddl).unwrap_or_else(|e| panic!("{ddl}: {e}")));
        let plain = "station STRING, minutes INT, at TIMESTAMP";
        assert_eq!(text_of(plain), plain);
        assert_eq!(
            text_of("`Trip ID` long, price decimal(10, 2), n dec, tags array<string>, m map<string,array<int>>"),
            "`Trip ID` BIGINT, price DECIMAL(10,2), n DECIMAL(10,0), tags ARRAY<STRING>, m MAP<STRING, ARRAY<INT>>"
        );
        assert_eq!(
            text_of("s struct<a: int, b struct<c double not null>> not null comment 'it''s', f float"),
            "s STRUCT<a: INT, b: STRUCT<c: DOUBLE>>, f FLOAT"
        );
        assert!(!parsed("a INT NOT NULL").unwrap().field(0).is_nullable());
    }

    #[test]
    fn a_wrong_schema_is_an_error_that_names_its_place() {
        for (ddl, says) in [
            ("", "ends where a column belongs"),
            ("a", "column a has no type"),
            ("a INTT", "type INTT; there are BOOLEAN"),
            ("a INT b INT", "comma between columns"),
            ("a INT, A STRING", "two columns A"),
            ("Trip-ID INT", "in backticks"),
            ("a DECIMAL(40,2)", "at most 38 digits"),
            ("a ARRAY INT", "`<` is missing after ARRAY"),
            ("a `INT", "without its end"),
        ] {
            let error = parsed(ddl).unwrap_err();
            assert!(error.contains(says), "{ddl}: {error}");
        }
    }
}
