//! Schemas that are read off the first lines of files. The rule is fixed, and printed with its result.

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value as Json;

use super::csv::{Csv, scalar};
use super::ddl::timestamp;
use super::json_shape::{Shape, Writer, by_name};
use super::times::Times;

/// How many lines are looked at.
pub(crate) const LINES: usize = 1_000;

/// The rule of CSV, for the log.
pub(crate) const CSV_RULE: &str = "over the first 1,000 lines of the first file by name: the first of BIGINT, DOUBLE, TIMESTAMP, BOOLEAN, STRING \
                                   that all of a column's values are; STRING if it has none";

/// The rule of JSON, for the log.
pub(crate) const JSON_RULE: &str = "over the first 1,000 lines of the first file by name: columns in the order of their names; BIGINT, DOUBLE, \
                                    BOOLEAN, STRING, ARRAY and STRUCT as JSON has them; STRING where two do not go together";

/// The schema of lines of CSV. `header`: their first line has the names; else they are `_c0`, `_c1` and so on. `typed`: not all are STRING.
pub(crate) fn csv(csv: &Csv, times: &Times, lines: &[String], header: bool, typed: bool) -> Result<Schema, String> {
    let mut lines = lines.iter().filter(|line| !line.is_empty());
    let first = match lines.next() {
        Some(first) => csv.fields(first)?.unwrap_or_default(),
        None => return Err("there is no line to infer a schema from; give one with schema()".to_owned()),
    };
    let names: Vec<String> = match header {
        true => first.clone(),
        false => (0..first.len()).map(|n| format!("_c{n}")).collect(),
    };
    // For each column the types that all values so far could have.
    let types = [DataType::Int64, DataType::Float64, timestamp(), DataType::Boolean];
    let mut columns = vec![(types.to_vec(), false); names.len()];
    let rows = (!header).then_some(Ok(Some(first))).into_iter().chain(lines.map(|line| csv.fields(line)));
    for row in rows {
        // A line that is not a record will be a bad row.
        let Ok(Some(row)) = row else { continue };
        for (text, (types, seen)) in row.into_iter().zip(&mut columns).filter(|(text, _)| !text.is_empty()) {
            types.retain(|kind| scalar(text.clone(), kind, times).is_ok());
            *seen = true;
        }
    }
    let field = |(name, (types, seen)): (String, (Vec<DataType>, bool))| {
        let kind = types.into_iter().next().filter(|_| seen && typed).unwrap_or(DataType::Utf8);
        Field::new(name, kind, true)
    };
    Ok(Schema::new(names.into_iter().zip(columns).map(field).collect::<Vec<_>>()))
}

/// The schema of lines of JSON.
pub(crate) fn json(lines: &[String]) -> Result<Schema, String> {
    let rows = lines.iter().filter_map(|line| match serde_json::from_str(line) {
        Ok(row @ Json::Object(_)) => Some(Shape::of(&row)),
        _ => None,
    });
    match rows.reduce(Shape::both) {
        Some(Shape::Object(fields)) => Ok(Schema::new(by_name(fields, Writer::Anybody))),
        _ => Err("there is no line with an object to infer a schema from; give one with schema()".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ddl::text;
    use super::super::options::Options;
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_column_of_csv_is_the_first_type_that_fits_all_its_values() {
        let format = Csv::new(&Options::default()).unwrap();
        let table = lines("Trip ID,a,b,c,d,e\n1,1.5,2026-01-01 10:00:00,true,x,\n,2,2026-01-02,FALSE,1,\n");
        let schema = |header, typed| text(&csv(&format, &Times::default(), &table, header, typed).unwrap());
        assert_eq!(schema(true, true), "`Trip ID` BIGINT, a DOUBLE, b TIMESTAMP, c BOOLEAN, d STRING, e STRING");
        assert_eq!(schema(false, false), "_c0 STRING, _c1 STRING, _c2 STRING, _c3 STRING, _c4 STRING, _c5 STRING");
        assert!(csv(&format, &Times::default(), &[], true, true).unwrap_err().contains("schema()"));
    }

    #[test]
    fn columns_of_json_are_those_of_all_lines() {
        let table = lines("{\"n\": 1, \"l\": [1, 2.5]}\n{\"n\": null, \"o\": {\"z\": true}, \"x\": 1}\n{\"x\": \"a\"}\nbad\n");
        assert_eq!(text(&json(&table).unwrap()), "l ARRAY<DOUBLE>, n BIGINT, o STRUCT<z: BOOLEAN>, x STRING");
        let table = lines("{\"l\": [1, \"a\"], \"n\": 18446744073709551615}\n{\"l\": [2, \"b\"], \"m\": [[], [1]], \"n\": 1}\n");
        assert_eq!(text(&json(&table).unwrap()), "l ARRAY<STRING>, m ARRAY<ARRAY<BIGINT>>, n DOUBLE");
    }
}
