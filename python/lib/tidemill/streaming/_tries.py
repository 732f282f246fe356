"""Functions that may fail: `errors="stream"` makes a second stream of the rows for which they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._functions import column

if TYPE_CHECKING:
    from .dstream import DStream


class BadRow(NamedTuple):
    """A row for which a function failed, and why: the type of the exception and its text."""

    row: Any
    reason: str


def tried(f: Callable[[Any], Any]) -> Callable[[Any], tuple[bool, Any]]:
    """Whether a function succeeds for a row, with its result or the bad row."""
    if not callable(f):
        raise TypeError(f"a function is needed, not {f!r}")

    def call(row: Any) -> tuple[bool, Any]:
        try:
            return (True, f(row))
        except Exception as e:
            return (False, BadRow(row, f"{type(e).__name__}: {e}"))

    return call


def divided(results: DStream) -> tuple[DStream, DStream]:
    """The results and the bad rows of a function that was tried."""
    good = results.filter(column(0)).map(column(1))
    return good, results.filter(lambda result: not result[0]).map(column(1))


def streams(errors: str) -> bool:
    """Whether errors are a stream. Otherwise they are raised."""
    if errors not in ("raise", "stream"):
        raise ValueError(f'errors={errors!r}: it is "raise" or "stream"')
    return errors == "stream"
