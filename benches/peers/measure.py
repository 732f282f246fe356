#!/usr/bin/env python3
"""Measures one program that counts words from Kafka to Kafka, once. `scripts/bench throughput` and `latency` call it.

Usage: measure.py throughput --brokers B --gen TIDEMILL --words N -- COMMAND...
       measure.py latency --brokers B --gen TIDEMILL --rate R --seconds S -- COMMAND...

COMMAND has {brokers}, {in} and {out}: benches/peers/peers.py says what it must do. TIDEMILL is the command that generates words.

throughput: a topic has N words. Prints the seconds from the start of the program until the last count is there, and the CPU seconds
of all its processes until then.
latency: words come at a rate, after the program has counted a first word. Prints the percentiles of the milliseconds from a word's arrival
at the broker to the arrival of the first count that includes it. Words of the first 40 % of the time do not count.

Prints one JSON object. Fails if a count is wrong or missing.
"""
import argparse
import bisect
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
NO_LEADER = KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART
PATIENCE = 600  # seconds without a new count, start included
ROW = re.compile(rb'"word": *"([^"]*)".*"count": *(\d+)')


def create_topic(args, name):
    config = {"message.timestamp.type": "LogAppendTime"}  # so that both times of a latency are the broker's
    admin = AdminClient({"bootstrap.servers": args.brokers})
    if name in admin.list_topics(timeout=30).topics:
        return False
    admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)])[name].result()
    await_leaders(args, name)
    return True


def await_leaders(args, topic):
    """A broker answers that a topic exists before it leads all of its partitions."""
    until = time.monotonic() + 30
    while True:
        try:
            return sent(args, topic)
        except KafkaException as e:
            if not e.args[0].retriable() and e.args[0].code() not in NO_LEADER or time.monotonic() > until:
                raise
            time.sleep(0.1)


def reader(args, topic):
    consumer = Consumer({"bootstrap.servers": args.brokers, "group.id": "measure", "enable.auto.commit": False, "fetch.wait.max.ms": 20})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    return consumer


def sent(args, topic):
    consumer = reader(args, topic)
    return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(PARTITIONS))


def generate(args, topic, count, *more):
    return [args.gen, "gen", "words", "--brokers", args.brokers, "--topic", topic, "--count", str(count), *more]


def rows(messages):
    """The counts among these records, with the broker's time. Rows that retract a count (Pathway) are skipped."""
    for message in messages:
        if message.error() or message.value() is None or b'"diff":-1' in message.value():
            continue
        if found := ROW.search(message.value()):
            yield found[1], int(found[2]), message.timestamp()[1]


class Program:
    """The program under measurement, in its own session."""

    def __init__(self, args, source, out):
        names = {"brokers": args.brokers, "in": source, "out": out}
        command = [re.sub(r"\{(brokers|in|out)\}", lambda m: names[m[1]], word) for word in args.command]
        self.log = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)

    def check(self):
        if self.process.poll() is not None:
            self.fail(f"it ended with {self.process.returncode}")

    def fail(self, why):
        self.log.seek(0)
        sys.exit(f"{self.log.read().decode(errors='replace')[-4000:]}\nmeasure.py: {shlex.join(self.process.args)[:200]}: {why}")

    def cpu(self):
        """User and system seconds of all processes of its session, and of their children that have ended."""
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid:
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for how, patience in ((signal.SIGINT, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self.process.pid, how)
                self.process.wait(patience)
            except (subprocess.TimeoutExpired, ProcessLookupError):
                pass


def throughput(args, out):
    source = f"words-{args.words}"
    if create_topic(args, source) or sent(args, source) < args.words:
        missing = args.words - sent(args, source)
        subprocess.run(generate(args, source, missing), check=True, stderr=subprocess.DEVNULL)
    consumer, counts, total = reader(args, out), {}, 0
    with Program(args, source, out) as program:
        last = time.monotonic()
        while total < args.words:
            program.check()
            for word, count, _ in rows(consumer.consume(10_000, 0.1)):
                before = counts.get(word, 0)
                if count > before:
                    counts[word], total, last = count, total + count - before, time.monotonic()
            if time.monotonic() - last > PATIENCE:
                program.fail(f"no new count for {PATIENCE} s: {total} of {args.words} words")
        wall, cpu = time.monotonic() - program.began, program.cpu()
    if total != args.words:
        sys.exit(f"measure.py: {total} words were counted, and {args.words} are there")
    return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 2)}


def latency(args, out):
    source = out.replace("out", "in")
    create_topic(args, source)
    total, written = args.rate * args.seconds, {}
    consumer = reader(args, out)
    with Program(args, source, out) as program:
        first = Producer({"bootstrap.servers": args.brokers})
        first.produce(source, b'{"word": "first"}', partition=0)
        first.flush(30)
        counted, feeder, last = 0, None, time.monotonic()
        # A count of the first word means that the program is ready. Then every word must be counted.
        while counted < total + 1:
            program.check()
            for word, count, at in rows(consumer.consume(10_000, 0.02)):
                of_word = written.setdefault(word, [])
                if not of_word or count > of_word[-1][0]:
                    counted += count - (of_word[-1][0] if of_word else 0)
                    of_word.append((count, at))
                    last = time.monotonic()
            if feeder is None and counted:
                feeder = subprocess.Popen(generate(args, source, total, "--rate", str(args.rate)), stderr=subprocess.DEVNULL)
            patience = PATIENCE if feeder is None else 60
            if time.monotonic() - last > patience and (feeder is None or feeder.poll() is not None):
                program.fail(f"no new count for {patience} s: {counted} of {total + 1} words")
        feeder.wait()
    return percentiles(arrivals(args, source, total + 1), written, args.seconds)


def arrivals(args, source, total):
    """The broker's time of each word's records, in order."""
    consumer, came = reader(args, source), {}
    while total:
        for message in consumer.consume(min(total, 20_000), 1):
            came.setdefault(json.loads(message.value())["word"].encode(), []).append(message.timestamp()[1])
            total -= 1
    return {word: sorted(times) for word, times in came.items()}


def percentiles(came, written, seconds):
    begin = min(times[0] for word, times in came.items() if word != b"first") + seconds * 400
    taken = []
    for word, times in came.items():
        counts = written[word]
        for n, at in enumerate(times, 1):
            if at >= begin and word != b"first":
                taken.append(counts[bisect.bisect_left(counts, (n,))][1] - at)
    return summary(taken)


def summary(taken):
    """The percentiles of these milliseconds."""
    taken.sort()
    at = lambda share: taken[min(len(taken) - 1, int(len(taken) * share))]  # noqa: E731
    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": taken[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["throughput", "latency"])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--gen", required=True, help="the command tidemill")
    parser.add_argument("--words", type=int, default=5_000_000)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the program ends, too
    out = f"out-{time.time_ns()}"
    create_topic(args, out)
    print(json.dumps(throughput(args, out) if args.mode == "throughput" else latency(args, out)))


if __name__ == "__main__":
    main()
