//! Sums of `i64` that do not wrap round.

/// In the place of a sum that does not fit. No sum is `i64::MIN`, so that the negation of each fits, too.
pub(crate) const TOO_LARGE: i64 = i64::MIN;

/// The sum of both, if it fits.
#[inline]
pub(crate) fn checked(a: i64, b: i64) -> Option<i64> {
    a.checked_add(b).filter(|sum| a != TOO_LARGE && b != TOO_LARGE && *sum != TOO_LARGE)
}

/// Adds `n`. A sum that does not fit becomes [`TOO_LARGE`] and stays so, whatever is added. So the row of a key is checked once a
/// batch, where the key is at hand, and not at each record.
#[inline]
pub(crate) fn add(sum: &mut i64, n: i64) {
    *sum = checked(*sum, n).unwrap_or(TOO_LARGE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_does_not_fit_stays_so() {
        let sum = |ns: &[i64]| {
            ns.iter().fold(0, |mut sum, n| {
                add(&mut sum, *n);
                sum
            })
        };
        assert_eq!(sum(&[i64::MAX, -5, 5]), i64::MAX);
        assert_eq!(sum(&[-i64::MAX]), -i64::MAX);
        for too_large in
            [&[i64::MAX, 1, -1][..], &[-i64::MAX, -1, 1], &[-i64::MAX, -i64::MAX, 7], &[TOO_LARGE, 1], &[1, TOO_LARGE, 9]]
        {
            assert_eq!(sum(too_large), TOO_LARGE, "{too_large:?}");
        }
        assert_eq!((checked(2, 3), checked(i64::MAX, 1), checked(TOO_LARGE, 0)), (Some(5), None, None));
    }
}
