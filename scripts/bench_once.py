"""Measures the cost of exactly once: kafka_wordcount with and without --checkpoint DIR --exactly-once. `scripts/bench once` calls it.

Arguments: BROKERS PROGRAM PAIRS WORDS RATE SECONDS. It counts a backlog from Kafka to Kafka. Then it
sends words at a rate. A reader of committed rows measures the time from the broker of the input to itself. Prints Markdown.
"""
import json
import multiprocessing
import random
import shutil
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKERS = sys.argv[1] if len(sys.argv) > 1 else ""
PARTITIONS = 4
draw = random.Random(1)
lexicon = ["".join(draw.choices(string.ascii_lowercase, k=7)) for _ in range(5000)]


def topic(name):
    name = f"bench-once-{name}-{time.time_ns()}"
    stamps = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": BROKERS})
    admin.create_topics([NewTopic(name, PARTITIONS, 1, config=stamps)])[name].result()
    return name


def reader(name):
    config = {"bootstrap.servers": BROKERS, "group.id": "bench", "enable.auto.commit": False, "fetch.wait.max.ms": 20,
              "isolation.level": "read_committed"}
    consumer = Consumer(config)
    consumer.assign([TopicPartition(name, p, 0) for p in range(PARTITIONS)])
    return consumer


def produce(name, count, rate=None):
    producer = Producer({"bootstrap.servers": BROKERS, "linger.ms": 1, "queue.buffering.max.messages": 1000000})
    began, sent = time.time(), 0
    while sent < count:
        due = count if rate is None else min(count, int((time.time() - began) * rate))
        while sent < due:
            try:
                producer.produce(name, b'{"word":"%s"}' % draw.choice(lexicon).encode(), partition=sent % PARTITIONS)
                sent += 1
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
        time.sleep(0.002)
    producer.flush()


class Job:
    def __init__(self, program, source, once):
        self.out, self.dir = topic("out"), tempfile.mkdtemp(prefix="tidemill-bench-once-")
        extra = ["--checkpoint", f"{self.dir}/checkpoint", "--exactly-once"] if once else []
        command = [program, "--brokers", BROKERS, "--in", source, "--out", self.out, "--interval", "100ms", "--from", "earliest"]
        self.began, self.process = time.time(), subprocess.Popen([*command, *extra], stderr=subprocess.DEVNULL)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        shutil.rmtree(self.dir)


def backlog(program, source, words, once):
    """Seconds from the start of the job, and from its first row, until all totals are written."""
    job = Job(program, source, once)
    consumer, totals, first = reader(job.out), {}, None
    while sum(totals.values()) < words:
        assert job.process.poll() is None, "the job has ended"
        for message in consumer.consume(10000, 0.2):
            first = first or time.time()
            row = json.loads(message.value())
            totals[row["word"]] = max(row["count"], totals.get(row["word"], 0))
    now = time.time()
    job.end()
    return now - job.began, now - first


def latency(program, rate, seconds, once):
    """Percentiles of the time from a word's broker to a reader of the total that counts it, in ms."""
    source = topic("in")
    job = Job(program, source, once)
    time.sleep(4)
    consumer, rows = reader(job.out), []
    feeder = multiprocessing.get_context("spawn").Process(target=produce, args=(source, rate * seconds, rate))
    feeder.start()
    until = None
    while until is None or time.time() < until:
        got, now = consumer.consume(5000, 0.02), time.time() * 1000
        rows.extend((now, message.value()) for message in got)
        if until is None and not feeder.is_alive():
            until = time.time() + 3
    job.end()
    came, consumer, left = {}, reader(source), rate * seconds
    while left:
        for message in consumer.consume(20000, 1.0):
            came.setdefault(json.loads(message.value())["word"], []).append(message.timestamp()[1])
            left -= 1
    totals = {}
    for now, value in rows:
        row = json.loads(value)
        totals.setdefault(row["word"], []).append((row["count"], now))
    began, taken = min(min(times) for times in came.values()), []
    for word, times in came.items():
        done = 0
        for count, now in sorted(totals.get(word, [])):
            taken.extend(now - t for t in sorted(times)[done:count] if t > began + 3000)
            done = max(done, count)
        assert done == len(times), f"{word}: {done} of {len(times)} counted"
    return [statistics.quantiles(taken, n=100)[p - 1] for p in (50, 95, 99)]


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main():
    program, pairs, words, rate, seconds = sys.argv[2], *map(int, sys.argv[3:])
    source = topic("words")
    print(f"scripts/bench: {words:,} words", file=sys.stderr)
    produce(source, words)
    walls, times = {False: [], True: []}, {False: [], True: []}
    for pair in range(pairs):
        for once in (False, True) if pair % 2 == 0 else (True, False):
            walls[once].append(backlog(program, source, words, once))
            times[once].append(latency(program, rate, seconds, once))
            print(f"scripts/bench: pair {pair + 1}, exactly once {once}: {walls[once][-1]} {times[once][-1]}", file=sys.stderr)
    print(f"\n**once**: {words:,} words from Kafka to Kafka; then {rate:,} a second for {seconds} s, ms from the broker to a reader of")
    print(f"committed rows; 100 ms batches, 1 worker, {pairs} interleaved pairs; median (min-max).\n")
    print("| | s with the start | s from the first row | p50 | p95 | p99 |\n|---|---|---|---|---|---|")
    for once, name in ((False, "at least once"), (True, "exactly once, with checkpoints")):
        cells = [spread(column) for column in zip(*walls[once])] + [spread(column, 0) for column in zip(*times[once])]
        print(f"| {name} | {' | '.join(cells)} |")
    ratios = [spread([b[i] / a[i] for a, b in zip(walls[False], walls[True])]) for i in (0, 1)]
    ratios += [spread([b[i] / a[i] for a, b in zip(times[False], times[True])]) for i in (0, 1, 2)]
    print(f"| ratio within a pair | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
