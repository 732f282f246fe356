"""Streams of Kinesis, of a server that `scripts/kinesis` starts. TIDEMILL_BLESS=1 writes tutorials/golden again."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from conftest import TIMEOUT
from kinesis_server import Server
from test_tutorials import until

from tidemill import JobError, SparkContext, StorageLevel
from tidemill.streaming import StreamingContext
from tidemill.streaming.kinesis import InitialPositionInStream, KinesisUtils, MetricsLevel

HERE = Path(__file__).parent / "tutorials"
LINES = ["to be or not to be", "that is the question", "whether tis nobler", "in the mind to suffer"]
KEYS = {"awsAccessKeyId": "AKIATIDEMILL", "awsSecretKey": "of-the-tests"}
OLDEST = InitialPositionInStream.TRIM_HORIZON


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def stream(server) -> str:
    name = f"lines-{uuid.uuid4()}"
    server.create(name, 2)
    return name


def source(ssc, server, stream, **more):
    return KinesisUtils.createStream(ssc, "tests", stream, server.address, "us-east-1", OLDEST, 2, **{**KEYS, **more})


@pytest.mark.parametrize("layout", ["1", "4"])
@pytest.mark.parametrize(("name", "seconds"), [("kinesis_count", 30), ("kinesis_wordcount", 1)])
def test_a_program_prints_its_blocks(name, seconds, layout, server, stream, tmp_path):
    """Three batches: two records, two others of both shards, and none."""
    first = server.put(stream, LINES[:3], 0, 2)
    [other] = server.put(stream, LINES[3:], 1, 2)
    shards = [{"source": 0, "stream": stream, "shard": f"shardId-{i:012}"} for i in range(2)]
    ranges = [
        [{**shards[0], "from": 0, "until": 2, "through": first[1]}],
        [
            {**shards[0], "from": 2, "until": 3, "after": first[1], "through": first[2]},
            {**shards[1], "from": 0, "until": 1, "through": other},
        ],
        [],
    ]
    lines = [{"time": 1000 * seconds * (i + 1), "ranges": some} for i, some in enumerate(ranges)]
    (tmp_path / "plans").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [server.address, stream] if name == "kinesis_count" else ["words", stream, server.address, "us-east-1"]
    options = ["--quiet", "-w", layout, "--plans", str(tmp_path / "plans")]
    keys = {"AWS_ACCESS_KEY_ID": "AKIATIDEMILL", "AWS_SECRET_ACCESS_KEY": "of-the-tests"}
    command = [sys.executable, "-m", "tidemill", *options, str(HERE / f"{name}.py"), *arguments]
    settings = {"capture_output": True, "text": True, "timeout": TIMEOUT, "check": False}
    done = subprocess.run(command, env={**os.environ, **keys, "TZ": "UTC"}, **settings)
    assert done.returncode == 0, done.stderr
    golden = HERE / "golden" / f"{name}.txt"
    if os.environ.get("TIDEMILL_BLESS"):
        golden.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == golden.read_text(encoding="utf-8")


def test_what_arrives_later_and_after_a_restart(server, stream, tmp_path):
    seen = []

    def ends_with(n):
        with SparkContext("local[2]", "tests") as sc:
            ssc = StreamingContext(sc, 0.3)
            ssc.checkpoint(tmp_path / "states")
            words = source(ssc, server, stream).flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1))
            words.updateStateByKey(lambda new, total: sum(new) + (total or 0)).foreachRDD(lambda rdd: seen.append(dict(rdd.collect())))
            ssc.start()
            until(lambda: bool(seen) and sum(seen[-1].values()) == n, ssc)

    server.put(stream, ["tide tide"], 0, 2)
    ends_with(2)
    server.put(stream, ["low tide"], 1, 2)
    ends_with(4)
    assert seen[-1] == {"tide": 3, "low": 1}


@pytest.mark.parametrize("as_spark_2", [False, True])
def test_decoders(as_spark_2, server, stream, sc):
    server.put(stream, [b"\xff", b"k"], 0, 2)
    ssc, seen = StreamingContext(sc, 0.3), []
    level = (StorageLevel.MEMORY_AND_DISK_2,) if as_spark_2 else (MetricsLevel.NONE, StorageLevel.MEMORY_AND_DISK_2)
    given = (*level, "AKIATIDEMILL", "of-the-tests", lambda data: data.hex())
    records = KinesisUtils.createStream(ssc, "tests", stream, server.address, "us-east-1", OLDEST, 2, *given)
    records.foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    ssc.start()
    until(lambda: len(seen) == 2, ssc)
    assert seen == ["ff", "6b"]


def test_data_that_is_no_text_ends_the_job(server, stream, sc):
    server.put(stream, [b"\xff"], 0, 2)
    ssc = StreamingContext(sc, 0.3)
    source(ssc, server, stream).pprint()
    ssc.start()
    with pytest.raises(JobError, match=r"createStream \(test_kinesis.py:\d+\).*, shard 0, position 0: UnicodeDecodeError"):
        ssc.awaitTermination(TIMEOUT)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"initialPositionInStream": 7}, "InitialPositionInStream.LATEST or .TRIM_HORIZON is needed, not 7"),
        ({"streamName": ""}, "no stream is given"),
        ({"endpointUrl": "me:hidden@127.0.0.1"}, "endpoint_url begins with neither http:// nor https://"),
        ({"awsAccessKeyId": "hidden"}, "the credentials lack a half"),
        ({"awsSecretKey": b"hidden", "awsAccessKeyId": "hidden"}, "awsSecretKey: a str is needed"),
        ({"stsSessionName": "s"}, "stsAssumeRoleArn"),
    ],
)
def test_what_cannot_work_is_refused_at_its_line(given, says, sc):
    names = ["kinesisAppName", "streamName", "endpointUrl", "regionName", "initialPositionInStream", "checkpointInterval"]
    usual = dict(zip(names, ["app", "lines", "http://127.0.0.1:1", "us-east-1", OLDEST, 2], strict=True))
    with pytest.raises((TypeError, ValueError)) as e:
        KinesisUtils.createStream(StreamingContext(sc, 1), **{**usual, **given})
    assert says in str(e.value) and "hidden" not in str(e.value)


def test_a_stream_that_is_not_there(server, sc):
    ssc = StreamingContext(sc, 0.3)
    source(ssc, server, "no-such-stream").pprint()
    with pytest.raises(JobError, match="no-such-stream") as e:
        ssc.start()
        ssc.awaitTermination(TIMEOUT)
    assert not any(key in str(e.value) for key in KEYS.values())
