"""Counts words with tidemill's package for Python, on one worker. Arguments: BROKERS IN OUT throughput|latency rust|lambda. Runs until it is
stopped.

`rust`: every function is one that Rust knows, so no row becomes an object of Python. `lambda`: functions as a program of PySpark has them, which
Python calls for every record, and `reduceByKey` by a function that Rust does not know.
"""
import json
import sys

from tidemill import SparkContext, column, row, to_json
from tidemill import json as part
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, source, out, mode, how = sys.argv[1:]


def add(one, other):
    total = one + other
    return total


def by_rust(records):
    counts = records.map(column(1)).map(part("word")).countByValue().sum_by_key()
    return counts.map(row(column(0), to_json(word=column(0), count=column(1))))


def by_lambdas(records):
    words = records.map(lambda record: json.loads(record[1])["word"])
    counts = words.map(lambda word: (word, 0 + 1)).reduceByKey(add).sum_by_key()
    return counts.map(lambda pair: (pair[0], json.dumps({"word": pair[0], "count": pair[1]})))


sc = SparkContext("local[1]", f"wordcount-{how}")
ssc = StreamingContext(sc, 0.005 if mode == "latency" else 0.1)
records = KafkaUtils.createDirectStream(ssc, [source], {"bootstrap.servers": brokers, "auto.offset.reset": "earliest"})
(by_rust if how == "rust" else by_lambdas)(records).to_kafka(out, brokers)
ssc.start()
try:
    ssc.awaitTermination()
except KeyboardInterrupt:
    pass
