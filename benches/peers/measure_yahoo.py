#!/usr/bin/env python3
"""Measures one program that runs the Yahoo streaming benchmark, once. `scripts/bench yahoo` calls it.

Usage: measure_yahoo.py backlog --brokers B --gen TIDEMILL --yahoo YAHOO --count N -- COMMAND...
       measure_yahoo.py paced --brokers B --gen TIDEMILL --yahoo YAHOO --rate R --seconds S -- COMMAND...

COMMAND has {brokers}, {in} and {out}. It counts the views of each campaign in windows of ten seconds, and writes a row for each window
that has closed: {"campaign": "campaign 7", "end": MILLISECONDS, "count": N}. YAHOO is benches/yahoo.rs, TIDEMILL the command that sends
lines to a topic.

backlog: a topic has N events, 20,000 for each second of event time. Prints the seconds from the start of the program until the last
window is there; and the events a second between the first window and the last one, by the broker's clock.
paced: events come at a rate, with the time at which they come. Prints the percentiles of the milliseconds from the end of a window to
the arrival of its rows at the broker. Windows of the first 40 % of the time do not count.

Prints one JSON object. Fails if a count is wrong: all events in time must be in it, and no others than late ones.
"""
import argparse
import collections
import json
import re
import signal
import subprocess
import sys
import time

from measure import PARTITIONS, Program, create_topic, reader, sent, summary

PATIENCE = 300  # seconds without a new row, start included
WINDOW, DELAY, JITTER = 10_000, 100, 50  # milliseconds
PACE = 20_000
EVENT = re.compile(rb'"ad_id":"([^"]*)".*"event_type":"view","event_time":"(\d+)"')
TIME = re.compile(rb'"event_time":"(\d+)"')


def feed(args, topic, count, rate, begin, paced):
    """The processes that write events into a topic."""
    events = subprocess.Popen([args.yahoo, "events", "--count", str(count), "--rate", str(rate), "--begin", str(begin)], stdout=subprocess.PIPE)
    send = [args.gen, "gen", "words", "--file", "-", "--brokers", args.brokers, "--topic", topic]
    return subprocess.Popen([*send, *(["--rate", str(rate)] if paced else [])], stdin=events.stdout, stderr=subprocess.DEVNULL)


def expected(args, topic, count, campaigns):
    """By window and campaign: how many events it has, and how many of them are late. Only windows that close."""
    consumer, all_of, late_of = reader(args, topic), collections.Counter(), collections.Counter()
    newest, left = [0] * PARTITIONS, count
    while left:
        for message in consumer.consume(min(left, 20_000), 1):
            left -= 1
            at = int(TIME.search(message.value())[1])
            late = at < newest[message.partition()] - DELAY
            newest[message.partition()] = max(newest[message.partition()], at)
            if found := EVENT.search(message.value()):
                window = (at // WINDOW + 1) * WINDOW, campaigns[found[1]]
                all_of[window] += 1
                late_of[window] += late
    consumer.close()
    # A watermark of Flink is a millisecond earlier, so a window that ends just now may be open.
    until = min(newest) - DELAY - JITTER
    return {window: (n - late_of[window], n) for window, n in all_of.items() if window[0] <= until}


def gather(program, consumer, awaited, stop):
    """The rows of windows: by window and campaign, count and broker's time. `stop`: whether these windows are all."""
    rows, last = {}, time.monotonic()
    while not stop(rows):
        program.check()
        for message in consumer.consume(10_000, 0.05):
            if message.error() or message.value() is None:
                continue
            row = json.loads(message.value())
            window = row["end"], row["campaign"].encode()
            # A late event makes a row of its own where a system emits it again.
            if window in rows:
                program.fail(f"two rows for {window}")
            rows[window], last = (row["count"], message.timestamp()[1]), time.monotonic()
        if time.monotonic() - last > PATIENCE:
            program.fail(f"no new row for {PATIENCE} s: {len(rows)} rows of {awaited}")
    return rows


def check(rows, right):
    for window, (least, most) in right.items():
        # A window of late events alone may have no row.
        if not least <= rows.get(window, (0,))[0] <= most:
            sys.exit(f"measure_yahoo.py: {window} has {rows.get(window)}, and should have {least} to {most}")


def backlog(args, out, campaigns):
    source = f"ad-events-{args.count}"
    if create_topic(args, source):
        if feed(args, source, args.count, PACE, 1_700_000_000_000, False).wait():
            sys.exit("measure_yahoo.py: the events could not be written")
    if sent(args, source) != args.count:
        sys.exit(f"measure_yahoo.py: {source} has {sent(args, source)} events, not {args.count}")
    right, consumer = expected(args, source, args.count, campaigns), reader(args, out)
    with Program(args, source, out) as program:
        awaited = {window for window, (in_time, _) in right.items() if in_time}
        rows = gather(program, consumer, len(awaited), lambda rows: awaited <= rows.keys())
        wall, cpu = time.monotonic() - program.began, program.cpu()
    check(rows, right)
    came = collections.defaultdict(int)
    for (end, _), (_, at) in rows.items():
        came[end] = max(came[end], at)
    first, last = min(awaited)[0], max(awaited)[0]
    events = (last - first) // 1_000 * PACE
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "events_s": round(events / max(came[last] - came[first], 1) * 1_000)}


def paced(args, out, campaigns):
    source, count = out.replace("out", "in"), args.rate * args.seconds
    create_topic(args, source)
    consumer = reader(args, out)
    with Program(args, source, out) as program:
        begin = time.time_ns() // 1_000_000
        feeder = feed(args, source, count, args.rate, begin, True)
        last = (begin + args.seconds * 1_000 - DELAY - 3 * JITTER) // WINDOW * WINDOW
        rows = gather(program, consumer, "unknown", lambda rows: sum(end == last for end, _ in rows) == len(set(campaigns.values())))
        feeder.wait()
    check(rows, {window: counts for window, counts in expected(args, source, count, campaigns).items() if window[0] <= last})
    return summary([at - end for (end, _), (_, at) in rows.items() if begin + args.seconds * 400 < end <= last])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["backlog", "paced"])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--gen", required=True, help="the command tidemill")
    parser.add_argument("--yahoo", required=True, help="benches/yahoo.rs, built")
    parser.add_argument("--ads", required=True, help="the advertisements, as YAHOO ads writes them")
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the program ends, too
    with open(args.ads, "rb") as lines:
        campaigns = dict(line.rstrip(b"\n").split(b"\t") for line in lines)
    out = f"out-{time.time_ns()}"
    create_topic(args, out)
    print(json.dumps(backlog(args, out, campaigns) if args.mode == "backlog" else paced(args, out, campaigns)))


if __name__ == "__main__":
    main()
