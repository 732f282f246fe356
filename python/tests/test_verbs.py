"""Each verb against what PySpark's documentation says of it, on 1, 2 and 4 workers."""

import operator

import pytest
from conftest import run

PAIRS = [[("a", 1), ("b", 5), ("a", 2)], [("b", 1)]]
OTHERS = [[("a", "x"), ("c", "y")], [("b", "z")]]
ADDS = [operator.add, lambda a, b: a + b, lambda a, b: int.__add__(a, b)]
"""One that is an object, one that is recognized, and one that only Python knows."""


def by_batch(seen):
    return [sorted(rows, key=repr) for rows in seen]


def test_rows(workers):
    assert run([[1, 2], [3]], lambda s: s.map(lambda n: n * 10), workers) == [[10, 20], [30]]
    assert run([["a b", "c"]], lambda s: s.flatMap(lambda line: line.split(" ")), workers) == [["a", "b", "c"]]
    assert run([[1, 2, 3]], lambda s: s.filter(lambda n: n % 2), workers) == [[1, 3]]
    assert run([[1, 2]], lambda s: s.mapPartitions(lambda rows: [sum(rows)]), workers) == [[3]]
    assert run([[1, 2]], lambda s: s.mapPartitionsWithIndex(lambda i, rows: [(i >= 0, list(rows))]), workers) == [[(True, [1, 2])]]
    assert run([[1, 2]], lambda s: s.glom(), workers) == [[[1, 2]]]
    assert run([[1], [2]], lambda s: s.map(lambda n: -n).union(s), workers) == [[-1, 1], [-2, 2]]
    assert by_batch(run([[3, 1, 2]], lambda s: s.repartition(3), workers)) == [[1, 2, 3]]
    assert run([[1, 2]], lambda s: s.cache().persist().checkpoint(1), workers) == [[1, 2]]


def test_counts_and_reductions(workers):
    assert run([[5, 5, 7], []], lambda s: s.count(), workers) == [[3], [0]]
    assert by_batch(run([["b", "a", "b"]], lambda s: s.countByValue(), workers)) == [[("a", 1), ("b", 2)]]
    for add in ADDS:
        assert run([[1, 2, 3], [4]], lambda s, add=add: s.reduce(add), workers) == [[6], [4]]
        assert by_batch(run(PAIRS, lambda s, add=add: s.reduceByKey(add), workers)) == [[("a", 3), ("b", 5)], [("b", 1)]]
    lists = run(PAIRS, lambda s: s.combineByKey(lambda v: [v], lambda c, v: [*c, v], lambda a, b: a + b), workers)
    assert by_batch(lists) == [[("a", [1, 2]), ("b", [5])], [("b", [1])]]
    assert by_batch(run(PAIRS, lambda s: s.groupByKey().mapValues(sum), workers)) == [[("a", 3), ("b", 5)], [("b", 1)]]
    assert by_batch(run(PAIRS, lambda s: s.partitionBy(3), workers)) == [[("a", 1), ("a", 2), ("b", 5)], [("b", 1)]]


def test_values(workers):
    assert run(PAIRS, lambda s: s.mapValues(lambda v: -v), workers)[1] == [("b", -1)]
    assert run([[("a", 2)]], lambda s: s.flatMapValues(range), workers) == [[("a", 0), ("a", 1)]]


def test_joins(workers):
    def joined(verb):
        return by_batch(run(PAIRS, lambda a, b: getattr(a, verb)(b), workers, more=(OTHERS,)))

    both = [("a", (1, "x")), ("a", (2, "x"))]
    assert joined("join") == [both, [("b", (1, "z"))]]
    assert joined("leftOuterJoin")[0] == [*both, ("b", (5, None))]
    assert joined("rightOuterJoin")[0] == [*both, ("c", (None, "y"))]
    assert joined("fullOuterJoin")[0] == [*both, ("b", (5, None)), ("c", (None, "y"))]
    assert joined("cogroup")[0] == [("a", ([1, 2], ["x"])), ("b", ([5], [])), ("c", ([], ["y"]))]
    assert joined("left_outer_join") == joined("leftOuterJoin")


