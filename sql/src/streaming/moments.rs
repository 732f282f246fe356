//! How far values are from their mean, as two contributions can be joined.

use serde::{Deserialize, Serialize};
use tidemill::prelude::F64;

/// The number of values, their mean, and the sum of the squares of their distances from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Moments {
    n: i64,
    mean: F64,
    squares: F64,
}

impl Moments {
    pub fn one(value: f64) -> Self {
        Moments { n: 1, mean: F64::from(value), squares: F64::from(0.0) }
    }

    /// Of the values of both: the formula of Chan, Golub and LeVeque.
    pub fn merge(self, other: Moments) -> Moments {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let n = self.n + other.n;
        let (a, b) = (self.n as f64, other.n as f64);
        let distance = *other.mean - *self.mean;
        let mean = *self.mean + distance * b / n as f64;
        let squares = *self.squares + *other.squares + distance * distance * a * b / n as f64;
        Moments { n, mean: F64::from(mean), squares: F64::from(squares) }
    }

    /// The variance of the values, or the one that they are a sample of. `None`: there are too few.
    pub fn variance(self, sample: bool) -> Option<f64> {
        let n = self.n - i64::from(sample);
        (n > 0).then(|| *self.squares / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_variance_of_the_whole() {
        let of = |values: &[f64]| values.iter().map(|v| Moments::one(*v)).fold(Moments::default(), Moments::merge);
        let (a, b) = ([1e9 + 4.0, 1e9 + 7.0], [1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!(of(&a).merge(of(&b)).variance(true), Some(30.0));
        assert_eq!(of(&[&a[..], &b].concat()).variance(false), Some(22.5));
        assert_eq!((of(&[2.0]).variance(true), of(&[2.0]).variance(false), of(&[]).variance(false)), (None, Some(0.0), None));
    }
}
