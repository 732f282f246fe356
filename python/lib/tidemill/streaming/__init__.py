"""PySpark's `pyspark.streaming` on tidemill."""

from ._tries import BadRow
from .context import StreamingContext
from .dstream import DStream
from .listener import StreamingListener

__all__ = ["BadRow", "DStream", "StreamingContext", "StreamingListener"]
