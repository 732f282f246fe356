//! `F64`: a float that is a key. Equal values have equal bytes, so that they are one key on any number of workers.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::num::ParseFloatError;
use std::ops::{Add, AddAssign, Deref, Div, DivAssign, Mul, MulAssign, Neg, Rem, RemAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An `f64` that is a [`Key`](crate::core::data::Key): totally ordered, hashable, and readable by serde as a plain number.
///
/// It has one zero and one NaN: `-0.0` becomes `0.0`, and every NaN becomes the same NaN, which is the largest value. Arithmetic is
/// that of `f64`, also with `f64` on the right. A sum of floats depends on their order. [`View`](crate::prelude::View)s and windows
/// may add in another order on another number of workers, so the last digits may differ.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// let prices = vec![("tea", 1.5), ("tea", 2.25)].into_iter().map(|(item, price)| (item.to_owned(), F64::from(price))).collect();
/// check(
///     [prices],
///     |s| s.reduce_by_key_and_window(|a, b| a + b, millis(2), millis(1)).complete().map_values(f64::from),
///     [vec![("tea".to_owned(), 3.75)]],
/// );
/// assert_eq!(F64::from(-0.0).to_string(), "0");
/// assert!(F64::from(f64::NAN) > F64::from(f64::INFINITY));
/// ```
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct F64(f64);

impl F64 {
    /// The float.
    pub const fn into_inner(self) -> f64 {
        self.0
    }
}

impl From<f64> for F64 {
    fn from(x: f64) -> Self {
        // `-0.0 + 0.0` is `0.0`, and every other number stays as it is.
        F64(if x.is_nan() { f64::NAN } else { x + 0.0 })
    }
}

impl From<F64> for f64 {
    fn from(x: F64) -> f64 {
        x.0
    }
}

impl Deref for F64 {
    type Target = f64;

    fn deref(&self) -> &f64 {
        &self.0
    }
}

impl PartialEq for F64 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for F64 {}

impl Ord for F64 {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for F64 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for F64 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// As of `f64`: outputs write `1.5`.
impl fmt::Debug for F64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for F64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for F64 {
    type Err = ParseFloatError;

    fn from_str(text: &str) -> Result<Self, ParseFloatError> {
        text.parse::<f64>().map(F64::from)
    }
}

macro_rules! arithmetic {
    ($($operation:ident::$name:ident $assign:ident::$assign_name:ident,)*) => {
        $(arithmetic!(@with F64, $operation::$name $assign::$assign_name);
        arithmetic!(@with f64, $operation::$name $assign::$assign_name);)*
    };
    (@with $right:ty, $operation:ident::$name:ident $assign:ident::$assign_name:ident) => {
        impl $operation<$right> for F64 {
            type Output = F64;

            fn $name(self, other: $right) -> F64 {
                F64::from(self.0.$name(f64::from(other)))
            }
        }

        impl $assign<$right> for F64 {
            fn $assign_name(&mut self, other: $right) {
                *self = (*self).$name(other);
            }
        }
    };
}

arithmetic! {
    Add::add AddAssign::add_assign,
    Sub::sub SubAssign::sub_assign,
    Mul::mul MulAssign::mul_assign,
    Div::div DivAssign::div_assign,
    Rem::rem RemAssign::rem_assign,
}

impl Neg for F64 {
    type Output = F64;

    fn neg(self) -> F64 {
        F64::from(-self.0)
    }
}

impl Sum for F64 {
    fn sum<I: Iterator<Item = F64>>(floats: I) -> F64 {
        floats.fold(F64::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::encoded;
    use crate::testing::check_keys;

    #[test]
    fn equal_floats_have_equal_bytes() {
        let nans = [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::from_bits(!0)];
        let numbers = [0.0, -0.0, 1.5, -1.5, f64::MIN_POSITIVE, -5e-324, f64::INFINITY, f64::NEG_INFINITY];
        let all: Vec<F64> = nans.into_iter().chain(numbers).map(F64::from).collect();
        check_keys(&all);
        assert_eq!(encoded(&F64::from(-0.0)), encoded(&0.0f64));
        assert_eq!(encoded(&F64::from(-1.5)), encoded(&-1.5f64), "the bytes are those of the float");
        let mut sorted = all;
        sorted.sort();
        let shown: Vec<String> = sorted.iter().map(F64::to_string).collect();
        assert_eq!((&*shown[0], &*shown[3], &*shown[7], &*shown[11]), ("-inf", "0", "inf", "NaN"));
    }

    /// Old checkpoints have bytes of `-0.0` and of other NaNs.
    #[test]
    fn bytes_of_any_float_are_read_as_the_canonical_one() {
        for (old, now) in [(-0.0, 0.0), (-f64::NAN, f64::NAN), (2.5, 2.5)] {
            let read: F64 = postcard::from_bytes(&encoded(&old)).unwrap();
            assert_eq!(read.to_bits(), f64::to_bits(now));
        }
        assert_eq!(serde_json::from_str::<Vec<F64>>("[-0.0, 3]").unwrap(), [0.0, 3.0].map(F64::from));
    }

    #[test]
    fn arithmetic_stays_canonical() {
        let zero = F64::from(0.0);
        for minus_zero in [-zero, zero * -1.0, F64::from(-3.0) % 3.0, zero / F64::from(-2.0)] {
            assert_eq!(minus_zero.to_bits(), 0);
        }
        let mut x = [1.0, 2.0].map(F64::from).into_iter().sum::<F64>();
        x -= 0.5;
        assert_eq!((x, "2.5".parse()), (F64::from(2.5), Ok(x)));
    }
}
