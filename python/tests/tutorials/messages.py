"""Messages and their words as text files, and the requests of a web log: the tutorial about notebooks."""

import re
import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils

brokers, mytopic, folder = sys.argv[1:]
sc = SparkContext.getOrCreate()
ssc = StreamingContext(sc, 5)
kafka_dstream = KafkaUtils.createStream(ssc, brokers, "sparkit", {mytopic: 1})
kafka_dstream.saveAsTextFiles(prefix=folder + "/g", suffix="log")

values = kafka_dstream.map(lambda x: x[1])
counts = values.flatMap(lambda value: value.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
counts.saveAsTextFiles(prefix=folder + "/f", suffix="log")

pattern = re.compile(r'"(GET|POST) (\S+)')
requests = values.map(lambda line: pattern.search(line)).filter(lambda found: found).map(lambda found: (found.groups(), 1))
requests.reduceByKey(lambda a, b: a + b).pprint()

ssc.start()
ssc.awaitTermination()
