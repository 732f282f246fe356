"""DStream: a stream of batches, with PySpark's methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .._place import missing
from ._keyed import KeyedVerbs
from ._narrow import NarrowVerbs
from ._outputs import OutputVerbs
from ._time import millis
from ._windows import WindowVerbs

if TYPE_CHECKING:
    from .context import StreamingContext

__all__ = ["DStream", "millis"]

_IN_RDD = "it is a verb of an RDD: use transform(lambda rdd: rdd.{}(...))"


class DStream(NarrowVerbs, KeyedVerbs, WindowVerbs, OutputVerbs):
    """A stream of batches. Its methods describe what is done with each batch; nothing runs before `StreamingContext.start()`."""

    _HINTS: ClassVar = {
        "mapWithState": "use updateStateByKey; PySpark has no mapWithState",
        "saveAsObjectFiles": "use saveAsTextFiles",
        "saveAsHadoopFiles": "use saveAsTextFiles, or write in foreachRDD",
        "saveAsNewAPIHadoopFiles": "use saveAsTextFiles, or write in foreachRDD",
        "saveAsPickleFiles": "use saveAsTextFiles",
        "compute": "use slice(begin, end) of a stream with persist()",
        "dependencies": "it is for Spark's own scheduler",
        "slideDuration": "it is for Spark's own scheduler",
        "print": "in Python it is pprint()",
        "foreach": "use foreachRDD(lambda rdd: rdd.foreach(...))",
        "foreachPartition": "use foreachRDD(lambda rdd: rdd.foreachPartition(...))",
        "collect": "use foreachRDD(lambda rdd: ... rdd.collect() ...)",
        **{
            verb: _IN_RDD.format(verb)
            for verb in (
                "sortBy sortByKey take first top takeOrdered distinct keys values zipWithIndex sample keyBy groupBy "
                "aggregateByKey foldByKey subtractByKey coalesce isEmpty countApproxDistinct"
            ).split()
        },
    }

    def __init__(self, ssc: StreamingContext, node: int) -> None:
        self._ssc = ssc
        self._node = node

    def context(self) -> StreamingContext:
        """The StreamingContext."""
        return self._ssc

    def _verb(self, verb: str, *arguments: Any, others: tuple[DStream, ...] = (), name: str | None = None) -> DStream:
        for other in others:
            if not isinstance(other, DStream):
                raise TypeError(f"{verb}: a DStream is needed, not {other!r}")
            if other._ssc is not self._ssc:
                raise ValueError(f"{verb}: both streams must be of one StreamingContext")
        inputs = [self._node, *(other._node for other in others)]
        return DStream(self._ssc, self._ssc._add(verb, inputs, name or verb, arguments))

    def __getattr__(self, name: str) -> Any:
        raise missing(self, name, self._HINTS)
