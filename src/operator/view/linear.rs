//! `map`, `filter`, `flat_map`, `map_values`, `union` of views, row by row without state; and `named`.

use std::rc::Rc;

use timely::dataflow::operators::Concat;

use crate::api::view::{Changes, Form, View};
use crate::core::data::Key;
use crate::engine::flow::map_containers;
use crate::engine::operator_id::OperatorId;

impl<'s, T: Key> View<'s, T> {
    /// A view with the result of `f` for each row, in the same presentation order. `f` must be pure: it runs again when a row leaves.
    /// A batch costs the changes of this view. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().map(|n| n % 2).complete(), [vec![0, 1], vec![0, 1, 1]]);
    /// ```
    #[track_caller]
    pub fn map<U: Key>(&self, f: impl Fn(T) -> U + 'static) -> View<'s, U> {
        let operator = self.operator::<U>("map", "");
        let f = Rc::new(f);
        let order = self.node.order.mapped(true, {
            let f = f.clone();
            Rc::new(move |row, emit: &mut dyn FnMut(U)| emit(f(row)))
        });
        let rows = self.clone();
        self.derive(Form::rows(move || rows.each(&operator, move |row| Some(f(row)))), None).ordered(order).view()
    }

    /// A view of the rows for which `test` is true, in the same presentation order. `test` must be pure. A batch costs the changes of
    /// this view. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().filter(|n| n % 2 == 1).complete(), [vec![1], vec![1, 3]]);
    /// ```
    #[track_caller]
    pub fn filter(&self, test: impl Fn(&T) -> bool + 'static) -> View<'s, T> {
        let operator = self.operator::<T>("filter", "");
        let test = Rc::new(test);
        let passes = test.clone();
        let keep = move |row: T, emit: &mut dyn FnMut(T)| {
            if passes(&row) {
                emit(row);
            }
        };
        let (order, rows) = (self.node.order.mapped(false, Rc::new(keep)), self.clone());
        let kept = self.derive(Form::rows(move || rows.each(&operator, move |row| test(&row).then_some(row))), None);
        kept.co_located(self.node.co_located).ordered(order).view()
    }

    /// A view of all rows that `f` returns for each row, in the same presentation order. `f` must be pure. A batch costs the changes of
    /// this view. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2], vec![1]], |s| s.accumulate().flat_map(|n| 0..n).complete(), [vec![0, 1], vec![0, 0, 1]]);
    /// ```
    #[doc(alias = "flatMap")]
    #[track_caller]
    pub fn flat_map<U: Key, I: IntoIterator<Item = U> + 'static>(&self, f: impl Fn(T) -> I + 'static) -> View<'s, U> {
        let operator = self.operator::<U>("flat_map", "");
        let f = Rc::new(f);
        let all = f.clone();
        let order =
            self.node.order.mapped(true, Rc::new(move |row, emit: &mut dyn FnMut(U)| all(row).into_iter().for_each(emit)));
        let rows = self.clone();
        self.derive(Form::rows(move || rows.each(&operator, move |row| f(row))), None).ordered(order).view()
    }

    /// The changes that `f` makes of each change. A panic of `f` names the operator and the batch.
    fn each<U: Key, I: IntoIterator<Item = U>>(&self, operator: &OperatorId, f: impl Fn(T) -> I + 'static) -> Changes<'s, U> {
        map_containers(&self.node.graph.flow, operator, self.rows(), move |_, changes: Vec<_>, emit| {
            emit(changes.into_iter().flat_map(|(row, t, n)| f(row).into_iter().map(move |row| (row, t, n))).collect());
        })
    }

    /// A view of the rows of both views, each as often as in both together. It changes at the times of both schedules; at a time of
    /// one schedule only, the other view is as of its previous time. The result cannot keep the presentation order of either view:
    /// call `sort_by` after it. Keeps no state.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![1], vec![2]],
    ///     |s| s.accumulate().union(&s.over(millis(1), millis(1)).map(|n| n * 10)).complete(),
    ///     [vec![1, 10], vec![1, 2, 20]],
    /// );
    /// ```
    #[track_caller]
    pub fn union(&self, other: &View<'s, T>) -> View<'s, T> {
        let operator = self.operator::<T>("union", "");
        let (left, right) = (self.clone(), other.clone());
        let both = Form::rows(move || left.rows().concat(right.rows()));
        let order = self.node.order.lost(&operator).or(other.node.order.lost(&operator));
        let node = self.derive(both, other.node.retracts.as_deref()).ordered(order);
        node.with_meta(self.node.meta.join(&other.node.meta)).view()
    }
}

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with the result of `f` for the value of each pair; keys stay. It has the same presentation order. `f` must be pure. Keeps
    /// no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 2)]], |s| s.sum_by_key().map_values(|n| n * 10).complete(), [vec![('a', 20)]]);
    /// ```
    #[doc(alias = "mapValues")]
    #[track_caller]
    pub fn map_values<U: Key>(&self, f: impl Fn(V) -> U + 'static) -> View<'s, (K, U)> {
        self.map(move |(k, v)| (k, f(v)))
    }
}

impl<T: Key> View<'_, T> {
    /// Names the last verb of this chain that keeps state, as [`DStream::named`](crate::prelude::DStream::named) does. With `--queryable`, or
    /// [`Builder::queryable`](crate::api::builder::Builder::queryable), the running job answers questions about this view by the name.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2]], |s| s.accumulate().named("all numbers").count().complete(), [vec![1], vec![2]]);
    /// ```
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        let operator = OperatorId::of("named");
        self.node.graph.rename_state(&operator, self.node.meta.state, name);
        self.queryable_if_asked(name, operator);
        self
    }
}
