"""Verbs of rows, partitions and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from .._functions import function
from ..rdd import RDD
from ._calls import of_batch, takes
from ._time import millis
from ._tries import divided, streams, tried
from ._verbs import Verbs

if TYPE_CHECKING:
    from .dstream import DStream


class NarrowVerbs(Verbs):
    """Verbs without keys."""

    @overload
    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = ..., *, errors: Literal["raise"] = ...) -> DStream: ...
    @overload
    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = ..., *, errors: Literal["stream"]) -> tuple[DStream, DStream]: ...
    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = False, *, errors: str = "raise") -> Any:
        """The result of `f` for each row.

        `errors="stream"`: two streams, the results, and a `BadRow` with `row` and `reason` for each row for which `f` raised an exception.
        """
        if streams(errors):
            return divided(self._verb("map", function(tried(f))))
        return self._verb("map", function(f))

    @overload
    def flatMap(
        self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = ..., *, errors: Literal["raise"] = ...
    ) -> DStream: ...
    @overload
    def flatMap(
        self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = ..., *, errors: Literal["stream"]
    ) -> tuple[DStream, DStream]: ...
    def flatMap(self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = False, *, errors: str = "raise") -> Any:
        """The items of the result of `f` for each row. For `errors` see `map`; a row that fails has no other result."""
        if streams(errors):
            good, bad = divided(self._verb("map", function(tried(lambda row: list(f(row)))), name="flatMap"))
            return good.flatMap(lambda items: items), bad
        return self._verb("flatMap", function(f))

    def filter(self, f: Callable[[Any], Any]) -> DStream:
        """The rows for which `f` is true."""
        return self._verb("filter", function(f))

    def mapPartitions(self, f: Callable[[Iterator[Any]], Iterable[Any]], preservesPartitioning: bool = False) -> DStream:
        """The rows that `f` makes of an iterator of all rows of a partition of a batch."""
        return self._verb("mapPartitions", function(f), False)

    def mapPartitionsWithIndex(self, f: Callable[[int, Iterator[Any]], Iterable[Any]], preservesPartitioning: bool = False) -> DStream:
        """As `mapPartitions`; `f` also gets the number of the partition."""
        return self._verb("mapPartitions", function(f), True, name="mapPartitionsWithIndex")

    def glom(self) -> DStream:
        """A list of the rows of each partition."""
        return self._verb("glom")

    def union(self, other: DStream) -> DStream:
        """These rows, and then those of another stream."""
        return self._verb("union", others=(other,))

    def repartition(self, numPartitions: int) -> DStream:
        """The rows in this many partitions, spread over the workers."""
        return self._verb("repartition", int(numPartitions))

    def count(self) -> DStream:
        """The number of rows of each batch."""
        return self._verb("count")

    def countByValue(self) -> DStream:
        """A pair of the row and how often it is in the batch, for each row. Counted in Rust."""
        return self._verb("countByValue")

    def reduce(self, func: Callable[[Any, Any], Any]) -> DStream:
        """All rows of a batch as one. `func` must be associative and commutative."""
        return self._verb("reduce", function(func))

    def transform(self, func: Callable[..., Any]) -> DStream:
        """The rows of `func(rdd)`, or of `func(time, rdd)`: an RDD or a list. All rows of the batch are gathered for it."""
        ctx = self._ssc.sparkContext
        return self._verb("transform", function(of_batch(func, ctx, takes("transform", func, 1, 2) == 2)))

    def transformWith(self, func: Callable[..., Any], other: DStream, keepSerializer: bool = False) -> DStream:
        """The rows of `func(rdd, other rdd)`, or of `func(time, rdd, other rdd)`."""
        ctx, timed = self._ssc.sparkContext, takes("transformWith", func, 2, 3) == 3
        call = of_batch(lambda time, one, two: func(time, one, two) if timed else func(one, two), ctx, True)
        return self._verb("transformWith", function(call), others=(other,))

    def cache(self) -> DStream:
        """The same stream. No stream is computed twice; with `StreamingContext.remember` it keeps its batches for `slice`."""
        return self._ssc._kept.keep(self)  # type: ignore[arg-type]

    def persist(self, storageLevel: Any = None) -> DStream:
        """As `cache`."""
        return self.cache()

    def slice(self, begin: Any, end: Any) -> list[RDD]:
        """The batches from one time to another, both included, as RDDs. Times are datetimes, or seconds since 1970.

        The job runs, or has ended. The stream keeps its batches if it had `persist()` and the context had `remember(seconds)` before.
        """
        return self._ssc._kept.slice(self, begin, end)  # type: ignore[arg-type]

    def checkpoint(self, interval: float) -> DStream:
        """How often all states of the program are saved, in seconds."""
        return self._verb("checkpoint", millis("interval", interval))

    flat_map = flatMap
    map_partitions = mapPartitions
    map_partitions_with_index = mapPartitionsWithIndex
    count_by_value = countByValue
    transform_with = transformWith
