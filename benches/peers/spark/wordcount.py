"""Counts words with Spark Structured Streaming: one core, output mode update, the next trigger as soon as the previous one is done.

Arguments: BROKERS IN OUT throughput|latency. SPARK_JARS is the folder of Spark's Kafka connector. Runs until it is stopped.
"""
import os
import pathlib
import sys
import tempfile

from pyspark.sql import SparkSession
from pyspark.sql.functions import from_json, to_json, struct

brokers, source, out, _mode = sys.argv[1:]
jars = ",".join(str(jar) for jar in pathlib.Path(os.environ["SPARK_JARS"]).glob("*.jar"))
settings = {"spark.jars": jars, "spark.sql.shuffle.partitions": "1", "spark.ui.enabled": "false", "spark.driver.memory": "2g"}
builder = SparkSession.builder.master("local[1]").appName("wordcount")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")

records = spark.readStream.format("kafka").option("kafka.bootstrap.servers", brokers).option("subscribe", source)
records = records.option("startingOffsets", "earliest").load()
words = records.select(from_json(records.value.cast("string"), "word STRING").word.alias("word"))
counts = words.groupBy("word").count()
rows = counts.select(counts.word.alias("key"), to_json(struct("word", "count")).alias("value"))
query = rows.writeStream.outputMode("update").format("kafka").option("kafka.bootstrap.servers", brokers).option("topic", out)
with tempfile.TemporaryDirectory(prefix="spark-checkpoint-") as checkpoint:
    query.option("checkpointLocation", checkpoint).start().awaitTermination()
