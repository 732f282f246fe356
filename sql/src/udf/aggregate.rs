//! An aggregate of closures: Spark's `Aggregator`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_arrow::utils::Items;
use tidemill::core::data::{decoded, encoded};
use tidemill::prelude::Exchange;

use super::arguments::Reader;
use crate::error::Result;
use crate::rows::item;

type Fallible<T> = Result<T, DataFusionError>;

/// A state as bytes, as it moves between workers and is saved.
pub(crate) type Bytes = Box<[u8]>;

/// The closures of an aggregate, over states as bytes.
pub(crate) trait Folds: Send + Sync {
    /// The types of the arguments.
    fn kinds(&self) -> Vec<DataType>;
    /// The type of the results.
    fn output(&self) -> &DataType;
    /// The states of rows: `groups` has the group of each row, of `n` groups. `kept`: the rows that count.
    fn reduced(&self, columns: &[ArrayRef], kept: &dyn Fn(usize) -> bool, groups: &[usize], n: usize) -> Fallible<Vec<Bytes>>;
    /// One state of two.
    fn merged(&self, a: &[u8], b: &[u8]) -> Fallible<Bytes>;
    /// The column of the results of states.
    fn finished(&self, states: &[&[u8]]) -> Fallible<ArrayRef>;
}

struct Closures<A, B, Reduce, Merge, Finish> {
    reader: Reader<A>,
    result: [FieldRef; 1],
    zero: B,
    reduce: Reduce,
    merge: Merge,
    finish: Finish,
}

/// The closures of an aggregate, without their types.
pub(super) fn folds<A: DeserializeOwned + 'static, B: Exchange + Sync, R: Serialize + Deserialize<'static> + 'static>(
    zero: B,
    reduce: impl Fn(B, A) -> B + Send + Sync + 'static,
    merge: impl Fn(B, B) -> B + Send + Sync + 'static,
    finish: impl Fn(B) -> R + Send + Sync + 'static,
) -> Result<Arc<dyn Folds>> {
    let result = [Arc::new(item::<R>()?.as_ref().clone().with_nullable(true))];
    Ok(Arc::new(Closures { reader: Reader::new()?, result, zero, reduce, merge, finish }))
}

fn bytes<B: Exchange>(state: &B) -> Bytes {
    encoded(state).into_boxed_slice()
}

fn state<B: Exchange>(bytes: &[u8]) -> Fallible<B> {
    decoded(bytes).map_err(|e| DataFusionError::Internal(format!("the state of an aggregate cannot be read: {e}")))
}

impl<A, B, R, Reduce, Merge, Finish> Folds for Closures<A, B, Reduce, Merge, Finish>
where
    A: DeserializeOwned + 'static,
    B: Exchange + Sync,
    R: Serialize,
    Reduce: Fn(B, A) -> B + Send + Sync,
    Merge: Fn(B, B) -> B + Send + Sync,
    Finish: Fn(B) -> R + Send + Sync,
{
    fn kinds(&self) -> Vec<DataType> {
        self.reader.kinds()
    }

    fn output(&self) -> &DataType {
        self.result[0].data_type()
    }

    fn reduced(&self, columns: &[ArrayRef], kept: &dyn Fn(usize) -> bool, groups: &[usize], n: usize) -> Fallible<Vec<Bytes>> {
        let (rows, keep) = self.reader.read(columns, groups.len())?;
        let whole = groups.iter().enumerate().filter(|(row, _)| keep.as_ref().is_none_or(|keep| keep.value(*row)));
        let mut states = vec![Some(self.zero.clone()); n];
        for ((row, group), arguments) in whole.zip(rows) {
            if kept(row) {
                states[*group] = states[*group].take().map(|state| (self.reduce)(state, arguments));
            }
        }
        Ok(states.iter().flatten().map(bytes).collect())
    }

    fn merged(&self, a: &[u8], b: &[u8]) -> Fallible<Bytes> {
        Ok(bytes(&(self.merge)(state(a)?, state(b)?)))
    }

    fn finished(&self, states: &[&[u8]]) -> Fallible<ArrayRef> {
        let results = states.iter().map(|bytes| Ok((self.finish)(state(bytes)?))).collect::<Fallible<Vec<R>>>()?;
        let fault = |reason: &str| DataFusionError::Internal(format!("the results of an aggregate are no column: {reason}"));
        let batch = serde_arrow::to_record_batch(&self.result[..], &Items(&results)).map_err(|e| fault(e.message()))?;
        Ok(batch.column(0).clone())
    }
}

/// The aggregate as DataFusion knows it.
pub(crate) struct UserAggregate {
    name: String,
    signature: Signature,
    folds: Arc<dyn Folds>,
}

impl UserAggregate {
    pub fn new(name: &str, folds: Arc<dyn Folds>) -> Self {
        UserAggregate { name: name.to_owned(), signature: Signature::exact(folds.kinds(), Volatility::Immutable), folds }
    }

    pub fn folds(&self) -> &Arc<dyn Folds> {
        &self.folds
    }
}

impl AggregateUDFImpl for UserAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Fallible<DataType> {
        Ok(self.folds.output().clone())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Fallible<Box<dyn Accumulator>> {
        let zero = self.folds.reduced(&empty(&self.folds.kinds()), &|_| true, &[], 1)?.remove(0);
        Ok(Box::new(OfGroup { folds: self.folds.clone(), state: zero }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Fallible<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("state", DataType::Binary, false))])
    }
}

fn empty(kinds: &[DataType]) -> Vec<ArrayRef> {
    kinds.iter().map(datafusion::arrow::array::new_empty_array).collect()
}

impl PartialEq for UserAggregate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.folds, &other.folds)
    }
}

impl Eq for UserAggregate {}

impl Hash for UserAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for UserAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserAggregate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One group of a query over tables.
struct OfGroup {
    folds: Arc<dyn Folds>,
    state: Bytes,
}

impl fmt::Debug for OfGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a state of {} bytes", self.state.len())
    }
}

impl Accumulator for OfGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Fallible<()> {
        let rows = values.first().map_or(0, |column| column.len());
        let more = self.folds.reduced(values, &|_| true, &vec![0; rows], 1)?.remove(0);
        self.state = self.folds.merged(&self.state, &more)?;
        Ok(())
    }

    fn evaluate(&mut self) -> Fallible<ScalarValue> {
        ScalarValue::try_from_array(&self.folds.finished(&[&self.state])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.state.len()
    }

    fn state(&mut self) -> Fallible<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.state.to_vec()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Fallible<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            self.state = self.folds.merged(&self.state, state)?;
        }
        Ok(())
    }
}
