//! `try_map_vectorized` of a view: a function of many rows at once that may fail for some of them.

use std::rc::Rc;

use crate::api::context::Switch;
use crate::api::dstream::{DStream, lazy};
use crate::api::view::{Changes, Form, OutputMode, View};
use crate::core::data::{BadRecord, Key};
use crate::core::error::BoxError;
use crate::engine::flow::{Emitter, split_map};
use crate::operator::decode::bad_of;

impl<'s, T: Key> View<'s, T> {
    /// As [`View::map_vectorized`], with an `f` that fails for some rows. The view has the other results. The stream has a bad record for
    /// each row that came and for which `f` fails; its reason is the error. A row of a view has no origin, so the error should name it. Bad
    /// records are counted, and logged unless an output operation reads them. A limit of bad records does not count them. Keeps no
    /// state: a restart does not report the rows again that the view had before it.
    ///
    /// # Panics
    /// While the job runs, if `f` returns more or fewer results than it got rows.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// let numbers = |texts: Vec<String>| texts.into_iter().map(|text| Some(text.parse::<i64>().map_err(BoxError::from))).collect();
    /// check(
    ///     [vec!["1".to_owned(), "x".to_owned()], vec!["1".to_owned()]],
    ///     move |s| {
    ///         let (numbers, bad) = s.accumulate().try_map_vectorized(numbers);
    ///         numbers.count_by_value().sum_by_key().update().map(|(n, times)| format!("{n} {times} times")).union(&bad.map(|bad| bad.reason))
    ///     },
    ///     [vec!["1 1 times".to_owned(), "invalid digit found in string".to_owned()], vec!["1 2 times".to_owned()]],
    /// );
    /// ```
    #[track_caller]
    pub fn try_map_vectorized<U: Key>(
        &self,
        f: impl Fn(Vec<T>) -> Vec<Option<Result<U, BoxError>>> + 'static,
    ) -> (View<'s, U>, DStream<'s, BadRecord>) {
        let operator = self.operator::<U>("try_map_vectorized", "");
        let f = Rc::new(move |rows: Vec<T>| {
            let asked = rows.len();
            let results = f(rows);
            assert_eq!(results.len(), asked, "the function of try_map_vectorized returns a result for each row");
            results
        });
        let one = f.clone();
        let good_of = move |row, emit: &mut dyn FnMut(U)| one(vec![row]).into_iter().flatten().flatten().for_each(emit);
        let order = self.node.order.mapped(true, Rc::new(good_of));
        let (view, verb) = (self.clone(), operator.clone());
        let both = Rc::new(lazy(move || {
            let each = move |_, changes: Vec<(T, _, i64)>, oks: &mut Emitter<'_, Vec<_>>, errors: &mut Emitter<'_, Vec<_>>| {
                let (rows, whens): (Vec<T>, Vec<_>) = changes.into_iter().map(|(row, t, n)| (row, (t, n))).unzip();
                let (mut good, mut bad) = (Vec::with_capacity(rows.len()), Vec::new());
                for (result, (t, n)) in f(rows).into_iter().zip(whens) {
                    match result {
                        Some(Ok(row)) => good.push((row, t, n)),
                        Some(Err(e)) => bad.push((e.to_string(), t, n)),
                        None => {}
                    }
                }
                oks(good);
                errors(bad);
            };
            split_map(&view.node.graph.flow, &verb, view.rows(), each)
        }));
        let runs = Switch::default();
        let (asked, oks) = (runs.clone(), both.clone());
        let good = Form::rows(move || {
            asked.set(true);
            oks.0.clone()
        });
        let reasons: View<'s, String> = self.derive(Form::rows(move || -> Changes<'s, String> { both.1.clone() }), None).view();
        let texts = reasons.unordered(&operator, OutputMode::Append, |text, _| text);
        (self.derive(good, None).ordered(order).view(), bad_of(&texts, &operator, runs))
    }
}
