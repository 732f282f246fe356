"""PySpark Streaming's programs on tidemill: change the imports, and run them.

>>> from tidemill import SparkContext
>>> from tidemill.streaming import StreamingContext
>>> ssc = StreamingContext(SparkContext.getOrCreate(), 0.05)
>>> lines = ssc.queueStream([["to be or", "not to be"]], bounded=True)
>>> counts = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
>>> seen = []
>>> counts.foreachRDD(lambda rdd: seen.extend(sorted(rdd.collect())))
>>> ssc.start()
>>> ssc.awaitTermination()
>>> seen
[('be', 2), ('not', 1), ('or', 1), ('to', 2)]
"""

try:
    from ._engine import JobError
except ImportError as e:
    if "subinterpreter" not in str(e):
        raise
    raise ImportError("tidemill cannot be used in a subinterpreter: use the main interpreter, or another process") from e
from ._functions import column, json, lower, regex, row, split, strip, to_json, upper
from .context import Accumulator, Broadcast, SparkConf, SparkContext, StorageLevel
from .rdd import RDD

__version__ = "0.1.0"

__all__ = [
    "RDD",
    "Accumulator",
    "Broadcast",
    "JobError",
    "SparkConf",
    "SparkContext",
    "StorageLevel",
    "column",
    "json",
    "lower",
    "regex",
    "row",
    "split",
    "strip",
    "to_json",
    "upper",
]