def test_windows(workers):
    batches = [["a"], ["b", "a"], [], []]
    assert run(batches, lambda s: s.window(0.04), workers) == [["a"], ["a", "b", "a"], ["b", "a"], []]
    assert run(batches, lambda s: s.countByWindow(0.04), workers) == [[1], [3], [2], [0]]
    counts = by_batch(run(batches, lambda s: s.countByValueAndWindow(0.04), workers))
    assert counts == [[("a", 1)], [("a", 2), ("b", 1)], [("a", 1), ("b", 1)], []]
    pairs = [[("a", 4)], [("a", 2)], [], [], []]
    for add in ADDS:
        assert run(pairs, lambda s, add=add: s.reduceByKeyAndWindow(add, None, 0.04), workers) == [
            [("a", 4)],
            [("a", 6)],
            [("a", 2)],
            [],
            [],
        ]
        inverse = run(pairs, lambda s, add=add: s.reduceByKeyAndWindow(add, lambda a, b: a - b, 0.04), workers)
        assert inverse == [[("a", 4)], [("a", 6)], [("a", 2)], [("a", 0)], [("a", 0)]]
        filtered = run(pairs, lambda s, add=add: s.reduceByKeyAndWindow(add, operator.sub, 0.04, filterFunc=lambda kv: kv[1] > 0), workers)
        assert filtered == [[("a", 4)], [("a", 6)], [("a", 2)], [], []]
        assert run([[4], [2], []], lambda s, add=add: s.reduceByWindow(add, None, 0.04), workers) == [[4], [6], [2]]
    assert run(pairs, lambda s: s.groupByKeyAndWindow(0.04), workers)[:3] == [[("a", [4])], [("a", [4, 2])], [("a", [2])]]


def test_a_window_slides_at_its_own_times():
    sums = run([[1]] * 8, lambda s: s.reduceByWindow(operator.add, None, 0.08, 0.08))
    totals = [rows[0] for rows in sums if rows]
    assert sum(1 for rows in sums if rows) in (2, 3) and max(totals) <= 4


def test_states(workers):
    def update(new, total):
        return None if new == [0] else sum(new) + (total or 0)

    states = run([[("a", 1), ("b", 2)], [("a", 1)], [("a", 0)]], lambda s: s.updateStateByKey(update), workers)
    assert by_batch(states) == [[("a", 1), ("b", 2)], [("a", 2), ("b", 2)], [("b", 2)]]
    initial = run([[("a", 1)]], lambda s: s.updateStateByKey(update, initialRDD=[("a", 100)]), workers)
    assert initial == [[("a", 101)]]


def test_transform(workers):
    assert run([[3, 1, 2]], lambda s: s.transform(lambda rdd: rdd.sortBy(lambda n: n)), workers) == [[1, 2, 3]]
    timed = run([[3]], lambda s: s.transform(lambda time, rdd: rdd.map(lambda n: (n, time.year > 2000))), workers)
    assert timed == [[(3, True)]]
    both = run([[1]], lambda a, b: a.transformWith(lambda x, y: x.union(y), b), workers, more=([[2]],))
    assert both == [[1, 2]]


def test_a_chain_that_two_verbs_read():
    calls = []

    def parse(row):
        calls.append(row)
        return {"n": row}

    seen = run([[1, 2]], lambda s: (p := s.map(parse)).map(lambda d: d["n"]).union(p.map(lambda d: -d["n"])))
    assert (seen, sorted(calls)) == ([[1, 2, -1, -2]], [1, 2])


