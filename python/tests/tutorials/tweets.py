"""Who tweets what: the first program of the tutorial about tweets, with the address of brokers in place of a ZooKeeper's."""

import json
import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, topic = sys.argv[1:]
sc = SparkContext(appName="PythonSparkStreamingTweets_01")
sc.setLogLevel("WARN")
ssc = StreamingContext(sc, 60)
kafkaStream = KafkaUtils.createStream(ssc, brokers, "spark-streaming", {topic: 1})

parsed = kafkaStream.map(lambda v: json.loads(v[1]))
parsed.count().map(lambda x: "Tweets in this batch: %s" % x).pprint()

authors_dstream = parsed.map(lambda tweet: tweet["user"]["screen_name"])
author_counts = authors_dstream.countByValue()
author_counts.pprint()

author_counts_sorted_dstream = author_counts.transform(lambda foo: foo.sortBy(lambda x: (-x[1], x[0])))
author_counts_sorted_dstream.pprint()

top_five_authors = author_counts_sorted_dstream.transform(lambda rdd: sc.parallelize(rdd.take(5)))
top_five_authors.pprint()

filtered_authors = author_counts.filter(lambda x: x[1] > 1 or x[0].lower().startswith("rm"))
filtered_authors.transform(lambda rdd: rdd.sortBy(lambda x: -x[1])).pprint()

parsed.flatMap(lambda tweet: tweet["text"].split(" ")).countByValue().transform(lambda rdd: rdd.sortBy(lambda x: (-x[1], x[0]))).pprint()

ssc.start()
ssc.awaitTermination()
