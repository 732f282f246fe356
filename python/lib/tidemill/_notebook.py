"""Cells of a notebook: `pprint` writes to the cell that called it, and changes what is there."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

_PAUSE = 0.2
"""Seconds between two changes of a cell: a browser need not show more."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _bundle(title: str, rows: list[str], more: bool) -> dict[str, str]:
    from ._html import block

    text = "\n".join([title, *rows, *(["..."] if more else [])])
    return {"text/plain": text, "text/html": block(title, rows, more)}


class Cell:
    """A part of the output of the cell that runs now. Later blocks take its place, also while other cells run."""

    def __init__(self, title: str) -> None:
        from IPython.display import display

        self._title = title
        self._handle = display(_bundle(f"{title}: no batch yet", [], False), raw=True, display_id=True)
        self._lock = threading.Lock()
        self._shown = 0.0
        self._next: dict[str, str] | None = None

    def show(self, time_of_batch: Any, rows: list[str], more: bool) -> None:
        """Shows a batch, unless the previous one has been shown just now. Then `flush` or the next one does."""
        with self._lock:
            self._next = _bundle(f"{self._title}, {str(time_of_batch).removesuffix('000')}", rows, more)
            if time.monotonic() - self._shown >= _PAUSE:
                self._write()

    def flush(self) -> None:
        """Shows the last batch."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._next is not None:
            self._handle.update(self._next, raw=True)
            self._next, self._shown = None, time.monotonic()
