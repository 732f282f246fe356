"""What the families of verbs need of a DStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import StreamingContext
    from .dstream import DStream


class Verbs:
    """The base of the families of verbs."""

    _ssc: StreamingContext
    _node: int

    if TYPE_CHECKING:

        def _verb(self, verb: str, *arguments: Any, others: tuple[DStream, ...] = (), name: str | None = None) -> DStream: ...
