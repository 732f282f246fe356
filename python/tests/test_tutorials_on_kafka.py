"""The programs of the tutorials, as processes, on a real Kafka: the blocks of given batches, byte for byte.

TIDEMILL_BLESS=1 writes tutorials/golden again.
"""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from conftest import TIMEOUT
from test_tutorials import until

from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils
from tidemill.testing import Broker

HERE = Path(__file__).parent / "tutorials"
LINES = ["to be or not to be", "that is the question", "whether tis nobler", "in the mind to suffer", "the slings and arrows", "be be be"]
TWEETS = [
    json.dumps({"user": {"screen_name": name}, "text": text})
    for name, text in [
        ("rmoff", "tea tea"),
        ("anna", "tea"),
        ("rmoff", "coffee"),
        ("rmoff", "high tide"),
        ("anna", "low"),
        ("anna", "low tide"),
    ]
]
LOG = ["message1", ("key1", "message2 message2"), '1.2.3.4 "GET /tide HTTP/1.1" 200', '1.2.3.4 "GET /tide HTTP/1.1" 304', "message1", "é ü"]
# The program, its records, the seconds of a batch, the directory that it takes, and the consumer group of its receiver.
PROGRAMS = {
    "tweets": (TWEETS, 60, None, "spark-streaming"),
    "windowed_tweets": (TWEETS, 5, "checkpoint", "spark-streaming2"),
    "kafka_wordcount": (LINES, 1, None, "spark-streaming-consumer"),
    "rows_of_words": (LINES, 1, None, "spark-streaming-consumer"),
    "shakespeare": (LINES, 30, "checkpoint", None),
    "direct_kafka_wordcount": (LINES, 2, None, None),
    "messages": (LOG, 5, "files", "sparkit"),
}


@pytest.fixture(params=["kafka", "embedded"])
def where(request) -> Broker:
    """The embedded broker keeps the members of a group for a while, and the groups of the programs have fixed names."""
    if request.param == "embedded":
        return Broker()
    found = os.environ.get("TIDEMILL_KAFKA")
    if not found:
        pytest.fail("TIDEMILL_KAFKA is not set: scripts/kafka start prints the address of a broker, and scripts/test has one")
    return Broker(found)


def write(broker: Broker, records: list) -> str:
    """Writes records to a new topic."""
    topic = f"tutorial-{uuid.uuid4()}"
    broker.create_topic(topic)
    broker.send(topic, records)
    return topic


def plans(path: Path, source: dict, seconds: int, n: int) -> Path:
    """Three batches: half of the records, the others, and none."""
    ranges = [(0, n // 2), (n // 2, n), (n, n)]
    lines = [
        {"time": 1000 * seconds * (i + 1), "ranges": [{"source": 0, **source, "from": a, "until": b}]} for i, (a, b) in enumerate(ranges)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("layout", ["1", "4"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_its_blocks(name, layout, where, tmp_path):
    records, seconds, directory, group = PROGRAMS[name]
    topic = write(where, records)
    if group is None:
        source = {"topic": topic, "partition": 0}
    else:
        # A receiver begins where its group is. With a checkpoint it has a log, and its records can be read again.
        where.commit(group, topic, 0)
        source = {"split" if directory == "checkpoint" else "received": f"receiver kafka topic {topic}, group {group}"}
    given = plans(tmp_path / "plans", source, seconds, len(records))
    files = tmp_path / "files"
    command = [
        sys.executable,
        "-m",
        "tidemill",
        "--quiet",
        "-w",
        layout,
        "--plans",
        str(given),
        str(HERE / f"{name}.py"),
        where.address,
        topic,
    ]
    command += [str(files)] if directory else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env={**os.environ, "TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    for part in sorted(files.glob("?-*.log/part-*")) if directory == "files" else []:
        printed += f"{part.parent.name}/{part.name}\n{part.read_text(encoding='utf-8')}"
    golden = HERE / "golden" / f"{name}.txt"
    if os.environ.get("TIDEMILL_BLESS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")


def test_the_word_count_of_a_receiver(where, sc):
    topic, seen = write(where, LINES), []
    ssc = StreamingContext(sc, 0.1)
    kvs = KafkaUtils.createStream(ssc, where.address, f"group-{topic}", {topic: 1}, {"auto.offset.reset": "smallest"})
    words = kvs.map(lambda x: x[1]).flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1))
    words.reduceByKey(lambda a, b: a + b).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    ssc.start()
    until(lambda: sum(n for _, n in seen) == 25, ssc)
    assert sum(n for word, n in seen if word == "be") == 5
