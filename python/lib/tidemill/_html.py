"""What a notebook shows: batches as tables, a job with its figures and a small time line."""

from __future__ import annotations

import datetime
import html
from collections.abc import Sequence
from typing import Any

_STYLE = "font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 13px; line-height: 1.4;"
_MONO = "font-family: var(--jp-code-font-family, monospace); font-size: 12px;"
_GREY, _LINE, _GOOD, _BAD = "#6e7781", "#d0d7de", "#1f6feb", "#cf222e"
_CELL = f"text-align: left; padding: 2px 14px 2px 0; border: 0; border-bottom: 1px solid {_LINE}; white-space: pre;"
_ROWS = 20


def _cells(row: Sequence[Any], tag: str = "td") -> str:
    weight = "" if tag == "td" else f" color: {_GREY}; font-weight: normal;"
    parts = (f'<{tag} style="{_CELL}{weight}">{html.escape(str(part), quote=False)}</{tag}>' for part in row)
    return f'<tr style="background: none;">{"".join(parts)}</tr>'


def _columns(rows: Sequence[Any]) -> tuple[list[Any], list[Sequence[Any]]]:
    """The names of the columns, and the cells. Rows of one shape have a column for each part."""
    first = rows[0]
    if isinstance(first, dict) and all(isinstance(row, dict) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return names, [[row.get(name, "") for name in names] for row in rows]
    if isinstance(first, tuple) and first and all(isinstance(row, tuple) and len(row) == len(first) for row in rows):
        names = list(getattr(first, "_fields", ["key", "value"] if len(first) == 2 else range(len(first))))
        return names, list(rows)
    return ["row"], [(row,) for row in rows]


def table(rows: Sequence[Any], caption: str) -> str:
    """Rows as a table: the first twenty."""
    parts = [f'<div style="{_STYLE}"><div style="color: {_GREY};">{html.escape(caption)}</div>']
    if rows:
        names, cells = _columns(rows[:_ROWS])
        body = "".join(_cells(row) for row in cells)
        parts.append(f'<table style="{_MONO} border-collapse: collapse; margin: 2px 0;">{_cells(names, "th")}{body}</table>')
    if len(rows) > _ROWS:
        parts.append(f'<div style="color: {_GREY};">and {len(rows) - _ROWS:,} more</div>')
    return "".join([*parts, "</div>"])


def block(title: str, rows: Sequence[str], more: bool) -> str:
    """A batch as `pprint` prints it."""
    lines = [html.escape(row, quote=False) for row in [*rows, *(["..."] if more else [])]]
    text = "\n".join(lines) or f'<span style="color: {_GREY};">no rows</span>'
    return (
        f'<div style="{_STYLE} border-left: 3px solid {_LINE}; padding-left: 10px;">'
        f'<div style="color: {_GREY};">{html.escape(title)}</div>'
        f'<pre style="{_MONO} margin: 2px 0 0; padding: 0; background: none;">{text}</pre></div>'
    )


def figure(value: float) -> str:
    """A number that is easy to read.

    >>> figure(1234567), figure(0.25), figure(12.3456)
    ('1,234,567', '0.25', '12.3')
    """
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def timeline(history: Sequence[tuple[int, int, float, float, int | None]], interval: float) -> str:
    """The last batches as SVG. A bar above the line is the records of a batch, one below it the delay: red if longer than the interval."""
    if not history:
        return ""
    last = history[-60:]
    up, down, step = 44, 24, 8
    width = max(20, len(last)) * step
    most, slowest = max(1, *(one[1] for one in last)), max(interval, *(one[2] + one[3] for one in last))
    parts = []
    for i, (ms, records, waited, took, _) in enumerate(last):
        x = i * step
        above, below = round(up * records / most, 1), max(1.0, round(down * (waited + took) / slowest, 1))
        colour = _BAD if waited + took > interval else _GREY
        told = f"{clock(ms)}: {records:,} records, {figure(waited + took)} ms"
        parts.append(
            f"<g><title>{told}</title>"
            f'<rect x="{x}" y="{up - above}" width="{step - 2}" height="{above}" fill="{_GOOD}"/>'
            f'<rect x="{x}" y="{up + 1}" width="{step - 2}" height="{below}" fill="{colour}"/></g>'
        )
    text = f'font-size="10" fill="{_GREY}" font-family="sans-serif"'
    return (
        f'<svg width="{width + 110}" height="{up + down + 4}" viewBox="0 0 {width + 110} {up + down + 4}" role="img" '
        f'aria-label="records and delays of the last {len(last)} batches">'
        f'<line x1="0" y1="{up + 0.5}" x2="{width}" y2="{up + 0.5}" stroke="{_LINE}"/>{"".join(parts)}'
        f'<text x="{width + 6}" y="9" {text}>{most:,} records</text>'
        f'<text x="{width + 6}" y="{up + down}" {text}>{figure(slowest)} ms</text></svg>'
    )


def clock(ms: int) -> str:
    """The time of a batch, without its day."""
    return str(datetime.datetime.fromtimestamp(ms / 1000)).removesuffix("000").split(" ")[1]


def job(name: str, state: str, interval_ms: int, progress: dict[str, Any] | None, page: str | None) -> str:
    """A job: its name and state, figures, and the time line."""
    told = html.escape(f"{state}, a batch every {figure(interval_ms / 1000)} s")
    head = f'<b>{html.escape(name)}</b> <span style="color: {_GREY};">{told}</span>'
    if page:
        head += f' <a href="{html.escape(page)}" target="_blank">page</a>'
    parts = [f'<div style="{_STYLE}"><div>{head}</div>']
    if progress is not None:
        history = progress["history"]
        figures = {"batches": figure(progress["batches"]), "records": figure(progress["records"])}
        if history:
            seconds = max(interval_ms, history[-1][0] - history[0][0] + interval_ms) / 1000
            figures["records/s"] = figure(sum(one[1] for one in history) / seconds)
            figures["last batch"] = f"{figure(history[-1][2] + history[-1][3])} ms"
        if progress["lag"] is not None:
            figures["lag"] = figure(progress["lag"])
        if progress["bad"]:
            figures["bad records"] = figure(progress["bad"])
        if progress["checkpoints"]:
            figures["checkpoints"] = figure(progress["checkpoints"])
        parts.append(f'<table style="{_MONO} border-collapse: collapse; margin: 4px 0 8px;">{_cells(list(figures), "th")}')
        parts.append(f"{_cells(list(figures.values()))}</table>{timeline(history, interval_ms)}")
        parts.extend(f'<div style="color: {_BAD};">{html.escape(one)}</div>' for one in progress["trouble"])
    return "".join([*parts, "</div>"])
