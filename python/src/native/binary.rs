//! Functions of two values: what `reduceByKey` and windows combine with.

use num_bigint::BigInt;
use tidemill::prelude::F64;

use crate::value::Value;

/// A function of two values that Rust knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    /// `operator.add`, `lambda a, b: a + b`
    Add,
    /// `operator.sub`, `lambda a, b: a - b`
    Sub,
    /// `operator.mul`
    Mul,
    /// `min`
    Min,
    /// `max`
    Max,
}

impl Binary {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Binary::Add,
            "sub" => Binary::Sub,
            "mul" => Binary::Mul,
            "min" => Binary::Min,
            "max" => Binary::Max,
            _ => return None,
        })
    }

    /// The result; `None`: ask Python.
    pub fn apply(self, a: &Value, b: &Value) -> Option<Value> {
        match (a, b) {
            (Value::Int(x), Value::Int(y)) => Some(self.ints(*x, *y)),
            (Value::Float(x), Value::Float(y)) => self.floats(**x, **y),
            (Value::Str(x), Value::Str(y)) => match self {
                Binary::Add => Some(Value::text(format!("{x}{y}"))),
                // Python compares code points, as UTF-8 does.
                Binary::Min => Some(if y < x { b.clone() } else { a.clone() }),
                Binary::Max => Some(if y > x { b.clone() } else { a.clone() }),
                _ => None,
            },
            (Value::Tuple(x), Value::Tuple(y)) if self == Binary::Add => Some(Value::Tuple(x.iter().chain(y).cloned().collect())),
            _ => None,
        }
    }

    fn ints(self, x: i64, y: i64) -> Value {
        let small = match self {
            Binary::Add => x.checked_add(y),
            Binary::Sub => x.checked_sub(y),
            Binary::Mul => x.checked_mul(y),
            Binary::Min => Some(x.min(y)),
            Binary::Max => Some(x.max(y)),
        };
        small.map_or_else(
            || {
                let (x, y) = (BigInt::from(x), BigInt::from(y));
                Value::Big(match self {
                    Binary::Sub => x - y,
                    Binary::Mul => x * y,
                    _ => x + y,
                })
            },
            Value::Int,
        )
    }

    fn floats(self, x: f64, y: f64) -> Option<Value> {
        let result = match self {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            // The order of a NaN is Python's own.
            _ if x.is_nan() || y.is_nan() => return None,
            Binary::Min if y < x => y,
            Binary::Max if y > x => y,
            _ => x,
        };
        // A negative zero is an object of Python.
        (result != 0.0 || result.is_sign_positive()).then(|| Value::Float(F64::from(result)))
    }
}
