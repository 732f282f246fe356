//! Lines of CSV: their fields as the values of a row, and rows as lines.

use std::cell::RefCell;
use std::rc::Rc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::options::Options;
use super::times::Times;
use super::values::{Value, Values, fits};

/// How the fields of a line are written, by Spark's options.
#[derive(Clone, Debug)]
pub(crate) struct Csv {
    separator: u8,
    quote: u8,
    null: String,
    trim: bool,
    times: Times,
    /// Used for each line: to make one costs more than to read a line.
    reader: Rc<RefCell<Reader>>,
}

/// The options of [`Csv`].
pub(crate) const OPTIONS: [&str; 8] = [
    "sep",
    "delimiter",
    "quote",
    "nullValue",
    "timestampFormat",
    "dateFormat",
    "ignoreLeadingWhiteSpace",
    "ignoreTrailingWhiteSpace",
];

impl Csv {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let trims = [options.flag("ignoreLeadingWhiteSpace")?, options.flag("ignoreTrailingWhiteSpace")?];
        let separator = options.byte("sep")?.or(options.byte("delimiter")?).unwrap_or(b',');
        let quote = options.byte("quote")?.unwrap_or(b'"');
        Ok(Csv {
            separator,
            quote,
            reader: Rc::new(RefCell::new(ReaderBuilder::new().delimiter(separator).quote(quote).build())),
            null: options.get("nullValue").unwrap_or_default().to_owned(),
            trim: trims.contains(&Some(true)),
            times: Times::new(options.get("timestampFormat"), options.get("dateFormat"))?,
        })
    }

    /// The fields of a line. `None`: the line is empty.
    pub(crate) fn fields(&self, line: &str) -> Result<Option<Vec<String>>, String> {
        if line.is_empty() {
            return Ok(None);
        }
        let (mut text, mut ends) = (vec![0; line.len() + 1], vec![0; line.len() + 2]);
        let mut reader = self.reader.borrow_mut();
        reader.reset();
        let (_, read, mut written, mut fields) = reader.read_record(line.as_bytes(), &mut text, &mut ends);
        let (done, _, more, last) = reader.read_record(b"\n", &mut text[written..], &mut ends[fields..]);
        written += more;
        fields += last;
        // A line feed in a quoted field does not end the record.
        if done != ReadRecordResult::Record || read < line.len() {
            return Err("a quote has no end in this line".to_owned());
        }
        let mut from = 0;
        let field = |end: &usize| {
            let field = String::from_utf8(text[from..*end].to_vec()).map_err(|e| e.to_string());
            from = *end;
            field
        };
        debug_assert!(ends[..fields].last().is_none_or(|end| *end == written));
        ends[..fields].iter().map(field).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// The values of a line, by the order of the columns.
    pub(crate) fn values(&self, line: &str, schema: &Schema) -> Result<Option<Values>, String> {
        let Some(fields) = self.fields(line)? else { return Ok(None) };
        if fields.len() != schema.fields().len() {
            return Err(format!("the record has {} fields, and the table has {} columns", fields.len(), schema.fields().len()));
        }
        let value = |(text, field): (String, &std::sync::Arc<Field>)| self.value(text, field);
        fields.into_iter().zip(schema.fields()).map(value).collect::<Result<Vec<_>, _>>().map(|row| Some(Values(row)))
    }

    fn value(&self, text: String, field: &Field) -> Result<Value, String> {
        let text = if self.trim { text.trim().to_owned() } else { text };
        if text == self.null || text.is_empty() {
            return match field.is_nullable() {
                true => Ok(Value::Null),
                false => Err(format!("the column {} is NOT NULL, and the field is empty", field.name())),
            };
        }
        scalar(text, field.data_type(), &self.times).map_err(|reason| format!("column {}: {reason}", field.name()))
    }

    /// A line of these fields. `None` is a null.
    pub(crate) fn line<'f>(&self, fields: impl Iterator<Item = Option<&'f str>>) -> String {
        let (separator, quote) = (char::from(self.separator), char::from(self.quote));
        let mut line = String::new();
        for (place, field) in fields.enumerate() {
            if place > 0 {
                line.push(separator);
            }
            let text = field.unwrap_or(&self.null);
            let empty = field.is_some() && text.is_empty();
            if empty || text.contains([separator, quote, '\n', '\r']) {
                line.push(quote);
                text.chars().for_each(|c| {
                    if c == quote {
                        line.push(quote);
                    }
                    line.push(c);
                });
                line.push(quote);
            } else {
                line.push_str(text);
            }
        }
        line
    }
}

