"""PySpark's `pyspark.streaming` on tidemill."""

from ._tries import BadRow
from .context import StreamingContext
from .dstream import DStream

__all__ = ["BadRow", "DStream", "StreamingContext"]
