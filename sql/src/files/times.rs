//! Times in texts: ISO 8601 and Spark's form, or a pattern of Java's.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;

/// How times are written. `None`: as `2026-11-29 16:45:00.5` or `2026-11-29T16:45:00Z`, and dates as `2026-11-29`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    timestamp: Option<String>,
    date: Option<String>,
}

impl Times {
    /// By Spark's options `timestampFormat` and `dateFormat`.
    pub(crate) fn new(timestamp: Option<&str>, date: Option<&str>) -> Result<Self, String> {
        Ok(Times { timestamp: timestamp.map(chrono_pattern).transpose()?, date: date.map(chrono_pattern).transpose()? })
    }

    /// Microseconds since 1970, UTC. A time without a zone is in UTC.
    pub(crate) fn timestamp(&self, text: &str) -> Result<i64, String> {
        let Some(pattern) = &self.timestamp else {
            let time =
                string_to_datetime(&Utc, text).map_err(|_| format!("`{text}` is not a timestamp, as 2026-11-29 16:45:00"))?;
            return Ok(time.timestamp_micros());
        };
        let zoned = DateTime::parse_from_str(text, pattern).map(|time| time.timestamp_micros());
        let plain = || NaiveDateTime::parse_from_str(text, pattern).map(|time| time.and_utc().timestamp_micros());
        let day = || NaiveDate::parse_from_str(text, pattern).map(|d| d.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
        zoned.or_else(|_| plain()).or_else(|_| day()).map_err(|_| format!("`{text}` is not a timestamp of the timestampFormat"))
    }

    /// Days since 1970.
    pub(crate) fn date(&self, text: &str) -> Result<i64, String> {
        let pattern = self.date.as_deref().unwrap_or("%Y-%m-%d");
        let day = NaiveDate::parse_from_str(text, pattern).map_err(|_| match self.date {
            Some(_) => format!("`{text}` is not a date of the dateFormat"),
            None => format!("`{text}` is not a date, as 2026-11-29"),
        })?;
        Ok(day.signed_duration_since(NaiveDate::default()).num_days())
    }
}

/// A pattern of Java's `DateTimeFormatter` as chrono has it.
fn chrono_pattern(pattern: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            out.extend(chars.by_ref().take_while(|c| *c != '\''));
            continue;
        }
        if !c.is_ascii_alphabetic() {
            match c {
                '%' => out.push_str("%%"),
                '[' | ']' => {
                    return Err(format!("the pattern `{pattern}` has optional parts; give the form that the texts have"));
                }
                c => out.push(c),
            }
            continue;
        }
        let mut n = 1;
        while chars.next_if_eq(&c).is_some() {
            n += 1;
        }
        let item = match (c, n) {
            ('y' | 'u', 4) => "%Y",
            ('y' | 'u', 2) => "%y",
            ('M' | 'L', 1 | 2) => "%m",
            ('M' | 'L', 3) => "%b",
            ('M' | 'L', 4) => "%B",
            ('d', 1 | 2) => "%d",
            ('D', _) => "%j",
            ('H', 1 | 2) => "%H",
            ('h', 1 | 2) => "%I",
            ('a', 1) => "%p",
            ('m', 1 | 2) => "%M",
            ('s', 1 | 2) => "%S",
            ('S', _) => {
                // chrono's fraction has its point.
                match out.pop() {
                    Some('.') => "%.f",
                    other => {
                        out.extend(other);
                        "%f"
                    }
                }
            }
            ('E', 1..=3) => "%a",
            ('E', 4) => "%A",
            ('X' | 'x' | 'Z', _) => "%#z",
            _ => return Err(format!("the pattern `{pattern}` has `{}`, which is not known here", c.to_string().repeat(n))),
        };
        out.push_str(item);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_spark_reads_them() {
        let iso = Times::default();
        assert_eq!(iso.timestamp("1970-01-02 00:00:00.5"), Ok(86_400_500_000));
        assert_eq!(iso.timestamp("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(iso.timestamp("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(iso.date("1969-12-31"), Ok(-1));
        assert!(iso.timestamp("soon").unwrap_err().contains("`soon` is not a timestamp"));
    }

    #[test]
    fn patterns_of_java_are_read() {
        let read = |pattern: &str, text: &str| Times::new(Some(pattern), None).and_then(|times| times.timestamp(text));
        assert_eq!(read("M/d/yyyy H:mm", "1/2/1970 0:14"), Ok(86_400_000_000 + 14 * 60_000_000));
        assert_eq!(read("yyyy-MM-dd'T'HH:mm:ss.SSS", "1970-01-01T00:00:01.250"), Ok(1_250_000));
        assert_eq!(read("dd.MM.yyyy", "02.01.1970"), Ok(86_400_000_000));
        assert_eq!(read("yyyy-MM-dd HH:mm:ssXXX", "1970-01-01 01:00:00+01:00"), Ok(0));
        assert!(read("yyyy[-MM]", "1970").unwrap_err().contains("optional parts"));
        assert!(read("QQQ", "1").unwrap_err().contains("QQQ"));
        assert_eq!(Times::new(None, Some("d.M.yyyy")).unwrap().date("2.1.1970"), Ok(1));
    }
}
