//! `WindowedView`: the results of windows by event time. Also the kernel that makes it, for every kind of window.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use super::watermark::{Watermark, report_late, with_watermark};
use crate::api::context::Switch;
use crate::api::dstream::{BY_KEY_GROUP, DStream, Lazy, lazy};
use crate::api::view::{Changes, Form, View, ViewNode};
use crate::core::data::{Data, Exchange, Key, Rows};
use crate::core::event_time::{Late, Windowed};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::flow::{Flow, RowStream, VecStream, split_map};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::KeyedState;
use crate::operator::kernel::combine::{by_group, by_sized_group, sizes};

/// The results of windows by event time: a view of the open windows, and the closed ones once each.
///
/// It is used as the view: `update`, `changes`, `complete` and every verb of [`View`] are methods. The view has a row for each window and
/// key, from the first row of the window on. The row is replaced whenever the window gets rows. It leaves the view in the batch after the
/// one that closes the window. [`WindowedView::append`] has the rows of closed windows, which never change.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// fn counts<'s>(s: &DStream<'s, i64>) -> WindowedView<'s, i64> {
///     let micros = std::time::Duration::from_micros;
///     s.event_time(|n| *n, micros(0)).tumbling(micros(10)).count()
/// }
/// let batches = || [vec![2], vec![3], vec![15], vec![]];
/// let row = |w: Windowed<i64>| (w.end, w.row);
/// check(batches(), move |s| counts(s).update().map(row), [vec![(10, 1)], vec![(10, 2)], vec![(20, 1)], vec![]]);
/// let open = [vec![(10, 1)], vec![(10, 2)], vec![(10, 2), (20, 1)], vec![(20, 1)]];
/// check(batches(), move |s| counts(s).complete().map(row), open);
/// check(batches(), move |s| counts(s).append().map(row), [vec![], vec![], vec![(10, 2)], vec![]]);
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct WindowedView<'s, T: 'static> {
    pub(super) view: View<'s, Windowed<T>>,
    pub(super) closed: DStream<'s, Windowed<T>>,
    pub(super) late: DStream<'s, Late<T>>,
}

impl<T> Clone for WindowedView<'_, T> {
    fn clone(&self) -> Self {
        WindowedView { view: self.view.clone(), closed: self.closed.clone(), late: self.late.clone() }
    }
}

/// The open windows.
impl<'s, T> Deref for WindowedView<'s, T> {
    type Target = View<'s, Windowed<T>>;

    fn deref(&self) -> &View<'s, Windowed<T>> {
        &self.view
    }
}

impl<'s, T> WindowedView<'s, T> {
    /// The rows of each window, once, in the batch in which the watermark passes its end: Structured Streaming's append mode. Rows have
    /// no order; outputs sort them.
    ///
    /// A batch costs the rows of the windows that close in it, for any length over slide. Without [`View::update`] and the other modes,
    /// the view costs nothing. When a job ends, windows that are still open have no row: nothing says that they are complete.
    #[doc(alias = "final_only")]
    pub fn append(&self) -> DStream<'s, Windowed<T>> {
        self.closed.clone()
    }

    /// The results of the late rows of each batch: for each key and window, of these rows alone. The window had closed before the batch,
    /// and is not changed. A row of overlapping windows is in the last one of them. Rows have no order; outputs sort them.
    ///
    /// If no output operation reads late rows, they are counted and logged, as bad records are.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// // The session of the row at 2 ended at 7. The watermark is 15 when the row at 4 comes.
    /// check(
    ///     [vec![2], vec![15], vec![4], vec![16]],
    ///     move |s| s.event_time(|n| *n, micros(0)).session(micros(5)).count().late().map(|late| (late.window, late.late_by)),
    ///     [vec![], vec![], vec![(Windowed { start: 4, end: 9, row: 1 }, 6)], vec![]],
    /// );
    /// ```
    #[doc(alias = "sideOutputLateData")]
    pub fn late(&self) -> DStream<'s, Late<T>> {
        self.late.clone()
    }

    /// The open windows, as a view that does not borrow from this.
    pub fn view(&self) -> View<'s, Windowed<T>> {
        self.view.clone()
    }
}

/// The result of a key in a window: start and end of the window, the code of the key, and the result.
pub(super) type InWindow<A> = (i64, i64, Code, A);

/// What a batch does to the windows.
pub(super) struct Outcome<A> {
    /// Changes of the view.
    pub changes: Vec<(InWindow<A>, i64)>,
    /// Windows that closed.
    pub closed: Vec<InWindow<A>>,
    /// The results of late rows, in the last of their windows.
    pub late: Vec<InWindow<A>>,
    /// How many late rows nobody else counts.
    pub late_rows: u64,
}

impl<A> Outcome<A> {
    /// The changes of a view that is loaded.
    pub fn restored(changes: Vec<(InWindow<A>, i64)>) -> Self {
        Outcome { changes, closed: Vec::new(), late: Vec::new(), late_rows: 0 }
    }
}

