"""What a user sees when something is wrong."""

import pytest
from conftest import TIMEOUT, run

from tidemill import JobError, SparkConf, SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils


def here(offset=0):
    import sys

    return f"test_errors.py:{sys._getframe(1).f_lineno + offset}"


def failing(build, batches=(("a", "b"),)):
    with pytest.raises(JobError) as raised:
        run([list(batch) for batch in batches], build)
    return raised.value


def test_an_exception_names_verb_line_batch_and_record():
    line = here(1)
    error = failing(lambda s: s.map(lambda text: text.upper() + "").map(lambda text: 1 // (text == "A")).filter(lambda n: n))
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.__cause__.__traceback__.tb_lineno > 0
    text = str(error)
    assert text.startswith(f"map ({line}), batch 2") and text.endswith(", record 'B': ZeroDivisionError: " + str(error.__cause__)), text


@pytest.mark.parametrize(
    ("build", "batch", "says"),
    [
        (lambda s: s.reduceByKey(lambda a, b: a.nothing), [("k", 1), ("k", 2)], "reduceByKey (.*record ('k', 2): AttributeError"),
        (lambda s: s.reduceByKey(lambda a, b: a + b), [("k", 1), ("k", "x")], "reduceByKey (.*record (1, 'x'): TypeError"),
        (lambda s: s.reduceByKey(lambda a, b: a + b), ["text"], "this verb needs pairs, tuples (key, value), and the row is a str"),
        (lambda s: s.mapValues(lambda v: v), [1], "this verb needs pairs"),
        (lambda s: s.flatMap(lambda n: n), [1], "flatMap (.*'int' object is not iterable"),
        (lambda s: s.groupByKey(), [([1], 2)], None),
        (lambda s: s.map(lambda x: object()).countByValue(), [1], "countByValue (.*TypeError: a value of the type builtins.object cannot"),
        (lambda s: s.map(lambda x: object()).window(0.04), [1], "window (.*make it of str"),
        (lambda s: s.updateStateByKey(lambda new, state: 1 / 0), [("k", 1)], "updateStateByKey (.*record 'k': ZeroDivisionError"),
        (lambda s: s.updateStateByKey(lambda new, state: object()), [("k", 1)], "updateStateByKey (.*cannot be a key, be kept"),
        (lambda s: s.transform(lambda rdd: 1 / 0), [1], "transform (.*batch 2.*ZeroDivisionError"),
        (lambda s: s.mapPartitions(lambda rows: 1 / 0), [1], "mapPartitions (.*ZeroDivisionError"),
    ],
)
def test_each_kind_of_verb_names_itself(build, batch, says):
    if says is None:
        assert run([batch], build) == [[([1], [2])]]
        return
    error = str(failing(build, [batch]))
    for part in says.split(".*"):
        assert part in error, error


def test_an_exception_in_foreach_rdd_ends_the_job(sc):
    ssc = StreamingContext(sc, 0.05)
    tries = []

    def write(rdd):
        tries.append(rdd.count())
        raise KeyError("tide")

    ssc.queueStream([[1]], bounded=True).foreachRDD(write)
    ssc.start()
    with pytest.raises(JobError, match=r"foreachRDD \(test_errors.py:\d+\), batch 2.*: KeyError: 'tide'") as raised:
        ssc.awaitTermination(TIMEOUT)
    assert isinstance(raised.value.__cause__, KeyError) and tries == [1], "it is not tried again"
    assert ssc.awaitTerminationOrTimeout(1), "it has ended, and the error is raised once"


def test_faults_of_a_program_are_found_before_it_runs(sc):
    ssc = StreamingContext(sc, 1)
    stream = ssc.queueStream([])
    with pytest.raises(ValueError, match="no output operation"):
        ssc.start()
    with pytest.raises(TypeError, match="a function is needed, not 3"):
        stream.map(3)
    with pytest.raises(ValueError, match="windowDuration is 0 s"):
        stream.window(0)
    with pytest.raises(TypeError, match="takes 3 arguments; 1 or 2 are needed"):
        stream.foreachRDD(lambda a, b, c: None)
    with pytest.raises(ValueError, match="both streams must be of one StreamingContext"):
        stream.union(StreamingContext(sc, 1).queueStream([]))
    with pytest.raises(ValueError, match="the port of ZooKeeper"):
        KafkaUtils.createStream(ssc, "localhost:2181", "group", {"twitter": 1})
    with pytest.raises(ValueError, match=r"bootstrap.servers is missing"):
        KafkaUtils.createDirectStream(ssc, ["t"], {})
    stream.window(1.5).pprint()
    with pytest.raises(JobError, match="window"):
        ssc.start()


def test_masters_and_settings():
    with pytest.raises(ValueError, match="only local and local"):
        SparkContext("yarn")
    with SparkContext(conf=SparkConf().set("spark.streaming.backpresure.enabled", "true")) as sc:
        ssc = StreamingContext(sc, 1)
        ssc.queueStream([]).pprint()
        with pytest.raises(JobError, match="spark.streaming.backpressure.enabled"):
            ssc.start()
    with SparkContext("local[*]", "many", conf=SparkConf().set("spark.executor.memory", "4g")) as sc:
        assert sc.defaultParallelism >= 1 and sc.appName == "many"
        with pytest.raises(ValueError, match="getOrCreate"):
            SparkContext()
        with pytest.warns(UserWarning, match=r"spark.executor.memory"):
            sc._streaming_settings()
        with pytest.raises(AttributeError, match="no Java"):
            sc._jvm  # noqa: B018


def test_a_key_may_be_what_rust_compares(workers):
    import datetime

    keys = ["a", b"a", 1, 1.5, None, True, ("a", 1), 10**30, datetime.date(2026, 1, 2), -0.0, float("nan")]
    rows = [(key, 1) for key in keys] * 2
    seen = run([rows], lambda s: s.reduceByKey(lambda a, b: a + b), workers)
    assert sorted(map(repr, seen[0])) == sorted(repr((key if key != 0 else 0.0, 2)) for key in keys)
