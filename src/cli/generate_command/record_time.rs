//! The time of a record that is read from a file.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::arguments::Kind;

/// How Twitter writes a time.
const TWITTER: &str = "%a %b %d %H:%M:%S %z %Y";
/// How web servers do, between brackets.
const LOG: &str = "%d/%b/%Y:%H:%M:%S %z";

/// Where the time of a record is.
#[derive(Debug)]
pub(super) enum RecordTime {
    /// In the first of these fields of a JSON object that is there.
    Fields(Vec<String>),
    /// Between the first brackets of a line in Common or Combined Log Format.
    LogLine,
}

impl RecordTime {
    /// In this field; without one, where records of this kind have it. `None`: they have none.
    pub fn of(kind: Kind, field: Option<&str>) -> Option<Self> {
        let fields = |names: &[&str]| Some(RecordTime::Fields(names.iter().map(|name| (*name).to_owned()).collect()));
        match (field, kind) {
            (Some(field), _) => fields(&[field]),
            (None, Kind::Tweets) => fields(&["created_at"]),
            (None, Kind::Weblogs) => Some(RecordTime::LogLine),
            (None, Kind::Nexmark) => fields(&["bid.dateTime", "auction.dateTime", "person.dateTime"]),
            (None, Kind::Words) => None,
        }
    }

    /// The time of a record in milliseconds since the epoch, if it can be read.
    pub fn read(&self, record: &[u8]) -> Option<u64> {
        match self {
            RecordTime::Fields(names) => {
                let json: Value = serde_json::from_slice(record).ok()?;
                millis(names.iter().find_map(|name| field(&json, name))?)
            }
            RecordTime::LogLine => {
                let text = std::str::from_utf8(record).ok()?;
                let (_, rest) = text.split_once('[')?;
                since_epoch(Timestamp::strptime(LOG, rest.split_once(']')?.0).ok()?)
            }
        }
    }
}

/// A field of a JSON object. Dots lead into objects.
pub(super) fn field<'j>(json: &'j Value, name: &str) -> Option<&'j Value> {
    name.split('.').try_fold(json, |json, name| json.get(name))
}

/// Numbers are seconds, milliseconds, microseconds or nanoseconds since the epoch, as their size says.
fn millis(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().filter(|n| *n >= 0.0)?;
            let ms = match number {
                n if n < 1e11 => n * 1e3,
                n if n < 1e14 => n,
                n if n < 1e17 => n / 1e3,
                n => n / 1e6,
            };
            Some(ms as u64)
        }
        Value::String(text) => {
            let in_utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            let read = text.parse().ok().or_else(|| Timestamp::strptime(TWITTER, text).ok()).or_else(in_utc);
            since_epoch(read?)
        }
        _ => None,
    }
}

fn since_epoch(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::generate::{BEGIN_MS, Generate, Nexmark, Tweets, Weblogs};
    use super::*;

    #[test]
    fn generated_records_have_their_time_where_their_kind_has_it() {
        let generators: [(Kind, Box<dyn Generate>); 3] = [
            (Kind::Tweets, Box::new(Tweets::new(1))),
            (Kind::Weblogs, Box::new(Weblogs::new(1))),
            (Kind::Nexmark, Box::new(Nexmark::new(1))),
        ];
        for (kind, mut generator) in generators {
            let time = RecordTime::of(kind, None).unwrap();
            for second in 0..60 {
                let mut record = Vec::new();
                generator.write(BEGIN_MS + second * 1_000, &mut record);
                assert_eq!(time.read(&record), Some(BEGIN_MS + second * 1_000), "{}", String::from_utf8_lossy(&record));
            }
        }
        assert!(RecordTime::of(Kind::Words, None).is_none());
    }

    #[test]
    fn a_field_has_a_time_in_one_of_the_usual_forms() {
        let time = RecordTime::of(Kind::Words, Some("at.time")).unwrap();
        let read = |value: &str| time.read(format!(r#"{{"at": {{"time": {value}}}}}"#).as_bytes());
        for same in [
            "1484154535",
            "1484154535.0",
            "1484154535000",
            "1484154535000000",
            "1484154535000000000",
            r#""2017-01-11T17:08:55Z""#,
            r#""2017-01-11T18:08:55+01:00""#,
            r#""2017-01-11 17:08:55""#,
            r#""Wed Jan 11 17:08:55 +0000 2017""#,
        ] {
            assert_eq!(read(same), Some(BEGIN_MS), "{same}");
        }
        for no in ["-1", "null", "true", r#""yesterday""#, r#""1960-01-01T00:00:00Z""#] {
            assert_eq!(read(no), None, "{no}");
        }
        assert_eq!((time.read(b"no JSON"), time.read(b"{}")), (None, None));
        assert_eq!(RecordTime::LogLine.read(b"no brackets"), None);
    }
}