/// A value of a text.
pub(crate) fn scalar(text: String, kind: &DataType, times: &Times) -> Result<Value, String> {
    let unfit = |kind: &str| format!("`{text}` is not of type {kind}");
    Ok(match kind {
        DataType::Utf8 => Value::Text(text),
        DataType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(unfit("BOOLEAN")),
        },
        kind if kind.is_integer() => {
            let whole: i64 = text.parse().map_err(|_| unfit(&super::ddl::type_text(kind)))?;
            if !fits(kind, whole) {
                return Err(format!("{whole} is too large for {}", super::ddl::type_text(kind)));
            }
            Value::Int(whole)
        }
        DataType::Float32 | DataType::Float64 => Value::Float(text.parse().map_err(|_| unfit("DOUBLE"))?),
        DataType::Decimal128(precision, scale) => Value::Decimal(decimal(&text, *precision, *scale)?),
        DataType::Timestamp(..) => Value::Int(times.timestamp(&text)?),
        DataType::Date32 => Value::Int(times.date(&text)?),
        DataType::Binary => Value::Bytes(text.into_bytes()),
        other => return Err(format!("a text cannot be {}; use the format json", super::ddl::type_text(other))),
    })
}

/// The digits of a decimal, without its point. More digits behind the point than the type has are an error: they would be lost.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, String> {
    let wrong = || format!("`{text}` is not of type DECIMAL({precision},{scale})");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let places = usize::try_from(scale).map_err(|_| wrong())?;
    if all.is_empty() && digits != "0" && !digits.contains('0')
        || !all.bytes().all(|b| b.is_ascii_digit())
        || fraction.len() > places
    {
        return Err(wrong());
    }
    let unscaled = format!("{all}{}", "0".repeat(places - fraction.len()));
    let digits = unscaled.trim_start_matches('0');
    if digits.len() > usize::from(precision) {
        return Err(wrong());
    }
    match digits {
        "" => Ok(0),
        digits => digits.parse::<i128>().map(|n| sign * n).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ddl::parsed;
    use super::*;

    fn csv(options: &[(&str, &str)]) -> Csv {
        let mut given = Options::default();
        options.iter().for_each(|(name, value)| given.set(name, (*value).to_owned()));
        Csv::new(&given).unwrap()
    }

    fn read(line: &str, schema: &str) -> Result<Option<Values>, String> {
        csv(&[]).values(line, &parsed(schema).unwrap())
    }

    #[test]
    fn fields_are_values_of_their_types() {
        let schema = "s STRING, n INT, x DOUBLE, b BOOLEAN, d DECIMAL(5,2), t TIMESTAMP, day DATE";
        let row = read("\"a, \"\"b\"\"\",-3,1.5,TRUE,-1.5,1970-01-01 00:00:01,1970-01-02", schema).unwrap().unwrap();
        let expected = vec![
            Value::Text("a, \"b\"".into()),
            Value::Int(-3),
            Value::Float(1.5),
            Value::Bool(true),
            Value::Decimal(-150),
            Value::Int(1_000_000),
            Value::Int(1),
        ];
        assert_eq!(row.0, expected);
        assert_eq!(read(",,,,,,", schema).unwrap().unwrap().0, vec![Value::Null; 7]);
        assert_eq!(read("", schema), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_column_and_value() {
        for (line, schema, says) in [
            ("x", "n INT", "column n: `x` is not of type INT"),
            ("300", "n TINYINT", "300 is too large for TINYINT"),
            ("1,2", "n INT", "the record has 2 fields, and the table has 1 columns"),
            ("\"a", "s STRING", "a quote has no end"),
            ("1.234", "d DECIMAL(5,2)", "`1.234` is not of type DECIMAL(5,2)"),
            ("12345", "d DECIMAL(5,2)", "is not of type DECIMAL(5,2)"),
            ("-", "d DECIMAL(5,2)", "is not of type DECIMAL(5,2)"),
            (",1", "n INT NOT NULL, m INT", "the column n is NOT NULL"),
        ] {
            let error = read(line, schema).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_line_that_is_written_is_read_again() {
        let csv = csv(&[("sep", ";"), ("nullValue", "-")]);
        let fields = [Some("a;b"), Some("say \"x\""), None, Some(" ")];
        let line = csv.line(fields.into_iter());
        assert_eq!(line, "\"a;b\";\"say \"\"x\"\"\";-; ");
        assert_eq!(csv.fields(&line).unwrap().unwrap(), ["a;b", "say \"x\"", "-", " "]);
    }
}
