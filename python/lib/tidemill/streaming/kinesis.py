"""PySpark's `pyspark.streaming.kinesis`: streams of Amazon Kinesis."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..context import StorageLevel
from .kafka import utf8_decoder

if TYPE_CHECKING:
    from .context import StreamingContext
    from .dstream import DStream

__all__ = ["InitialPositionInStream", "KinesisUtils", "MetricsLevel", "utf8_decoder"]


class InitialPositionInStream:
    """Where a stream begins if the checkpoint directory has no earlier run: at new records, or at the oldest one."""

    LATEST, TRIM_HORIZON = 0, 1


class MetricsLevel:
    """Names only: the page and the metrics of the job have what a stream does."""

    DETAILED, SUMMARY, NONE = 0, 1, 2


_POSITIONS = {InitialPositionInStream.LATEST: "LATEST", InitialPositionInStream.TRIM_HORIZON: "TRIM_HORIZON"}
_METRICS_LEVEL = 7
"""The place of `metricsLevel` among the arguments. Spark 2 has no such argument, and the storage level in its place."""


def _as_in_spark_2_too(create: Callable[..., DStream]) -> Callable[..., DStream]:
    @functools.wraps(create)
    def either(*arguments: Any, **named: Any) -> DStream:
        if len(arguments) > _METRICS_LEVEL and isinstance(arguments[_METRICS_LEVEL], str):
            arguments = (*arguments[:_METRICS_LEVEL], MetricsLevel.DETAILED, *arguments[_METRICS_LEVEL:])
        return create(*arguments, **named)

    return either


class KinesisUtils:
    """Sources of Kinesis. They need no DynamoDB: positions are in the checkpoint directory of the job."""

    @staticmethod
    @_as_in_spark_2_too
    def createStream(
        ssc: StreamingContext,
        kinesisAppName: str,
        streamName: str,
        endpointUrl: str | None,
        regionName: str | None,
        initialPositionInStream: int,
        checkpointInterval: float,
        metricsLevel: int = MetricsLevel.DETAILED,
        storageLevel: Any = StorageLevel.MEMORY_AND_DISK_2,
        awsAccessKeyId: str | None = None,
        awsSecretKey: str | None = None,
        decoder: Callable[[bytes], Any] = utf8_decoder,
        stsAssumeRoleArn: str | None = None,
        stsSessionName: str | None = None,
        stsExternalId: str | None = None,
    ) -> DStream:
        """The data of a stream's records, as text unless another decoder is given. All shards are read, by sequence numbers.

        `endpointUrl`, `regionName` and keys that are `None` are those of the environment, of `~/.aws`, or of the machine. Keys never appear
        in a message. `kinesisAppName`, `checkpointInterval`, `metricsLevel` and `storageLevel` have no effect.

        >>> from tidemill import SparkContext
        >>> from tidemill.streaming import StreamingContext
        >>> ssc = StreamingContext(SparkContext.getOrCreate(), 2)
        >>> latest = InitialPositionInStream.LATEST
        >>> lines = KinesisUtils.createStream(ssc, "words", "lines", "https://kinesis.us-east-1.amazonaws.com", "us-east-1", latest, 2)
        >>> lines.flatMap(lambda line: line.split(" ")).countByValue().pprint()
        """
        if initialPositionInStream not in _POSITIONS:
            raise ValueError(
                f"initialPositionInStream: InitialPositionInStream.LATEST or .TRIM_HORIZON is needed, not {initialPositionInStream!r}"
            )
        settings = {
            "streamName": streamName,
            "endpointUrl": endpointUrl,
            "regionName": regionName,
            "initialPositionInStream": _POSITIONS[initialPositionInStream],
            "awsAccessKeyId": awsAccessKeyId,
            "awsSecretKey": awsSecretKey,
            "stsAssumeRoleArn": stsAssumeRoleArn,
            "stsSessionName": stsSessionName,
            "stsExternalId": stsExternalId,
        }
        given = [(name, value) for name, value in settings.items() if value is not None]
        wrong = [name for name, value in given if not isinstance(value, str)]
        if wrong:
            raise TypeError(f"{wrong[0]}: a str is needed")  # The value may be a key.
        known = decoder is utf8_decoder
        records = ssc._source("kinesis", (given, known), "KinesisUtils.createStream")
        return records if known else records.map(decoder)

    create_stream = createStream
