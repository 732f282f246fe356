//! Window functions: `row_number() OVER (PARTITION BY .. ORDER BY ..)` and its like, computed again for the partitions that changed.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, SortExpr, Window};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_planner::create_window_expr;
use tidemill::prelude::View;

use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::narrow::{evaluate, physical, with_columns};
use super::render::{Rendered, Renderer, Result};
use super::sort::Order;

fn function(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::WindowFunction(function) => Some(function.as_ref()),
        _ => None,
    }
}

/// What a window function is over: its partitions, and their order.
type Over<'e> = (&'e [Expr], &'e [SortExpr]);

impl<'s> Renderer<'_, 's> {
    pub(super) fn over(&self, window: &Window) -> Result<Rendered<'s>> {
        let mut view = self.as_view(&window.input)?.0;
        let mut width = window.input.schema().fields().len();
        let mut rest = window.window_expr.as_slice();
        while let Some(first) = rest.first() {
            let over = |expr: &Expr| -> Option<(Vec<Expr>, Vec<SortExpr>)> {
                function(expr).map(|f| (f.params.partition_by.clone(), f.params.order_by.clone()))
            };
            let Some((partition, order)) = over(first) else {
                return self.refused(&first.to_string(), &["OVER"], "use a window function");
            };
            // Functions over the same partitions and order are computed together.
            let same = rest.iter().take_while(|e| over(e).is_some_and(|o| o == (partition.clone(), order.clone()))).count();
            let (these, others) = rest.split_at(same.max(1));
            view = self.computed(window, &view, these, (&partition, &order), &mut width)?;
            rest = others;
        }
        let list = window.window_expr.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ");
        let alone = window.window_expr.iter().any(|e| function(e).is_some_and(|f| f.params.partition_by.is_empty()));
        let grows = if alone { "all rows, on one worker: it has no PARTITION BY" } else { "the rows" };
        self.keeps(&list, Kept::of("the rows of each partition", grows));
        Ok(Rendered::Changing(view, self.part(&["OVER"])))
    }

    /// A view with a column more for each of these functions. `width`: how many columns there are.
    fn computed(
        &self,
        window: &Window,
        view: &View<'s, Row>,
        functions: &[Expr],
        (partition, order): Over<'_>,
        width: &mut usize,
    ) -> Result<View<'s, Row>> {
        let input = window.input.schema();
        let all = window.schema.inner();
        let part = |n: usize| Arc::new(Schema::new(all.fields()[..n].to_vec()));
        let (from, to) = (part(*width), part(*width + functions.len()));
        *width += functions.len();
        let keys = physical(self.state, partition, input)?;
        let fields = keys.iter().map(|e| e.return_field(input.as_arrow())).collect::<Result<Vec<_>>>()?;
        let key = Codec::new(&Arc::new(Schema::new(fields)))?;
        let sorted = Order::new(self.state, order, input)?;
        // A row with its place in the order of its partition. Rows at the same place are in the order of their values.
        let keyed = mapped(&self.asked(), view, &from, move |batch: RecordBatch, rows| {
            let keys = key.encode(&evaluate(&keys, &batch)?, batch.num_rows())?;
            let places = sorted.keys(&batch)?;
            Ok(keys.into_iter().zip(places.into_iter().zip(rows)).map(|(key, row)| Some((key, vec![row]))).collect())
        })?;
        let partitions = keyed.reduce_by_key(|mut a: Vec<(Row, Row)>, b| {
            a.extend(b);
            a
        });
        let props = datafusion::logical_expr::execution_props::ExecutionProps::new();
        let functions: Rc<[Arc<dyn WindowExpr>]> =
            functions.iter().map(|f| create_window_expr(f, input, &props)).collect::<Result<_>>()?;
        let (decode, encode, query) = (Codec::new(&from)?, Codec::new(&to)?, self.query.to_owned());
        Ok(partitions.flat_map(move |(_, mut rows): (Row, Vec<(Row, Row)>)| {
            rows.sort();
            let computed = || -> Result<Vec<Row>> {
                let batch = decode.decode(rows.iter().map(|(_, row)| row).collect::<Vec<_>>().into_iter())?;
                let mut columns = batch.columns().to_vec();
                for function in functions.iter() {
                    columns.push(function.evaluate(&batch)?);
                }
                let batch = with_columns(&to, columns, rows.len())?;
                Ok(encode.encode(batch.columns(), batch.num_rows())?)
            };
            computed().unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace()))
        }))
    }
}
