//! Time zones of printed times. The tz database is built in, so names are known on machines without tzdata.
//!
//! `--time-zone` takes a name or an offset. Without it, the zone of the machine is used: `TZ`, then `/etc/localtime`, then UTC.

use std::sync::{Mutex, OnceLock};

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use crate::core::lock::lock;

/// The zone that `--time-zone` gave to the last job of this process.
static OF_JOB: Mutex<Option<TimeZone>> = Mutex::new(None);

/// Reads a zone: a name of the tz database such as `Europe/Paris`, `UTC`, or an offset such as `+02:00`, `-0530` or `+2`.
///
/// # Errors
/// Anything else, with the accepted forms.
pub(crate) fn parse(text: &str) -> Result<TimeZone, String> {
    parse_with(jiff::tz::db(), text)
}

/// Reads a zone as [`parse`] does, but never asks the tz database of the machine. All processes of a job run the same program, so they
/// have the same rules.
pub(crate) fn parse_built_in(text: &str) -> Result<TimeZone, String> {
    parse_with(&TimeZoneDatabase::bundled(), text)
}

fn parse_with(database: &TimeZoneDatabase, text: &str) -> Result<TimeZone, String> {
    if text == "UTC" || text == "Z" {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset(text) {
        return Ok(TimeZone::fixed(offset));
    }
    database.get(text).map_err(|_| {
        format!("\"{text}\" is not a time zone: write a name of the tz database such as Europe/Paris, UTC, or an offset such as +02:00")
    })
}

/// `+HH`, `+HHMM` or `+HH:MM`, with either sign; the hour may have one digit.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() == 4 => rest.split_at_checked(2)?,
        None => (rest, "00"),
    };
    let number = |text: &str, digits: &[usize]| {
        let digits = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<i32>().ok() } else { None }
    };
    let (hours, minutes) = (number(hours, &[1, 2])?, number(minutes, &[2])?);
    if minutes > 59 { None } else { Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok() }
}

/// The zone of the machine, and a warning if its setting is not known.
fn machine() -> &'static (TimeZone, Option<String>) {
    static MACHINE: OnceLock<(TimeZone, Option<String>)> = OnceLock::new();
    MACHINE.get_or_init(|| match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => (zone, None),
        _ => {
            // Without `TZ` and without /etc/localtime, the machine has no zone: then it is UTC.
            let variable = std::env::var("TZ").ok().filter(|text| !text.is_empty());
            let warning = variable.map(|text| {
                format!(
                    "TZ={text} is not a known time zone: times are in UTC; set TZ or --time-zone to a name such as Europe/Paris"
                )
            });
            (TimeZone::UTC, warning)
        }
    })
}

/// The zone of times in log lines and messages: that of `--time-zone`, otherwise that of the machine.
pub(crate) fn shown() -> TimeZone {
    let of_job = lock(&OF_JOB).clone();
    of_job.unwrap_or_else(|| machine().0.clone())
}

/// A job begins, with this `--time-zone` if it has one. Returns a warning if the zone of the machine is needed and not known.
pub(crate) fn of_job(zone: Option<&TimeZone>) -> Option<&'static str> {
    *lock(&OF_JOB) = zone.cloned();
    if zone.is_some() { None } else { machine().1.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_are_zones() {
        let at = |zone: &str| {
            let time = jiff::Timestamp::from_second(1_500_000_000).unwrap();
            time.to_zoned(parse(zone).unwrap()).strftime("%H:%M").to_string()
        };
        for (zone, time) in [
            ("UTC", "02:40"),
            ("Z", "02:40"),
            ("Europe/Paris", "04:40"),
            ("Asia/Kathmandu", "08:25"),
            ("+02:00", "04:40"),
            ("+2", "04:40"),
            ("-0530", "21:10"),
            ("+00:00", "02:40"),
        ] {
            assert_eq!(at(zone), time, "{zone}");
        }
        for wrong in ["", "Mars/Base", "Nowhere/Land", "+", "+2:5", "+02:60", "+27:00", "02:00", "+2h", "-\u{661}2:00"] {
            let e = parse(wrong).unwrap_err();
            assert!(e.contains("Europe/Paris") && e.contains("+02:00") && e.contains(wrong), "{e}");
        }
    }
}
