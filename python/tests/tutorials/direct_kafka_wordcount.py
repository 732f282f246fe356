"""The direct stream of the integration guide: its word count, and the offsets of each batch."""

import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

offsetRanges = []


def storeOffsetRanges(rdd):
    offsetRanges.append(rdd.offsetRanges())
    return rdd


def printOffsetRanges(rdd):
    # The guide has a variable for the ranges of one batch, which may be that of the next batch here.
    assert rdd.offsetRanges() in offsetRanges
    for o in rdd.offsetRanges():
        print("%s %s %s %s" % (o.topic.split("-")[0], o.partition, o.fromOffset, o.untilOffset))


if __name__ == "__main__":
    sc = SparkContext(appName="PythonStreamingDirectKafkaWordCount")
    ssc = StreamingContext(sc, 2)
    brokers, topic = sys.argv[1:]
    kvs = KafkaUtils.createDirectStream(ssc, [topic], {"metadata.broker.list": brokers})
    lines = kvs.map(lambda x: x[1])
    counts = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    counts.pprint()
    kvs.transform(storeOffsetRanges).foreachRDD(printOffsetRanges)
    ssc.start()
    ssc.awaitTermination()
