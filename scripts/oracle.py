#!/usr/bin/python3
"""Whether kafka_wordcount wrote every total exactly once: by an outside client, from the documented formats, sharing no code.

Usage: oracle.py --brokers HOST:PORT --in TOPIC --out TOPIC --checkpoint DIR

Reads the committed records of both topics and the plan log (docs/formats.md), works out what one run without any failure
writes, and says how many totals are lost, there twice, or wrong. Ends with 0 only if none is. Needs confluent-kafka
(on Debian or Ubuntu: apt-get install python3-confluent-kafka).
"""
import argparse
import collections
import json
import pathlib
import struct
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition


class Bytes:
    """The encoding: varints, signed ones zigzag, strings with their length in front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self):
        n = self.unsigned()
        return (n >> 1) ^ -(n & 1)

    def text(self):
        n = self.unsigned()
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def split(self):
        kind, name = self.unsigned(), self.text()
        if kind == 0:
            return name, self.signed()
        if kind == 1:
            self.unsigned(), self.signed()
        return name, None

    def plan(self):
        time, ranges = self.unsigned(), []
        for _ in range(self.unsigned()):
            self.unsigned(), self.unsigned()  # source, lane
            ranges.append((self.split(), self.signed(), self.signed()))
        return time, ranges


def plan_log(directory):
    """Every plan, in order. What a crash tore off is what the next segment does not count."""
    segments = []
    for path in sorted(pathlib.Path(directory, "plans").glob("g*-*")):
        data = path.read_bytes()
        head = Bytes(data[40 : 40 + struct.unpack(">Q", data[16:24])[0]])
        head.unsigned(), head.unsigned(), head.unsigned()  # directory, generation, segment
        before = None
        if head.unsigned():
            head.unsigned(), head.unsigned()
            before = head.unsigned()
        if before is not None and segments:
            segments[-1] = segments[-1][:before]
        segments.append(data)
    last = 0
    for data in segments:
        at = 40 + struct.unpack(">Q", data[16:24])[0]
        while at + 16 <= len(data):
            size = struct.unpack(">I", data[at : at + 4])[0]
            if size == 0 or at + 16 + size > len(data):
                break
            time, ranges = Bytes(data[at + 16 : at + 16 + size]).plan()
            assert time > last, f"the plan of {time} comes after that of {last}"
            last = time
            yield time, ranges
            at += 16 + size


def log(brokers, topic, isolation="read_committed"):
    """Each partition's records: offset and JSON value."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "oracle", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "enable.partition.eof": True, "isolation.level": isolation})
    partitions = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    found, ended = {p: [] for p in partitions}, set()
    while len(ended) < len(partitions):
        message = consumer.poll(30)
        assert message is not None, f"topic {topic} has no end"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
        else:
            found[message.partition()].append((message.offset(), json.loads(message.value())))
    consumer.close()
    return found


def expected(records, directory):
    """The totals of each word, as one run writes them; and how many records are in no plan."""
    totals, counts, following = collections.defaultdict(list), collections.Counter(), {}
    records = {p: dict(rows) for p, rows in records.items()}
    planned = 0
    for time, ranges in plan_log(directory):
        changed = collections.Counter()
        for (_, partition), begin, until in ranges:
            assert following.get(partition, begin) == begin, f"a gap or an overlap at {time} in partition {partition}"
            following[partition] = until
            changed.update(records[partition][o]["word"] for o in range(begin, until) if o in records[partition])
        planned += sum(changed.values())
        for word, n in changed.items():
            counts[word] += n
            totals[word].append(counts[word])
    return totals, sum(map(len, records.values())) - planned


def judge(brokers, words, counts, directory):
    totals, unplanned = expected(log(brokers, words), directory)
    seen = collections.defaultdict(list)
    for rows in log(brokers, counts).values():
        for _, row in rows:
            seen[row["word"]].append(row["count"])
    lost = twice = wrong = 0
    for word in totals.keys() | seen.keys():
        want, have = collections.Counter(totals[word]), collections.Counter(seen[word])
        lost += len(want - have)
        twice += sum(n - 1 for n in have.values() if n > 1)
        wrong += len(have.keys() - want.keys()) + (seen[word] != sorted(seen[word]))
    return lost + unplanned, twice, wrong, sum(map(len, seen.values()))


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--brokers", required=True)
    args.add_argument("--in", dest="words", required=True)
    args.add_argument("--out", dest="counts", required=True)
    args.add_argument("--checkpoint", required=True)
    args = args.parse_args()
    lost, twice, wrong, rows = judge(args.brokers, args.words, args.counts, args.checkpoint)
    print(f"{rows} totals: {lost} lost, {twice} twice, {wrong} wrong")
    sys.exit(1 if lost or twice or wrong else 0)
