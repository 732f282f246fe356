"""The programs of the tutorials, as a reader types them, with the imports changed. What they print is compared to the letter."""

import json
import socket
import threading

import pytest
from conftest import TIMEOUT, block, blocks

from tidemill import SparkContext
from tidemill.streaming import StreamingContext
from tidemill.streaming.kafka import KafkaUtils, TopicAndPartition


def until(what, ssc):
    """Waits until something is so, and then ends the job after a last batch."""
    done = threading.Event()
    for _ in range(TIMEOUT * 20):
        if what():
            break
        assert not ssc.awaitTerminationOrTimeout(0.05)
    done.set()
    ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert what(), "it never came"


class Printed:
    """What a job has printed until now."""

    def __init__(self, capsys):
        self.capsys, self.text = capsys, ""

    def __call__(self):
        self.text += self.capsys.readouterr().out
        return blocks(self.text)


@pytest.fixture
def printed(capsys):
    return Printed(capsys)


class Serve:
    """A server that sends these lines to its first caller, and keeps the connection open."""

    def __init__(self, lines):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.text = "".join(f"{line}\n" for line in lines).encode()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        self.connection, _ = self.server.accept()
        self.connection.sendall(self.text)


def test_word_count_of_a_socket(sc, printed):
    server = Serve(["to be or", "not to be"])
    ssc = StreamingContext(sc, 0.1)
    lines = ssc.socketTextStream("127.0.0.1", server.port)
    counts = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    counts.pprint()
    total = []
    lines.foreachRDD(lambda rdd: total.extend(rdd.collect()))
    ssc.start()
    until(lambda: len(total) == 2 and "('be'" in printed(), ssc)
    words = [line for line in printed().splitlines() if line.startswith("(")]
    assert sorted(words) == ["('be', 2)", "('not', 1)", "('or', 1)", "('to', 2)"]


def test_stateful_word_count_of_a_socket(sc, printed, tmp_path):
    ssc = StreamingContext(sc, 0.1)
    ssc.checkpoint(str(tmp_path / "checkpoint"))

    def updateFunc(new_values, last_sum):
        return sum(new_values) + (last_sum or 0)

    lines = ssc.queueStream([["hello world"], ["hello"]], bounded=True)
    running = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).updateStateByKey(updateFunc)
    running.pprint()
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert printed() == block("('hello', 1)", "('world', 1)") + block("('hello', 2)", "('world', 1)")


def test_kafka_word_count(sc, broker, printed):
    broker.create_topic("words")
    broker.send("words", ["to be or", "not to be"])
    ssc = StreamingContext(sc, 0.1)
    kvs = KafkaUtils.createDirectStream(ssc, ["words"], {"metadata.broker.list": broker.address, "auto.offset.reset": "smallest"})
    lines = kvs.map(lambda x: x[1])
    lines.pprint()
    counts = lines.flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    counts.pprint()
    ssc.start()
    until(lambda: "('to', 2)" in printed(), ssc)
    assert block("to be or", "not to be") + block("('be', 2)", "('not', 1)", "('or', 1)", "('to', 2)") in printed()


TWEETS = [
    {"user": {"screen_name": name}, "text": text}
    for name, text in [("rmoff", "tea tea"), ("anna", "tea"), ("rmoff", "coffee"), ("bob", "tea"), ("rmoff", "x"), ("anna", "y")]
]


def test_tweets(sc, broker, printed):
    """The first tutorial: counts, authors sorted, the first five by way of parallelize, a filter, words."""
    broker.create_topic("twitter")
    broker.send("twitter", [json.dumps(tweet) for tweet in TWEETS])
    sc.setLogLevel("WARN")
    ssc = StreamingContext(sc, 0.1)
    kafkaStream = KafkaUtils.createDirectStream(
        ssc, ["twitter"], {"bootstrap.servers": broker.address}, fromOffsets={TopicAndPartition("twitter", 0): 0}
    )
    parsed = kafkaStream.map(lambda v: json.loads(v[1]))
    parsed.count().map(lambda x: "Tweets in this batch: %s" % x).pprint()
    authors_dstream = parsed.map(lambda tweet: tweet["user"]["screen_name"])
    author_counts = authors_dstream.countByValue()
    author_counts.pprint()
    author_counts_sorted_dstream = author_counts.transform(lambda foo: foo.sortBy(lambda x: -x[1]))
    author_counts_sorted_dstream.pprint()
    top_five_authors = author_counts_sorted_dstream.transform(lambda rdd: sc.parallelize(rdd.take(2)))
    top_five_authors.pprint()
    filtered_authors = author_counts.filter(lambda x: x[1] > 1 or x[0].lower().startswith("rm"))
    filtered_authors.transform(lambda rdd: rdd.sortBy(lambda x: -x[1])).pprint()
    words = parsed.flatMap(lambda tweet: tweet["text"].split(" ")).countByValue()
    words.transform(lambda rdd: rdd.sortBy(lambda x: -x[1])).pprint(1)
    ssc.start()
    until(lambda: "('tea', 4)" in printed(), ssc)
    sorted_authors = ["('rmoff', 3)", "('anna', 2)", "('bob', 1)"]
    expected = (
        block("Tweets in this batch: 6")
        + block("('anna', 2)", "('bob', 1)", "('rmoff', 3)")
        + block(*sorted_authors)
        + block(*sorted_authors[:2])
        + block(*sorted_authors[:2])
        + block("('tea', 4)", "...")
    )
    assert expected in printed()


