"""Listeners, slices, and what a job tells of itself."""

import time

import pytest
from conftest import TIMEOUT, run

from tidemill import SparkConf, SparkContext
from tidemill.streaming import StreamingContext, StreamingListener
from tidemill.streaming.listener import StreamingListener as SameListener


class Events(StreamingListener):
    def __init__(self):
        self.names, self.complete, self.outputs, self.started = [], [], [], []

    def onStreamingStarted(self, streamingStarted):
        self.names.append("streaming started")
        self.started.append(streamingStarted.time())

    def onBatchSubmitted(self, batchSubmitted):
        info = batchSubmitted.batchInfo()
        assert info.submissionTime() > 0 and info.processingEndTime() == info.totalDelay() == info.processingDelay() == -1
        assert info.outputOperationInfos() == {}
        self.names.append("submitted")

    def onBatchStarted(self, batchStarted):
        self.names.append("started")

    def onOutputOperationStarted(self, outputOperationStarted):
        self.names.append("output started")

    def onOutputOperationCompleted(self, outputOperationCompleted):
        self.names.append("output completed")
        self.outputs.append(outputOperationCompleted.outputOperationInfo())

    def onBatchCompleted(self, batchCompleted):
        self.names.append("completed")
        self.complete.append(batchCompleted.batchInfo())


def test_a_listener_hears_of_all_batches_in_order(sc):
    assert StreamingListener is SameListener
    ssc, events = StreamingContext(sc, 0.05), Events()
    ssc.addStreamingListener(events)
    ssc.queueStream([[1, 2], [3]], bounded=True).foreachRDD(lambda rdd: None)
    before = time.time() * 1000
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert events.names[0] == "streaming started" and before - 1 <= events.started[0] <= time.time() * 1000
    assert sorted(events.names[1:]) == sorted(["submitted", "started", "output started", "output completed", "completed"] * 2)
    assert events.names.index("submitted") < events.names.index("started") < events.names.index("completed")
    first, second = events.complete
    assert [first.numRecords(), second.numRecords()] == [2, 1]
    assert second.batchTime().milliseconds() - first.batchTime().milliseconds() == 50
    assert first.totalDelay() >= first.processingDelay() >= 0 and first.schedulingDelay() >= 0
    assert abs(first.processingEndTime() - first.processingStartTime() - first.processingDelay()) <= 1
    assert (first.numBadRecords(), list(first.streamIdToInputInfo())) == (0, [0])
    read = first.streamIdToInputInfo()[0]
    assert (read.inputStreamId(), read.numRecords(), len(read.offsetRanges())) == (0, 2, 1)
    assert "partition: 0\toffsets: 0 to 1" in read.metadataDescription() == read.metadata()["Description"]
    output = events.outputs[0]
    assert output.name().startswith("foreach_batch") and output.description() == output.name() and output.id() == 0
    assert output.batchTime().milliseconds() == first.batchTime().milliseconds() and output.failureReason() is None
    assert output.endTime() - output.startTime() - output.duration() in (-1, 0, 1) and output.tries() == 1


def test_a_listener_that_comes_later_and_one_that_fails(sc, capsys):
    class Broken(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            raise ValueError("no tide")

    class Partial:
        """It has only the method that it needs."""

        def onBatchCompleted(self, batchCompleted):
            seen.append(batchCompleted.batchInfo().lag())

    ssc, seen = StreamingContext(sc, 0.05), []
    ssc.queueStream([]).foreachRDD(lambda rdd: None)
    ssc.start()
    ssc.addStreamingListener(Broken())
    ssc.add_streaming_listener(Partial())
    while len(seen) < 3:
        assert not ssc.awaitTerminationOrTimeout(0.05)
    ssc.stop(stopGraceFully=True)
    assert "ValueError: no tide" in capsys.readouterr().err


def test_a_listener_may_stop_the_job(sc):
    class Enough(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            ssc.stop(stopSparkContext=False, stopGraceFully=True)

    ssc = StreamingContext(sc, 0.05)
    ssc.queueStream([]).foreachRDD(lambda rdd: None)
    ssc.addStreamingListener(Enough())
    ssc.start()
    assert ssc.awaitTerminationOrTimeout(TIMEOUT)


def test_slice(sc):
    ssc, times = StreamingContext(sc, 0.05), []
    numbers = ssc.queueStream([[1, 2], [3], [4]], bounded=True)
    doubled = numbers.map(lambda n: 2 * n).persist()
    ssc.remember(0.1)
    numbers.foreachRDD(lambda time, rdd: times.append(time))
    ssc.start()
    ssc.awaitTermination(TIMEOUT)
    assert [rdd.collect() for rdd in doubled.slice(times[0], times[2])] == [[6], [8]], "those of the last 0.1 s"
    assert [rdd.collect() for rdd in doubled.slice(times[2], times[2].timestamp())] == [[8]]
    with pytest.raises(ValueError, match="is after the end"):
        doubled.slice(times[2], times[0])
    with pytest.raises(RuntimeError, match=r"call its persist\(\), and remember\(seconds\)"):
        numbers.slice(times[0], times[2])


def test_sums_by_key(workers):
    batches = [[("a", 1), ("b", 5), ("a", 2)], [("a", 4)], []]
    assert [sorted(rows) for rows in run(batches, lambda s: s.sum_by_key(), workers)] == [[("a", 3), ("b", 5)], [("a", 7)], []]


def test_the_page_is_where_it_is_said_to_be(monkeypatch):
    import urllib.request

    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with SparkContext(appName="paged", conf=SparkConf().set("spark.ui.port", "0")) as sc:
        ssc = StreamingContext(sc, 0.05)
        ssc.queueStream([]).foreachRDD(lambda rdd: None)
        with pytest.raises(RuntimeError, match="the job does not run"):
            ssc.page()
        ssc.start()
        page = ssc.page()
        assert opened == [page] and f'href="{page}"' in page._repr_html_() and page in ssc._repr_html_()
        with urllib.request.urlopen(page) as answer:
            assert b"<html" in answer.read()
        ssc.stop(stopSparkContext=False)
    with SparkContext(appName="no page") as sc:
        ssc = StreamingContext(sc, 0.05)
        ssc.queueStream([]).foreachRDD(lambda rdd: None)
        ssc.start()
        with pytest.raises(RuntimeError, match=r"spark.ui.port"):
            ssc.page()
        ssc.stop()
