"""Counts words with Pathway, on one thread. Arguments: BROKERS IN OUT throughput|latency. Runs until it is stopped.

A batch has the records of 100 ms (throughput) or 5 ms (latency). A changed count is a row with diff 1 and the previous one with diff -1.
"""
import sys

import pathway as pw


class Word(pw.Schema):
    word: str


brokers, source, out, mode = sys.argv[1:]
settings = {"bootstrap.servers": brokers, "group.id": out, "auto.offset.reset": "earliest"}
every = 5 if mode == "latency" else 100
words = pw.io.kafka.read(settings, topic=source, format="json", schema=Word, autocommit_duration_ms=every)
counts = words.groupby(words.word).reduce(words.word, count=pw.reducers.count())
pw.io.kafka.write(counts, {"bootstrap.servers": brokers, "linger.ms": "1"}, topic_name=out, format="json")
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
