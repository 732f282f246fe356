"""What the functions of a verb are, so that processes of a job find out that their programs differ, and where."""

from __future__ import annotations

import functools
import zlib
from types import CodeType
from typing import Any

from ._functions import Native

_PLAIN = (str, bytes, int, float, bool, type(None))
_DEEPEST = 6


def mark(arguments: tuple[Any, ...]) -> str:
    """A short text of the functions among the arguments of a verb: the same in every process that runs the same program.

    >>> mark(((lambda a: a + 1, None),)) == mark(((lambda a: a + 1, None),)) != mark(((lambda a: a + 2, None),))
    True
    """
    functions = [part[0] for part in arguments if isinstance(part, tuple) and len(part) == 2 and callable(part[0])]
    return f"{zlib.crc32(' '.join(_told(one, 0) for one in functions).encode()):08x}" if functions else "-"


def _told(thing: Any, depth: int) -> str:
    if isinstance(thing, _PLAIN) or isinstance(thing, Native):
        return repr(thing)
    if isinstance(thing, CodeType):
        parts: list[Any] = [thing.co_code, *thing.co_consts, *thing.co_names]
    elif isinstance(thing, (tuple, list)) and depth < _DEEPEST:
        parts = list(thing)
    elif isinstance(thing, (set, frozenset)) and depth < _DEEPEST:
        return " ".join(sorted(_told(part, depth + 1) for part in thing))
    elif isinstance(thing, functools.partial):
        parts = [thing.func, *thing.args, *thing.keywords, *thing.keywords.values()]
    elif hasattr(thing, "__code__") and depth < _DEEPEST:
        parts = [thing.__code__, *(thing.__defaults__ or ()), *(_content(cell) for cell in thing.__closure__ or ())]
    else:
        # The names of any other object: its text may have an address.
        return f"{type(thing).__qualname__} {getattr(thing, '__qualname__', '')}"
    return " ".join(_told(part, depth + 1) for part in parts)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
