"""What the tests share: a SparkContext for each, and jobs over given batches."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.testing import Broker

TIMEOUT = 120


@pytest.fixture(params=[1, 2, 4], ids=lambda n: f"{n}w")
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves its context and its job behind, an example its context, and setLogLevel a variable."""
    level = os.environ.pop("RUST_LOG", None)
    yield
    os.environ.pop("RUST_LOG", None)
    if level is not None:
        os.environ["RUST_LOG"] = level
    active = StreamingContext.getActive()
    if active is not None:
        active._end()
    SparkContext.getOrCreate().stop()


@pytest.fixture
def sc() -> SparkContext:
    return SparkContext("local[2]", "tests")


@pytest.fixture(scope="session")
def broker() -> Broker:
    return Broker()


def run(batches: list[list[Any]], build: Callable[..., Any], workers: int = 2, more: tuple = (), checkpoint: Any = None) -> list[Any]:
    """The rows of each batch of what `build` makes of streams of these batches."""
    with SparkContext(f"local[{workers}]", "tests") as sc:
        ssc = StreamingContext(sc, 0.02)
        if checkpoint is not None:
            ssc.checkpoint(checkpoint)
        streams = [ssc.queueStream(one, bounded=True) for one in (batches, *more)]
        seen: list[Any] = []
        build(*streams).foreachRDD(lambda rdd: seen.append(rdd.collect()))
        ssc.start()
        assert ssc.awaitTerminationOrTimeout(TIMEOUT), "the job hangs"
        return seen


def blocks(text: str) -> str:
    """Printed blocks, with T for the time of each."""
    return re.sub(r"Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\n", "Time: T\n", text)


def block(*rows: str) -> str:
    rule = "-" * 43
    return "\n".join([rule, "Time: T", rule, *rows]) + "\n\n"
