"""Batches that a program asks for later: `slice`."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..rdd import RDD
from ._calls import time_of

if TYPE_CHECKING:
    from .dstream import DStream


class Kept:
    """The streams of a context that keep their batches, and for how long."""

    def __init__(self) -> None:
        self._ms = 0
        self._streams: dict[int, DStream] = {}
        self._batches: dict[int, deque[tuple[int, RDD]]] = {}

    def remember(self, ms: int) -> None:
        """Keeps batches this long."""
        self._ms = ms

    def keep(self, stream: DStream) -> DStream:
        """The stream keeps its batches, if any stream does."""
        self._streams.setdefault(stream._node, stream)
        return stream

    def attach(self) -> None:
        """Makes an output of each stream that keeps its batches."""
        if not self._ms:
            return
        for node, stream in self._streams.items():
            batches = self._batches[node] = deque()
            stream.foreachRDD(self._taker(batches))

    def _taker(self, batches: deque[tuple[int, RDD]]) -> Any:
        def take(time: datetime, rdd: RDD) -> None:
            ms = _ms(time)
            batches.append((ms, rdd))
            while batches[0][0] <= ms - self._ms:
                batches.popleft()

        return take

    def slice(self, stream: DStream, begin: Any, end: Any) -> list[RDD]:
        """The batches of a stream between two times."""
        batches = self._batches.get(stream._node)
        if batches is None:
            raise RuntimeError(
                "slice: this stream keeps no batches; before start(), call its persist(), and remember(seconds) of the context"
            )
        first, last = _ms(begin), _ms(end)
        if first > last:
            raise ValueError(f"slice: the begin {time_of(first)} is after the end {time_of(last)}")
        return [rdd for ms, rdd in list(batches) if first <= ms <= last]


def _ms(time: Any) -> int:
    return round((time.timestamp() if isinstance(time, datetime) else float(time)) * 1000)
