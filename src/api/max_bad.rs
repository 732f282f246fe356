//! `MaxBad`: how many bad records a batch may have.

use std::fmt;
use std::str::FromStr;

/// How many bad records a fallible verb may find in one batch before the job ends:
/// [`Builder::max_bad`](crate::api::builder::Builder::max_bad), or `--max-bad`. As text it is a number, or a percentage of the rows that
/// the verb reads in the batch.
///
/// ```
/// use tidemill::api::max_bad::MaxBad;
/// assert_eq!("20".parse(), Ok(MaxBad::Records(20)));
/// assert_eq!("0.1%".parse(), Ok(MaxBad::Percent(0.1)));
/// assert!("101%".parse::<MaxBad>().unwrap_err().contains("101%"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxBad {
    /// At most this many.
    Records(u64),
    /// At most this percentage of the rows.
    Percent(f64),
}

impl MaxBad {
    /// Whether so many bad ones of these rows are too many.
    pub(crate) fn is_exceeded(self, bad: u64, rows: u64) -> bool {
        match self {
            MaxBad::Records(most) => bad > most,
            MaxBad::Percent(most) => bad as f64 * 100.0 > most * rows as f64,
        }
    }
}

impl fmt::Display for MaxBad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxBad::Records(most) => write!(f, "{most}"),
            MaxBad::Percent(most) => write!(f, "{most}%"),
        }
    }
}

impl FromStr for MaxBad {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').map(|number| number.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)));
        let found = match percent {
            Some(percent) => percent.map(MaxBad::Percent),
            None => text.parse().ok().map(MaxBad::Records),
        };
        found.ok_or_else(|| format!("\"{text}\" is not a number of records or a percentage; write for example 100, or 0.1%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_is_not_exceeded() {
        let exceeded = |text: &str, bad, rows| text.parse::<MaxBad>().unwrap().is_exceeded(bad, rows);
        assert_eq!([exceeded("2", 2, 2), exceeded("2", 3, 1_000), exceeded("0", 1, 1)], [false, true, true]);
        assert_eq!([exceeded("0.1%", 1, 1_000), exceeded("0.1%", 1, 999), exceeded("0%", 0, 0)], [false, true, false]);
        for wrong in ["", "%", "-1", "101%", "1.5", "nan%", "inf%"] {
            let e = wrong.parse::<MaxBad>().unwrap_err();
            assert!(e.contains(&format!("\"{wrong}\"")) && e.contains("0.1%"), "{e}");
        }
        assert_eq!(MaxBad::Percent(0.1).to_string().parse(), Ok(MaxBad::Percent(0.1)));
    }
}