/// The state of windows on one worker, for the keys that it owns. `P`: the results of one key in one batch.
pub(super) trait WindowState<K, P>: KeyedState + 'static {
    /// The result of a key in a window.
    type Result;

    /// The view as it was after the batch of the checkpoint that was loaded. `shown`: an output reads the view.
    fn restored(&mut self, watermark: Watermark, t: BatchTime, shown: bool) -> Outcome<Self::Result>;

    /// Adds the rows of a batch that are not late, and closes the windows that the watermark has passed.
    fn batch(&mut self, watermark: Watermark, t: BatchTime, rows: Vec<Rows<(K, P)>>, shown: bool) -> Outcome<Self::Result>;

    /// The key of a result, and its key group.
    fn group_and_key(&self, code: Code) -> (u64, &K);
}

/// Which output operations read a result of windows.
#[derive(Clone, Default)]
pub(super) struct Readers {
    /// Any of its streams.
    pub any: Switch,
    /// A stream of late rows.
    pub late: Switch,
}

/// Rows that leave: of closed windows, or late.
#[derive(Clone)]
enum Leaving<U> {
    Closed(Rows<Windowed<U>>),
    Late(Rows<Late<U>>),
}

/// Changes of the view, and rows that leave.
type Part<U> = (Vec<(Windowed<U>, BatchTime, i64)>, Option<Leaving<U>>);

/// The changes of the view, the rows of closed windows, and late ones.
type Apart<'s, U> = (Changes<'s, Windowed<U>>, RowStream<'s, Windowed<U>>, RowStream<'s, Late<U>>);

fn apart<'s, U: Data>(flow: &Flow<'s>, operator: &OperatorId, parts: VecStream<'s, Part<U>>) -> Apart<'s, U> {
    let (changes, leaving) = split_map(flow, operator, parts, |_, parts: Vec<Part<U>>, changes, leaving| {
        for (view, rows) in parts {
            changes(view);
            leaving(rows.into_iter().collect::<Vec<_>>());
        }
    });
    let (closed, late) = split_map(flow, operator, leaving, |_, leaving: Vec<Leaving<U>>, closed, late| {
        for rows in leaving {
            match rows {
                Leaving::Closed(rows) => closed(rows),
                Leaving::Late(rows) => late(rows),
            }
        }
    });
    (changes, closed, late)
}

/// The kernel: `combined` has the results of the keys in each batch, on the owners of the keys, and `state` makes windows of them. `row`
/// makes the rows of a key in a window.
pub(super) fn windowed<'s, K: Key, P: Exchange, S: WindowState<K, P>, U: Key, I: IntoIterator<Item = U>>(
    combined: DStream<'s, (K, P)>,
    watermarks: Rc<Lazy<'s, VecStream<'s, Watermark>>>,
    operator: OperatorId,
    state: S,
    row: impl Fn(&K, S::Result) -> I + 'static,
    readers: Readers,
) -> WindowedView<'s, U> {
    let graph = combined.node.graph.clone();
    let state = Rc::new(RefCell::new(state));
    let (number, owner) = graph.register_state(&operator, state.clone());
    let meta = combined.node.meta.every(graph.config.interval.millis()).with_state(number);
    let (verb, shown) = (operator.to_string(), Switch::default());
    let (shows, asked, outbox) = (shown.clone(), readers.late.clone(), graph.outbox.clone());
    let reads_late = readers.late.clone();
    let built = Rc::new(lazy(move || {
        readers.any.set(true);
        let (owner, reports) = (owner.build(), operator.clone());
        let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
        let parts = with_watermark(&combined, &watermarks, &operator, keep, move |tick, watermark, rows, emit| {
            let t = tick.time;
            let outcome = owner.batch(tick, || match tick.restored {
                true => state.borrow_mut().restored(watermark, t, shows.get()),
                false => state.borrow_mut().batch(watermark, t, rows, shows.get()),
            });
            let state = state.borrow();
            let windowed = |(start, end, code, a): InWindow<S::Result>| {
                let (group, key) = state.group_and_key(code);
                row(key, a).into_iter().map(move |row| (group, Windowed { start, end, row }))
            };
            let changed = |(result, n)| windowed(result).map(move |(_, row)| (row, t, n));
            emit(vec![(outcome.changes.into_iter().flat_map(changed).collect(), None)]);
            let sizes = sizes(outcome.closed.iter().map(|(.., code, _)| state.group_and_key(*code).0));
            let closed = outcome.closed.into_iter().flat_map(windowed);
            by_sized_group(0, sizes, closed, &mut |rows| emit(vec![(Vec::new(), Some(Leaving::Closed(rows)))]));
            if asked.get() {
                let late = |(group, window): (u64, Windowed<U>)| (group, Late { late_by: watermark.before - window.end, window });
                let late = outcome.late.into_iter().flat_map(windowed).map(late).collect();
                by_group(0, late, &mut |rows| emit(vec![(Vec::new(), Some(Leaving::Late(rows)))]));
            } else {
                report_late(&outbox, &reports, t, watermark, outcome.late_rows);
            }
        });
        apart(combined.flow(), &operator, parts)
    }));
    let (changes, closed, late) = (built.clone(), built.clone(), built);
    let view = Form::rows(move || {
        shown.set(true);
        changes.0.clone()
    });
    let view = ViewNode::new(&graph, meta.clone(), view, Some(verb)).co_located(true).view();
    let closed = DStream::new(&graph, move || closed.1.clone(), &[BY_KEY_GROUP], meta.clone());
    let late = DStream::new(
        &graph,
        move || {
            reads_late.set(true);
            late.2.clone()
        },
        &[BY_KEY_GROUP],
        meta,
    );
    WindowedView { view, closed, late }
}
