//! A sum of doubles without rounding: values can be taken away again, in any order, and nothing of them stays.

use std::collections::BTreeMap;

/// The bits of a digit.
const DIGIT: u32 = 32;

/// A sum of doubles. Each finite one is a multiple of 2^-1074, so sums are whole numbers, kept by the 32 bits of their exponent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    /// By place: multiples of 2^(32 * place - 1074). A double has 53 bits, and 31 more by its place in a digit, so that 2^43 of them fit.
    parts: BTreeMap<u8, i128>,
    /// How often infinity, negative infinity and no number are there.
    infinite: i64,
    negative: i64,
    not_numbers: i64,
}

impl ExactSum {
    /// Adds this many copies of a value, or takes them away if `n` is negative.
    pub fn add(&mut self, value: f64, n: i64) {
        match value {
            f64::INFINITY => self.infinite += n,
            f64::NEG_INFINITY => self.negative += n,
            value if value.is_nan() => self.not_numbers += n,
            value => {
                let bits = value.to_bits();
                let (exponent, fraction) = ((bits >> 52) as u32 & 0x7ff, bits & ((1 << 52) - 1));
                // Numbers near zero have no leading one.
                let (exponent, whole) = if exponent == 0 { (0, fraction) } else { (exponent - 1, fraction | 1 << 52) };
                let units = i128::from(whole) << (exponent % DIGIT);
                let place = (exponent / DIGIT) as u8;
                let part = self.parts.entry(place).or_insert(0);
                *part += if value < 0.0 { -units } else { units } * i128::from(n);
                if *part == 0 {
                    self.parts.remove(&place);
                }
            }
        }
    }

    /// The double that is nearest to the sum.
    pub fn value(&self) -> f64 {
        match (self.infinite > 0, self.negative > 0) {
            _ if self.not_numbers > 0 => return f64::NAN,
            (true, true) => return f64::NAN,
            (true, false) => return f64::INFINITY,
            (false, true) => return f64::NEG_INFINITY,
            (false, false) => {}
        }
        let Some(first) = self.parts.keys().next().copied() else { return 0.0 };
        match digits(&self.parts, first) {
            Some(digits) => rounded(&digits, first),
            None => {
                let opposite = self.parts.iter().map(|(place, part)| (*place, -part)).collect();
                -digits(&opposite, first).map_or(0.0, |digits| rounded(&digits, first))
            }
        }
    }
}

/// A sum as digits from the first place on, the lowest first. `None`: it is negative.
fn digits(parts: &BTreeMap<u8, i128>, first: u8) -> Option<Vec<u32>> {
    let last = *parts.keys().next_back()?;
    let (mut digits, mut carry) = (Vec::new(), 0_i128);
    for place in first..=last {
        carry += parts.get(&place).copied().unwrap_or(0);
        digits.push(carry as u32);
        carry >>= DIGIT;
    }
    while carry > 0 {
        digits.push(carry as u32);
        carry >>= DIGIT;
    }
    (carry == 0).then_some(digits)
}

/// The double that is nearest to digits, of which the lowest is at place `first`.
fn rounded(digits: &[u32], first: u8) -> f64 {
    let length = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    let rest = length.saturating_sub(3);
    let leading = digits[rest..length].iter().rev().fold(0_u128, |all, digit| all << DIGIT | u128::from(*digit));
    // Three digits have more bits than a double. Of what is below them only counts whether it is there.
    let below = digits[..rest].iter().any(|digit| *digit != 0);
    (leading | u128::from(below)) as f64 * power_of_two((u32::from(first) + rest as u32) as i32 * DIGIT as i32 - 1_074)
}

fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        ..=-1_023 => f64::from_bits(1 << (exponent + 1_074)),
        -1_022..=1_023 => f64::from_bits(((exponent + 1_023) as u64) << 52),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value, 1));
        sum.value()
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1]), 0.1);
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        // Half way between two doubles.
        assert_eq!(sum(&[-0.1; 3]), -0.300_000_000_000_000_04);
        assert_eq!(sum(&[f64::MIN_POSITIVE, -f64::MIN_POSITIVE / 2.0]), f64::MIN_POSITIVE / 2.0);
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[9_007_199_254_740_992.0, 1.0, 1.0]), 9_007_199_254_740_994.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, 1.0]), f64::NEG_INFINITY);
        assert!(sum(&[f64::NEG_INFINITY, f64::INFINITY]).is_nan() && sum(&[f64::NAN, 1.0]).is_nan());
    }

    proptest! {
        #[test]
        fn a_value_that_was_taken_away_leaves_nothing(
            stay in proptest::collection::vec(any::<f64>(), 0..8),
            leave in proptest::collection::vec((any::<f64>(), 1..4_i64), 0..8),
        ) {
            let mut all = ExactSum::default();
            leave.iter().for_each(|(value, n)| all.add(*value, *n));
            stay.iter().for_each(|value| all.add(*value, 1));
            leave.iter().for_each(|(value, n)| all.add(*value, -n));
            let mut expected = ExactSum::default();
            stay.iter().rev().for_each(|value| expected.add(*value, 1));
            prop_assert_eq!(&all, &expected);
            prop_assert_eq!(all.value().to_bits(), expected.value().to_bits());
        }

        #[test]
        fn a_sum_of_two_is_that_of_the_processor(a in any::<f64>(), b in any::<f64>()) {
            prop_assert_eq!(sum(&[a, b]), a + b);
        }
    }
}
