//! Sequence numbers as text, and what else stands in their place. They have up to 56 digits, so no integer of Rust holds them.

use std::cmp::Ordering;

/// Where reading begins, as a [`ShardSpan`](crate::core::plan::ShardSpan) writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The oldest record of the shard.
    Oldest,
    /// The first record of this time or later, in milliseconds since the epoch.
    Time(i64),
    /// The record after this one.
    After(&'a str),
}

impl<'a> Place<'a> {
    pub fn of(text: &'a str) -> Self {
        match text.strip_prefix('@').map(str::parse) {
            Some(Ok(ms)) => Place::Time(ms),
            _ if text.is_empty() => Place::Oldest,
            _ => Place::After(text),
        }
    }
}

/// The text of a time.
pub(super) fn at_time(ms: i64) -> String {
    format!("@{ms}")
}

/// Compares two sequence numbers of a shard. The longer one is larger: they have no leading zeros.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_every_integer_are_compared() {
        let big = "49590338271490256608559692538361571095921575989136588898";
        let bigger = "49590338271490256608559692538361571095921575989136588899";
        assert_eq!(
            (compare(big, bigger), compare(bigger, big), compare(big, big)),
            (Ordering::Less, Ordering::Greater, Ordering::Equal)
        );
        assert_eq!(compare("9", "10"), Ordering::Less);
    }

    #[test]
    fn a_place_is_the_oldest_record_a_time_or_after_a_record() {
        assert_eq!(Place::of(""), Place::Oldest);
        assert_eq!(Place::of(&at_time(1_764_331_200_000)), Place::Time(1_764_331_200_000));
        assert_eq!(Place::of("4955"), Place::After("4955"));
    }
}
