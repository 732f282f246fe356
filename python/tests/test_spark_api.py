"""Every method of docs/spark-api.md: it works, or an AttributeError says what to use."""

import re
from pathlib import Path

import pytest
from conftest import run

import tidemill
import tidemill.streaming
from tidemill import SparkContext
from tidemill.streaming import StreamingContext, kafka, kinesis, listener

PAGE = Path(__file__).parents[2] / "docs" / "spark-api.md"


def names(section: str) -> list[str]:
    """What the first column of a section names."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S).group(1)
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [name for cell in first for name in re.findall(r"`(\w+)`", cell)]


def add(a, b):
    return a + b


NUMBERS, WORDS, PAIRS, OTHERS = [[1, 2], [3]], [["b", "a", "b"], []], [[("a", 1), ("a", 2)], [("b", 1)]], [[("a", "x")], []]
# For each verb of a stream: its batches, its result, and the rows of each batch, without their order.
CASES = {
    "cache": (NUMBERS, lambda s: s.cache(), NUMBERS),
    "persist": (NUMBERS, lambda s: s.persist("MEMORY_ONLY"), NUMBERS),
    "checkpoint": (NUMBERS, lambda s: s.checkpoint(10), NUMBERS),
    "count": (NUMBERS, lambda s: s.count(), [[2], [1]]),
    "countByValue": (WORDS, lambda s: s.countByValue(), [[("a", 1), ("b", 2)], []]),
    "filter": (NUMBERS, lambda s: s.filter(lambda n: n > 1), [[2], [3]]),
    "flatMap": (NUMBERS, lambda s: s.flatMap(range), [[0, 0, 1], [0, 1, 2]]),
    "glom": (NUMBERS, lambda s: s.glom(), [[[1, 2]], [[3]]]),
    "map": (NUMBERS, lambda s: s.map(str), [["1", "2"], ["3"]]),
    "mapPartitions": (NUMBERS, lambda s: s.mapPartitions(lambda rows: [sum(rows)]), [[3], [3]]),
    "mapPartitionsWithIndex": (NUMBERS, lambda s: s.mapPartitionsWithIndex(lambda i, rows: [max(rows)]), [[2], [3]]),
    "reduce": (NUMBERS, lambda s: s.reduce(add), [[3], [3]]),
    "repartition": (NUMBERS, lambda s: s.repartition(2), NUMBERS),
    "transform": (NUMBERS, lambda s: s.transform(lambda rdd: rdd.map(lambda n: -n)), [[-1, -2], [-3]]),
    "transformWith": (NUMBERS, lambda s: s.transformWith(lambda a, b: a.union(b), s), [[1, 1, 2, 2], [3, 3]]),
    "union": (NUMBERS, lambda s: s.union(s), [[1, 1, 2, 2], [3, 3]]),
    "combineByKey": (PAIRS, lambda s: s.combineByKey(str, lambda c, n: f"{c}{n}", add), [[("a", "12")], [("b", "1")]]),
    "flatMapValues": (PAIRS, lambda s: s.flatMapValues(range), [[("a", 0), ("a", 0), ("a", 1)], [("b", 0)]]),
    "groupByKey": (PAIRS, lambda s: s.groupByKey().mapValues(list), [[("a", [1, 2])], [("b", [1])]]),
    "mapValues": (PAIRS, lambda s: s.mapValues(str), [[("a", "1"), ("a", "2")], [("b", "1")]]),
    "partitionBy": (PAIRS, lambda s: s.partitionBy(2), PAIRS),
    "reduceByKey": (PAIRS, lambda s: s.reduceByKey(add), [[("a", 3)], [("b", 1)]]),
    "join": (PAIRS, lambda a, b: a.join(b), [[("a", (1, "x")), ("a", (2, "x"))], []]),
    "leftOuterJoin": (PAIRS, lambda a, b: a.leftOuterJoin(b), [[("a", (1, "x")), ("a", (2, "x"))], [("b", (1, None))]]),
    "rightOuterJoin": (PAIRS, lambda a, b: a.rightOuterJoin(b), [[("a", (1, "x")), ("a", (2, "x"))], []]),
    "fullOuterJoin": (PAIRS, lambda a, b: a.fullOuterJoin(b), [[("a", (1, "x")), ("a", (2, "x"))], [("b", (1, None))]]),
    "cogroup": (PAIRS, lambda a, b: a.cogroup(b), [[("a", ([1, 2], ["x"]))], [("b", ([1], []))]]),
    "countByValueAndWindow": (NUMBERS, lambda s: s.countByValueAndWindow(10), [[(1, 1), (2, 1)], [(1, 1), (2, 1), (3, 1)]]),
    "countByWindow": (NUMBERS, lambda s: s.countByWindow(10), [[2], [3]]),
    "groupByKeyAndWindow": (
        PAIRS,
        lambda s: s.groupByKeyAndWindow(10).mapValues(list),
        [[("a", [1, 2])], [("a", [1, 2]), ("b", [1])]],
    ),
    "reduceByKeyAndWindow": (PAIRS, lambda s: s.reduceByKeyAndWindow(add, None, 10), [[("a", 3)], [("a", 3), ("b", 1)]]),
    "reduceByWindow": (NUMBERS, lambda s: s.reduceByWindow(add, None, 10), [[3], [6]]),
    "updateStateByKey": (PAIRS, lambda s: s.updateStateByKey(lambda new, n: (n or 0) + sum(new)), [[("a", 3)], [("a", 3), ("b", 1)]]),
    "window": (NUMBERS, lambda s: s.window(10), [[1, 2], [1, 2, 3]]),
}
OUTPUTS = ["foreachRDD", "pprint", "saveAsTextFiles", "slice", "context"]
TWO = ["join", "leftOuterJoin", "rightOuterJoin", "fullOuterJoin", "cogroup"]
STREAM = [*names("DStream"), *names("Pairs"), *names("State and windows"), *names("Only in PySpark")]
# What RDDs and contexts have: each is called, or its hint is read.
RDD_CASES = {
    "aggregateByKey": (lambda rdd: rdd.map(lambda n: (n, n)).aggregateByKey(0, add, add).count(), 2),
    "coalesce": (lambda rdd: rdd.coalesce(1).collect(), [3, 1, 3]),
    "countApproxDistinct": (lambda rdd: rdd.countApproxDistinct(), 2),
    "distinct": (lambda rdd: rdd.distinct().collect(), [3, 1]),
    "first": (lambda rdd: rdd.first(), 3),
    "keys": (lambda rdd: rdd.map(lambda n: (n, 0)).keys().collect(), [3, 1, 3]),
    "values": (lambda rdd: rdd.map(lambda n: (n, 0)).values().collect(), [0, 0, 0]),
    "sample": (lambda rdd: rdd.sample(False, 1.0).collect(), [3, 1, 3]),
    "sortBy": (lambda rdd: rdd.sortBy(lambda n: n).collect(), [1, 3, 3]),
    "subtractByKey": (lambda rdd: rdd.map(lambda n: (n, 0)).subtractByKey(rdd.ctx.parallelize([(3, 0)])).collect(), [(1, 0)]),
    "take": (lambda rdd: rdd.take(2), [3, 1]),
    "top": (lambda rdd: rdd.top(1), [3]),
    "zipWithIndex": (lambda rdd: rdd.zipWithIndex().collect(), [(3, 0), (1, 1), (3, 2)]),
}


def hint(thing: object, name: str) -> str:
    """What the error says to use."""
    with pytest.raises(AttributeError) as raised:
        getattr(thing, name)
    said = re.fullmatch(r"'\w+' object has no attribute '\w+': (.+)", str(raised.value))
    assert said, f"{raised.value}: it does not say what to use"
    return said.group(1)


def test_the_page_has_what_the_tests_have():
    assert set(CASES) | set(OUTPUTS) < set(STREAM) and len(STREAM) > 45
    assert set(RDD_CASES) == set(names("Verbs of an RDD"))


@pytest.mark.parametrize("name", STREAM)
def test_a_method_of_streams(name, sc, capsys, tmp_path):
    if name in CASES:
        sc.stop()
        batches, build, expected = CASES[name]
        seen = run(batches, build, more=(OTHERS,) if name in TWO else ())
        assert [sorted(rows, key=repr) for rows in seen] == [sorted(rows, key=repr) for rows in expected]
        return
    ssc = StreamingContext(sc, 0.05)
    stream = ssc.queueStream(NUMBERS, bounded=True)
    if name not in OUTPUTS:
        assert hint(stream, name)
        return
    seen = []
    if name == "foreachRDD":
        stream.foreachRDD(lambda time, rdd: seen.extend(rdd.collect()))
    elif name == "pprint":
        stream.pprint()
    elif name == "saveAsTextFiles":
        stream.saveAsTextFiles(f"{tmp_path}/n", "txt")
    else:
        stream.persist().count().foreachRDD(lambda rdd: None)
        ssc.remember(60)
    assert stream.context() is ssc
    ssc.start()
    ssc.awaitTermination()
    text = capsys.readouterr().out
    if name == "foreachRDD":
        assert seen == [1, 2, 3]
    elif name == "pprint":
        assert text.count("Time: ") == 2 and "\n1\n2\n\n" in text and "\n3\n\n" in text
    elif name == "saveAsTextFiles":
        parts = sorted(tmp_path.glob("n-*.txt/part-*"))
        assert "".join(part.read_text() for part in parts) == "1\n2\n3\n"
    else:
        assert [rdd.collect() for rdd in stream.slice(0, 1 << 40)] == NUMBERS


@pytest.mark.parametrize("name", names("Verbs of an RDD"))
def test_a_verb_of_an_rdd(name, sc):
    call, expected = RDD_CASES[name]
    assert call(sc.parallelize([3, 1, 3])) == expected
    assert hint(StreamingContext(sc, 1).queueStream([]), name) == f"it is a verb of an RDD: use transform(lambda rdd: rdd.{name}(...))"


@pytest.mark.parametrize("name", names("Shared variables"))
def test_a_shared_variable(name, sc):
    if name == "broadcast":
        assert sc.broadcast({"a": 1}).value == {"a": 1}
    elif name == "AccumulatorV2":
        assert not hasattr(tidemill, name)  # It is of Java: PySpark has AccumulatorParam, any object with addInPlace here.
    else:
        assert hint(sc, name).startswith("use accumulator(")


@pytest.mark.parametrize("name", names("The context"))
def test_a_method_of_the_context(name, sc):
    ssc = StreamingContext(sc, 0.05)
    if name in StreamingContext._HINTS:
        assert hint(ssc, name)
        return
    assert hasattr(ssc, name)
    ssc.remember(1)
    ssc.queueStream([[1]]).pprint()
    ssc.start()
    assert StreamingContext.getActive() is ssc
    ssc.stop(stopSparkContext=False)
    assert StreamingContext.getActive() is None and SparkContext.getOrCreate() is sc


@pytest.mark.parametrize("name", names("Listeners"))
def test_a_method_of_listeners(name):
    assert callable(getattr(listener.StreamingListener, name))


@pytest.mark.parametrize("name", names("Sources"))
def test_a_source(name, sc, tmp_path):
    """Each is described; the jobs that read them are in other tests."""
    ssc = StreamingContext(sc, 1)
    brokers = {"bootstrap.servers": "127.0.0.1:9"}
    calls = {
        "binaryRecordsStream": lambda: ssc.binaryRecordsStream(str(tmp_path), 4),
        "createDirectStream": lambda: kafka.KafkaUtils.createDirectStream(ssc, ["t"], brokers),
        "createRDD": lambda: kafka.KafkaUtils.createRDD(ssc, brokers, [kafka.OffsetRange("t", 0, 0, 1)]),
        "createStream": lambda: kafka.KafkaUtils.createStream(ssc, "127.0.0.1:9", "g", {"t": 1}),
        "KinesisUtils": lambda: kinesis.KinesisUtils.createStream(ssc, "app", "s", None, "us-east-1", 0, 2),
        "queueStream": lambda: ssc.queueStream([[1]]),
        "socketTextStream": lambda: ssc.socketTextStream("127.0.0.1", 9),
        "textFileStream": lambda: ssc.textFileStream(str(tmp_path)),
    }
    if name in calls:
        assert isinstance(calls[name](), tidemill.streaming.DStream)
    else:
        assert hint(ssc, name)
