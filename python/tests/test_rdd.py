"""The RDD of a batch, and the context that makes one."""

import pytest


def test_verbs_of_rows(sc):
    rdd = sc.parallelize([3, 1, 2, 3])
    assert rdd.map(lambda n: n + 1).filter(lambda n: n > 2).collect() == [4, 3, 4]
    assert (rdd.count(), rdd.first(), rdd.take(2), rdd.isEmpty(), rdd.sum(), rdd.max(), rdd.min(), rdd.mean()) == (
        4,
        3,
        [3, 1],
        False,
        9,
        3,
        1,
        2.25,
    )
    assert rdd.sortBy(lambda n: n, ascending=False).collect() == [3, 3, 2, 1]
    assert (rdd.top(2), rdd.takeOrdered(2, key=lambda n: -n)) == ([3, 3], [3, 3])
    assert (rdd.distinct().collect(), rdd.countByValue()) == ([3, 1, 2], {3: 2, 1: 1, 2: 1})
    assert (rdd.reduce(lambda a, b: a + b), rdd.fold(1, lambda a, b: a + b), rdd.aggregate([], lambda a, n: [*a, n], None)) == (
        9,
        10,
        [3, 1, 2, 3],
    )
    assert rdd.zipWithIndex().collect()[1] == (1, 1)
    assert rdd.groupBy(lambda n: n % 2).collect() == [(1, [3, 1, 3]), (0, [2])]
    assert (rdd.union(sc.parallelize([9])).count(), rdd.subtract(sc.parallelize([3])).collect()) == (5, [1, 2])
    assert (rdd.intersection(sc.parallelize([2, 3])).collect(), rdd.glom().collect()) == ([3, 2], [[3, 1, 2, 3]])
    assert rdd.flatMap(range).collect() == [0, 1, 2, 0, 0, 1, 0, 1, 2]
    assert rdd.mapPartitions(lambda rows: [len(list(rows))]).collect() == [4]
    seen = []
    rdd.foreach(seen.append)
    rdd.foreachPartition(lambda rows: seen.extend(rows))
    assert seen == [3, 1, 2, 3] * 2
    with pytest.raises(ValueError, match="empty"):
        sc.emptyRDD().first()
    with pytest.raises(AttributeError, match="pandas"):
        rdd.toDF()


def test_verbs_of_pairs(sc):
    pairs, others = sc.parallelize([("b", 1), ("a", 2), ("b", 3)]), sc.parallelize([("b", "x"), ("c", "y")])
    assert pairs.reduceByKey(lambda a, b: a + b).sortByKey().collect() == [("a", 2), ("b", 4)]
    assert pairs.groupByKey().mapValues(list).collect() == [("b", [1, 3]), ("a", [2])]
    assert pairs.join(others).collect() == [("b", (1, "x")), ("b", (3, "x"))]
    assert pairs.leftOuterJoin(others).collect()[-1] == ("a", (2, None))
    assert pairs.rightOuterJoin(others).collect()[-1] == ("c", (None, "y"))
    assert pairs.fullOuterJoin(others).count() == 4
    assert pairs.cogroup(others).collect()[0] == ("b", ([1, 3], ["x"]))
    assert (pairs.keys().collect(), pairs.values().collect(), pairs.lookup("b")) == (["b", "a", "b"], [1, 2, 3], [1, 3])
    assert (pairs.countByKey(), pairs.collectAsMap()) == ({"b": 2, "a": 1}, {"b": 3, "a": 2})
    assert pairs.combineByKey(lambda v: [v], lambda c, v: [*c, v], None).collect()[0] == ("b", [1, 3])
    assert pairs.aggregateByKey(0, lambda a, v: a + v, None).collect() == pairs.foldByKey(0, lambda a, b: a + b).collect()
    assert pairs.flatMapValues(range).collect() == [("b", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]
    assert pairs.subtractByKey(others).collect() == [("a", 2)]


def test_text_files(sc, tmp_path):
    sc.parallelize(["a", ("b", 1)]).saveAsTextFile(f"file://{tmp_path}/out")
    assert sc.textFile(str(tmp_path / "out")).collect() == ["a", "('b', 1)"]
    with pytest.raises(FileExistsError):
        sc.emptyRDD().saveAsTextFile(str(tmp_path / "out"))


def test_shared_variables(sc):
    total, words = sc.accumulator(0), sc.broadcast({"a": 1})
    sc.parallelize("aab").foreach(lambda letter: total.add(words.value.get(letter, 0)))
    assert (total.value, repr(total)) == (2, "Accumulator<value=2>")
    words.destroy()
    with pytest.raises(RuntimeError, match="destroyed"):
        words.value  # noqa: B018
