//! GROUPING SETS, CUBE and ROLLUP: an aggregate for each set of keys, and the rows of all of them.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection, Union, cast, lit};

use super::render::Result;

/// The sets of keys, in order.
fn sets(set: &GroupingSet) -> Result<Vec<Vec<Expr>>> {
    Ok(match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(keys) => (0..=keys.len()).rev().map(|n| keys[..n].to_vec()).collect(),
        GroupingSet::Cube(keys) if keys.len() > 10 => {
            return Err(DataFusionError::Plan(format!(
                "CUBE of {} keys has too many groupings; list those that you need",
                keys.len()
            )));
        }
        GroupingSet::Cube(keys) => {
            let chosen = |bits: usize| (0..).zip(keys).filter(|(i, _)| bits >> i & 1 == 1).map(|(_, key)| key.clone()).collect();
            (0..1_usize << keys.len()).map(chosen).collect()
        }
    })
}

/// A query of the same rows: a union of one aggregate for each set. `None`: the aggregate has no sets.
pub(super) fn unioned(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() else { return Ok(None) };
    let keys: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let schema = &aggregate.schema;
    let mut inputs = Vec::new();
    let sets = sets(set)?;
    for (i, set) in sets.iter().enumerate() {
        let one = Aggregate::try_new(aggregate.input.clone(), set.clone(), aggregate.aggr_expr.clone())?;
        let columns = one.schema.columns();
        let mut list = Vec::new();
        // Which keys the set leaves out, the first one in the highest bit. Sets that are the same differ in higher bits.
        let mut id = sets[..i].iter().filter(|other| *other == set).count();
        for (key, field) in keys.iter().zip(schema.fields()) {
            let place = set.iter().position(|e| e == key);
            id = id << 1 | usize::from(place.is_none());
            list.push(match place {
                Some(place) => Expr::Column(columns[place].clone()),
                None => Expr::Literal(ScalarValue::try_from(field.data_type())?, None),
            });
        }
        list.push(cast(lit(id as u64), schema.field(keys.len()).data_type().clone()));
        list.extend(columns[set.len()..].iter().cloned().map(Expr::Column));
        let projected = Projection::try_new_with_schema(list, Arc::new(LogicalPlan::Aggregate(one)), schema.clone())?;
        inputs.push(Arc::new(LogicalPlan::Projection(projected)));
    }
    Ok(Some(LogicalPlan::Union(Union { inputs, schema: schema.clone() })))
}
