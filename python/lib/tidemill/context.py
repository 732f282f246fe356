"""SparkContext and SparkConf: a name, a number of workers, and settings. There is no cluster behind them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from ._place import missing
from .rdd import RDD

T = TypeVar("T")

_LEVELS = {"ALL": "trace", "TRACE": "trace", "DEBUG": "debug", "INFO": "info", "WARN": "warn"}
_LEVELS |= {"ERROR": "error", "FATAL": "error", "OFF": "off"}


class StorageLevel:
    """Names only: rows are in memory once, and a receiver's are in its log."""

    DISK_ONLY = MEMORY_ONLY = MEMORY_ONLY_2 = MEMORY_AND_DISK = MEMORY_AND_DISK_2 = "MEMORY_AND_DISK"
    MEMORY_AND_DISK_SER = MEMORY_AND_DISK_SER_2 = OFF_HEAP = "MEMORY_AND_DISK"


class SparkConf:
    """Settings by name.

    >>> SparkConf().setAppName("words").setMaster("local[2]").get("spark.app.name")
    'words'
    """

    def __init__(self, loadDefaults: bool = True) -> None:
        self._settings: dict[str, str] = {}

    def set(self, key: str, value: Any) -> SparkConf:
        """Sets a setting."""
        self._settings[key] = str(value)
        return self

    def setAppName(self, value: str) -> SparkConf:
        """The name of the job."""
        return self.set("spark.app.name", value)

    def setMaster(self, value: str) -> SparkConf:
        """`local[n]`: n worker threads."""
        return self.set("spark.master", value)

    def setIfMissing(self, key: str, value: Any) -> SparkConf:
        """Sets a setting that is not set."""
        return self if key in self._settings else self.set(key, value)

    def setAll(self, pairs: Iterable[tuple[str, Any]]) -> SparkConf:
        """Sets several settings."""
        for key, value in pairs:
            self.set(key, value)
        return self

    def get(self, key: str, defaultValue: str | None = None) -> str | None:
        """A setting."""
        return self._settings.get(key, defaultValue)

    def getAll(self) -> list[tuple[str, str]]:
        """All settings."""
        return list(self._settings.items())

    def contains(self, key: str) -> bool:
        """Whether a setting is set."""
        return key in self._settings

    set_app_name = setAppName
    set_master = setMaster
    set_if_missing = setIfMissing
    set_all = setAll
    get_all = getAll


class Broadcast(Generic[T]):
    """A value that functions use: all workers of a process share it, as they share what a lambda captures."""

    def __init__(self, value: T) -> None:
        self._value: T | None = value

    @property
    def value(self) -> T:
        """The value."""
        if self._value is None:
            raise RuntimeError("this broadcast has been destroyed")
        return self._value

    def unpersist(self, blocking: bool = False) -> None:
        """No effect: there is one copy."""

    def destroy(self, blocking: bool = False) -> None:
        """Forgets the value."""
        self._value = None


class Accumulator(Generic[T]):
    """A sum that functions add to, in this process. It begins again at each start, and counts a batch that runs again once more.

    >>> bad = SparkContext.getOrCreate().accumulator(0)
    >>> bad += 2
    >>> bad.value
    2
    """

    def __init__(self, value: T, param: Any = None) -> None:
        self._value = value
        self._param = param
        self._lock = threading.Lock()

    @property
    def value(self) -> T:
        """The sum until now."""
        return self._value

    def add(self, term: Any) -> None:
        """Adds to the sum."""
        with self._lock:
            if self._param is not None:
                self._value = self._param.addInPlace(self._value, term)
            else:
                self._value += term

    def __iadd__(self, term: Any) -> Accumulator[T]:
        self.add(term)
        return self

    def __repr__(self) -> str:
        return f"Accumulator<value={self._value}>"


