//! `WATERMARK FOR column AS column - INTERVAL '10' SECOND`: how late the rows of a table or view may come, in Flink's words.

use super::script::{Scanner, Table};
use crate::streaming::{Watermark, span};

/// Which column has the time of a row, and how late rows may come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WatermarkClause {
    pub column: String,
    /// In Spark's words: `10 seconds`.
    pub delay: String,
}

const FORM: &str = "write WATERMARK FOR at AS at - INTERVAL '10' SECOND";

/// The columns of a list without the clause, and the clause. `None`: no columns are left.
pub(super) fn taken_out(list: &str) -> Result<(Option<String>, Option<WatermarkClause>), String> {
    let (mut columns, mut found) = (Vec::new(), None);
    for part in parts(list)? {
        let mut scanner = Scanner::new(part);
        // A column may have the name, too.
        if !(scanner.word("WATERMARK") && scanner.word("FOR")) {
            columns.push(part.trim());
        } else if found.replace(parsed(&mut scanner)?).is_some() {
            return Err("it has two watermarks; a table has the time of a row in one column".to_owned());
        }
    }
    let columns = columns.join(", ");
    Ok((Some(columns).filter(|columns| !columns.is_empty()), found))
}

/// What is between the commas that are in no parentheses.
fn parts(list: &str) -> Result<Vec<&str>, String> {
    let mut scanner = Scanner::new(list);
    let (mut all, mut begin, mut depth) = (Vec::new(), 0, 0_i32);
    while let Some(piece) = scanner.piece()? {
        match piece {
            "(" | "<" => depth += 1,
            ")" | ">" => depth -= 1,
            "," if depth == 0 => {
                all.push(&list[begin..scanner.place() - 1]);
                begin = scanner.place();
            }
            _ => {}
        }
    }
    all.push(&list[begin..]);
    Ok(all)
}

fn parsed(scanner: &mut Scanner<'_>) -> Result<WatermarkClause, String> {
    let wrong = |_| FORM.to_owned();
    let column = scanner.name().map_err(wrong)?;
    scanner.expect("AS").map_err(wrong)?;
    let of = scanner.name().map_err(wrong)?;
    if !of.eq_ignore_ascii_case(&column) {
        return Err(format!("WATERMARK FOR {column} is of another column, {of}; {FORM}"));
    }
    let delay = match scanner.piece()? {
        None => "0 seconds".to_owned(),
        Some("-") => {
            scanner.expect("INTERVAL").map_err(wrong)?;
            let number = scanner.name().map_err(wrong)?;
            let unit = scanner.piece()?.unwrap_or_default();
            format!("{number} {unit}").trim().to_owned()
        }
        Some(_) => return Err(FORM.to_owned()),
    };
    if scanner.piece()?.is_some() {
        return Err(FORM.to_owned());
    }
    Ok(WatermarkClause { column, delay })
}

/// The watermark of a table, and its column. Takes the options of watermarks out.
pub(super) fn watermark(table: &mut Table) -> Result<Option<(String, Watermark)>, String> {
    let options = ["idleAfter", "maxAhead", "allowedLateness"].map(|name| Some((name, table.take(name)?)));
    let Some(WatermarkClause { column, delay }) = table.watermark.take() else {
        return match options.into_iter().flatten().next() {
            None => Ok(None),
            Some((name, _)) => Err(format!("option {name} is for a watermark; {FORM} among the columns")),
        };
    };
    let mut watermark = Watermark::try_from(&*delay).map_err(|e| e.to_string())?;
    for (name, text) in options.into_iter().flatten() {
        let micros = span::micros(&text).map_err(|e| format!("option {name}: {e}"))?;
        if micros < 0 {
            return Err(format!("option {name} is `{text}`; say a time from 0, such as 5 minutes"));
        }
        watermark = match name {
            "idleAfter" => watermark.idle_after(span::duration(micros)),
            "maxAhead" => watermark.max_ahead(span::duration(micros)),
            _ => watermark.allowed_lateness(span::duration(micros)),
        };
    }
    Ok(Some((column, watermark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_is_among_the_columns() {
        let of = |list| taken_out(list).unwrap();
        let clause = |column: &str, delay: &str| Some(WatermarkClause { column: column.into(), delay: delay.into() });
        let (columns, found) = of("word STRING, d DECIMAL(5, 2), at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10' SECOND");
        assert_eq!((columns.as_deref(), found), (Some("word STRING, d DECIMAL(5, 2), at TIMESTAMP"), clause("at", "10 SECOND")));
        assert_eq!(
            of("watermark for `my time` as `my time` - interval '1 hour 5 minutes'"),
            (None, clause("my time", "1 hour 5 minutes"))
        );
        assert_eq!(of("watermark for at as at"), (None, clause("at", "0 seconds")));
        // A column of this name.
        assert_eq!(of("watermark INT, o STRUCT<a: INT, b: INT>"), (Some("watermark INT, o STRUCT<a: INT, b: INT>".into()), None));
        for wrong in ["watermark for at", "watermark for at as at + interval '1' day", "watermark for at as at - 1"] {
            assert!(taken_out(wrong).unwrap_err().contains("INTERVAL '10' SECOND"), "{wrong}");
        }
        assert!(taken_out("watermark for a as b").unwrap_err().contains("another column, b"));
        assert!(taken_out("watermark for a as a, watermark for b as b").unwrap_err().contains("two watermarks"));
    }

    #[test]
    fn options_say_more_of_the_watermark() {
        let table = |watermark, options: &[(&str, &str)]| Table {
            watermark,
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Table::default()
        };
        let clause = WatermarkClause { column: "at".into(), delay: "10 SECOND".into() };
        let mut given = table(Some(clause.clone()), &[("IDLEAFTER", "5 minutes"), ("allowedLateness", "1 hour"), ("path", "x")]);
        let expected = Watermark::try_from("10 seconds").unwrap();
        let expected =
            expected.idle_after(std::time::Duration::from_secs(300)).allowed_lateness(std::time::Duration::from_secs(3_600));
        assert_eq!(watermark(&mut given), Ok(Some(("at".to_owned(), expected))));
        assert_eq!(given.options, [("path".to_owned(), "x".to_owned())]);
        assert!(watermark(&mut table(None, &[("idleAfter", "1 minute")])).unwrap_err().contains("WATERMARK FOR"));
        assert!(watermark(&mut table(Some(clause), &[("maxAhead", "soon")])).unwrap_err().contains("option maxAhead"));
    }
}
