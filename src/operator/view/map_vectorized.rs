//! `map_vectorized` of a view: a function of many rows at once, such as one over columns.

use std::rc::Rc;

use crate::api::view::{Form, View};
use crate::core::data::Key;
use crate::engine::flow::map_containers;

impl<'s, T: Key> View<'s, T> {
    /// A view with the results of `f`, which gets many changed rows at once and returns a result for each, in order: `None` leaves the row
    /// out. Use it where work over columns is faster than row by row. Each result must depend on its row alone, since rows
    /// arrive in other company when they leave. Keeps the presentation order. A batch costs the changes of this view. Keeps no state.
    ///
    /// # Panics
    /// While the job runs, if `f` returns more or fewer results than it got rows.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let odd_times_ten = |rows: Vec<i64>| rows.into_iter().map(|n| (n % 2 == 1).then_some(n * 10)).collect();
    /// check([vec![1, 2], vec![3]], move |s| s.accumulate().map_vectorized(odd_times_ten).complete(), [vec![10], vec![10, 30]]);
    /// ```
    #[doc(alias = "mapInArrow")]
    #[doc(alias = "mapInPandas")]
    #[track_caller]
    pub fn map_vectorized<U: Key>(&self, f: impl Fn(Vec<T>) -> Vec<Option<U>> + 'static) -> View<'s, U> {
        let operator = self.operator::<U>("map_vectorized", "");
        let f = Rc::new(move |rows: Vec<T>| {
            let asked = rows.len();
            let results = f(rows);
            assert_eq!(results.len(), asked, "the function of map_vectorized returns a result for each row");
            results
        });
        let one = f.clone();
        let order = self
            .node
            .order
            .mapped(true, Rc::new(move |row, emit: &mut dyn FnMut(U)| one(vec![row]).into_iter().flatten().for_each(emit)));
        let view = self.clone();
        let rows = Form::rows(move || {
            map_containers(&view.node.graph.flow, &operator, view.rows(), move |_, changes: Vec<_>, emit| {
                let (rows, whens): (Vec<T>, Vec<_>) = changes.into_iter().map(|(row, t, n)| (row, (t, n))).unzip();
                emit(f(rows).into_iter().zip(whens).filter_map(|(row, (t, n))| Some((row?, t, n))).collect());
            })
        });
        self.derive(rows, None).ordered(order).view()
    }
}
