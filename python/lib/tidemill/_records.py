"""Objects of named types as plain parts, and back: what a checkpoint, or another process, has of them.

Never pickle: a name in a checkpoint finds only a type that the program has already imported, and only a dataclass or a named tuple.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import sys
from typing import Any

_TEXTS: dict[type, Any] = {
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    decimal.Decimal: decimal.Decimal,
}
_OF_TEXT = {f"{kind.__module__}.{kind.__qualname__}": make for kind, make in _TEXTS.items()}


def parts_of(value: Any) -> tuple[str, list[Any]]:
    """The name of the type of a value, and its parts."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _TEXTS:
        return name, [str(value) if kind is decimal.Decimal else value.isoformat()]
    if kind is datetime.timedelta:
        return name, [value.days, value.seconds, value.microseconds]
    if _is_record(kind):
        names = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields
        return name.replace("." + kind.__qualname__, ":" + kind.__qualname__), [getattr(value, field) for field in names]
    raise TypeError(
        f"a value of the type {name} cannot be a key, be kept or be moved; "
        "make it of str, int, float, bool, None, bytes, tuples, lists, dicts, or of a dataclass"
    )


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")))


def of_parts(name: str, parts: list[Any]) -> Any:
    """The value of these parts."""
    if name in _OF_TEXT:
        return _OF_TEXT[name](*parts)
    if name == "datetime.timedelta":
        return datetime.timedelta(*parts)
    if name == "bytearray":
        return bytearray(*parts)
    module, _, qualname = name.partition(":")
    kind: Any = sys.modules.get(module)
    for part in qualname.split("."):
        kind = getattr(kind, part, None)
    if not _is_record(kind):
        raise TypeError(f"the program has no dataclass {module}.{qualname}; a row or a state has one")
    if dataclasses.is_dataclass(kind):
        value = object.__new__(kind)  # type: ignore[arg-type, call-overload]
        for field, part in zip(dataclasses.fields(kind), parts, strict=True):
            object.__setattr__(value, field.name, part)
        return value
    return kind(*parts)
