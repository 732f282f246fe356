//! `WindowedView`: the results of windows by event time.

use std::ops::Deref;

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::event_time::Windowed;

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
}

impl<T> Clone for WindowedView<'_, T> {
    fn clone(&self) -> Self {
        WindowedView { view: self.view.clone(), closed: self.closed.clone() }
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

    /// The open windows, as a view that does not borrow from this.
    pub fn view(&self) -> View<'s, Windowed<T>> {
        self.view.clone()
    }
}
