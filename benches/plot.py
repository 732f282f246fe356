#!/usr/bin/env python3
"""Draws the pictures of a folder of figures: each QUESTION.csv that benches/report.py wrote becomes QUESTION.svg.

Usage: plot.py [--check] FOLDER

--check draws nothing: it fails if a picture does not show its figures. The same figures give the same picture, byte for byte.
"""
import csv
import html
import math
import pathlib
import sys

WIDTH, LEFT, RIGHT, TOP = 760, 190, 90, 82
COLOURS = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#cf222e", "#57606a", "#0550ae"]


def text(x, y, words, anchor="start", size=13, colour="#1f2328", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" font-weight="{weight}">{html.escape(words)}</text>'


def picture(height, title, below, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">'
    back = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    title = [text(16, 28, title, size=17, weight="bold")]
    title += [text(16, 48 + 16 * i, line, size=12, colour="#57606a") for i, line in enumerate(below)]
    return "\n".join([head, back, *title, *parts, "</svg>", ""])


def number(value):
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def steps(top, count=5):
    """Round numbers from 0 up to the first one that is not below `top`."""
    rough = top / count
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def bars(title, below, rows):
    """Horizontal bars: (name, median, min, max). tidemill's has its own colour, and a thin line shows the range of the runs."""
    marks = steps(max(row[3] for row in rows))
    scale = (WIDTH - LEFT - RIGHT) / marks[-1]
    height, parts = TOP + 30 * len(rows) + 36, []
    for mark in marks:
        x = LEFT + mark * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 30}" stroke="#d0d7de"/>')
        parts.append(text(x, height - 14, number(mark), "middle", 11, "#57606a"))
    for i, (name, middle, least, most) in enumerate(rows):
        y = TOP + 30 * i + 4
        colour = COLOURS[0] if name.startswith("tidemill") else "#8c959f"
        parts.append(text(LEFT - 10, y + 16, name, "end", weight="bold" if name.startswith("tidemill") else "normal"))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{middle * scale:.1f}" height="22" fill="{colour}"/>')
        if most > least:
            parts.append(f'<line x1="{LEFT + least * scale:.1f}" y1="{y + 11}" x2="{LEFT + most * scale:.1f}" y2="{y + 11}" stroke="#1f2328"/>')
        parts.append(text(LEFT + most * scale + 8, y + 16, number(middle)))
    return picture(height, title, below, parts)


def powers(values):
    """The powers of ten around values, for a logarithmic axis."""
    return [10.0**n for n in range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)]


def lines(title, below, x_axis, series, logarithmic=False):
    """A line for each series, over a logarithmic axis: name -> [(x, median, min, max)]. A point has its range as a thin line. The other axis
    begins at 0, or is logarithmic, too."""
    # The names of the lines stand at their ends.
    height, left, right, bottom = 380, 70, max(150, 8 * max(map(len, series)) + 10), 56
    points = [point for line in series.values() for point in line]
    xs = sorted({point[0] for point in points})
    low, high = math.log(xs[0]), math.log(xs[-1])
    place = lambda x: left + (WIDTH - left - right) * ((math.log(x) - low) / (high - low) if high > low else 0.5)  # noqa: E731
    tall = height - bottom - TOP
    if logarithmic:
        marks = powers([value for point in points for value in point[2:4]])
        up = lambda y: height - bottom - tall * math.log(y / marks[0]) / math.log(marks[-1] / marks[0])  # noqa: E731
    else:
        marks = steps(max(point[3] for point in points))
        up = lambda y: height - bottom - tall * y / marks[-1]  # noqa: E731
    parts = [text((left + WIDTH - right) / 2, height - 12, x_axis, "middle", 12, "#57606a")]
    for mark in marks:
        parts.append(f'<line x1="{left}" y1="{up(mark):.1f}" x2="{WIDTH - right}" y2="{up(mark):.1f}" stroke="#d0d7de"/>')
        parts.append(text(left - 8, up(mark) + 4, number(mark), "end", 11, "#57606a"))
    parts += [text(place(x), height - bottom + 18, number(x), "middle", 11, "#57606a") for x in xs]
    ends = []  # names stand at the ends of their lines, at least 16 apart
    for i, (name, line) in enumerate(series.items()):
        colour, line = COLOURS[i % len(COLOURS)], sorted(line)
        route = " ".join(f"{place(x):.1f},{up(y):.1f}" for x, y, _, _ in line)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, least, most in line:
            parts.append(f'<line x1="{place(x):.1f}" y1="{up(least):.1f}" x2="{place(x):.1f}" y2="{up(most):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{place(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{colour}"/>')
        ends.append((up(line[-1][1]), place(line[-1][0]), name, colour))
    free = TOP
    for y, x, name, colour in sorted(ends):
        free = max(free, y + 4)
        parts.append(text(x + 10, free, name, colour=colour))
        free += 16
    return picture(height, title, below, parts)