class SparkContext:
    """The name of a job, its number of workers, and settings.

    >>> sc = SparkContext.getOrCreate()
    >>> sc.parallelize([3, 1, 2]).sortBy(lambda n: n).collect()
    [1, 2, 3]
    """

    _active: SparkContext | None = None
    _lock = threading.Lock()

    _HINTS: ClassVar = {
        "_jvm": "there is no Java here",
        "_jsc": "there is no Java here",
        "addPyFile": "import the file: functions run in this process",
        "addFile": "open the file: functions run in this process",
        "wholeTextFiles": "read the files with open()",
        "longAccumulator": "use accumulator(0)",
        "doubleAccumulator": "use accumulator(0.0)",
        "collectionAccumulator": "use accumulator([], param), whose addInPlace joins two lists",
        "uiWebUrl": "see docs/guide/operations.md",
    }

    def __init__(
        self, master: str | None = None, appName: str | None = None, *unused: Any, conf: SparkConf | None = None, **others: Any
    ) -> None:
        conf = conf or SparkConf()
        self._conf = SparkConf().setAll(conf.getAll())
        if master is not None:
            self._conf.setMaster(master)
        if appName is not None:
            self._conf.setAppName(appName)
        self._conf.setIfMissing("spark.app.name", "tidemill").setIfMissing("spark.master", "local[1]")
        self._workers = workers(self._conf.get("spark.master") or "")
        with SparkContext._lock:
            if SparkContext._active is not None:
                raise ValueError("this process has a SparkContext; call SparkContext.getOrCreate(), or stop() it first")
            SparkContext._active = self

    @classmethod
    def getOrCreate(cls, conf: SparkConf | None = None) -> SparkContext:
        """The context of this process, made if there is none."""
        return cls._active or cls(conf=conf)

    @property
    def appName(self) -> str:
        """The name of the job."""
        return self._conf.get("spark.app.name") or ""

    @property
    def master(self) -> str:
        """The workers, as the program wrote them."""
        return self._conf.get("spark.master") or ""

    @property
    def defaultParallelism(self) -> int:
        """The number of workers."""
        return self._workers

    @property
    def version(self) -> str:
        """The version of tidemill."""
        from . import __version__

        return __version__

    def getConf(self) -> SparkConf:
        """A copy of the settings."""
        return SparkConf().setAll(self._conf.getAll())

    def setLogLevel(self, logLevel: str) -> None:
        """Which lines tidemill writes to stderr: ALL, DEBUG, INFO, WARN, ERROR or OFF. Call it before the first job starts."""
        level = _LEVELS.get(logLevel.upper())
        if level is None:
            raise ValueError(f"setLogLevel({logLevel!r}): one of {', '.join(_LEVELS)}")
        os.environ["RUST_LOG"] = level

    def parallelize(self, c: Iterable[T], numSlices: int | None = None) -> RDD:
        """An RDD of these rows. It is a list in this process."""
        return RDD(c, self)

    def emptyRDD(self) -> RDD:
        """An RDD without rows."""
        return RDD((), self)

    def range(self, start: int, end: int | None = None, step: int = 1, numSlices: int | None = None) -> RDD:
        """An RDD of numbers."""
        return RDD(range(start) if end is None else range(start, end, step), self)

    def textFile(self, name: str, minPartitions: int | None = None, use_unicode: bool = True) -> RDD:
        """The lines of a file, or of all files of a directory, by name."""
        path = name.removeprefix("file://")
        files = [path]
        if os.path.isdir(path):
            visible = sorted(file for file in os.listdir(path) if not file.startswith((".", "_")))
            files = [os.path.join(path, file) for file in visible]
        lines: list[str] = []
        for file in files:
            with open(file, encoding="utf-8", newline="\n") as opened:
                lines.extend(line.rstrip("\n") for line in opened)
        return RDD(lines, self)

    def union(self, rdds: Iterable[RDD]) -> RDD:
        """The rows of several RDDs, one after another."""
        return RDD((row for rdd in rdds for row in rdd.collect()), self)

    def broadcast(self, value: T) -> Broadcast[T]:
        """A value for functions."""
        return Broadcast(value)

    def accumulator(self, value: T, accum_param: Any = None) -> Accumulator[T]:
        """A sum that functions add to."""
        return Accumulator(value, accum_param)

    def stop(self) -> None:
        """Ends this context. A new one can be made then."""
        with SparkContext._lock:
            if SparkContext._active is self:
                SparkContext._active = None

    def __enter__(self) -> SparkContext:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def __getattr__(self, name: str) -> Any:
        raise missing(self, name, self._HINTS)

    get_or_create = getOrCreate
    set_log_level = setLogLevel
    get_conf = getConf
    empty_rdd = emptyRDD
    text_file = textFile

    def _streaming_settings(self) -> list[tuple[str, str]]:
        """The settings for the engine. Those for a cluster of Spark are named in a warning."""
        ours, others = [], []
        for key, value in self._conf.getAll():
            if key.startswith("spark.streaming."):
                ours.append((key, value))
            elif key not in ("spark.app.name", "spark.master", "spark.ui.port"):
                others.append(key)
        if others:
            warnings.warn(f"tidemill does not use the settings {', '.join(others)}", stacklevel=4)
        return ours


def workers(master: str) -> int:
    """The number of worker threads of `local[n]`.

    >>> workers("local[4]"), workers("local")
    (4, 1)
    """
    import re

    found = re.fullmatch(r"local(?:\[(\d+|\*)(?:,\s*\d+)?\])?", master)
    if not found:
        raise ValueError(f"master {master!r}: only local and local[n] are known; tidemill runs in this process")
    n = found.group(1) or "1"
    return (os.cpu_count() or 1) if n == "*" else max(1, int(n))
