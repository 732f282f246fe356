"""PySpark's `pyspark.streaming.kafka`, which Spark 3 removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..rdd import OffsetRange
from ._kafka_settings import check_brokers, settings_of

if TYPE_CHECKING:
    from .context import StreamingContext
    from .dstream import DStream

__all__ = ["KafkaMessageAndMetadata", "KafkaUtils", "OffsetRange", "TopicAndPartition", "utf8_decoder"]


def utf8_decoder(s: bytes | None) -> str | None:
    """The text of UTF-8. It is the default, and done in Rust then."""
    return None if s is None else s.decode("utf-8")


class TopicAndPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


# The old class of PySpark, for programs that name it.
Broker = str


class KafkaMessageAndMetadata:
    """A record for a message handler. Key and message are decoded when they are asked for."""

    __slots__ = ("_keyDecoder", "_rawKey", "_rawMessage", "_valueDecoder", "offset", "partition", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        message: bytes | None,
        keyDecoder: Callable[[Any], Any] = utf8_decoder,
        valueDecoder: Callable[[Any], Any] = utf8_decoder,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self._rawKey = key
        self._rawMessage = message
        self._keyDecoder = keyDecoder
        self._valueDecoder = valueDecoder

    @property
    def key(self) -> Any:
        """The key, decoded."""
        return self._keyDecoder(self._rawKey)

    @property
    def message(self) -> Any:
        """The value, decoded."""
        return self._valueDecoder(self._rawMessage)


class KafkaUtils:
    """Sources of Kafka. A row is a pair of key and value, decoded as UTF-8 unless decoders are given."""

    @staticmethod
    def createDirectStream(
        ssc: StreamingContext,
        topics: list[str] | str,
        kafkaParams: dict[str, Any],
        fromOffsets: dict[TopicAndPartition, int] | None = None,
        keyDecoder: Callable[[Any], Any] = utf8_decoder,
        valueDecoder: Callable[[Any], Any] = utf8_decoder,
        messageHandler: Callable[[KafkaMessageAndMetadata], Any] | None = None,
    ) -> DStream:
        """The records of topics, read by ranges of offsets, which `rdd.offsetRanges()` has."""
        names = [topics] if isinstance(topics, str) else list(topics)
        settings, earliest = _start(settings_of(kafkaParams))
        offsets = [(place[0], place[1], offset) for place, offset in (fromOffsets or {}).items()]
        return _stream(ssc, "createDirectStream", keyDecoder, valueDecoder, messageHandler, settings, names, offsets, [], earliest, None)

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        zkQuorum: str,
        groupId: str,
        topics: dict[str, int] | list[str],
        kafkaParams: dict[str, Any] | None = None,
        storageLevel: Any = None,
        keyDecoder: Callable[[Any], Any] = utf8_decoder,
        valueDecoder: Callable[[Any], Any] = utf8_decoder,
    ) -> DStream:
        """The records of topics, read as a member of a consumer group. `zkQuorum` is the address of brokers: `host:9092`."""
        check_brokers(zkQuorum)
        settings, earliest = _start(settings_of({**(kafkaParams or {}), "bootstrap.servers": zkQuorum}))
        settings = [(name, value) for name, value in settings if name != "group.id"]
        return _stream(ssc, "createStream", keyDecoder, valueDecoder, None, settings, list(topics), [], [], earliest, groupId)

    @staticmethod
    def createRDD(
        ssc: StreamingContext,
        kafkaParams: dict[str, Any],
        offsetRanges: Iterable[OffsetRange],
        keyDecoder: Callable[[Any], Any] = utf8_decoder,
        valueDecoder: Callable[[Any], Any] = utf8_decoder,
        messageHandler: Callable[[KafkaMessageAndMetadata], Any] | None = None,
    ) -> DStream:
        """The records of given ranges, as a stream of one batch. The job ends after it. It takes a StreamingContext, not a SparkContext."""
        ranges = list(offsetRanges)
        if not ranges:
            raise ValueError("createRDD: it needs at least one range")
        settings, _ = _start(settings_of(kafkaParams))
        offsets = [(one.topic, one.partition, one.fromOffset) for one in ranges]
        until = [one.untilOffset for one in ranges]
        return _stream(ssc, "createRDD", keyDecoder, valueDecoder, messageHandler, settings, [], offsets, until, False, None)

    create_direct_stream = createDirectStream
    create_stream = createStream
    create_rdd = createRDD


def _start(settings: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    """The settings without `auto.offset.reset`, and whether it says earliest."""
    rest = [(name, value) for name, value in settings if name != "auto.offset.reset"]
    return rest, dict(settings).get("auto.offset.reset") == "earliest"


def _stream(
    ssc: StreamingContext,
    name: str,
    key: Callable[[Any], Any],
    value: Callable[[Any], Any],
    handler: Callable[[KafkaMessageAndMetadata], Any] | None,
    settings: list[tuple[str, str]],
    topics: list[str],
    offsets: list[tuple[str, int, int]],
    until: list[int],
    earliest: bool,
    group: str | None,
) -> DStream:
    def stream(rows: str) -> DStream:
        return ssc._source("kafka", (settings, topics, offsets, until, earliest, group, rows, False), name)

    if handler is not None:
        handle = handler
        return stream("message").map(lambda record: handle(KafkaMessageAndMetadata(*record, key, value)))
    if key is utf8_decoder and value is utf8_decoder:
        return stream("text")
    return stream("bytes").map(lambda record: (key(record[0]), value(record[1])))
