"""The verbs of an RDD of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rdd import RDD


def _groups(rows: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in rows:
        groups.setdefault(key, []).append(value)
    return groups


class PairVerbs:
    """Verbs by key. Keys come in the order of their first rows."""

    _rows: list[Any]

    if TYPE_CHECKING:

        def _with(self, rows: Iterable[Any]) -> RDD: ...

    def keys(self) -> RDD:
        """The keys."""
        return self._with(key for key, _ in self._rows)

    def values(self) -> RDD:
        """The values."""
        return self._with(value for _, value in self._rows)

    def mapValues(self, f: Callable[[Any], Any]) -> RDD:
        """The result of `f` for each value."""
        return self._with((key, f(value)) for key, value in self._rows)

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> RDD:
        """The items of the result of `f` for each value."""
        return self._with((key, item) for key, value in self._rows for item in f(value))

    def reduceByKey(self, func: Callable[[Any, Any], Any], numPartitions: int | None = None, partitionFunc: Any = None) -> RDD:
        """The values of each key as one."""
        return self._with((key, reduce(func, values)) for key, values in _groups(self._rows).items())

    def foldByKey(self, zeroValue: Any, func: Callable[[Any, Any], Any], numPartitions: int | None = None) -> RDD:
        """The values of each key as one, from a first value on."""
        return self._with((key, reduce(func, values, zeroValue)) for key, values in _groups(self._rows).items())

    def aggregateByKey(
        self, zeroValue: Any, seqFunc: Callable[[Any, Any], Any], combFunc: Callable[[Any, Any], Any], numPartitions: int | None = None
    ) -> RDD:
        """The values of each key as one of another type. An RDD is one partition, so `combFunc` is not called."""
        return self.foldByKey(zeroValue, seqFunc)

    def combineByKey(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
    ) -> RDD:
        """The values of each key as one of another type."""
        groups = _groups(self._rows).items()
        return self._with((key, reduce(mergeValue, values[1:], createCombiner(values[0]))) for key, values in groups)

    def groupByKey(self, numPartitions: int | None = None) -> RDD:
        """A pair of the key and the list of its values."""
        return self._with(_groups(self._rows).items())

    def sortByKey(self, ascending: bool = True, numPartitions: int | None = None, keyfunc: Callable[[Any], Any] = lambda key: key) -> RDD:
        """The pairs by key."""
        return self._with(sorted(self._rows, key=lambda pair: keyfunc(pair[0]), reverse=not ascending))

    def countByKey(self) -> dict[Any, int]:
        """The number of pairs of each key."""
        return dict(Counter(key for key, _ in self._rows))

    def collectAsMap(self) -> dict[Any, Any]:
        """A dict. The last value of a key counts."""
        return dict(self._rows)

    def lookup(self, key: Any) -> list[Any]:
        """The values of a key."""
        return [value for known, value in self._rows if known == key]

    def _joined(self, other: RDD, left: bool, right: bool) -> RDD:
        mine, theirs = _groups(self._rows), _groups(other._rows)
        rows: list[Any] = []
        for key in dict.fromkeys([*mine, *theirs]):
            ones = mine.get(key, [None] if right else [])
            others = theirs.get(key, [None] if left else [])
            rows.extend((key, (one, two)) for one in ones for two in others)
        return self._with(rows)

    def join(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """A pair `(key, (value, other value))` for each two values of a key."""
        return self._joined(other, left=False, right=False)

    def leftOuterJoin(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """As `join`; a value without a partner has `None`."""
        return self._joined(other, left=True, right=False)

    def rightOuterJoin(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """As `join`; a value of the other without a partner has `None`."""
        return self._joined(other, left=False, right=True)

    def fullOuterJoin(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """As `join`; both sides may have `None`."""
        return self._joined(other, left=True, right=True)

    def cogroup(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """A pair `(key, (values, other values))` for each key."""
        mine, theirs = _groups(self._rows), _groups(other._rows)
        return self._with((key, (mine.get(key, []), theirs.get(key, []))) for key in dict.fromkeys([*mine, *theirs]))

    def subtractByKey(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """The pairs whose keys the other does not have."""
        without = {key for key, _ in other._rows}
        return self._with(pair for pair in self._rows if pair[0] not in without)

    map_values = mapValues
    flat_map_values = flatMapValues
    reduce_by_key = reduceByKey
    fold_by_key = foldByKey
    aggregate_by_key = aggregateByKey
    combine_by_key = combineByKey
    group_by_key = groupByKey
    sort_by_key = sortByKey
    count_by_key = countByKey
    collect_as_map = collectAsMap
    left_outer_join = leftOuterJoin
    right_outer_join = rightOuterJoin
    full_outer_join = fullOuterJoin
    subtract_by_key = subtractByKey
