//! A format of lines, by its name and options: csv, json or text.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::csv::Csv;
use super::json::JsonLines;
use super::options::Options;
use super::times::Times;
use super::values::{Value, Values};
use super::{csv, infer, json};

/// What the lines of files are.
#[derive(Clone, Debug)]
pub(crate) enum LineFormat {
    Csv(Csv),
    Json(JsonLines),
    /// A line is the one column `value`.
    Text,
}

/// The options that this format has.
pub(crate) fn known(format: &str) -> &'static [&'static str] {
    match format {
        "csv" => &csv::OPTIONS,
        "json" => &json::OPTIONS,
        _ => &[],
    }
}

impl LineFormat {
    /// `None`: it is not a format of lines.
    pub(crate) fn named(format: &str, options: &Options) -> Result<Option<Self>, String> {
        Ok(match format {
            "csv" => Some(LineFormat::Csv(Csv::new(options)?)),
            "json" => Some(LineFormat::Json(JsonLines::new(options)?)),
            "text" => Some(LineFormat::Text),
            _ => None,
        })
    }

    /// The values of a line. `None`: it has no row.
    pub(crate) fn values(&self, line: &str, schema: &Schema) -> Result<Option<Values>, String> {
        match self {
            LineFormat::Csv(csv) => csv.values(line, schema),
            LineFormat::Json(json) => json.values(line, schema),
            LineFormat::Text => Ok(Some(Values(vec![Value::Text(line.to_owned())]))),
        }
    }

    /// Types that a line of this format cannot have.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), String> {
        let wrong = |field: &Arc<Field>| match self {
            LineFormat::Csv(_) => field.data_type().is_nested(),
            LineFormat::Json(_) => *field.data_type() == DataType::Binary,
            LineFormat::Text => *field.data_type() != DataType::Utf8 || schema.fields().len() != 1,
        };
        match (schema.fields().iter().find(|f| wrong(f)), self) {
            (None, _) => Ok(()),
            (Some(_), LineFormat::Text) => Err("format text has one column of type STRING; use csv or json".to_owned()),
            (Some(field), _) => {
                let kind = super::ddl::type_text(field.data_type());
                let other = if matches!(self, LineFormat::Csv(_)) { "use the format json" } else { "read it as STRING" };
                Err(format!("the column {} cannot be {kind} in this format; {other}", field.name()))
            }
        }
    }

    /// The schema of these lines, and the rule that found it.
    pub(crate) fn inferred(&self, lines: &[String], options: &Options, typed: bool) -> Result<(Schema, &'static str), String> {
        match self {
            LineFormat::Csv(format) => {
                let times = Times::new(options.get("timestampFormat"), options.get("dateFormat"))?;
                let header = options.flag("header")?.unwrap_or(false);
                Ok((infer::csv(format, &times, lines, header, typed)?, infer::CSV_RULE))
            }
            LineFormat::Json(_) => Ok((infer::json(lines)?, infer::JSON_RULE)),
            LineFormat::Text => Ok((Schema::new(vec![Field::new("value", DataType::Utf8, true)]), "")),
        }
    }
}
