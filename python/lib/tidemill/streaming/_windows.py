"""Windows: the rows of the last batches. Lengths and slides are in seconds, and multiples of the batch interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._functions import function
from ._time import millis, some_millis
from ._verbs import Verbs

if TYPE_CHECKING:
    from .dstream import DStream


def _times(window: float, slide: float | None) -> tuple[int, int | None]:
    return millis("windowDuration", window), some_millis("slideDuration", slide)


class WindowVerbs(Verbs):
    """Verbs of windows. They emit rows only when a window slides: every batch, without a slide."""

    def window(self, windowDuration: float, slideDuration: float | None = None) -> DStream:
        """All rows of the window."""
        return self._verb("window", *_times(windowDuration, slideDuration))

    def countByWindow(self, windowDuration: float, slideDuration: float | None = None) -> DStream:
        """Their number. Counted in Rust."""
        return self._verb("countByWindow", *_times(windowDuration, slideDuration))

    def countByValueAndWindow(self, windowDuration: float, slideDuration: float | None = None, numPartitions: int | None = None) -> DStream:
        """A pair of the row and how often it is in the window, for each row. Counted in Rust."""
        return self._verb("countByValueAndWindow", *_times(windowDuration, slideDuration))

    def reduceByWindow(
        self,
        reduceFunc: Callable[[Any, Any], Any],
        invReduceFunc: Callable[[Any, Any], Any] | None,
        windowDuration: float,
        slideDuration: float | None = None,
    ) -> DStream:
        """All rows of the window as one. The inverse is not needed for speed."""
        inverse = None if invReduceFunc is None else function(invReduceFunc)
        return self._verb("reduceByWindow", function(reduceFunc), inverse, *_times(windowDuration, slideDuration))

    def reduceByKeyAndWindow(
        self,
        func: Callable[[Any, Any], Any],
        invFunc: Callable[[Any, Any], Any] | None,
        windowDuration: float,
        slideDuration: float | None = None,
        numPartitions: int | None = None,
        filterFunc: Callable[[tuple[Any, Any]], bool] | None = None,
    ) -> DStream:
        """The values of each key of the window as one.

        The inverse is not needed for speed. With it a key stays when all its values have left, as in Spark, unless `filterFunc` leaves it
        out.
        """
        inverse = None if invFunc is None else function(invFunc)
        shown = None if filterFunc is None else function(filterFunc)
        return self._verb("reduceByKeyAndWindow", function(func), inverse, shown, *_times(windowDuration, slideDuration))

    def groupByKeyAndWindow(self, windowDuration: float, slideDuration: float | None = None, numPartitions: int | None = None) -> DStream:
        """A pair of the key and the list of its values in the window, the oldest batch first."""
        return self._verb("groupByKeyAndWindow", *_times(windowDuration, slideDuration))

    count_by_window = countByWindow
    count_by_value_and_window = countByValueAndWindow
    reduce_by_window = reduceByWindow
    reduce_by_key_and_window = reduceByKeyAndWindow
    group_by_key_and_window = groupByKeyAndWindow
