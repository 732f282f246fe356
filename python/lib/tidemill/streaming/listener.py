"""PySpark's `pyspark.streaming.listener`: what hears of each batch.

>>> from tidemill import SparkContext
>>> from tidemill.streaming import StreamingContext
>>> class Records(StreamingListener):
...     def onBatchCompleted(self, batchCompleted):
...         print(batchCompleted.batchInfo().numRecords())
>>> ssc = StreamingContext(SparkContext.getOrCreate(), 0.05)
>>> ssc.addStreamingListener(Records())
>>> ssc.queueStream([[1, 2], [3]], bounded=True).foreachRDD(lambda rdd: None)
>>> ssc.start()
>>> ssc.awaitTermination()
2
1
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from ..rdd import OffsetRange

__all__ = ["BatchInfo", "OutputOperationInfo", "StreamInputInfo", "StreamingListener"]


class StreamingListener:
    """Hears of the job and of each batch, on a thread of its own. An exception is printed, and the job goes on.

    Methods that Spark has for receivers are there, and never called: a receiver's trouble is in the log lines of the job.
    """

    def onStreamingStarted(self, streamingStarted: StreamingStarted) -> None:
        """The job has started. `streamingStarted.time()`: when, in milliseconds."""

    def onBatchSubmitted(self, batchSubmitted: Batch) -> None:
        """The sources have stopped at a record: what the batch has is known."""

    def onBatchStarted(self, batchStarted: Batch) -> None:
        """The batch is computed."""

    def onBatchCompleted(self, batchCompleted: Batch) -> None:
        """Every output has written the batch."""

    def onOutputOperationStarted(self, outputOperationStarted: OutputOperation) -> None:
        """An output has begun to write a batch. It is told when the batch is complete."""

    def onOutputOperationCompleted(self, outputOperationCompleted: OutputOperation) -> None:
        """An output has written a batch. It is told when the batch is complete."""

    def onReceiverStarted(self, receiverStarted: Any) -> None:
        """Never called."""

    def onReceiverError(self, receiverError: Any) -> None:
        """Never called."""

    def onReceiverStopped(self, receiverStopped: Any) -> None:
        """Never called."""


class Time:
    """A time in milliseconds since 1970."""

    def __init__(self, ms: int) -> None:
        self._ms = ms

    def milliseconds(self) -> int:
        """The number."""
        return self._ms

    def __repr__(self) -> str:
        return f"{self._ms} ms"


class StreamInputInfo:
    """What a source gave to a batch."""

    def __init__(self, stream: int, records: int, ranges: list[OffsetRange]) -> None:
        self._stream = stream
        self._records = records
        self._ranges = ranges

    def inputStreamId(self) -> int:
        """The number of the source in the program, from 0."""
        return self._stream

    def numRecords(self) -> int:
        """How many records it read."""
        return self._records

    def offsetRanges(self) -> list[OffsetRange]:
        """Which ones."""
        return list(self._ranges)

    def metadata(self) -> dict[str, Any]:
        """Spark's name for what a page shows of a source."""
        return {"offsets": self.offsetRanges(), "Description": self.metadataDescription()}

    def metadataDescription(self) -> str:
        """The ranges as a text."""
        return "\n".join(f"topic: {r.topic}\tpartition: {r.partition}\toffsets: {r.fromOffset} to {r.untilOffset}" for r in self._ranges)


class OutputOperationInfo:
    """What an output did with a batch."""

    def __init__(self, number: int, name: str, tries: int, batch: int, end: float, took: float) -> None:
        self._number, self._name, self._tries = number, name, tries
        self._batch, self._end, self._took = batch, end, took

    def batchTime(self) -> Time:
        """The batch."""
        return Time(self._batch)

    def id(self) -> int:
        """The number of the output in the program, from 0."""
        return self._number

    def name(self) -> str:
        """The verb."""
        return self._name

    description = name

    def startTime(self) -> int:
        """When it began, in milliseconds."""
        return round(self._end - self._took)

    def endTime(self) -> int:
        """When it had written the batch, in milliseconds."""
        return round(self._end)

    def duration(self) -> int:
        """How long it took, in milliseconds."""
        return round(self._took)

    def failureReason(self) -> str | None:
        """`None`: a batch that an output cannot write is tried again, or ends the job."""
        return None

    def tries(self) -> int:
        """How often the batch was tried."""
        return self._tries


