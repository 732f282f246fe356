"""Where a program calls a verb."""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def place(verb: str) -> str:
    """The verb, with the file and the line of the program that calls it: `map (words.py:12)`."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_HERE):
        frame = frame.f_back
    return f"{verb} ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})"


def missing(thing: object, name: str, hints: dict[str, str]) -> AttributeError:
    """The error for an attribute that is not there, with what to use instead."""
    kind = type(thing).__name__
    hint = hints.get(name)
    return AttributeError(f"'{kind}' object has no attribute '{name}'" + (f": {hint}" if hint else ""))
