"""StreamingContext: describes a program, and starts, awaits and stops its job."""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from .. import _options as options
from .._engine import Job, JobError, Program, start
from .._fingerprint import mark
from .._notebook import Cell, in_notebook
from .._place import missing, place
from ..context import SparkContext, StorageLevel
from ..rdd import RDD
from ._calls import IN_JOB
from ._kept import Kept
from ._page import Page
from .dstream import DStream, millis

_SECONDS_OF_A_KERNEL = 3
"""Jupyter kills a kernel that has not ended after five seconds."""


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
        "binaryFiles": "use textFileStream(directory), or binaryRecordsStream(directory, recordLength)",
        "fileStream": "use textFileStream(directory)",
        "rawSocketStream": "use socketTextStream(host, port)",
        "receiverStream": "a receiver of your own writes to Kafka, or serves lines for socketTextStream",
        "socketStream": "use socketTextStream(host, port)",
        "getState": "use getActive(), or awaitTerminationOrTimeout(0)",
        "jarOfClass": "there is no Java here",
        "removeStreamingListener": "a listener hears of batches until the job ends; it may ignore them",
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
        self._listeners: list[Any] = []
        self._hears = False
        self._cells: list[Cell] = []
        self._kept = Kept()
        self._last: dict[str, Any] | None = None

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
        """For how many seconds streams keep their batches for `slice`: those with `persist()` or `cache()`. Default: not at all."""
        self._kept.remember(millis("duration", duration))

    # Sources.

    def _source(self, verb: str, arguments: tuple[Any, ...], name: str | None = None) -> DStream:
        return DStream(self, self._add(verb, [], name or verb, arguments))

    def _add(self, verb: str, inputs: list[int], name: str, arguments: tuple[Any, ...]) -> int:
        if self._job is not None:
            raise RuntimeError(f"{name}: the job has started; describe the whole program before start()")
        return self._program.add(verb, inputs, place(name), mark(arguments), arguments)

    def socketTextStream(self, hostname: str, port: int, storageLevel: Any = StorageLevel.MEMORY_AND_DISK_2) -> DStream:
        """The lines that a server sends, in UTF-8. A line that is not UTF-8 is a bad record: it is logged and left out."""
        return self._source("socketTextStream", (hostname, int(port)))

    def textFileStream(self, directory: str) -> DStream:
        """The lines of files that appear in a directory."""
        return self._source("textFileStream", (os.fspath(directory).removeprefix("file://"),))

    def binaryRecordsStream(self, directory: str, recordLength: int) -> DStream:
        """The records of files that appear in a directory: bytes of this length. A file that ends inside a record has a bad record."""
        return self._source("binaryRecordsStream", (os.fspath(directory).removeprefix("file://"), int(recordLength)))

    def queueStream(self, rdds: Iterable[Any], oneAtATime: bool = True, default: Any = None, *, bounded: bool = False) -> DStream:
        """Batches from memory: RDDs or lists, one each batch. `bounded`: the job ends after the last one, without a wait."""
        rdds = list(rdds)
        if any(isinstance(rdd, (set, frozenset)) for rdd in rdds):
            warnings.warn("queueStream: a set has another order in each run; use sorted(...) of it", RuntimeWarning, stacklevel=2)
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
        self._kept.attach()
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
            "listen": self._page_address(),
            "listener": self._hear if self._listeners else None,
        }
        if in_notebook():
            # The lines of a job that is well would be below cells that have nothing to do with it.
            os.environ.setdefault("RUST_LOG", "warn")
        self._hears = bool(self._listeners)
        if self._listeners:
            from .listener import StreamingStarted, tell

            tell(self._listeners, "onStreamingStarted", StreamingStarted(round(1000 * time.time())))
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

    def addStreamingListener(self, streamingListener: Any) -> None:
        """Adds a `tidemill.streaming.listener.StreamingListener`. One that is added after the start hears of later batches."""
        self._listeners.append(streamingListener)
        if self._job is not None and not self._hears:
            self._hears = True
            self._job.listen(self._hear)

    def _hear(self, complete: bool, known: dict[str, Any]) -> None:
        from .listener import hear

        hear(self._listeners, complete, known)

    # What a notebook and a browser show.

    def _page_address(self) -> str | None:
        """Where the page of the job is served: at `spark.ui.port`, in a notebook at a free port, otherwise not at all."""
        port = self._sc.getConf().get("spark.ui.port") or ("0" if in_notebook() else None)
        return None if port is None or options.given("--listen") else f"127.0.0.1:{port}"

    def page(self) -> Page:
        """Opens the page of the job. In a notebook it is a link, elsewhere a browser opens it.

        The page is served on this machine only: in a notebook always, elsewhere with the setting `spark.ui.port` or the option `--listen`.
        """
        if self._job is None:
            raise RuntimeError("the job does not run: call start() first")
        address = self._job.address()
        if address is None:
            raise RuntimeError('the page is not served: set SparkConf().set("spark.ui.port", "4040") before the start')
        return Page(f"http://{address}/").open(in_notebook())

    def __repr__(self) -> str:
        return f"StreamingContext of {self._sc.appName}: {self._state()}"

    def _state(self) -> str:
        return "runs" if self._job is not None else "has ended" if self._ended else "has not started"

    def _repr_html_(self) -> str:
        from .._html import job

        progress, address = (self._last, None) if self._job is None else (self._job.progress(), self._job.address())
        return job(self._sc.appName, self._state(), self._interval, progress, f"http://{address}/" if address else None)

    def _stop_on_sigterm(self) -> None:
        """SIGTERM ends the job after a last batch, if the program has no handler of its own."""
        import signal

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
            self._last = job.progress()
            job.close()
        for cell in self._cells:
            cell.flush()

    def __getattr__(self, name: str) -> Any:
        raise missing(self, name, self._HINTS)

    spark_context = sparkContext
    get_or_create = getOrCreate
    get_active = getActive
    get_active_or_create = getActiveOrCreate
    socket_text_stream = socketTextStream
    text_file_stream = textFileStream
    binary_records_stream = binaryRecordsStream
    queue_stream = queueStream
    add_streaming_listener = addStreamingListener
    await_termination = awaitTermination
    await_termination_or_timeout = awaitTerminationOrTimeout


@atexit.register
def _end_at_exit() -> None:
    """The interpreter ends: a job that nobody awaits ends before its functions are gone.

    The kernel of a notebook ends so: the job has a few seconds for a last batch. Any other job ends at once.
    """
    ssc = StreamingContext._active
    if ssc is None:
        return
    if in_notebook() and ssc._job is not None:
        ssc._job.stop(True)
        try:
            ssc._wait(ssc._job, time.monotonic() + _SECONDS_OF_A_KERNEL)
        except JobError as e:
            warnings.warn(str(e), stacklevel=1)
    else:
        warnings.warn("the program ended while its job ran; call ssc.awaitTermination()", stacklevel=1)
    ssc._end()


def _forget_after_fork() -> None:
    """A child of a fork has no thread of the job: it must not wait for them."""
    ssc, StreamingContext._active = StreamingContext._active, None
    if ssc is not None and ssc._job is not None:
        ssc._job.forget()
        ssc._job, ssc._ended = None, True


os.register_at_fork(after_in_child=_forget_after_fork)
