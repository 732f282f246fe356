//! Lengths of time in a query: `'10 minutes'`, as Spark writes them.

use std::time::Duration;

use datafusion::common::ScalarValue;

/// Microseconds of a unit.
fn unit(name: &str) -> Option<i64> {
    Some(match name.strip_suffix('s').unwrap_or(name) {
        "microsecond" => 1,
        "millisecond" => 1_000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => 86_400_000_000,
        "week" => 604_800_000_000,
        _ => return None,
    })
}

/// The microseconds of a text such as `10 minutes`, `1 hour 30 minutes` or `interval 5 seconds`.
///
/// Months and years have no fixed length, so they are an error.
pub(crate) fn micros(text: &str) -> Result<i64, String> {
    let wrong = |why: &str| Err(format!("the length of time '{text}' {why}; write it as '10 minutes' or '1 hour 30 minutes'"));
    let lower = text.to_lowercase();
    let mut words = lower.split_whitespace().skip_while(|word| *word == "interval");
    let mut total: i64 = 0;
    let mut any = false;
    while let Some(number) = words.next() {
        let Ok(number) = number.trim_matches('\'').parse::<i64>() else { return wrong("has no number where one should be") };
        let Some(name) = words.next() else { return wrong("has no unit behind its number") };
        if matches!(name.trim_end_matches('s'), "month" | "year") {
            return wrong("is not of the same length each time");
        }
        let Some(part) = unit(name).and_then(|unit| unit.checked_mul(number)) else {
            return wrong("has a unit that is none of microseconds, milliseconds, seconds, minutes, hours, days and weeks");
        };
        let Some(sum) = total.checked_add(part) else { return wrong("is too long") };
        (total, any) = (sum, true);
    }
    if any { Ok(total) } else { wrong("is empty") }
}

/// The same of a value of a query: a text, or an INTERVAL.
pub(crate) fn of_scalar(value: &ScalarValue) -> Result<i64, String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => micros(text),
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            Ok(i64::from(i.days) * 86_400_000_000 + i.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(i)) => Ok(i64::from(i.days) * 86_400_000_000 + i64::from(i.milliseconds) * 1_000),
        other => Err(format!("{other} is not a fixed length of time; write it as '10 minutes'")),
    }
}

pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_spark_reads_them() {
        assert_eq!(micros("10 minutes"), Ok(600_000_000));
        assert_eq!(micros("INTERVAL '1' hour 30 Minutes"), Ok(5_400_000_000));
        assert_eq!(micros("0 seconds"), Ok(0));
        for (text, why) in [("1 month", "not of the same length"), ("ten minutes", "no number"), ("5", "no unit"), ("", "empty")]
        {
            let error = micros(text).unwrap_err();
            assert!(error.contains(why) && error.contains("'10 minutes'"), "{error}");
        }
        assert!(micros("3 fortnights").unwrap_err().contains("none of"));
    }
}
