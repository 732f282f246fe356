"""Times of PySpark are seconds, those of the engine milliseconds."""

from __future__ import annotations

from datetime import timedelta


def millis(what: str, seconds: float | timedelta) -> int:
    """Milliseconds of seconds.

    >>> millis("windowDuration", 0.5)
    500
    """
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what}: seconds are needed, not {seconds!r}")
    ms = round(seconds * 1000)
    if ms <= 0:
        raise ValueError(f"{what} is {seconds} s: at least 0.001 s are needed")
    return ms


def some_millis(what: str, seconds: float | timedelta | None) -> int | None:
    """As `millis`; `None` stays `None`."""
    return None if seconds is None else millis(what, seconds)
