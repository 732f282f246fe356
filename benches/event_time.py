#!/usr/bin/env python3
"""Draws the pictures of docs/guide/event-time.md: batch time beside event time, and the watermark over partitions.

Usage: event_time.py [--check]

--check draws nothing: it fails if a picture is not what this draws.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from plot import COLOURS, WIDTH, picture, text  # noqa: E402

PICTURES = pathlib.Path(__file__).parent.parent / "docs" / "pictures"
GREY, LIGHT, DARK = "#57606a", "#d0d7de", "#1f2328"
BLUE, ORANGE, GREEN = COLOURS[:3]

# Rows as they are read: when they happened, and when they were read. The job was down from 3:00 to 5:00, and one row is late.
ROWS = [(0.4, 0.6), (0.8, 1.0), (1.3, 1.5), (1.8, 2.0), (2.4, 2.6), (2.9, 5.1), (3.3, 5.2), (3.8, 5.3), (4.4, 5.4), (4.9, 5.5), (2.2, 5.7), (5.3, 5.85)]


def line(x1, y1, x2, y2, colour=DARK, width=1.0, dashes=""):
    dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def dot(x, y, colour):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'


def box(x, y, width, height, colour, filled=0.08):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" fill-opacity="{filled}" stroke="{colour}"/>'


def rows(number):
    return {0: "none", 1: "1 row"}.get(number, f"{number} rows")


def two_times():
    """Each row is a line from when it happened to when it was read; windows of a minute stand at both ends."""
    left, right, event, batch, height = 110, 30, 150, 300, 400
    at = lambda minute: left + minute * (WIDTH - left - right) / 6  # noqa: E731
    minute, parts = (WIDTH - left - right) / 6, []
    parts.append(box(at(3), batch - 14, 2 * minute, 28, GREY, 0.15))
    parts.append(text(at(4), batch - 22, "the job is down", "middle", 12, GREY))
    for number in range(6):
        happened = sum(number <= a < number + 1 for a, _ in ROWS)
        read = sum(number <= b < number + 1 for _, b in ROWS)
        parts.append(box(at(number) + 2, event - 62, minute - 4, 40, BLUE))
        parts.append(text(at(number) + minute / 2, event - 37, rows(happened), "middle"))
        parts.append(box(at(number) + 2, batch + 22, minute - 4, 40, ORANGE))
        parts.append(text(at(number) + minute / 2, batch + 47, rows(read), "middle"))
    for where, words in [(event, "it happened"), (batch, "it was read")]:
        parts.append(line(left, where, WIDTH - right, where))
        parts.append(text(left - 10, where + 4, words, "end", 12, GREY))
        parts += [line(at(n), where - 4, at(n), where + 4) for n in range(7)]
    parts += [text(at(n), event + 20, f"10:0{n}", "middle", 11, GREY) for n in range(7)]
    parts.append(text(left - 10, event - 37, "event time", "end", 13, BLUE, "bold"))
    parts.append(text(left - 10, batch + 47, "batch time", "end", 13, ORANGE, "bold"))
    for happened, read in ROWS:
        parts.append(line(at(happened), event, at(read), batch, LIGHT, 1.2))
    parts += [dot(at(happened), event, BLUE) for happened, _ in ROWS]
    parts += [dot(at(read), batch, ORANGE) for _, read in ROWS]
    below = ["The job was down from 10:03 to 10:05, and then read what had waited.", "Windows of batch time count when it was read. Windows of event time count what happened."]
    return picture(height, "Twelve rows in windows of a minute", below, parts)


def watermark():
    """The largest time of each partition after each batch, and the watermark below the smallest."""
    partitions = {"partition 0": [12, 24, 31, 45, 52, 66, 78, 90], "partition 1": [8, 15, 25, 33, 33, 33, 33, 86], "partition 2": [10, 20, 29, 40, 55, 61, 74, 88]}
    marks, delay, idle_from = [], 10, 6
    for batch in range(8):
        counted = [times[batch] for name, times in partitions.items() if name != "partition 1" or not idle_from <= batch < 7]
        marks.append(max(min(counted) - delay, marks[-1] if marks else -100))
    left, right, top, bottom, height = 70, 150, 96, 50, 420
    x = lambda batch: left + batch * (WIDTH - left - right) / 7  # noqa: E731
    y = lambda second: height - bottom - second * (height - bottom - top) / 100  # noqa: E731
    parts = [text((left + WIDTH - right) / 2, height - 10, "batches", "middle", 12, GREY)]
    for second in range(0, 101, 20):
        parts.append(line(left, y(second), WIDTH - right, y(second), LIGHT))
        parts.append(text(left - 8, y(second) + 4, f"10:0{second // 60}:{second % 60:02}", "end", 11, GREY))
    for batch in range(8):
        parts.append(text(x(batch), height - bottom + 18, str(batch + 1), "middle", 11, GREY))
    parts.append(line(left, y(60), WIDTH - right, y(60), DARK, 1, "6 4"))
    parts.append(text(left + 6, y(60) - 6, "the end of a window", size=12))
    for (name, times), colour, up in zip(partitions.items(), [BLUE, ORANGE, GREEN], [-6, 22, 8]):
        route = " ".join(f"{x(n):.1f},{y(second):.1f}" for n, second in enumerate(times))
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [dot(x(n), y(second), colour) for n, second in enumerate(times) if n == 0 or second > times[n - 1]]
        parts.append(text(x(7) + 12, y(times[7]) + up, name, colour=colour))
    steps = [f"{x(0):.1f},{y(marks[0]):.1f}"]
    for n in range(1, 8):
        steps += [f"{x(n):.1f},{y(marks[n - 1]):.1f}", f"{x(n):.1f},{y(marks[n]):.1f}"]
    parts.append(f'<polyline points="{" ".join(steps)}" fill="none" stroke="{DARK}" stroke-width="3"/>')
    parts.append(text(x(7) + 12, y(marks[7]) + 20, "the watermark", weight="bold"))
    parts.append(text(x(3) + 8, y(33) + 20, "no rows: it holds the watermark until it is idle", size=12, colour=ORANGE))
    closing = next(n for n, mark in enumerate(marks) if mark >= 60)
    parts.append(f'<circle cx="{x(closing):.1f}" cy="{y(60):.1f}" r="7" fill="none" stroke="{DARK}" stroke-width="2"/>')
    parts.append(text(x(closing) - 12, y(60) + 18, "the window closes", "end", 12))
    below = ["The largest time of each partition after each batch. The watermark is 10 s below the smallest of them, and never falls.", "A partition without rows counts until it is idle."]
    return picture(height, "The watermark of three partitions", below, parts)


def main():
    wrong = []
    for name, drawn in [("two-times.svg", two_times()), ("watermark.svg", watermark())]:
        path = PICTURES / name
        if sys.argv[1:] == ["--check"]:
            wrong += [] if path.exists() and path.read_text() == drawn else [str(path)]
        else:
            path.write_text(drawn)
    if wrong:
        sys.exit(f"not what benches/event_time.py draws: {', '.join(wrong)}; run it again")


if __name__ == "__main__":
    main()
