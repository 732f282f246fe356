//! Aggregates that add up: what a batch contributes to a group, and how two contributions become one.
//!
//! A contribution is a value that moves to the worker of its group, and is saved in checkpoints. All are associative and commutative, so
//! the result does not depend on the number of workers. Sums of doubles are an exception: they depend on the order of batches in their last
//! digits.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, UInt64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use serde::{Deserialize, Serialize};
use tidemill::prelude::F64;

use super::codec::{Codec, Row};

/// What a group has of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Values that are not null.
    Count(i64),
    /// The sum of integers or decimals, and how many there are.
    Whole(i128, i64),
    /// The sum of doubles, and how many there are.
    Double(F64, i64),
    /// The least or largest value: its order is that of its bytes.
    Least(Option<Row>),
    Largest(Option<Row>),
    /// Every value once.
    Values(BTreeSet<Row>),
}

impl Part {
    /// Both contributions as one.
    pub(crate) fn merge(self, other: Part) -> Part {
        match (self, other) {
            (Part::Count(a), Part::Count(b)) => Part::Count(a + b),
            (Part::Whole(a, n), Part::Whole(b, m)) => Part::Whole(a.wrapping_add(b), n + m),
            (Part::Double(a, n), Part::Double(b, m)) => Part::Double(F64::from(*a + *b), n + m),
            (Part::Least(a), Part::Least(b)) => Part::Least(a.into_iter().chain(b).min()),
            (Part::Largest(a), Part::Largest(b)) => Part::Largest(a.max(b)),
            (Part::Values(mut a), Part::Values(b)) => {
                a.extend(b);
                Part::Values(a)
            }
            _ => unreachable!("an aggregate has one kind of contribution"),
        }
    }
}

/// The kind of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    CountDistinct,
    Sum,
    Average,
    Least,
    Largest,
}

/// The names of the aggregates that can be kept up to date.
const KNOWN: &str = "count, count(distinct ..), sum, avg, min and max";

/// One aggregate of a query.
pub(crate) struct Accumulator {
    kind: Kind,
    /// Of the argument.
    codec: Codec,
    output: DataType,
}

impl Accumulator {
    /// The aggregate, its argument, and its FILTER.
    pub(crate) fn of(expr: &Expr, input: DataType, output: &Field) -> Result<Self, DataFusionError> {
        let function = function(expr)?;
        let name = function.func.name();
        let kind = match (name, function.params.distinct) {
            ("count", true) => Kind::CountDistinct,
            ("min", _) => Kind::Least,
            ("max", _) => Kind::Largest,
            ("count", false) => Kind::Count,
            ("sum", false) => Kind::Sum,
            ("avg", false) => Kind::Average,
            _ => {
                let call = expr.schema_name().to_string();
                return Err(DataFusionError::Plan(format!("{call} cannot be kept up to date over a stream; use {KNOWN}")));
            }
        };
        let codec = Codec::new(&Arc::new(Schema::new(vec![Field::new("value", input, true)])))?;
        Ok(Accumulator { kind, codec, output: output.data_type().clone() })
    }

    /// The contributions of rows: `groups` has the group of each row, of `n` groups.
    pub(crate) fn parts(&self, values: &ArrayRef, groups: &[usize], n: usize) -> Result<Vec<Part>, DataFusionError> {
        let rows = || groups.iter().enumerate().filter(|(row, _)| values.is_valid(*row));
        Ok(match self.kind {
            Kind::Count => {
                let mut counts = vec![0; n];
                rows().for_each(|(_, group)| counts[*group] += 1);
                counts.into_iter().map(Part::Count).collect()
            }
            Kind::CountDistinct => {
                let (mut sets, encoded) =
                    (vec![BTreeSet::new(); n], self.codec.encode(std::slice::from_ref(values), values.len())?);
                rows().for_each(|(row, group)| {
                    sets[*group].insert(encoded[row].clone());
                });
                sets.into_iter().map(Part::Values).collect()
            }
            Kind::Least | Kind::Largest => {
                let encoded = self.codec.encode(std::slice::from_ref(values), values.len())?;
                let mut best: Vec<Option<&Row>> = vec![None; n];
                for (row, group) in rows() {
                    let (new, old) = (&encoded[row], &mut best[*group]);
                    let better = |old: &Row| if self.kind == Kind::Least { new < old } else { new > old };
                    if old.is_none_or(better) {
                        *old = Some(new);
                    }
                }
                let part = if self.kind == Kind::Least { Part::Least } else { Part::Largest };
                best.into_iter().map(|row| part(row.cloned())).collect()
            }
            Kind::Sum | Kind::Average => match values.data_type() {
                DataType::Float64 => {
                    let (mut sums, values) = (vec![(0.0, 0); n], values.as_primitive::<Float64Type>());
                    rows().for_each(|(row, group)| add(&mut sums[*group], values.value(row), |a, b| a + b));
                    sums.into_iter().map(|(sum, n)| Part::Double(F64::from(sum), n)).collect()
                }
                kind => {
                    let value: Box<dyn Fn(usize) -> i128> = match kind {
                        DataType::Int64 => {
                            let values = values.as_primitive::<Int64Type>().clone();
                            Box::new(move |row| values.value(row).into())
                        }
                        DataType::UInt64 => {
                            let values = values.as_primitive::<UInt64Type>().clone();
                            Box::new(move |row| values.value(row).into())
                        }
                        DataType::Decimal128(..) => {
                            let values = values.as_primitive::<Decimal128Type>().clone();
                            Box::new(move |row| values.value(row))
                        }
                        other => return Err(DataFusionError::Plan(format!("a sum of {other} cannot be kept up to date"))),
                    };
                    let mut sums = vec![(0_i128, 0); n];
                    rows().for_each(|(row, group)| add(&mut sums[*group], value(row), i128::wrapping_add));
                    sums.into_iter().map(|(sum, n)| Part::Whole(sum, n)).collect()
                }
            },
        })
    }

