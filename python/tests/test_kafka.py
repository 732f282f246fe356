"""Kafka: decoders, handlers, ranges, and the sink."""

import uuid

import pytest
from conftest import TIMEOUT
from test_tutorials import until

import tidemill
from tidemill import JobError, SparkContext, column
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils, OffsetRange


def test_decoders_and_message_handlers(sc, broker):
    broker.create_topic("decoded", 2)
    broker.send("decoded", [("k", "v"), b"\xff"])
    broker.send("decoded", ["w"], partition=1)
    ssc = StreamingContext(sc, 0.1)
    params = {"bootstrap.servers": broker.address, "auto.offset.reset": "earliest"}
    raw, whole = [], []
    KafkaUtils.createDirectStream(ssc, ["decoded"], params, keyDecoder=lambda k: k, valueDecoder=lambda v: v.hex()).foreachRDD(
        lambda rdd: raw.extend(rdd.collect())
    )
    handled = KafkaUtils.createDirectStream(
        ssc, ["decoded"], params, messageHandler=lambda m: (m.topic, m.partition, m.offset, m.key), valueDecoder=bytes
    )
    handled.foreachRDD(lambda rdd: whole.extend(rdd.collect()))
    ssc.start()
    until(lambda: len(raw) == 3 and len(whole) == 3, ssc)
    assert sorted(raw, key=repr) == [(None, "77"), (None, "ff"), (b"k", "76")]
    assert sorted(whole) == [("decoded", 0, 0, "k"), ("decoded", 0, 1, None), ("decoded", 1, 0, None)]


def test_bytes_that_are_no_text_end_the_job(sc, broker):
    broker.create_topic("broken")
    broker.send("broken", [b"\xff"])
    ssc = StreamingContext(sc, 0.1)
    KafkaUtils.createDirectStream(ssc, ["broken"], {"bootstrap.servers": broker.address, "auto.offset.reset": "earliest"}).pprint()
    ssc.start()
    with pytest.raises(JobError, match="createDirectStream .*record broken/0 offset 0: UnicodeDecodeError"):
        ssc.awaitTermination(TIMEOUT)


def test_ranges_and_a_topic_as_output(sc, broker):
    broker.create_topic("in")
    broker.create_topic("out")
    broker.send("in", ["a", "b", "c"])
    ssc = StreamingContext(sc, 0.05)
    ranges = [OffsetRange("in", 0, 1, 3)]
    records = KafkaUtils.createRDD(ssc, {"bootstrap.servers": broker.address}, ranges)
    records.map(lambda kv: (kv[1], kv[1].upper())).to_kafka("out", broker.address)
    ssc.start()
    ssc.awaitTermination(TIMEOUT)

    ssc = StreamingContext(sc, 0.05)
    seen = []
    KafkaUtils.createRDD(ssc, {"bootstrap.servers": broker.address}, [OffsetRange("out", 0, 0, 2)]).foreachRDD(
        lambda rdd: seen.extend(rdd.collect())
    )
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert sorted(seen) == [("b", "B"), ("c", "C")]


def test_a_record_has_text_or_bytes(sc, broker):
    broker.create_topic("typed")
    ssc = StreamingContext(sc, 0.05)
    ssc.queueStream([[("key", 3)]], bounded=True).to_kafka("typed", broker.address)
    ssc.start()
    with pytest.raises(JobError, match=r"to_kafka .*record \('key', 3\): TypeError: .*not int; map it before, by str or json.dumps"):
        ssc.awaitTermination(TIMEOUT)


VALUES = ['{"n": 1, "w": "Tide"}', '{"n": 2.5, "w": "low"}', '{"n": null, "w": 10000000000000000000000}']


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda r: r.map(lambda record: record[1]), VALUES),
        (lambda r: r.map(column(-1)).map(str.lower), [value.lower() for value in VALUES]),
        (lambda r: r.map(column(1)).map(tidemill.json("n")), [1, 2.5, None]),
        (lambda r: r.map(column(1)).map(tidemill.json("w")).map(lambda w: (w, 1)), [("Tide", 1), ("low", 1), (10**22, 1)]),
        (lambda r: r.map(column(1)).map(lambda text: len(text)), [len(value) for value in VALUES]),
        (lambda r: r.map(column(0)), ["k", None, None]),
        (lambda r: (v := r.map(column(1))).map(str.upper).union(v.map(str.split).map(len)), [*map(str.upper, VALUES), 4, 4, 4]),
        (lambda r: r.map(column(1)).union(r.map(column(0))), [*VALUES, "k", None, None]),
    ],
    ids=range(8),
)
def test_the_first_functions_of_records(sc, broker, build, expected):
    """A source does them itself, if nobody else reads the records; the rows are the same."""
    topic = f"first-{uuid.uuid4()}"
    broker.create_topic(topic)
    broker.send(topic, [("k", VALUES[0]), *VALUES[1:]])
    ssc, seen = StreamingContext(sc, 0.05), []
    build(KafkaUtils.createRDD(ssc, {"bootstrap.servers": broker.address}, [OffsetRange(topic, 0, 0, 3)])).foreachRDD(
        lambda rdd: seen.extend(rdd.collect())
    )
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert seen == expected


