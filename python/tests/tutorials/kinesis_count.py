"""The program of the book about Kinesis, as for Spark 2: the storage level is behind the interval of checkpoints."""

import sys

from tidemill import SparkContext, StorageLevel
from tidemill.streaming import StreamingContext
from tidemill.streaming.kinesis import InitialPositionInStream, KinesisUtils

endpointUrl, streamName = sys.argv[1:]
sc = SparkContext(appName="KinesisCountApplication")
ssc = StreamingContext(sc, 30)
appName = "KinesisCountApplication"
regionName = "ap-southeast-2"
awsAccessKeyId = "YOURAWSACCESSKEYID"
awsSecretKey = "YOURAWSSECRETKEY"
# connect to Kinesis Stream
records = KinesisUtils.createStream(
    ssc,
    appName,
    streamName,
    endpointUrl,
    regionName,
    InitialPositionInStream.LATEST,
    2,
    StorageLevel.MEMORY_AND_DISK_2,
    awsAccessKeyId,
    awsSecretKey,
)
# do some processing
output = records.flatMap(lambda line: line.split(" ")).countByValue()
output.pprint()
ssc.start()
ssc.awaitTermination()