def test_objects_are_the_same_objects():
    class Thing:
        def __init__(self, n):
            self.n = n

    assert run([[1, 2]], lambda s: s.map(Thing).filter(lambda t: t.n > 1).map(lambda t: t.n)) == [[2]]
    things = run([[("a", 1)]], lambda s: s.mapValues(Thing).groupByKey().mapValues(lambda ts: [t.n for t in ts]))
    assert things == [[("a", [1])]]


def test_a_name_that_is_not_there_says_what_to_use(sc):
    from tidemill.streaming import StreamingContext

    ssc = StreamingContext(sc, 1)
    stream = ssc.queueStream([])
    with pytest.raises(AttributeError, match=r"transform\(lambda rdd: rdd.sortBy"):
        stream.sortBy(lambda x: x)
    with pytest.raises(AttributeError, match="pprint"):
        stream.print()
    with pytest.raises(AttributeError, match="'DStream' object has no attribute 'nonsense'$"):
        stream.nonsense()
    with pytest.raises(AttributeError, match="textFileStream"):
        ssc.fileStream("x")


SPARKS = {
    "DStream": "cache checkpoint cogroup combineByKey context count countByValue countByValueAndWindow countByWindow filter flatMap "
    "flatMapValues foreachRDD fullOuterJoin glom groupByKey groupByKeyAndWindow join leftOuterJoin map mapPartitions "
    "mapPartitionsWithIndex mapValues partitionBy persist pprint reduce reduceByKey reduceByKeyAndWindow reduceByWindow repartition "
    "rightOuterJoin saveAsTextFiles slice transform transformWith union updateStateByKey window",
    "StreamingContext": "addStreamingListener awaitTermination awaitTerminationOrTimeout binaryRecordsStream checkpoint getActive "
    "getActiveOrCreate getOrCreate queueStream remember socketTextStream sparkContext start stop textFileStream transform union",
    "StreamingListener": "onBatchCompleted onBatchStarted onBatchSubmitted onOutputOperationCompleted onOutputOperationStarted "
    "onReceiverError onReceiverStarted onReceiverStopped onStreamingStarted",
}


@pytest.mark.parametrize("kind", SPARKS)
def test_every_method_of_pyspark_is_there(kind):
    """As pyspark 3.5 lists them: pyspark.streaming has the same ones in 4.x."""
    import tidemill.streaming

    for name in SPARKS[kind].split():
        assert hasattr(getattr(tidemill.streaming, kind), name), name


def test_what_is_not_there_says_what_to_use(sc):
    from tidemill.streaming import StreamingContext

    ssc = StreamingContext(sc, 1)
    for thing in (ssc, ssc.queueStream([]), sc, sc.emptyRDD()):
        for name, hint in type(thing)._HINTS.items():
            with pytest.raises(AttributeError) as raised:
                getattr(thing, name)
            assert str(raised.value) == f"'{type(thing).__name__}' object has no attribute '{name}': {hint}"


def test_binary_records(sc, tmp_path):
    from tidemill.streaming import StreamingContext

    ssc, seen = StreamingContext(sc, 0.05), []
    ssc.binaryRecordsStream(f"file://{tmp_path}", 2).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    ssc.start()
    (tmp_path / ".new").write_bytes(b"\x00\x01ab")
    (tmp_path / ".new").rename(tmp_path / "new")
    while len(seen) < 2:
        assert not ssc.awaitTerminationOrTimeout(0.05)
    ssc.stop()
    assert seen == [b"\x00\x01", b"ab"]


def test_every_method_has_both_names():
    import re

    from tidemill import RDD
    from tidemill.streaming import DStream, StreamingContext

    for kind in (DStream, RDD, StreamingContext):
        for name in dir(kind):
            snake = re.sub("([A-Z]+)", lambda m: "_" + m.group(1).lower(), name)
            if not name.startswith("_") and name[0].islower() and snake != name:
                assert hasattr(kind, snake.replace("_r_d_d", "_rdd")), f"{kind.__name__}.{snake}"