LINES = ["ss tea", "ß TEA", "", "ss tea"]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda lines: lines.countByValue(), {"ss tea": 2, "ß TEA": 1, "": 1}),
        # Rust makes one of these texts, and Python the other: they are one key.
        (lambda lines: lines.map(str.upper).countByValue(), {"SS TEA": 3, "": 1}),
        (lambda lines: lines.flatMap(lambda line: line.split(" ")).countByValue(), {"ss": 2, "tea": 2, "ß": 1, "TEA": 1, "": 1}),
        (lambda lines: lines.map(str.upper).flatMap(str.split).map(lambda w: (w, 1)).reduceByKey(lambda a, b: a + b), {"SS": 3, "TEA": 3}),
        (
            lambda lines: lines.flatMap(str.split).map(lambda w: (w, 2)).reduceByKey(lambda a, b: a + b),
            {"ss": 4, "tea": 4, "ß": 2, "TEA": 2},
        ),
        (lambda lines: lines.map(lambda line: (line, 1)).reduceByKey(lambda a, b: a - b), {"ss tea": 0, "ß TEA": 1, "": 1}),
        (lambda lines: lines.map(tidemill.regex("s(s) (t)")).countByValue(), {("s", "t"): 2, None: 2}),
        (
            lambda lines: lines.map(str.split).countByValue().map(lambda pair: (tuple(pair[0]), pair[1])),
            {("ss", "tea"): 2, ("ß", "TEA"): 1, (): 1},
        ),
        (lambda lines: lines.map(str.split).map(len).countByValue(), {2: 3, 0: 1}),
        (lambda lines: lines.map(str.strip).countByValue().sum_by_key(), {"ss tea": 2, "ß TEA": 1, "": 1}),
        (lambda lines: lines.countByValue().mapValues(lambda n: -n), {"ss tea": -2, "ß TEA": -1, "": -1}),
        (lambda lines: (c := lines.countByValue()).join(c), {"ss tea": (2, 2), "ß TEA": (1, 1), "": (1, 1)}),
        (lambda lines: lines.countByValue().union(lines.count().map(lambda n: ("all", n))), {"ss tea": 2, "ß TEA": 1, "": 1, "all": 4}),
    ],
    ids=range(13),
)
def test_what_is_counted_without_rows(broker, build, expected, workers):
    """A count reads the texts of the records itself, if nobody else does; the counts are the same."""
    topic, seen = f"counted-{uuid.uuid4()}", []
    broker.create_topic(topic, 2)
    broker.send(topic, LINES[:2])
    broker.send(topic, LINES[2:], partition=1)
    with SparkContext(f"local[{workers}]", "tests") as sc:
        ssc = StreamingContext(sc, 0.05)
        ranges = [OffsetRange(topic, partition, 0, 2) for partition in range(2)]
        records = KafkaUtils.createRDD(ssc, {"bootstrap.servers": broker.address}, ranges)
        build(records.map(lambda record: record[1])).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
        ssc.start()
        ssc.awaitTermination(TIMEOUT)
    assert len(seen) == len(expected) and dict(seen) == expected


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize(
    ("record", "says"), [((b"\xff", "v"), "UnicodeDecodeError"), (("k", b"\xff"), "UnicodeDecodeError"), (("k", None), "Attribute")]
)
def test_the_first_functions_of_records_that_are_no_text(sc, broker, record, says, counted):
    topic = f"broken-{uuid.uuid4()}"
    broker.create_topic(topic)
    broker.send(topic, [record])
    ssc = StreamingContext(sc, 0.05)
    records = KafkaUtils.createRDD(ssc, {"bootstrap.servers": broker.address}, [OffsetRange(topic, 0, 0, 1)])
    lowered = records.map(column(1)).map(lambda text: text.lower())
    (lowered.countByValue() if counted else lowered).pprint()
    ssc.start()
    with pytest.raises(JobError, match=f"batch .*{says}"):
        ssc.awaitTermination(TIMEOUT)
