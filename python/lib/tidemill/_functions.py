"""Functions that Rust knows. Each is a callable too: the engine calls it for what Rust does not know exactly as Python does.

`native` says what Rust knows of a function of a program. It recognizes a few lambdas by their bytecode, such as `lambda a, b: a + b`.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from ._engine import Regex

__all__ = ["column", "json", "lower", "native", "regex", "row", "split", "strip", "to_json", "upper"]


class Native:
    """A function of one value that Rust knows too."""

    __slots__ = ("_call", "native", "shown")

    def __init__(self, shown: str, native: tuple[Any, ...], call: Callable[[Any], Any]) -> None:
        self.shown = shown
        self.native = native
        self._call = call

    def __call__(self, value: Any, /) -> Any:
        return self._call(value)

    def __repr__(self) -> str:
        return self.shown


def split(separator: str | None = None) -> Native:
    """The parts of a text, as `str.split` has them. Without a separator: its words.

    >>> split(" ")("to be")
    ['to', 'be']
    """
    return Native(f"split({separator!r})", ("split", separator), lambda text: text.split(separator))


def _loads(text: str | bytes) -> Any:
    import json  # it takes a while, and many programs never need it

    return json.loads(text)


def json(path: str = "") -> Native:
    """A part of a text of JSON: names with dots between, a number for an item of a list. Rust reads it without making objects of the rest.

    >>> json("user.screen_name")('{"user": {"screen_name": "rmoff"}, "text": "tea"}')
    'rmoff'
    """
    steps = [step for step in path.split(".") if step]

    def find(text: str | bytes) -> Any:
        value = _loads(text)
        for step in steps:
            value = value[int(step)] if isinstance(value, list) else value[step]
        return value

    return Native(f"json({path!r})", ("json", path), find)


def regex(pattern: str) -> Native:
    """The groups of the first match of a pattern, as a tuple. Without groups, the match. `None` if nothing matches.

    The pattern is one of Rust's crate `regex`: it has no look-around and no back-references, and its time is linear in the text.

    >>> regex(r'"(GET|POST) (\\S+)')('1.2.3.4 "GET /tide HTTP/1.1" 200')
    ('GET', '/tide')
    """
    return Native(f"regex({pattern!r})", ("regex", pattern), Regex(pattern).search)


def column(i: int) -> Native:
    """The part `i` of a tuple, from 0.

    >>> column(1)(("tide", 2))
    2
    """
    return Native(f"column({i})", ("item", i), operator.itemgetter(i))


def row(*parts: Any) -> Native:
    """A tuple of what other functions make of a value. A part that is not a function is the same for each value.

    >>> row(lower, 1)("Tide")
    ('tide', 1)
    """
    said = [native(part) if callable(part) else ("constant", part) for part in parts]
    known = all(isinstance(part, tuple) for part in said)
    call = [part if callable(part) else None for part in parts]

    def make(value: Any) -> tuple[Any, ...]:
        return tuple(part if f is None else f(value) for f, part in zip(call, parts, strict=True))

    shown = f"row({', '.join(map(repr, parts))})"
    if not known:
        unknown = next(part for part, one in zip(parts, said, strict=True) if not isinstance(one, tuple))
        raise TypeError(f"{shown}: Rust does not know {unknown!r}; use a lambda: lambda x: (..., ...)")
    return Native(shown, ("tuple", said), make)


def to_json(**parts: Any) -> Native:
    """A text of JSON of what other functions make of a value, each under its name. It has no spaces, and letters as they are.

    >>> to_json(word=column(0), count=column(1))(("tide", 2))
    '{"word":"tide","count":2}'
    """
    make = row(*parts.values())
    said = list(zip(parts, make.native[1], strict=True))

    def write(value: Any) -> str:
        import json

        return json.dumps(dict(zip(parts, make(value), strict=True)), separators=(",", ":"), ensure_ascii=False)

    shown = f"to_json({', '.join(f'{name}={part!r}' for name, part in parts.items())})"
    return Native(shown, ("to_json", said), write)


lower = Native("lower", ("lower",), lambda text: text.lower())
upper = Native("upper", ("upper",), lambda text: text.upper())
strip = Native("strip", ("strip",), lambda text: text.strip())

_OF_TWO: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    builtins.min: "min",
    builtins.max: "max",
}
_OF_ONE: dict[Any, tuple[Any, ...]] = {
    str.lower: ("lower",),
    str.upper: ("upper",),
    str.strip: ("strip",),
    str.split: ("split", None),
}

# What a lambda looks like when this interpreter has compiled it. A constant of the lambda takes the place of "?".
_LAMBDAS_OF_TWO = [(lambda a, b: a + b, "add"), (lambda a, b: a - b, "sub"), (lambda a, b: a * b, "mul")]
_LAMBDAS_OF_ONE: Sequence[tuple[Any, Callable[..., tuple[Any, ...]]]] = [
    (lambda x: x, lambda: ("this",)),
    (lambda x: x.split("?"), lambda c: ("split", c)),
    (lambda x: x.split(), lambda: ("split", None)),
    (lambda x: x.lower(), lambda: ("lower",)),
    (lambda x: x.upper(), lambda: ("upper",)),
    (lambda x: x.strip(), lambda: ("strip",)),
    (lambda x: x["?"], lambda c: ("item", c)),
    (lambda x: (x, "?"), lambda c: ("tuple", [("this",), ("constant", c)])),
    (lambda x: ("?", x), lambda c: ("tuple", [("constant", c), ("this",)])),
    (lambda x: (x, x), lambda: ("tuple", [("this",), ("this",)])),
    (lambda x: (x.lower(), "?"), lambda c: ("tuple", [("lower",), ("constant", c)])),
]
_CONSTANTS = {"split": str, "item": int}


def _plain_function(f: Any) -> bool:
    """Whether a function is its bytecode and nothing else."""
    code: Any = getattr(f, "__code__", None)
    return (
        type(f) is FunctionType
        and not f.__closure__
        and not f.__defaults__
        and not f.__kwdefaults__
        and not code.co_kwonlyargcount
        and not code.co_flags & 0x2AC  # a generator, a coroutine, or *args and **kwargs
    )


def _same(f: Any, known: Any) -> list[Any] | None:
    """The constants of `f` in the places of "?"; `None` if it is another function."""
    one, other = f.__code__, known.__code__
    if (one.co_code, one.co_names, one.co_argcount) != (other.co_code, other.co_names, other.co_argcount):
        return None
    if len(one.co_consts) != len(other.co_consts):
        return None
    constants = []
    for mine, theirs in zip(one.co_consts, other.co_consts, strict=True):
        if theirs == "?":
            constants.append(mine)
        elif mine is not None and (type(mine), mine) != (type(theirs), theirs):
            return None
    return constants


def native(f: Any) -> str | tuple[Any, ...] | None:
    """What Rust knows of a function: the name of one of two values, a tuple for one of one value, or `None`.

    >>> native(lambda a, b: a + b), native(lambda word: (word, 1)), native(lambda x: x + x)
    ('add', ('tuple', [('this',), ('constant', 1)]), None)
    """
    if isinstance(f, Native):
        return f.native
    if type(f) is operator.itemgetter:
        parts = f.__reduce__()[1]
        return ("item", parts[0]) if len(parts) == 1 and type(parts[0]) is int else None
    if not _plain_function(f):
        try:
            return _OF_TWO.get(f) or _OF_ONE.get(f)
        except TypeError:  # not hashable
            return None
    for known, name in _LAMBDAS_OF_TWO:
        if _same(f, known) is not None:
            return name
    for known, said in _LAMBDAS_OF_ONE:
        constants = _same(f, known)
        if constants is not None:
            found = said(*constants)
            kind = _CONSTANTS.get(found[0])
            if kind is None or found[1] is None or type(found[1]) is kind:
                return found
    return None


def function(f: Any) -> tuple[Any, Any]:
    """A function for the engine: the callable, and what Rust knows of it."""
    if not callable(f):
        raise TypeError(f"a function is needed, not {f!r}")
    return (f, native(f))
