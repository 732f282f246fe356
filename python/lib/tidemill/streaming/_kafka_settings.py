"""Settings of Kafka, with the names that PySpark's programs use."""

from __future__ import annotations

from typing import Any

# The names of the old consumer, which PySpark's module used.
_OLD = {"metadata.broker.list": "bootstrap.servers", "zookeeper.connect": ""}
_OLD_RESETS = {"smallest": "earliest", "largest": "latest"}
_UNUSED = ("key.deserializer", "value.deserializer", "enable.auto.commit", "auto.commit.interval.ms", "zookeeper.connection.timeout.ms")


def settings_of(params: dict[str, Any]) -> list[tuple[str, str]]:
    """The settings for the engine."""
    if not isinstance(params, dict):
        raise TypeError(f"kafkaParams: a dict is needed, not {params!r}")
    settings: dict[str, str] = {}
    for key, value in params.items():
        name = _OLD.get(key, key)
        if name and name not in _UNUSED:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            settings[name] = _OLD_RESETS.get(text, text) if name == "auto.offset.reset" else text
    if not settings.get("bootstrap.servers"):
        raise ValueError("kafkaParams: bootstrap.servers is missing, the address of a broker as host:9092")
    check_brokers(settings["bootstrap.servers"])
    return list(settings.items())


def check_brokers(address: str) -> None:
    """The port of ZooKeeper is the usual mistake: Kafka has no ZooKeeper any more."""
    if any(part.strip().endswith(":2181") for part in address.split(",")):
        raise ValueError(f"{address}: this is the port of ZooKeeper, which Kafka no longer has; give the brokers, as host:9092")
