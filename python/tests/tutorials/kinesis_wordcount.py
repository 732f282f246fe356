"""Spark's example of Kinesis. Its keys are those of the environment."""

import sys

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kinesis import InitialPositionInStream, KinesisUtils

if __name__ == "__main__":
    if len(sys.argv) != 5:
        print("Usage: kinesis_wordcount.py <app-name> <stream-name> <endpoint-url> <region-name>", file=sys.stderr)
        sys.exit(-1)

    sc = SparkContext(appName="PythonStreamingKinesisWordCountAsl")
    ssc = StreamingContext(sc, 1)
    appName, streamName, endpointUrl, regionName = sys.argv[1:]
    print("appname is" + appName)
    lines = KinesisUtils.createStream(ssc, appName, streamName, endpointUrl, regionName, InitialPositionInStream.LATEST, 2)
    counts = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    counts.pprint()

    ssc.start()
    ssc.awaitTermination()
