//! Aggregates that add up: what a batch contributes to a group, and how two contributions become one.
//!
//! A contribution is a value that moves to the worker of its group, and is saved in checkpoints. All are associative and commutative, so
//! the result does not depend on the number of workers. Sums of doubles are an exception: they depend on the order of batches in their last
//! digits. An aggregate that does not add up contributes its rows: see `from_rows`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, UInt64Type};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use tidemill::prelude::F64;

use super::codec::{Codec, Row};
use super::from_rows::FromRows;
use super::moments::Moments;
use crate::udf::{Bytes, Folds, UserAggregate};

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
    /// How far values are from their mean.
    Moments(Moments),
    /// Every row, and how often it is there.
    Rows(BTreeMap<Row, i64>),
    /// The state of an aggregate of the program, as bytes.
    User(Bytes),
}

impl Part {
    /// Both contributions as one. `user`: the aggregate, if it is one of the program.
    pub(crate) fn merge(self, other: Part, user: Option<&dyn Folds>) -> Part {
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
            (Part::Moments(a), Part::Moments(b)) => Part::Moments(a.merge(b)),
            (Part::Rows(a), Part::Rows(b)) => {
                // The smaller part moves.
                let (mut all, more) = if a.len() < b.len() { (b, a) } else { (a, b) };
                for (row, n) in more {
                    *all.entry(row).or_default() += n;
                }
                Part::Rows(all)
            }
            (Part::User(a), Part::User(b)) => {
                let folds = user.expect("an aggregate of the program has its closures");
                Part::User(folds.merged(&a, &b).unwrap_or_else(|e| panic!("{}", e.strip_backtrace())))
            }
            _ => unreachable!("an aggregate has one kind of contribution"),
        }
    }
}

/// The kind of an aggregate.
enum Kind {
    Count,
    CountDistinct,
    Sum,
    Average,
    Least,
    Largest,
    /// A variance, or its root: of all values, or of a sample.
    Spread {
        sample: bool,
        root: bool,
    },
    Rows(FromRows),
    /// An aggregate of the program.
    User(Arc<dyn Folds>),
}

/// One aggregate of a query.
pub(crate) struct Accumulator {
    kind: Kind,
    /// Of the argument.
    codec: Codec,
    output: DataType,
}

