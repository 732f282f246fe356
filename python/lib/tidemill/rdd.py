"""RDD: a whole batch in memory, as `transform` and `foreachRDD` have it. Verbs run at once, on one thread, and keep the order of rows."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ._place import missing
from ._rdd_pairs import PairVerbs

if TYPE_CHECKING:
    from .context import SparkContext


class OffsetRange(NamedTuple):
    """What a source read of a partition for a batch. `topic` is the topic, or the name of another source."""

    topic: str
    partition: int
    fromOffset: int
    untilOffset: int

    def count(self) -> int:  # type: ignore[override]
        """The number of offsets."""
        return self.untilOffset - self.fromOffset


class RDD(PairVerbs):
    """A batch: a list of rows, with PySpark's verbs.

    >>> from tidemill import SparkContext
    >>> rdd = SparkContext.getOrCreate().parallelize([("a", 1), ("b", 2), ("a", 3)])
    >>> rdd.reduceByKey(lambda a, b: a + b).sortBy(lambda pair: -pair[1]).take(1)
    [('a', 4)]
    """

    _HINTS: ClassVar = {
        "toDF": "the DataFrames of tidemill are in Rust, see docs/guide/sql.md; here use pandas.DataFrame(rdd.collect())",
        "toDebugString": "an RDD is a list here",
        "saveAsPickleFile": "write json.dumps of each row by saveAsTextFile",
        "pipe": "use subprocess.run in foreachRDD",
        "pprint": "pprint is a method of a DStream; here use print(rdd.collect())",
    }

    def __init__(self, rows: Iterable[Any], ctx: SparkContext | None = None, ranges: Iterable[tuple[str, int, int, int]] = ()) -> None:
        self._rows: list[Any] = list(rows)
        self.ctx = ctx
        self._ranges = list(ranges)
        self._caption = ""

    def _with(self, rows: Iterable[Any]) -> RDD:
        made = RDD(rows, self.ctx, self._ranges)
        made._caption = self._caption
        return made

    def _repr_html_(self) -> str:
        from ._html import table

        count = f"{len(self._rows):,} row{'' if len(self._rows) == 1 else 's'}"
        return table(self._rows, f"{self._caption}, {count}" if self._caption else count)

    @property
    def context(self) -> SparkContext | None:
        """The SparkContext."""
        return self.ctx

    def offsetRanges(self) -> list[OffsetRange]:
        """What the sources of this batch read, with PySpark's names: topic, partition, fromOffset, untilOffset."""
        return [OffsetRange(*one) for one in self._ranges]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"RDD of {len(self._rows)} rows"

    def __getattr__(self, name: str) -> Any:
        raise missing(self, name, self._HINTS)

    # Rows of each row.

    def map(self, f: Callable[[Any], Any], preservesPartitioning: bool = False) -> RDD:
        """The result of `f` for each row."""
        return self._with(map(f, self._rows))

    def flatMap(self, f: Callable[[Any], Iterable[Any]], preservesPartitioning: bool = False) -> RDD:
        """The items of the result of `f` for each row."""
        return self._with(item for row in self._rows for item in f(row))

    def filter(self, f: Callable[[Any], Any]) -> RDD:
        """The rows for which `f` is true."""
        return self._with(filter(f, self._rows))

    def mapPartitions(self, f: Callable[[Iterator[Any]], Iterable[Any]], preservesPartitioning: bool = False) -> RDD:
        """The rows that `f` makes of an iterator of all rows. An RDD is one partition."""
        return self._with(f(iter(self._rows)))

    def glom(self) -> RDD:
        """One row, a list of all rows."""
        return self._with([list(self._rows)] if self._rows else [])

    def keyBy(self, f: Callable[[Any], Any]) -> RDD:
        """A pair of `f(row)` and the row for each row."""
        return self._with((f(row), row) for row in self._rows)

    def zipWithIndex(self) -> RDD:
        """A pair of the row and its number for each row."""
        return self._with((row, i) for i, row in enumerate(self._rows))

    # Other rows.

    def distinct(self, numPartitions: int | None = None) -> RDD:
        """Each row once, at its first place."""
        return self._with(dict.fromkeys(self._rows))

    def union(self, other: RDD) -> RDD:
        """These rows, and then those of another RDD."""
        return self._with([*self._rows, *other._rows])

    __add__ = union

    def intersection(self, other: RDD) -> RDD:
        """The rows that both have, once each."""
        both = set(other._rows)
        return self._with(dict.fromkeys(row for row in self._rows if row in both))

    def subtract(self, other: RDD, numPartitions: int | None = None) -> RDD:
        """The rows that the other does not have."""
        without = set(other._rows)
        return self._with(row for row in self._rows if row not in without)

    def cartesian(self, other: RDD) -> RDD:
        """All pairs of a row and a row of the other."""
        return self._with((a, b) for a in self._rows for b in other._rows)

    def groupBy(self, f: Callable[[Any], Any], numPartitions: int | None = None) -> RDD:
        """A pair of `f(row)` and the list of its rows."""
        return self.keyBy(f).groupByKey()

    def sortBy(self, keyfunc: Callable[[Any], Any], ascending: bool = True, numPartitions: int | None = None) -> RDD:
        """The rows by key. Rows with equal keys keep their order."""
        return self._with(sorted(self._rows, key=keyfunc, reverse=not ascending))

    def sample(self, withReplacement: bool, fraction: float, seed: int | None = None) -> RDD:
        """Each row with this probability."""
        from random import Random  # it takes a while

        chance = Random(seed)
        if withReplacement:
            return self._with(chance.choices(self._rows, k=round(fraction * len(self._rows))) if self._rows else [])
        return self._with(row for row in self._rows if chance.random() < fraction)

    # Values.

    def collect(self) -> list[Any]:
        """All rows."""
        return list(self._rows)

    def take(self, num: int) -> list[Any]:
        """The first rows."""
        return self._rows[:num]

    def first(self) -> Any:
        """The first row."""
        if not self._rows:
            raise ValueError("RDD is empty")
        return self._rows[0]

    def top(self, num: int, key: Callable[[Any], Any] | None = None) -> list[Any]:
        """The largest rows, largest first."""
        return heapq.nlargest(num, self._rows, key=key)

    def takeOrdered(self, num: int, key: Callable[[Any], Any] | None = None) -> list[Any]:
        """The smallest rows, smallest first."""
        return heapq.nsmallest(num, self._rows, key=key)

    def takeSample(self, withReplacement: bool, num: int, seed: int | None = None) -> list[Any]:
        """Rows by chance."""
        from random import Random  # it takes a while

        chance = Random(seed)
        if withReplacement:
            return chance.choices(self._rows, k=num) if self._rows else []
        return chance.sample(self._rows, min(num, len(self._rows)))

    def count(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def isEmpty(self) -> bool:
        """Whether there are no rows."""
        return not self._rows

    def countByValue(self) -> dict[Any, int]:
        """How often each row is there."""
        return dict(Counter(self._rows))

    def countApproxDistinct(self, relativeSD: float = 0.05) -> int:
        """The number of different rows: the exact one."""
        return len(self.distinct()._rows)

    def reduce(self, f: Callable[[Any, Any], Any]) -> Any:
        """All rows as one."""
        if not self._rows:
            raise ValueError("Can not reduce() empty RDD")
        return reduce(f, self._rows)

    def fold(self, zeroValue: Any, op: Callable[[Any, Any], Any]) -> Any:
        """All rows as one, from a first value on."""
        return reduce(op, self._rows, zeroValue)

    def aggregate(self, zeroValue: Any, seqOp: Callable[[Any, Any], Any], combOp: Callable[[Any, Any], Any]) -> Any:
        """All rows as one value of another type. An RDD is one partition, so `combOp` is not called."""
        return reduce(seqOp, self._rows, zeroValue)

    def sum(self) -> Any:
        """The sum of the rows."""
        return sum(self._rows)

    def max(self, key: Callable[[Any], Any] | None = None) -> Any:
        """The largest row."""
        return max(self._rows, key=key)

    def min(self, key: Callable[[Any], Any] | None = None) -> Any:
        """The smallest row."""
        return min(self._rows, key=key)

    def mean(self) -> float:
        """The mean of the rows."""
        if not self._rows:
            raise ValueError("RDD is empty")
        return sum(self._rows) / len(self._rows)

    def foreach(self, f: Callable[[Any], Any]) -> None:
        """Calls `f` with each row."""
        for row in self._rows:
            f(row)

    def foreachPartition(self, f: Callable[[Iterator[Any]], Any]) -> None:
        """Calls `f` with an iterator of all rows. An RDD is one partition."""
        f(iter(self._rows))

    def saveAsTextFile(self, path: str, compressionCodecClass: str | None = None) -> None:
        """Writes `str(row)` of each row to `path/part-00000`."""
        path = path.removeprefix("file://")
        os.makedirs(path)  # Spark refuses a directory that is there, too
        with open(os.path.join(path, "part-00000"), "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{row}\n" for row in self._rows)
        with open(os.path.join(path, "_SUCCESS"), "w", encoding="utf-8"):
            pass

    # What has no effect here.

    def cache(self) -> RDD:
        """No effect: the rows are in memory."""
        return self

    def persist(self, storageLevel: Any = None) -> RDD:
        """No effect: the rows are in memory."""
        return self

    def unpersist(self, blocking: bool = False) -> RDD:
        """No effect."""
        return self

    def repartition(self, numPartitions: int) -> RDD:
        """No effect: an RDD is one partition."""
        return self

    def coalesce(self, numPartitions: int, shuffle: bool = False) -> RDD:
        """No effect: an RDD is one partition."""
        return self

    def getNumPartitions(self) -> int:
        """1"""
        return 1

    flat_map = flatMap
    map_partitions = mapPartitions
    key_by = keyBy
    zip_with_index = zipWithIndex
    group_by = groupBy
    sort_by = sortBy
    take_ordered = takeOrdered
    take_sample = takeSample
    is_empty = isEmpty
    get_num_partitions = getNumPartitions
    count_by_value = countByValue
    count_approx_distinct = countApproxDistinct
    foreach_partition = foreachPartition
    save_as_text_file = saveAsTextFile
    offset_ranges = offsetRanges
