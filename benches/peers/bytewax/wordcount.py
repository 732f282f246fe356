"""Counts words with Bytewax, record by record, on one worker. `python -m bytewax.run wordcount:flow`, with BROKERS, IN and OUT in the
environment. Runs until it is stopped."""
import json
import os

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, operators as kafka
from bytewax.dataflow import Dataflow

brokers = [os.environ["BROKERS"]]


def word(record):
    return json.loads(record.value)["word"], 1


def add(total, one):
    total = (total or 0) + one
    return total, total


def row(item):
    name, count = item
    return KafkaSinkMessage(name.encode(), json.dumps({"word": name, "count": count}).encode())


flow = Dataflow("wordcount")
records = kafka.input("in", flow, brokers=brokers, topics=[os.environ["IN"]], batch_size=1000)
counts = op.stateful_map("count", op.map("word", records.oks, word), add)
kafka.output("out", op.map("row", counts, row), brokers=brokers, topic=os.environ["OUT"])
