//! A table as text: the bytes of Spark 4's `show`.

use std::fmt::Write;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array, MapArray, RecordBatch, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// The first `n` rows of a table. A cell longer than `truncate` characters is cut; 0 cuts none. Cut tables are aligned to the right,
/// others to the left, as Spark does it.
pub(crate) fn table(schema: &Schema, batches: &[RecordBatch], n: usize, truncate: usize) -> Result<String, ArrowError> {
    let mut rows = vec![schema.fields().iter().map(|f| escaped(f.name())).collect::<Vec<_>>()];
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    for batch in batches {
        for row in 0..batch.num_rows().min(n.saturating_sub(rows.len() - 1)) {
            rows.push(
                batch.columns().iter().map(|c| Ok(cut(&escaped(&cell(c, row)?), truncate))).collect::<Result<_, ArrowError>>()?,
            );
        }
    }
    // Spark's least width of a column is 3.
    let widths: Vec<usize> =
        (0..schema.fields().len()).map(|c| rows.iter().map(|r| half_widths(&r[c])).max().unwrap_or(0).max(3)).collect();
    let border = widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>().join("+");
    let mut text = format!("+{border}+\n");
    for (i, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let blanks = " ".repeat(width - half_widths(cell));
            match truncate {
                0 => write!(text, "|{cell}{blanks}"),
                _ => write!(text, "|{blanks}{cell}"),
            }
            .expect("writing to a string does not fail");
        }
        text.push_str("|\n");
        if i == 0 {
            writeln!(text, "+{border}+").expect("writing to a string does not fail");
        }
    }
    writeln!(text, "+{border}+").expect("writing to a string does not fail");
    if total > n {
        write!(text, "only showing top {n} row{}", if n == 1 { "" } else { "s" }).expect("writing to a string does not fail");
    }
    Ok(text)
}

/// One cell, as Spark casts it to a string.
pub(crate) fn cell(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    if column.is_null(row) || column.data_type() == &DataType::Null {
        return Ok("NULL".to_owned());
    }
    Ok(match column.data_type() {
        DataType::Float64 => java_double(column.as_any().downcast_ref::<Float64Array>().expect("the type says so").value(row)),
        DataType::Float32 => java_float(column.as_any().downcast_ref::<Float32Array>().expect("the type says so").value(row)),
        DataType::List(_) => items(&column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => items(&column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => items(&column.as_fixed_size_list().value(row))?,
        DataType::Struct(_) => {
            let fields = column.as_any().downcast_ref::<StructArray>().expect("the type says so");
            let cells = fields.columns().iter().map(|c| cell(c, row)).collect::<Result<Vec<_>, _>>()?;
            format!("{{{}}}", cells.join(", "))
        }
        DataType::Map(..) => {
            let entries = column.as_any().downcast_ref::<MapArray>().expect("the type says so").value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs = (0..entries.len()).map(|i| Ok(format!("{} -> {}", cell(keys, i)?, cell(values, i)?)));
            format!("{{{}}}", pairs.collect::<Result<Vec<_>, ArrowError>>()?.join(", "))
        }
        DataType::Binary => {
            let bytes = column.as_any().downcast_ref::<BinaryArray>().expect("the type says so").value(row);
            format!("[{}]", bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(" "))
        }
        DataType::Timestamp(..) => {
            let text = formatted(column, row)?;
            match text.split_once('.') {
                Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
                    "" => seconds.to_owned(),
                    fraction => format!("{seconds}.{fraction}"),
                },
                None => text,
            }
        }
        _ => formatted(column, row)?,
    })
}

fn items(values: &ArrayRef) -> Result<String, ArrowError> {
    let cells = (0..values.len()).map(|i| cell(values, i)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[{}]", cells.join(", ")))
}

fn formatted(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let times = "%Y-%m-%d %H:%M:%S%.9f";
    let options = FormatOptions::new().with_timestamp_format(Some(times)).with_timestamp_tz_format(Some(times));
    Ok(ArrayFormatter::try_new(column, &options)?.value(row).to_string())
}

/// Java's `Double.toString`: plain from 1.0E-3 to 1.0E7, with one digit behind the point at least.
fn java_double(x: f64) -> String {
    java(x.is_finite(), x, &format!("{x:?}"), &format!("{x:e}"))
}

fn java_float(x: f32) -> String {
    java(x.is_finite(), f64::from(x), &format!("{x:?}"), &format!("{x:e}"))
}

fn java(finite: bool, x: f64, plain: &str, scientific: &str) -> String {
    if !finite {
        return if x.is_nan() {
            "NaN".into()
        } else if x > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    if x == 0.0 || (1e-3..1e7).contains(&x.abs()) {
        return plain.to_owned();
    }
    let (digits, exponent) = scientific.split_once('e').expect("{:e} has an exponent");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// Spark's escapes of what would break a line.
fn escaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{c}' => text.push_str("\\f"),
            '\u{8}' => text.push_str("\\b"),
            '\u{b}' => text.push_str("\\v"),
            '\u{7}' => text.push_str("\\a"),
            c => text.push(c),
        }
    }
    text
}

fn cut(cell: &str, truncate: usize) -> String {
    match truncate {
        0 => cell.to_owned(),
        n if cell.chars().count() <= n => cell.to_owned(),
        n if n < 4 => cell.chars().take(n).collect(),
        n => cell.chars().take(n - 3).chain("...".chars()).collect(),
    }
}

/// The columns of a terminal that a text takes. The ranges are those of Spark's `Utils.stringHalfWidth`.
fn half_widths(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}' => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_java_writes_them() {
        let written: Vec<String> =
            [0.0, -0.0, 0.1, 1.0, 9_999_999.0, 1e7, 1.5e10, 0.001, 9.99e-4, -2.5e-7, f64::NAN, f64::NEG_INFINITY]
                .into_iter()
                .map(java_double)
                .collect();
        let expected =
            ["0.0", "-0.0", "0.1", "1.0", "9999999.0", "1.0E7", "1.5E10", "0.001", "9.99E-4", "-2.5E-7", "NaN", "-Infinity"];
        assert_eq!(written, expected);
        assert_eq!((java_float(0.1), java_float(3.4e38)), ("0.1".to_owned(), "3.4E38".to_owned()));
    }

    #[test]
    fn long_cells_are_cut_and_wide_ones_count_twice() {
        assert_eq!(cut("abcdefghijklmnopqrstu", 20), "abcdefghijklmnopq...");
        assert_eq!((cut("abcdef", 3), cut("abc", 3), cut("abcdef", 0)), ("abc".into(), "abc".into(), "abcdef".into()));
        assert_eq!((half_widths("ab"), half_widths("潮車"), half_widths("é")), (2, 4, 1));
        assert_eq!(escaped("a\tb\nc"), "a\\tb\\nc");
    }
}
