"""A broker of Kafka for tests and for notebooks: inside this process, or one that runs elsewhere.

>>> broker = Broker()
>>> broker.create_topic("words", 1)
>>> broker.send("words", ["to be", ("key", "or not")])
>>> broker.commit("readers", "words", 1)
"""

from __future__ import annotations

from collections.abc import Iterable

from . import _engine

__all__ = ["Broker"]

Text = str | bytes | None


def _bytes(text: Text) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


class Broker:
    """librdkafka's mock cluster. It is not a full Kafka: it keeps a few MiB of each partition, and loses everything at its end.

    With an address, `host:port`, it is the broker there.
    """

    def __init__(self, address: str | None = None) -> None:
        self._broker = _engine.Broker(address)

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`"""
        return self._broker.address

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Creates a topic."""
        self._broker.create_topic(name, partitions)

    def send(self, topic: str, records: Iterable[Text | tuple[Text, Text]], partition: int = 0) -> None:
        """Writes values, or pairs of key and value, and waits until the broker has them."""
        pairs = [record if isinstance(record, tuple) else (None, record) for record in records]
        self._broker.send(topic, partition, [(_bytes(key), _bytes(value)) for key, value in pairs])

    def commit(self, group: str, topic: str, offset: int, partition: int = 0) -> None:
        """A consumer group begins at this offset: `KafkaUtils.createStream` does so. The group must have no member."""
        self._broker.commit(group, topic, partition, offset)
