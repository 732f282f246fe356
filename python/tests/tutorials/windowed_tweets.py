"""Tweets of a batch and of a minute: the second program of the tutorial about tweets, with a checkpoint."""

import json
import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, topic, checkpoint = sys.argv[1:]


def createContext():
    sc = SparkContext(appName="PythonSparkStreamingTweets_02")
    sc.setLogLevel("WARN")
    ssc = StreamingContext(sc, 5)

    kafkaStream = KafkaUtils.createStream(ssc, brokers, "spark-streaming2", {topic: 1})
    parsed = kafkaStream.map(lambda v: json.loads(v[1]))

    count_this_batch = kafkaStream.count().map(lambda x: "Tweets this batch: %s" % x)
    count_windowed = kafkaStream.countByWindow(60, 5).map(lambda x: "Tweets total (One minute rolling count): %s" % x)

    authors_dstream = parsed.map(lambda tweet: tweet["user"]["screen_name"])
    count_values_this_batch = (
        authors_dstream.countByValue()
        .transform(lambda rdd: rdd.sortBy(lambda x: -x[1]))
        .map(lambda x: "Author counts this batch:\tValue %s\tCount %s" % (x[0], x[1]))
    )
    count_values_windowed = (
        authors_dstream.countByValueAndWindow(60, 5)
        .transform(lambda rdd: rdd.sortBy(lambda x: -x[1]))
        .map(lambda x: "Author counts (One minute rolling):\tValue %s\tCount %s" % (x[0], x[1]))
    )

    count_this_batch.union(count_windowed).pprint()
    count_values_this_batch.pprint(5)
    count_values_windowed.pprint(5)
    return ssc


ssc = StreamingContext.getOrCreate(checkpoint, lambda: createContext())
ssc.start()
ssc.awaitTermination()
