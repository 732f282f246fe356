//! Parsers of argument values that several commands share.

/// A rate in records per second, above 0: `500`, `200k` or `1.5M`.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>().map(|n| n * unit) {
        Ok(rate) if rate.is_finite() && rate > 0.0 && rate <= 1e8 => Ok(rate),
        _ => Err(format!("\"{text}\" is not a rate: write records per second as 500, 200k or 1.5M")),
    }
}

/// How fast records are sent in relation to their own times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplaySpeed {
    /// This many times as fast.
    Times(f64),
    /// As fast as possible.
    Max,
}

/// A speed above 0: `60`, `60x`, `0.5` or `max`.
pub fn replay_speed(text: &str) -> Result<ReplaySpeed, String> {
    if text == "max" {
        return Ok(ReplaySpeed::Max);
    }
    match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
        Ok(speed) if (1e-6..=1e9).contains(&speed) => Ok(ReplaySpeed::Times(speed)),
        _ => Err(format!("\"{text}\" is not a speed: write how many times as fast, as 60 or 0.5, or max")),
    }
}

/// A header, `NAME=VALUE`. The value is kept as it is.
pub fn header(text: &str) -> Result<(String, Vec<u8>), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.as_bytes().to_vec())),
        _ => Err(format!("\"{text}\" is not a header: write NAME=VALUE")),
    }
}

/// A share from 0 to 1: `0.01` or `1%`.
pub fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|p| p / 100.0),
        None => text.parse::<f64>(),
    };
    match share {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("\"{text}\" is not a share: write 0.01 or 1%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_and_headers() {
        for (text, speed) in [("60", 60.0), ("60x", 60.0), ("0.5", 0.5)] {
            assert_eq!(replay_speed(text), Ok(ReplaySpeed::Times(speed)));
        }
        assert_eq!(replay_speed("max"), Ok(ReplaySpeed::Max));
        for no in ["", "x", "0", "-1", "nan", "inf", "fast"] {
            assert!(replay_speed(no).unwrap_err().contains("max"), "{no}");
        }
        assert_eq!(header("unit = words=2"), Ok(("unit".to_owned(), b" words=2".to_vec())));
        assert_eq!(header("none="), Ok(("none".to_owned(), Vec::new())));
        assert!(["", "=x", "unit"].iter().all(|no| header(no).unwrap_err().contains("NAME=VALUE")));
    }

    #[test]
    fn rates_and_shares() {
        assert_eq!((rate("400"), rate("200k"), rate("1.5M")), (Ok(400.0), Ok(200_000.0), Ok(1_500_000.0)));
        assert_eq!((share("0.01"), share("1%"), share("0")), (Ok(0.01), Ok(0.01), Ok(0.0)));
        for no in ["", "k", "-1", "0", "nan", "inf", "1e300", "\u{20ac}", "fast"] {
            assert!(rate(no).unwrap_err().contains("200k"), "{no}");
        }
        for no in ["", "%", "1.1", "101%", "-0.1", "nan"] {
            assert!(share(no).is_err(), "{no}");
        }
    }
}
