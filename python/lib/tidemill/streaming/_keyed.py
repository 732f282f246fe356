"""Verbs by key, for streams of pairs `(key, value)`.

Keys are str, bytes, int, bool, None, float, tuples of these, dates, and frozen dataclasses of these. They are compared in Rust: `1`, `1.0`
and `True` are three keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .._functions import function
from ..rdd import RDD
from ._verbs import Verbs

if TYPE_CHECKING:
    from .dstream import DStream


class KeyedVerbs(Verbs):
    """Verbs of pairs. `numPartitions` has no effect: the work is spread over all workers by key."""

    def mapValues(self, f: Callable[[Any], Any]) -> DStream:
        """The result of `f` for each value."""
        return self._verb("mapValues", function(f))

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> DStream:
        """The items of the result of `f` for each value."""
        return self._verb("flatMapValues", function(f))

    def reduceByKey(self, func: Callable[[Any, Any], Any], numPartitions: int | None = None) -> DStream:
        """The values of each key of a batch as one. `func` must be associative and commutative.

        `operator.add`, `min`, `max`, and a lambda `a + b` are done in Rust. Any other function combines the values of each worker first.
        """
        return self._verb("reduceByKey", function(func))

    def combineByKey(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
    ) -> DStream:
        """The values of each key of a batch as one of another type."""
        return self._verb("combineByKey", function(createCombiner), function(mergeValue), function(mergeCombiners))

    def groupByKey(self, numPartitions: int | None = None) -> DStream:
        """A pair of the key and the list of its values of a batch, in the order of the stream."""
        return self._verb("groupByKey")

    def partitionBy(self, numPartitions: int, partitionFunc: Any = None) -> DStream:
        """The pairs in this many partitions, by key."""
        return self._verb("partitionBy", int(numPartitions))

    def join(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """A pair `(key, (value, other value))` for each two values of a key in a batch."""
        return self._verb("join", others=(other,))

    def leftOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`; a value without a partner has `None`."""
        return self._verb("leftOuterJoin", others=(other,))

    def rightOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`; a value of the other stream without a partner has `None`."""
        return self._verb("rightOuterJoin", others=(other,))

    def fullOuterJoin(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """As `join`; both sides may have `None`."""
        return self._verb("fullOuterJoin", others=(other,))

    def cogroup(self, other: DStream, numPartitions: int | None = None) -> DStream:
        """A pair `(key, (values, other values))` for each key of a batch."""
        return self._verb("cogroup", others=(other,))

    def updateStateByKey(
        self, updateFunc: Callable[[list[Any], Any], Any], numPartitions: int | None = None, initialRDD: Any = None
    ) -> DStream:
        """A pair `(key, state)` for every key that has a state, in every batch.

        `updateFunc(new values, state)` is called for every key in every batch. The state of a new key is `None`; a key whose new state is
        `None` is forgotten. States are kept and saved as plain values: str, int, float, bool, None, bytes, tuples, lists, dicts, sets,
        dates, dataclasses.
        """
        initial = [] if initialRDD is None else initialRDD.collect() if isinstance(initialRDD, RDD) else list(initialRDD)
        return self._verb("updateStateByKey", function(updateFunc), initial)

    def sum_by_key(self) -> DStream:
        """A pair `(key, sum)` for each key whose sum since the beginning has changed. Values are ints of 64 bits. Summed in Rust.

        PySpark has no such verb: `updateStateByKey` calls its function for every key in every batch, and emits all of them.
        """
        return self._verb("sum_by_key")

    map_values = mapValues
    flat_map_values = flatMapValues
    reduce_by_key = reduceByKey
    combine_by_key = combineByKey
    group_by_key = groupByKey
    partition_by = partitionBy
    left_outer_join = leftOuterJoin
    right_outer_join = rightOuterJoin
    full_outer_join = fullOuterJoin
    update_state_by_key = updateStateByKey
