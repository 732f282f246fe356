"""PySpark's `pyspark.streaming` on tidemill."""

from .context import StreamingContext
from .dstream import DStream

__all__ = ["DStream", "StreamingContext"]