def read(path):
    """(series, x) -> metric -> (median, min, max), and where the figures are from."""
    rows, machines = {}, {}
    for row in csv.DictReader(open(path, newline="")):
        figures = tuple(float(row[column]) for column in ("median", "min", "max"))
        rows.setdefault((row["series"], float(row["x"])), {})[row["metric"]] = figures
        machines.setdefault(row["machine"], {})[row["date"]] = None
    return rows, "; ".join(f"{', '.join(dates)}: {machine}" for machine, dates in machines.items())


def by_series(rows, metrics):
    """One line for each series and metric."""
    found = {}
    for (series, x), figures in rows.items():
        for metric in metrics:
            if metric in figures:
                name = series if len(metrics) == 1 else f"{series} {metric.removesuffix('_ms')}"
                found.setdefault(name, []).append((x, *figures[metric]))
    return found


def throughput(rows, origin):
    words = max(x for _, x in rows)
    rows = [(series, *figures["wall_s"]) for (series, x), figures in rows.items() if x == words]
    return bars(f"{words:,.0f} words from Kafka to Kafka: seconds", ["Less is better. One worker or a parallelism of 1, start included.", origin], rows)


def latency(rows, origin):
    """Over several rates, a line for each system. At a single rate, bars."""
    rates = {x for _, x in rows}
    if len(rates) > 1:
        metrics = ["p50_ms", "p95_ms", "p99_ms"]
        return lines("Latency from broker to broker: ms", ["Less is better.", origin], "words per second", by_series(rows, metrics))
    bar = [(series, *figures["p95_ms"]) for (series, _), figures in rows.items()]
    return bars(f"p95 latency at {rates.pop():,.0f} words a second: ms", ["Less is better. From broker to broker.", origin], bar)


def windows(rows, origin):
    return lines("Sliding counts: ms per batch of 1,000 records", ["Less is better. One worker.", origin], "length of the window, s", by_series(rows, ["ms per batch"]))


def hop(rows, origin):
    bar = [(f"{series}, {x:g} s", *figures["seconds"]) for (series, x), figures in sorted(rows.items(), key=lambda row: row[0][1])]
    return bars("5,000 slides of a sliding count, all rows at each: seconds", ["Less is better. Slide 1 s, 1,000 records a second.", origin], bar)


def nexmark(rows, origin):
    """Each query at one worker: how many times Flink's rate, or its own rate where Flink did not run."""
    rates = lambda series: {x: figures["events/s"] for (name, x), figures in sorted(rows.items()) if name == f"{series}, 1 worker"}  # noqa: E731
    own, flink = rates("tidemill"), rates("Flink")
    if not flink:
        return bars("NEXMark as SQL: events a second", ["More is better. One worker, generator to blackhole.", origin], [(f"tidemill, q{x:g}", *own[x]) for x in own])
    times = [(f"tidemill, q{x:g}", own[x][0] / flink[x][0], own[x][1] / flink[x][2], own[x][2] / flink[x][1]) for x in own if x in flink]
    return bars("NEXMark as SQL: times of Flink's events a second", ["More is better. One worker each, generator to blackhole.", origin], times)


def scaling(rows, origin):
    return lines("Running totals: M records a second", ["More is better. 100,000 records a batch.", origin], "workers", by_series(rows, ["M records/s"]))


def graph_changes(rows, origin):
    below = ["Less is better. One worker; 100,000 edges, of which as many leave as enter.", origin]
    series = by_series(rows, ["ms per batch"])
    return lines("Graphs kept up to date: ms per batch", below, "edges that leave and enter in a batch", series, logarithmic=True)


def scale(dimension):
    """Draws the CPU time of a batch over one dimension."""
    name = {"history": "batches that are held"}.get(dimension, dimension)
    title = f"CPU time of a batch over {name}: ms"
    return lambda rows, origin: lines(title, ["Less is better. All threads together.", origin], name, by_series(rows, ["CPU ms"]))


PICTURES = {"throughput": throughput, "latency": latency, "windows": windows, "hop": hop, "nexmark": nexmark, "scaling": scaling, "graph_changes": graph_changes}
PICTURES |= {f"scale_{dimension}": scale(dimension) for dimension in ["workers", "processes", "partitions", "keys", "outputs", "windows", "history"]}


def main():
    check, folder = "--check" in sys.argv[1:-1], pathlib.Path(sys.argv[-1])
    if len(sys.argv) - check != 2 or not folder.is_dir():
        sys.exit(__doc__)
    for question, draw in PICTURES.items():
        figures, shown = folder / f"{question}.csv", folder / f"{question}.svg"
        if not figures.exists():
            continue
        drawn = draw(*read(figures))
        if not check:
            shown.write_text(drawn)
            print(shown)
        elif not shown.exists() or shown.read_text() != drawn:
            sys.exit(f"{shown} does not show the figures of {figures}: run benches/plot.py {folder}")


if __name__ == "__main__":
    main()
