"""How functions of whole batches are called: with an RDD, and with the time if they take it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..rdd import RDD

if TYPE_CHECKING:
    from ..context import SparkContext

# Its depth is above 0 while this thread runs a function of a program, which must not wait for the job.
IN_JOB = threading.local()


def time_of(ms: int) -> datetime:
    """The time of a batch, as PySpark has it: local, without a zone."""
    return datetime.fromtimestamp(ms / 1000)


def takes(verb: str, func: Callable[..., Any], least: int, most: int) -> int:
    """How many arguments a function takes, at most `most`."""
    if not callable(func):
        raise TypeError(f"{verb}: a function is needed, not {func!r}")
    import inspect  # it takes a while

    try:
        parameters = inspect.signature(func).parameters.values()
    except ValueError:  # a builtin
        return least
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return least
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in positional)
    if needed > most or len(positional) < least:
        raise TypeError(f"{verb}: the function takes {len(positional)} arguments; {least} or {most} are needed")
    return max(least, min(most, needed))


def of_batch(func: Callable[..., Any], ctx: SparkContext, timed: bool) -> Callable[..., Any]:
    """What the engine calls: with the time, the rows and the ranges of a batch, and the rows of a second one."""

    def call(ms: int, rows: list[Any], ranges: list[tuple[str, int, int, int]], *more: Any) -> Any:
        rdds = [RDD(rows, ctx, ranges)]
        if more:
            rdds.append(RDD(more[0], ctx, more[1]))
        for rdd in rdds:
            rdd._caption = f"batch {time_of(ms)}"
        IN_JOB.depth = getattr(IN_JOB, "depth", 0) + 1
        try:
            return func(time_of(ms), *rdds) if timed else func(*rdds)
        finally:
            IN_JOB.depth -= 1

    return call
