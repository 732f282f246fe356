"""Reads words from a topic, and writes their running counts to two others, exactly once: `kafka_wordcount.rs` in Python. `scripts/torture` kills it.

It reads `{"word": ...}`, and writes `{"word": ..., "count": ...}` whenever a count changes. The first topic gets what a function of Python counts,
and the second one what Rust sums.

    python -m tidemill --checkpoint states dataflows/kafka_wordcount.py 127.0.0.1:9092 words counts sums
"""

import json
import sys

from tidemill import SparkContext, column, row, to_json
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, source, counts, sums = sys.argv[1:]


def count(new, state):
    """The count, and whether this batch has changed it."""
    before = state[0] if state else 0
    return (before + sum(new), bool(new))


def record(word, n):
    return (word, json.dumps({"word": word, "count": n}))


ssc = StreamingContext(SparkContext(appName="kafka-wordcount"), 0.25)
records = KafkaUtils.createDirectStream(ssc, [source], {"bootstrap.servers": brokers, "auto.offset.reset": "earliest"})
words = records.map(lambda record: json.loads(record[1])["word"])
counted = words.map(lambda word: (word, 1)).updateStateByKey(count).filter(lambda pair: pair[1][1])
counted.map(lambda pair: record(pair[0], pair[1][0])).to_kafka(counts, brokers, exactly_once=True)
summed = words.countByValue().sum_by_key().map(row(column(0), to_json(word=column(0), count=column(1))))
summed.to_kafka(sums, brokers, exactly_once=True)
ssc.start()
ssc.awaitTermination()
