"""StreamingContext: describes a program, and starts, awaits and stops its job."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from .. import _options as options
from .._engine import Job, JobError, Program, start
from .._place import missing, place
from ..context import SparkContext, StorageLevel
from ..rdd import RDD
from ._calls import IN_JOB
from .dstream import DStream, millis


class StreamingContext:
    """A program of streams, with the time between two batches in seconds.

    >>> from tidemill import SparkContext
    >>> ssc = StreamingContext(SparkContext.getOrCreate(), 0.05)
    >>> seen = []
    >>> ssc.queueStream([[1, 2], [3]], bounded=True).reduce(lambda a, b: a + b).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    >>> ssc.start()
    >>> ssc.awaitTermination()
    >>> seen
    [3, 3]
    """

    _active: StreamingContext | None = None

    _HINTS: ClassVar = {
        "fileStream": "use textFileStream(directory)",
        "binaryRecordsStream": "it is in the Rust library only: StreamingContext::binary_records_stream",
        "addStreamingListener": "it is in the Rust library only: JobHandle::add_streaming_listener; statistics() has totals",
        "_jssc": "there is no Java here",
        "_jvm": "there is no Java here",
    }

    def __init__(self, sparkContext: SparkContext, batchDuration: float | None = None, jssc: Any = None) -> None:
        if batchDuration is None:
            raise ValueError("StreamingContext(sc, batchDuration): the time between two batches, in seconds")
        self._sc = sparkContext
        self._interval = millis("batchDuration", batchDuration)
        self._program = Program()
        self._job: Job | None = None
        self._ended = False
        self._checkpoint: str | None = None
        self._checkpoint_ms: int | None = None
        self._calls_python = False

    @property
    def sparkContext(self) -> SparkContext:
        """The SparkContext."""
        return self._sc

    @classmethod
    def getOrCreate(cls, checkpointPath: str | None, setupFunc: Callable[[], StreamingContext]) -> StreamingContext:
        """The context that `setupFunc` makes, with this checkpoint directory.

        `setupFunc` is always called: a checkpoint has states and offsets, never the program. If the directory has an earlier run of this
        program, the job continues there when it starts.
        """
        ssc = setupFunc()
        if not isinstance(ssc, StreamingContext):
            raise TypeError(f"getOrCreate: the function must return a StreamingContext, not {ssc!r}")
        if checkpointPath is not None:
            ssc.checkpoint(checkpointPath)
        return ssc

    @classmethod
    def getActive(cls) -> StreamingContext | None:
        """The context whose job runs in this process."""
        return cls._active

    @classmethod
    def getActiveOrCreate(cls, checkpointPath: str | None, setupFunc: Callable[[], StreamingContext]) -> StreamingContext:
        """The context whose job runs, or `getOrCreate`."""
        return cls._active or cls.getOrCreate(checkpointPath, setupFunc)

    def checkpoint(self, directory: str) -> None:
        """The directory that keeps states and offsets when the job ends. Default: none."""
        self._checkpoint = os.fspath(directory).removeprefix("file://")

    def remember(self, duration: float) -> None:
        """No effect: nothing reads a batch after its outputs."""

    # Sources.

    def _source(self, verb: str, arguments: tuple[Any, ...], name: str | None = None) -> DStream:
        return DStream(self, self._add(verb, [], name or verb, arguments))

    def _add(self, verb: str, inputs: list[int], name: str, arguments: tuple[Any, ...]) -> int:
        if self._job is not None:
            raise RuntimeError(f"{name}: the job has started; describe the whole program before start()")
        return self._program.add(verb, inputs, place(name), arguments)

    def socketTextStream(self, hostname: str, port: int, storageLevel: Any = StorageLevel.MEMORY_AND_DISK_2) -> DStream:
        """The lines that a server sends, in UTF-8. A line that is not UTF-8 is a bad record: it is logged and left out."""
        return self._source("socketTextStream", (hostname, int(port)))

    def textFileStream(self, directory: str) -> DStream:
        """The lines of files that appear in a directory."""
        return self._source("textFileStream", (os.fspath(directory).removeprefix("file://"),))

    def queueStream(self, rdds: Iterable[Any], oneAtATime: bool = True, default: Any = None, *, bounded: bool = False) -> DStream:
        """Batches from memory: RDDs or lists, one each batch. `bounded`: the job ends after the last one, without a wait."""
        batches = [rdd.collect() if isinstance(rdd, RDD) else list(rdd) for rdd in rdds]
        empty = [] if default is None else default.collect() if isinstance(default, RDD) else list(default)
        return self._source("queueStream", (batches, oneAtATime, empty, bounded))

    def union(self, *dstreams: DStream) -> DStream:
        """The rows of all these streams."""
        if not dstreams:
            raise ValueError("union: it needs a stream")
        first, *others = dstreams
        for other in others:
            first = first.union(other)
        return first

    def transform(self, dstreams: list[DStream], transformFunc: Callable[[list[RDD]], Any]) -> DStream:
        """The rows of `transformFunc([rdd, ...])`, for one or two streams."""
        if len(dstreams) == 1:
            return dstreams[0].transform(lambda rdd: transformFunc([rdd]))
        if len(dstreams) == 2:
            return dstreams[0].transformWith(lambda a, b: transformFunc([a, b]), dstreams[1])
        raise ValueError("transform: it takes one or two streams; use union or transformWith for more")

    # The job.

    def start(self) -> None:
        """Starts the job, and returns. Errors in the program are raised here."""
        if self._job is not None or self._ended:
            raise RuntimeError("this context has started before; make a new one")
        if not self._program.outputs():
            raise ValueError("the program has no output operation, such as pprint(): nothing would run")
        if StreamingContext._active is not None:
            raise RuntimeError("another StreamingContext runs in this process; stop it first")
        settings = {
            "name": self._sc.appName,
            "interval_ms": self._interval,
            "arguments": options.RUNTIME,
            "workers": None if options.given("-w", "--workers") else self._sc.defaultParallelism,
            "checkpoint": None if options.given("--checkpoint") else self._checkpoint,
            "checkpoint_ms": self._checkpoint_ms,
            "conf": self._sc._streaming_settings(),
            "tries_outputs": not self._calls_python,
        }
        self._job = start(self._program, settings)
        StreamingContext._active = self
        if not options.RUNTIME:
            self._stop_on_sigterm()

    def awaitTermination(self, timeout: float | None = None) -> None:
        """Waits until the job ends, at most `timeout` seconds. Raises the error that ended the job, once.

        Ctrl-C ends the job after a last batch, a second one at once. Then `KeyboardInterrupt` is raised.
        """
        self.awaitTerminationOrTimeout(timeout)

    def awaitTerminationOrTimeout(self, timeout: float | None) -> bool:
        """As `awaitTermination`; returns whether the job has ended."""
        if self._job is None:
            if self._ended:
                return True
            raise RuntimeError("the job has not started: call start()")
        try:
            return self._wait(self._job, None if timeout is None else time.monotonic() + timeout)
        except KeyboardInterrupt:
            return self._interrupted(self._job)

    def _wait(self, job: Job, due: float | None) -> bool:
        """Waits for the end of the job. A signal is seen ten times a second."""
        while True:
            left = 100 if due is None else max(0, min(100, round(1000 * (due - time.monotonic()))))
            try:
                ended = job.wait(left)
            except JobError:
                self._end()
                raise
            if ended:
                self._end()
                return True
            if due is not None and time.monotonic() >= due:
                return False

    def _interrupted(self, job: Job) -> bool:
        """Ends the job in order. A second interrupt ends it at once."""
        try:
            job.stop(True)
            self._wait(job, None)
        except KeyboardInterrupt:
            self._end()
        raise KeyboardInterrupt

    def stop(self, stopSparkContext: bool = True, stopGraceFully: bool = False) -> None:
        """Ends the job: at once, or after what it has received. Waits for the end, except in a function of the program."""
        job = self._job
        if job is not None:
            job.stop(stopGraceFully)
            if getattr(IN_JOB, "depth", 0):
                return
            self.awaitTermination()
        self._ended = True
        if stopSparkContext:
            self._sc.stop()

    def statistics(self) -> tuple[int, int]:
        """How many batches and records the job has processed."""
        return (0, 0) if self._job is None else self._job.statistics()

    def _stop_on_sigterm(self) -> None:
        """SIGTERM ends the job after a last batch, if the program has no handler of its own."""
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return

        def handler(number: int, frame: Any) -> None:
            active = StreamingContext._active
            job = None if active is None else active._job
            if job is None:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.raise_signal(signal.SIGTERM)
            else:
                job.stop(True)

        signal.signal(signal.SIGTERM, handler)

    def _end(self) -> None:
        job, self._job, self._ended = self._job, None, True
        if StreamingContext._active is self:
            StreamingContext._active = None
        if job is not None:
            job.close()

    def __getattr__(self, name: str) -> Any:
        raise missing(self, name, self._HINTS)

    spark_context = sparkContext
    get_or_create = getOrCreate
    get_active = getActive
    get_active_or_create = getActiveOrCreate
    socket_text_stream = socketTextStream
    text_file_stream = textFileStream
    queue_stream = queueStream
    await_termination = awaitTermination
    await_termination_or_timeout = awaitTerminationOrTimeout


@atexit.register
def _end_at_exit() -> None:
    """The interpreter ends: a job that nobody awaits ends at once, before its functions are gone."""
    ssc = StreamingContext._active
    if ssc is not None:
        warnings.warn("the program ended while its job ran; call ssc.awaitTermination()", stacklevel=1)
        ssc._end()
