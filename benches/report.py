#!/usr/bin/env python3
"""Turns the results of benchmarks into Markdown, on stdout, and CSV, in a folder. `scripts/bench` calls it.

Usage: report.py RESULTS FOLDER DATE COMMIT MACHINE

RESULTS has one JSON object per line: question, series, x, and figures by metric, each a value or a list of values. Lines of the same
question, series and x belong together. Each question becomes FOLDER/QUESTION.csv; an existing file is replaced. benches/plot.py draws it.
"""
import collections
import csv
import json
import pathlib
import statistics
import sys

COLUMNS = ["series", "x", "metric", "median", "min", "max", "runs", "date", "commit", "machine"]


def read(path):
    """question -> (series, x) -> metric -> values, in the order of the lines."""
    questions = {}
    for line in pathlib.Path(path).read_text().splitlines():
        row = json.loads(line)
        figures = questions.setdefault(row["question"], {}).setdefault((row["series"], row["x"]), collections.defaultdict(list))
        for metric, values in row["figures"].items():
            figures[metric] += values if isinstance(values, list) else [values]
    return questions


def short(value):
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def spread(values):
    middle, least, most = statistics.median(values), min(values), max(values)
    return short(middle) if len(values) == 1 else f"{short(middle)} ({short(least)}-{short(most)})"


def table(question, rows):
    """Markdown: a row for each series and x. Throughput gets the ratio to tidemill within each pair, so that noise hits both."""
    metrics = list(dict.fromkeys(metric for figures in rows.values() for metric in figures))
    ratio = {
        "throughput": "wall_s", "latency": "p95_ms", "hop": "seconds", "yahoo_backlog": "wall_s", "yahoo_paced": "p95_ms", "nexmark": "events/s",
    }.get(question)
    head = ["", "x", *metrics, *([f"{ratio} / tidemill's"] if ratio else [])]
    yield f"\n**{question}**: median (min-max).\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}"
    for (series, x), figures in rows.items():
        cells = [series, f"{x:,.0f}", *(spread(figures[m]) if m in figures else "" for m in metrics)]
        own = rows.get((", ".join(["tidemill", *series.split(", ")[1:]]), x), {}).get(ratio, [])
        if ratio:
            cells.append(spread([a / b for a, b in zip(figures[ratio], own) if b > 0]) if own else "")
        yield f"| {' | '.join(cells)} |"


def main():
    results, folder, *origin = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for question, rows in read(results).items():
        print("\n".join(table(question, rows)), flush=True)
        with open(folder / f"{question}.csv", "w", newline="") as file:
            write = csv.writer(file, lineterminator="\n")
            write.writerow(COLUMNS)
            for (series, x), figures in rows.items():
                for metric, values in figures.items():
                    spread_of = [round(v, 4) for v in (statistics.median(values), min(values), max(values))]
                    write.writerow([series, f"{x:g}", metric, *spread_of, len(values), *origin])


if __name__ == "__main__":
    main()
