//! `window` and `session_window` of SQL: windows by the time of a row.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StructArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::span;

/// The shape of windows, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Windows of a length, of which one begins at each slide.
    Every { length: i64, slide: i64, offset: i64 },
    /// Windows that end when a key has no row for this long.
    Session { gap: i64 },
}

impl Shape {
    /// The shape that the arguments behind the time say.
    fn of(name: &str, arguments: &[Option<&ScalarValue>]) -> Result<Self, String> {
        let spans = arguments.iter().map(|argument| match argument {
            Some(value) => span::of_scalar(value),
            None => Err(format!("the arguments of {name} behind the time are constants, such as '10 minutes'")),
        });
        let spans = spans.collect::<Result<Vec<_>, _>>()?;
        let shape = match (name, spans.as_slice()) {
            ("session_window", [gap]) => Shape::Session { gap: *gap },
            ("window", [length]) => Shape::Every { length: *length, slide: *length, offset: 0 },
            ("window", [length, slide]) => Shape::Every { length: *length, slide: *slide, offset: 0 },
            ("window", [length, slide, offset]) => Shape::Every { length: *length, slide: *slide, offset: *offset },
            ("window", _) => {
                return Err(
                    "window takes a time, a length, and if wanted a slide and a start: window(at, '10 minutes', '5 minutes')"
                        .into(),
                );
            }
            _ => return Err("session_window takes a time and a gap: session_window(at, '5 minutes')".into()),
        };
        match shape {
            Shape::Session { gap } if gap < 1 => Err("the gap of session_window is longer than 0".into()),
            Shape::Every { length, slide, .. } if slide < 1 || slide > length => {
                Err("the slide of window is longer than 0 and at most its length, so that each row is in a window".into())
            }
            Shape::Every { slide, offset, .. } if offset < 0 || offset >= slide => {
                Err("the start of window is at least 0 and less than its slide".into())
            }
            shape => Ok(shape),
        }
    }

    /// Whether each row is in one window that its own time says.
    pub fn is_tumbling(self) -> bool {
        matches!(self, Shape::Every { length, slide, .. } if length == slide)
    }

    /// The length of a pane: all windows are made of whole panes.
    pub fn pane(self) -> i64 {
        match self {
            Shape::Every { length, slide, .. } => gcd(length, slide),
            Shape::Session { gap } => gap,
        }
    }

    /// The start of the pane that holds a time.
    pub fn pane_of(self, time: i64) -> i64 {
        let offset = if let Shape::Every { offset, .. } = self { offset } else { 0 };
        time - (time - offset).rem_euclid(self.pane())
    }

    /// The windows, as start and end, that hold the pane with this start.
    pub fn windows_of(self, pane: i64) -> Vec<(i64, i64)> {
        let Shape::Every { length, slide, offset } = self else { return Vec::new() };
        let last = pane - (pane - offset).rem_euclid(slide);
        (0..).map(|n| last - n * slide).take_while(|start| start + length > pane).map(|start| (start, start + length)).collect()
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The window that an expression asks for, and its time.
pub(crate) fn call(expr: &Expr) -> Option<Result<(Shape, &Expr)>> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::ScalarFunction(function) if matches!(function.name(), "window" | "session_window") => {
            let (time, others) = function.args.split_first()?;
            let constants: Vec<Option<&ScalarValue>> =
                others.iter().map(|e| if let Expr::Literal(value, _) = e { Some(value) } else { None }).collect();
            Some(Shape::of(function.name(), &constants).map(|shape| (shape, time)).map_err(DataFusionError::Plan))
        }
        _ => None,
    }
}

/// The times of a column in microseconds, with the zone that it has.
pub(crate) fn stamps(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let kind = stamp(column.data_type())?;
    Ok(cast(column, &kind)?.as_primitive::<TimestampMicrosecondType>().clone())
}

/// The type of the times of a column.
fn stamp(kind: &DataType) -> Result<DataType> {
    match kind {
        DataType::Timestamp(_, zone) => Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        other => Err(DataFusionError::Plan(format!(
            "a window needs a time, and this column is {other}; of microseconds since 1970, timestamp_micros(..) makes one"
        ))),
    }
}

/// The column of windows with these starts and ends.
pub(crate) fn column(windows: &[Option<(i64, i64)>], kind: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = kind else {
        return Err(DataFusionError::Internal(format!("a window is of type {kind}")));
    };
    let part = |of: fn((i64, i64)) -> i64| -> ArrayRef {
        let times: PrimitiveArray<TimestampMicrosecondType> = windows.iter().map(|w| w.map(of)).collect();
        Arc::new(times.with_data_type(fields[0].data_type().clone()))
    };
    let valid = windows.iter().map(Option::is_some).collect();
    Ok(Arc::new(StructArray::try_new(fields.clone(), vec![part(|w| w.0), part(|w| w.1)], Some(valid))?))
}

/// The functions, to be registered.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    ["window", "session_window"].map(|name| {
        Arc::new(ScalarUDF::new_from_impl(TimeWindow { name, signature: Signature::variadic_any(Volatility::Immutable) }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeWindow {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for TimeWindow {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        let time = kinds.first().ok_or_else(|| DataFusionError::Plan(format!("{} takes a time", self.name)))?;
        let part = |name| Field::new(name, stamp(time).unwrap_or(DataType::Null), true);
        stamp(time)?;
        Ok(DataType::Struct(Fields::from(vec![part("start"), part("end")])))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Shape::of(self.name, args.scalar_arguments.get(1..).unwrap_or_default()).map_err(DataFusionError::Plan)?;
        let kinds: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name, self.return_type(&kinds)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |value: &ColumnarValue| if let ColumnarValue::Scalar(value) = value { Some(value.clone()) } else { None };
        let constants: Vec<Option<ScalarValue>> = args.args.iter().skip(1).map(constant).collect();
        let constants: Vec<Option<&ScalarValue>> = constants.iter().map(Option::as_ref).collect();
        let shape = Shape::of(self.name, &constants).map_err(DataFusionError::Plan)?;
        if !shape.is_tumbling() {
            return Err(DataFusionError::Plan(format!(
                "{} of these arguments is more than one value of a row; use it in GROUP BY of a query over a stream",
                self.name
            )));
        }
        let times = stamps(&args.args[0].to_array(args.number_rows)?)?;
        let length = shape.pane();
        let windows = times.iter().map(|time| time.map(|time| (shape.pane_of(time), shape.pane_of(time) + length)));
        Ok(ColumnarValue::Array(column(&windows.collect::<Vec<_>>(), args.return_field.data_type())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pane_is_in_the_windows_that_hold_it() {
        let shape = Shape::Every { length: 10, slide: 4, offset: 1 };
        assert_eq!((shape.pane(), shape.pane_of(8), shape.pane_of(-1)), (2, 7, -1));
        assert_eq!(shape.windows_of(7), [(5, 15), (1, 11)]);
        assert_eq!(shape.windows_of(-1), [(-3, 7), (-7, 3)]);
    }
}
