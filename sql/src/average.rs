//! Spark's `avg`, also over frames that rows leave, such as `ROWS BETWEEN 9 PRECEDING AND CURRENT ROW`.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::sum;
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature};
use datafusion_spark::function::aggregate::avg::SparkAvg;

/// The `avg` of datafusion-spark, whose accumulator takes no row back.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Average(SparkAvg);

/// The function as a session registers it.
pub(crate) fn average() -> AggregateUDF {
    AggregateUDF::from(Average(SparkAvg::new()))
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct { self.0.accumulator(args) } else { Ok(Box::<Mean>::default()) }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.0.create_groups_accumulator(args)
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.0.default_value(kind)
    }
}

/// The sum of the values of a frame, and how many they are.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: i64,
}

/// The sum of a column, and how many values it has.
fn summed(values: &[ArrayRef]) -> (f64, i64) {
    let values = values[0].as_primitive::<Float64Type>();
    (sum(values).unwrap_or_default(), (values.len() - values.null_count()) as i64)
}

impl Accumulator for Mean {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = summed(values);
        (self.sum, self.count) = (self.sum + sum, self.count + count);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = summed(values);
        (self.sum, self.count) = (self.sum - sum, self.count - count);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.count > 0).then(|| self.sum / self.count as f64)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::from(self.sum), ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sum += sum(states[0].as_primitive::<Float64Type>()).unwrap_or_default();
        self.count += sum(states[1].as_primitive::<Int64Type>()).unwrap_or_default();
        Ok(())
    }
}