class BatchInfo:
    """What is known of a batch. Times and delays are in milliseconds, and -1 if they are not known yet, as in PySpark."""

    def __init__(self, info: dict[str, Any], complete: bool) -> None:
        self._info = info
        self._complete = complete

    def batchTime(self) -> Time:
        """The batch."""
        return Time(self._info["time"])

    def numRecords(self) -> int:
        """How many records the sources read."""
        return self._info["records"]

    def numBadRecords(self) -> int:
        """How many of them were bad."""
        return self._info["bad"]

    def lag(self) -> int | None:
        """How many records the sources had left. `None`: no source knows."""
        return self._info["lag"]

    def submissionTime(self) -> int:
        """When the sources had stopped at a record."""
        return round(self._info["time"] + self._info["scheduling"])

    processingStartTime = submissionTime

    def processingEndTime(self) -> int:
        """When every output had written the batch."""
        return round(self._end) if self._complete else -1

    def schedulingDelay(self) -> int:
        """From the time of the batch until its sources had stopped."""
        return round(self._info["scheduling"])

    def processingDelay(self) -> int:
        """From then until every output had written it."""
        return round(self._info["processing"]) if self._complete else -1

    def totalDelay(self) -> int:
        """Both together."""
        return round(self._info["scheduling"] + self._info["processing"]) if self._complete else -1

    def streamIdToInputInfo(self) -> dict[int, StreamInputInfo]:
        """What each source read, by its number."""
        of: dict[int, tuple[int, list[OffsetRange]]] = {}
        for source, topic, partition, start, until, records, _ in self._info["inputs"]:
            count, ranges = of.get(source, (0, []))
            of[source] = (count + records, [*ranges, OffsetRange(topic, partition, start, until)])
        return {source: StreamInputInfo(source, *read) for source, read in of.items()}

    def outputOperationInfos(self) -> dict[int, OutputOperationInfo]:
        """What each output did, by its number. Empty until the batch is complete."""
        of = enumerate(self._info["outputs"])
        return {i: OutputOperationInfo(i, name, tries, self._info["time"], self._end, took) for i, (name, tries, took) in of}

    @property
    def _end(self) -> float:
        return self._info["time"] + self._info["scheduling"] + self._info["processing"]


class Batch:
    """An event of a batch."""

    def __init__(self, info: BatchInfo) -> None:
        self._info = info

    def batchInfo(self) -> BatchInfo:
        """The batch."""
        return self._info


class OutputOperation:
    """An event of an output."""

    def __init__(self, info: OutputOperationInfo) -> None:
        self._info = info

    def outputOperationInfo(self) -> OutputOperationInfo:
        """The output and its batch."""
        return self._info


class StreamingStarted:
    """The event of the start."""

    def __init__(self, ms: int) -> None:
        self._ms = ms

    def time(self) -> int:
        """When, in milliseconds."""
        return self._ms


def tell(listeners: Iterable[Any], method: str, event: Any) -> None:
    """Calls a method of each listener that has it."""
    for listener in listeners:
        call = getattr(listener, method, None)
        if call is not None:
            try:
                call(event)
            except Exception:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]


def hear(listeners: list[Any], complete: bool, known: dict[str, Any]) -> None:
    """What the engine calls for each batch: when its ranges are known, and when it is complete."""
    info = BatchInfo(known, complete)
    if complete:
        for output in info.outputOperationInfos().values():
            tell(listeners, "onOutputOperationStarted", OutputOperation(output))
            tell(listeners, "onOutputOperationCompleted", OutputOperation(output))
        tell(listeners, "onBatchCompleted", Batch(info))
    else:
        tell(listeners, "onBatchSubmitted", Batch(info))
        tell(listeners, "onBatchStarted", Batch(info))
