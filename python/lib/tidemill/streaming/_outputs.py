"""Output operations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .._functions import function
from .._notebook import Cell, in_notebook
from ._calls import of_batch, takes, time_of
from ._kafka_settings import settings_of
from ._verbs import Verbs

_RULE = "-------------------------------------------"


def print_block(ms: int, rows: list[str], more: bool) -> None:
    """Prints a batch as PySpark does, in one piece."""
    lines = [_RULE, f"Time: {time_of(ms)}", _RULE, *rows]
    if more:
        lines.append("...")
    print("\n".join(lines) + "\n\n", end="", flush=True)


class OutputVerbs(Verbs):
    """Verbs that make a program run. A batch may be written again after a restart, unless the verb says otherwise."""

    def pprint(self, num: int = 10) -> None:
        """Prints the first rows of each batch, as Python prints them.

        In a notebook they are below the cell that calls it: each batch takes the place of the previous one.
        """
        write: Callable[[int, list[str], bool], None] = print_block
        if in_notebook():
            cell = Cell("pprint")
            self._ssc._cells.append(cell)
            write = lambda ms, rows, more: cell.show(time_of(ms), rows, more)
        self._verb("pprint", function(write), int(num))

    def foreachRDD(self, func: Callable[..., Any]) -> None:
        """Calls `func(rdd)`, or `func(time, rdd)`, with each batch, also an empty one, in order. An exception ends the job."""
        self._ssc._calls_python = True
        call = of_batch(func, self._ssc.sparkContext, takes("foreachRDD", func, 1, 2) == 2)
        self._verb("foreachRDD", function(call))

    def saveAsTextFiles(self, prefix: str, suffix: str | None = None) -> None:
        """Writes each batch to files in a directory `prefix-TIME[.suffix]`: `str(row)`, a row a line."""
        self._verb("saveAsTextFiles", os.fspath(prefix).removeprefix("file://"), suffix or "")

    def to_kafka(self, topic: str, kafkaParams: dict[str, Any] | str, *, exactly_once: bool = False) -> None:
        """Writes each row to a topic: a pair as key and value, any other row as a value. They are str, bytes or None.

        `kafkaParams`: `{"bootstrap.servers": "host:port"}`, or the address alone. `exactly_once` needs a checkpoint directory: readers with
        `isolation.level=read_committed` see each row once, whatever dies.
        """
        params = {"bootstrap.servers": kafkaParams} if isinstance(kafkaParams, str) else kafkaParams
        self._verb("to_kafka", settings_of(params), [topic], [], [], False, None, "", exactly_once)

    foreach_rdd = foreachRDD
    save_as_text_files = saveAsTextFiles