impl Accumulator {
    /// The aggregate over columns of a schema, and its result.
    pub(crate) fn of(state: &SessionState, expr: &Expr, input: &DFSchema, output: &Field) -> Result<Self, DataFusionError> {
        let function = function(expr)?;
        let name = function.func.name();
        let argument = match function.params.args.as_slice() {
            [argument] => Some(state.create_physical_expr(argument.clone(), input)?.data_type(input.as_arrow())?),
            _ => None,
        };
        let user = function.func.inner().downcast_ref::<UserAggregate>().filter(|_| !function.params.distinct);
        let double = (argument.as_ref(), output.data_type()) == (Some(&DataType::Float64), &DataType::Float64);
        let adds = matches!(&argument, Some(DataType::Float64 | DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..)));
        let known = match (name, function.params.distinct) {
            ("count", true) => Some(Kind::CountDistinct),
            ("min" | "bool_and", _) => Some(Kind::Least),
            ("max" | "bool_or", _) => Some(Kind::Largest),
            ("count", false) => Some(Kind::Count),
            ("sum", false) if adds => Some(Kind::Sum),
            ("avg", false) if double => Some(Kind::Average),
            ("var" | "var_pop" | "stddev" | "stddev_pop", false) if double => {
                Some(Kind::Spread { sample: !name.ends_with("_pop"), root: name.starts_with("stddev") })
            }
            _ => None,
        };
        let (kind, argument) = match (user, known, argument) {
            (Some(user), ..) => (Kind::User(user.folds().clone()), DataType::Null),
            (None, Some(kind), Some(argument)) => (kind, argument),
            _ => (Kind::Rows(FromRows::new(state, expr, function, input, output)?), DataType::Null),
        };
        let codec = Codec::new(&Arc::new(Schema::new(vec![Field::new("value", argument, true)])))?;
        Ok(Accumulator { kind, codec, output: output.data_type().clone() })
    }

    /// The closures of an aggregate of the program.
    pub(crate) fn user(&self) -> Option<Arc<dyn Folds>> {
        if let Kind::User(folds) = &self.kind { Some(folds.clone()) } else { None }
    }

    /// What a group keeps, and what makes it grow. `leave`: its rows may leave, so that what is kept can be taken away again.
    pub(crate) fn keeps(&self, leave: bool) -> (&'static str, &'static str) {
        match &self.kind {
            Kind::Rows(rows) if !rows.once() => ("rows", "the rows of each group"),
            Kind::Count | Kind::Sum | Kind::Average => ("a result", "the groups"),
            Kind::Least | Kind::Largest | Kind::Spread { .. } | Kind::User(_) if !leave => ("a result", "the groups"),
            _ => ("values", "the different values of each group"),
        }
    }

    /// The contributions of rows: `groups` has the group of each row, of `n` groups. `keep`: the rows that the FILTER leaves.
    pub(crate) fn parts(
        &self,
        columns: &[ArrayRef],
        keep: Option<&BooleanArray>,
        groups: &[usize],
        n: usize,
    ) -> Result<Vec<Part>, DataFusionError> {
        let kept = |row: usize| keep.is_none_or(|keep| keep.is_valid(row) && keep.value(row));
        let values = match &self.kind {
            Kind::Rows(rows) => return rows.parts(columns, kept, groups, n),
            Kind::User(folds) => return Ok(folds.reduced(columns, &kept, groups, n)?.into_iter().map(Part::User).collect()),
            _ => &columns[0],
        };
        let rows = || groups.iter().enumerate().filter(|(row, _)| values.is_valid(*row) && kept(*row));
        Ok(match &self.kind {
            Kind::Count => {
                let mut counts = vec![0; n];
                rows().for_each(|(_, group)| counts[*group] += 1);
                counts.into_iter().map(Part::Count).collect()
            }
            Kind::CountDistinct => {
                let encoded = self.codec.bytes(std::slice::from_ref(values), values.len())?;
                // Most values come many times: each is kept once, and the sets are made of them all at once.
                let mut seen: HashSet<(usize, &[u8]), RandomState> = HashSet::default();
                let mut once = vec![Vec::new(); n];
                for (row, group) in rows() {
                    if seen.insert((*group, encoded.bytes(row))) {
                        once[*group].push(Row::of(encoded.bytes(row)));
                    }
                }
                once.into_iter().map(|values| Part::Values(values.into_iter().collect())).collect()
            }
            Kind::Least | Kind::Largest => {
                let encoded = self.codec.bytes(std::slice::from_ref(values), values.len())?;
                let mut best: Vec<Option<&[u8]>> = vec![None; n];
                let least = matches!(self.kind, Kind::Least);
                for (row, group) in rows() {
                    let (new, old) = (encoded.bytes(row), &mut best[*group]);
                    let better = |old: &[u8]| if least { new < old } else { new > old };
                    if old.is_none_or(better) {
                        *old = Some(new);
                    }
                }
                let part = if matches!(self.kind, Kind::Least) { Part::Least } else { Part::Largest };
                best.into_iter().map(|row| part(row.map(Row::of))).collect()
            }
            Kind::Rows(_) | Kind::User(_) => unreachable!("both have left above"),
            Kind::Spread { .. } => {
                let (mut all, values) = (vec![Moments::default(); n], values.as_primitive::<Float64Type>());
                rows().for_each(|(row, group)| all[*group] = all[*group].merge(Moments::one(values.value(row))));
                all.into_iter().map(Part::Moments).collect()
            }
            Kind::Sum | Kind::Average => match values.data_type() {
                DataType::Float64 => {
                    let (mut sums, values) = (vec![(0.0, 0); n], values.as_primitive::<Float64Type>());
                    rows().for_each(|(row, group)| add(&mut sums[*group], values.value(row), |a, b| a + b));
                    sums.into_iter().map(|(sum, n)| Part::Double(F64::from(sum), n)).collect()
                }
                kind => {
                    let mut sums = vec![(0_i128, 0); n];
                    let mut each = |value: &dyn Fn(usize) -> i128| {
                        rows().for_each(|(row, group)| add(&mut sums[*group], value(row), i128::wrapping_add));
                    };
                    match kind {
                        DataType::Int64 => {
                            let values = values.as_primitive::<Int64Type>();
                            each(&|row| values.value(row).into());
                        }
                        DataType::UInt64 => {
                            let values = values.as_primitive::<UInt64Type>();
                            each(&|row| values.value(row).into());
                        }
                        DataType::Decimal128(..) => {
                            let values = values.as_primitive::<Decimal128Type>();
                            each(&|row| values.value(row));
                        }
                        other => return Err(DataFusionError::Plan(format!("a sum of {other} cannot be kept up to date"))),
                    }
                    sums.into_iter().map(|(sum, n)| Part::Whole(sum, n)).collect()
                }
            },
        })
    }

    /// The column of the results of some groups.
    pub(crate) fn results<'p>(&self, parts: impl ExactSizeIterator<Item = &'p Part>) -> Result<ArrayRef, DataFusionError> {
        let parts: Vec<&Part> = parts.collect();
        Ok(match &self.kind {
            Kind::Rows(rows) => {
                let of_group = |part: &&Part| match part {
                    Part::Rows(kept) => rows.result(kept),
                    _ => unreachable!("an aggregate of rows has rows"),
                };
                rows.column(parts.iter().map(of_group).collect::<Result<Vec<_>, _>>()?, &self.output)?
            }
            Kind::User(folds) => {
                let state = |part: &&'p Part| match part {
                    Part::User(state) => state.as_ref(),
                    _ => unreachable!("an aggregate of the program has its state"),
                };
                folds.finished(&parts.iter().map(state).collect::<Vec<_>>())?
            }
            Kind::Spread { sample, root } => {
                let spread = |part: &&Part| match part {
                    Part::Moments(moments) => moments.variance(*sample).map(|v| if *root { v.sqrt() } else { v }),
                    _ => unreachable!("a variance has moments"),
                };
                Arc::new(parts.iter().map(spread).collect::<Float64Array>())
            }
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
            Kind::Average => Arc::new(parts.iter().map(|p| double(p).map(|(sum, n)| sum / n as f64)).collect::<Float64Array>()),
        })
    }
}

/// The call of an aggregate, without its alias.
pub(crate) fn function(expr: &Expr) -> Result<&AggregateFunction, DataFusionError> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::AggregateFunction(function) => Ok(function),
        other => Err(DataFusionError::Plan(format!("{other} is not an aggregate"))),
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
