"""The word count with a function of each batch: what the tutorial gives to SQL."""

import sys

from tidemill import SparkConf, SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils


def process(time, rdd):
    print("========= %s =========" % str(time))
    rowRdd = rdd.map(lambda w: {"word": w[0], "cnt": w[1]})
    for row in rowRdd.sortBy(lambda row: row["word"]).collect():
        print(row)
    print("total %s" % rowRdd.map(lambda row: row["cnt"]).sum())


if __name__ == "__main__":
    sc = SparkContext(conf=SparkConf().setAppName("PythonStreamingKafkaRows").setMaster("local[2]"))
    ssc = StreamingContext(sc, 1)
    brokers, topic = sys.argv[1:]
    kvs = KafkaUtils.createStream(ssc, brokers, "spark-streaming-consumer", {topic: 1})
    words = kvs.map(lambda x: x[1]).flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    words.foreachRDD(process)
    ssc.start()
    ssc.awaitTermination()
