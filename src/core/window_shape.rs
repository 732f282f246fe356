//! The shape of windows by event time: where they begin and end, and their panes. Only arithmetic.

use std::fmt;
use std::time::Duration;

use crate::core::event_time::in_micros;
use crate::core::schedule::gcd;
use crate::core::slide::Slide;

/// The longest window, in microseconds: more than all valid times together, and sums of a time and a length fit into 64 bits.
const LONGEST: i64 = i64::MAX >> 2;

/// Windows of one length that begin at multiples of their slide since 1970, plus the offset. All in microseconds, of the clock by which the
/// windows are counted (`local_clock`).
///
/// A pane is the greatest common divisor of length and slide: every border of a window is a border of panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowShape {
    pub length: i64,
    slide: i64,
    offset: i64,
    pane: i64,
}

impl WindowShape {
    /// In the place of a wrong shape, until its error ends the start.
    pub const SECOND: WindowShape = WindowShape { length: 1_000_000, slide: 1_000_000, offset: 0, pane: 1_000_000 };

    /// # Errors
    /// Names the value, and what is right.
    pub fn new(length: Duration, slide: &Slide) -> Result<Self, String> {
        let (every, offset) = slide.fixed()?;
        for (what, d) in [("length", length), ("slide", every), ("offset", offset)] {
            if d.subsec_nanos() % 1_000 != 0 || in_micros(d) > LONGEST {
                return Err(format!("a window {what} of {d:?} is not a number of microseconds up to {LONGEST}"));
            }
        }
        if every.is_zero() || every > length {
            return Err(format!(
                "a window of {length:?} with a slide of {every:?}: the slide is longer than 0 and at most the length, so that each row is in a window"
            ));
        }
        let (length, slide) = (in_micros(length), in_micros(every));
        Ok(WindowShape { length, slide, offset: in_micros(offset), pane: gcd(length.into(), slide.into()) as i64 })
    }

    /// Whether a window is one pane.
    pub fn is_one_pane(&self) -> bool {
        self.pane == self.length
    }

    /// Whether a pane may begin at this time.
    pub fn is_pane(&self, start: i64) -> bool {
        (-LONGEST..LONGEST).contains(&start) && self.pane_of(start) == start
    }

    /// The start of the pane that holds this time.
    pub fn pane_of(&self, time: i64) -> i64 {
        time - (time - self.offset).rem_euclid(self.pane)
    }

    /// The end of the last window that holds this time.
    pub fn last_end(&self, time: i64) -> i64 {
        time - (time - self.offset).rem_euclid(self.slide) + self.length
    }

    /// The end of the first window that ends after this time.
    pub fn next_end(&self, time: i64) -> i64 {
        let time = time.max(-LONGEST);
        time - (time - self.offset - self.length).rem_euclid(self.slide) + self.slide
    }

    /// The ends in `after < end <= until` of all windows that hold a pane, ascending. `next_pane` returns the first pane that starts at a
    /// time or later.
    pub fn ends(self, after: i64, until: i64, next_pane: impl Fn(i64) -> Option<i64>) -> impl Iterator<Item = i64> {
        let mut next = self.next_end(after);
        std::iter::from_fn(move || {
            let pane = next_pane(next - self.length)?;
            let end = next.max(self.next_end(pane));
            next = end + self.slide;
            (end <= until).then_some(end)
        })
    }
}

/// What the fingerprint of a job has.
impl fmt::Display for WindowShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.length, self.slide, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::core::time::{hours, millis};

    fn micros(n: i64) -> Duration {
        Duration::from_micros(n as u64)
    }

    proptest! {
        /// Windows by their definition, over times around 1970.
        #[test]
        fn windows_are_where_they_should_be(
            (length, slide) in (1i64..20).prop_flat_map(|length| (Just(length), 1..=length)),
            offset in 0i64..20,
            times in prop::collection::btree_set(-60i64..60, 0..6),
            after in -80i64..80,
        ) {
            let shape = WindowShape::new(micros(length), &Slide::every(micros(slide)).offset(micros(offset))).unwrap();
            let ends: Vec<i64> = (-100..100).map(|k| k * slide + offset + length).collect();
            for time in &times {
                let holding = || ends.iter().filter(|end| **end - length <= *time && *time < **end);
                prop_assert_eq!(shape.last_end(*time), *holding().max().unwrap());
                prop_assert_eq!(shape.next_end(*time), *holding().min().unwrap());
                let pane = shape.pane_of(*time);
                prop_assert!(holding().all(|end| end - length <= pane && pane + shape.pane <= *end));
            }
            let panes: BTreeSet<i64> = times.iter().map(|time| shape.pane_of(*time)).collect();
            let next_pane = |from: i64| panes.range(from..).next().copied();
            let expected: Vec<i64> = ends.iter().copied().filter(|end| {
                *end > after && *end <= 70 && times.iter().any(|time| *end - length <= *time && time < end)
            }).collect();
            prop_assert_eq!(shape.ends(after, 70, next_pane).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_gap_of_years_is_skipped() {
        let shape = WindowShape::new(hours(1), &millis(1).into()).unwrap();
        let panes = BTreeMap::from([(0, ()), (1 << 50, ())]);
        let ends = shape.ends(i64::MIN, i64::MAX, |from| panes.range(from..).next().map(|(pane, ())| *pane));
        assert_eq!(ends.count(), 2 * 3_600_000);
    }

    #[test]
    fn a_wrong_window_is_refused() {
        let wrong = |length, slide| WindowShape::new(length, &slide).unwrap_err();
        assert!(wrong(millis(5), millis(6).into()).contains("a window of 5ms with a slide of 6ms"));
        assert!(wrong(millis(0), millis(0).into()).contains("longer than 0"));
        assert!(wrong(Duration::from_nanos(1_500), Slide::every(micros(1))).contains("length of 1.5µs"));
        assert!(wrong(hours(1), Slide::every_batch()).contains("every_batch"));
    }
}