    /// The column of the results of some groups.
    pub(crate) fn results<'p>(&self, parts: impl ExactSizeIterator<Item = &'p Part>) -> Result<ArrayRef, DataFusionError> {
        let parts: Vec<&Part> = parts.collect();
        Ok(match self.kind {
            Kind::Count | Kind::CountDistinct => {
                let count = |part: &&Part| match part {
                    Part::Count(n) => *n,
                    Part::Values(values) => i64::try_from(values.len()).unwrap_or(i64::MAX),
                    _ => unreachable!("a count has counts"),
                };
                Arc::new(Int64Array::from_iter_values(parts.iter().map(count)))
            }
            Kind::Least | Kind::Largest => {
                let row = |part: &&Part| match part {
                    // A group without values is null.
                    Part::Least(row) | Part::Largest(row) => row.clone(),
                    _ => unreachable!("a minimum has values"),
                };
                let rows: Vec<Option<Row>> = parts.iter().map(row).collect();
                self.codec.decode_with_nulls(&rows.iter().map(Option::as_ref).collect::<Vec<_>>())?.remove(0)
            }
            Kind::Sum => match &self.output {
                DataType::Float64 => Arc::new(parts.iter().map(|p| double(p).map(|(sum, _)| sum)).collect::<Float64Array>()),
                DataType::Decimal128(precision, scale) => {
                    let sums: Decimal128Array = parts.iter().map(|p| whole(p).map(|(sum, _)| sum)).collect();
                    Arc::new(sums.with_precision_and_scale(*precision, *scale)?)
                }
                // Sums beyond 64 bits wrap round, as DataFusion's do.
                kind => {
                    let sums: Int64Array = parts.iter().map(|p| whole(p).map(|(sum, _)| sum as i64)).collect();
                    datafusion::arrow::compute::cast(&sums, kind)?
                }
            },
            Kind::Average => match &self.output {
                DataType::Float64 => {
                    Arc::new(parts.iter().map(|p| double(p).map(|(sum, n)| sum / n as f64)).collect::<Float64Array>())
                }
                other => {
                    return Err(DataFusionError::Plan(format!(
                        "an average of type {other} cannot be kept up to date; cast its argument to double"
                    )));
                }
            },
        })
    }
}

/// The call of an aggregate, without its alias.
pub(crate) fn function(expr: &Expr) -> Result<&AggregateFunction, DataFusionError> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::AggregateFunction(function) => Ok(function),
        other => Err(DataFusionError::Plan(format!("{other} is no aggregate"))),
    }
}

fn add<N: Copy>(total: &mut (N, i64), value: N, sum: impl Fn(N, N) -> N) {
    *total = (sum(total.0, value), total.1 + 1);
}

/// The sum and the number of values; `None` without values.
fn double(part: &Part) -> Option<(f64, i64)> {
    match part {
        Part::Double(sum, n) => (*n > 0).then_some((**sum, *n)),
        _ => unreachable!("a sum of doubles has doubles"),
    }
}

fn whole(part: &Part) -> Option<(i128, i64)> {
    match part {
        Part::Whole(sum, n) => (*n > 0).then_some((*sum, *n)),
        _ => unreachable!("a sum of integers has integers"),
    }
}