def test_windowed_tweets(sc, broker, printed, tmp_path):
    """The second program of the first tutorial, with its checkpoint and getOrCreate."""
    broker.create_topic("twitter2")
    broker.send("twitter2", [json.dumps(tweet) for tweet in TWEETS])

    def createContext():
        ssc = StreamingContext(sc, 0.1)
        kafkaStream = KafkaUtils.createDirectStream(
            ssc, ["twitter2"], {"bootstrap.servers": broker.address, "auto.offset.reset": "earliest"}
        )
        parsed = kafkaStream.map(lambda v: json.loads(v[1]))
        count_this_batch = kafkaStream.count().map(lambda x: "Tweets this batch: %s" % x)
        count_windowed = kafkaStream.countByWindow(60, 0.1).map(lambda x: "Tweets total (One minute rolling count): %s" % x)
        authors_dstream = parsed.map(lambda tweet: tweet["user"]["screen_name"])
        count_values_windowed = (
            authors_dstream.countByValueAndWindow(60, 0.1)
            .transform(lambda rdd: rdd.sortBy(lambda x: -x[1]))
            .map(lambda x: "Author counts (One minute rolling):\tValue %s\tCount %s" % (x[0], x[1]))
        )
        count_this_batch.union(count_windowed).pprint()
        count_values_windowed.pprint(2)
        return ssc

    ssc = StreamingContext.getOrCreate(str(tmp_path / "checkpoint_v06"), lambda: createContext())
    ssc.start()
    later = block("Tweets this batch: 0", "Tweets total (One minute rolling count): 6")
    until(lambda: later in printed(), ssc)
    text = printed()
    assert block("Tweets this batch: 6", "Tweets total (One minute rolling count): 6") in text
    author = "Author counts (One minute rolling):\tValue %s\tCount %s"
    assert block(author % ("rmoff", 3), author % ("anna", 2), "...") in text


def test_messages_as_text_files(sc, broker, tmp_path):
    """The fifth tutorial: a receiver, and files of its pairs."""
    broker.create_topic("mytopic")
    ssc = StreamingContext(sc, 0.1)
    kafka_dstream = KafkaUtils.createStream(ssc, broker.address, "sparkit", {"mytopic": 1}, {"auto.offset.reset": "smallest"})
    kafka_dstream.saveAsTextFiles(prefix=str(tmp_path / "g"), suffix="log")
    seen = []
    kafka_dstream.foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    broker.send("mytopic", ["message1", ("key1", "message2")])
    ssc.start()
    until(lambda: len(seen) == 2, ssc)
    parts = sorted(tmp_path.glob("g-*.log/part-*"))
    assert "".join(part.read_text() for part in parts) == "(None, 'message1')\n('key1', 'message2')\n"


def test_sql_tutorials_function_of_time_and_rdd(sc):
    ssc = StreamingContext(sc, 0.05)
    seen = []

    def process(time, rdd):
        assert rdd.context is sc
        seen.append((str(time)[:2], rdd.map(lambda w: {"word": w[0], "cnt": w[1]}).collect()))

    words = ssc.queueStream([["a b a"]], bounded=True).flatMap(lambda line: line.split(" "))
    words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).foreachRDD(process)
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert seen == [("20", [{"word": "a", "cnt": 2}, {"word": "b", "cnt": 1}])]


def test_offset_ranges(sc, broker):
    """The fourth tutorial."""
    broker.create_topic("ranges")
    broker.send("ranges", ["a", "b"])
    ssc = StreamingContext(sc, 0.1)
    direct = KafkaUtils.createDirectStream(ssc, ["ranges"], {"bootstrap.servers": broker.address, "auto.offset.reset": "smallest"})
    offsetRanges, printed = [], []

    def storeOffsetRanges(rdd):
        offsetRanges[:] = rdd.offsetRanges()
        return rdd

    def printOffsetRanges(rdd):
        printed.extend(f"{o.topic} {o.partition} {o.fromOffset} {o.untilOffset}" for o in rdd.offsetRanges() if o.count())

    direct.transform(storeOffsetRanges).foreachRDD(printOffsetRanges)
    ssc.start()
    until(lambda: printed, ssc)
    assert printed == ["ranges 0 0 2"] and offsetRanges[0].topic == "ranges"


def test_spark_context_by_name(printed):
    with SparkContext(appName="PythonStreamingKafkaWordCount") as sc:
        ssc = StreamingContext(sc, 0.05)
        ssc.queueStream([[("tide", 2.5), (None, True), ("it's", b"x")]], bounded=True).pprint(2)
        ssc.start()
        ssc.awaitTermination(TIMEOUT)
    assert printed() == block("('tide', 2.5)", "(None, True)", "...")
