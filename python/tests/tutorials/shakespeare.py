"""The book's exercises over a topic: words of a batch, states of words, a window, and a window with an inverse."""

import re
import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, topic, checkpoint = sys.argv[1:]
sc = SparkContext("local[2]", "Shakespeare")
ssc = StreamingContext(sc, 30)
ssc.checkpoint(checkpoint)


def updateFunc(new_values, last_sum):
    return sum(new_values) + (last_sum or 0)


stream = KafkaUtils.createDirectStream(ssc, [topic], {"metadata.broker.list": brokers})
lines = stream.map(lambda record: record[1])
pairs = lines.flatMap(lambda l: re.split(r"\W+", l.lower())).filter(lambda w: len(w) > 3).map(lambda w: (w, 1))  # noqa: E741
pairs.reduceByKey(lambda a, b: a + b).pprint()
pairs.updateStateByKey(updateFunc).pprint()
lines.window(60, 60).pprint()
pairs.reduceByKeyAndWindow(lambda x, y: x + y, lambda x, y: x - y, 60, 30, filterFunc=lambda kv: kv[1] > 0).pprint()
ssc.start()
ssc.awaitTermination()
