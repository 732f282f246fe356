"""Notebooks: those of examples/notebooks run, and show what they should."""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from conftest import TIMEOUT
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from tidemill import _html

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"


def executed(notebook):
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3").execute()
    return notebook.cells


def cell_of(cells, text):
    [cell] = [cell for cell in cells if cell.cell_type == "code" and text in cell.source]
    return cell


def html(cell):
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def test_the_notebook_of_tweets():
    cells = executed(nbformat.read(NOTEBOOKS / "tweets.ipynb", 4))
    # The blocks are below the cells that called pprint, and each has taken the place of the previous one.
    each, window = cell_of(cells, "Tweets in this batch"), cell_of(cells, "by_window = ")
    assert len(each.outputs) == len(window.outputs) == 1
    assert "Tweets in this batch: " in html(each) and "pprint, 20" in html(each)
    assert "('rmoff', " in html(window) and html(window).index("rmoff") < html(window).index("anna"), "they are sorted"
    assert not cell_of(cells, "ssc.start()").outputs, "start() prints nothing"
    card = next(cell for cell in cells if cell.source == "ssc")
    assert "<svg" in html(card) and "runs, a batch every 0.5 s" in html(card) and "tweets</b>" in html(card) and "page</a>" in html(card)
    table = cell_of(cells, ".slice(")
    assert table.outputs[0].text == "True\n" and "<th" in html(table) and ">value</th>" in html(table)
    assert 'href="http://127.0.0.1:' in html(cell_of(cells, "ssc.page()"))
    assert "has ended" in html(cell_of(cells, "enough.set()\nssc.stop"))


def test_the_notebook_of_a_web_log():
    cells = executed(nbformat.read(NOTEBOOKS / "web_log.ipynb", 4))
    assert "(200, " in html(cell_of(cells, "countByValueAndWindow"))
    # Paths are random, so four of them have nearly the same size: three are shown, the largest first.
    sizes = [int(size) for size in re.findall(r"\('/[^']*', (\d+)\)", html(cell_of(cells, "updateStateByKey")))]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    assert len(cell_of(cells, "countByValue().pprint()").outputs) == 1
    error = next(cell for cell in cells if cell.source == "errors[-1]")
    assert ">500</td>" in html(error) and "batch 20" in html(error)
    assert cell_of(cells, "print(ssc)").outputs[0].text == "StreamingContext of web-log: has ended\n"


def test_notebooks_are_kept_without_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None, path


PROGRAM = """
from tidemill import SparkContext
from tidemill.streaming import StreamingContext
ssc = StreamingContext(SparkContext("local[2]", "kernel"), 0.05)
ssc.checkpoint({directory!r})
states = ssc.queueStream([]).map(lambda n: (n, 1)).updateStateByKey(lambda new, old: 1)
states.pprint()
ssc.start()
while ssc.statistics()[0] < 2:
    ssc.awaitTerminationOrTimeout(0.05)
print("it runs")
"""


def test_the_job_of_a_kernel_that_ends_has_a_last_checkpoint(tmp_path):
    """It is made only when a job ends in order: the interval of checkpoints is longer than the test."""
    kernel, client = start_new_kernel(kernel_name="python3")
    try:
        said = []
        client.execute_interactive(PROGRAM.format(directory=str(tmp_path)), timeout=TIMEOUT, output_hook=said.append)
        assert any("it runs" in message["content"].get("text", "") for message in said), said
        before = list(tmp_path.glob("manifests/*"))
    finally:
        client.stop_channels()
        kernel.shutdown_kernel()
    assert len(list(tmp_path.glob("manifests/*"))) > len(before) == 0


# The signal comes when the cell waits. A signal before would interrupt the cell, and not the job.
WAITS = """
import os, signal, sys, threading, time

def interrupt(cell):
    while sys._current_frames()[cell].f_code.co_name != "_wait":
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, args=[threading.get_ident()]).start()
ssc.awaitTermination()
"""


def test_an_interrupted_cell_ends_the_job(tmp_path):
    kernel, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive(PROGRAM.format(directory=str(tmp_path)), timeout=TIMEOUT, output_hook=lambda message: None)
        # Otherwise the kernel also drops a cell that comes soon after the error.
        client.execute(WAITS, stop_on_error=False)
        reply = client.get_shell_msg(timeout=TIMEOUT)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        said = []
        client.execute_interactive("print(ssc)", timeout=TIMEOUT, output_hook=said.append)
        assert any("has ended" in message["content"].get("text", "") for message in said)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


class Visit(NamedTuple):
    page: str
    seconds: float


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([], ["0 rows"]),
        ([("a<b", 1)], ["1 row", ">key</th>", ">value</th>", "a&lt;b", ">1</td>"]),
        ([(1, 2, 3)], [">0</th>", ">2</th>"]),
        ([Visit("/", 1.5)], [">page</th>", ">seconds</th>", ">1.5</td>"]),
        ([{"a": 1}, {"b": 2}], [">a</th>", ">b</th>", ">2</td>"]),
        (["x", ("y", 1)], [">row</th>", ">('y', 1)</td>"]),
        (list(range(25)), ["25 rows", "and 5 more", ">19</td>"]),
    ],
)
def test_a_batch_as_a_table(sc, rows, parts):
    shown = sc.parallelize(rows)._repr_html_()
    for part in parts:
        assert part in shown, shown
    assert ">20</td>" not in shown


def test_the_picture_of_a_job():
    history = [(1_000 * i, 10 * i, 1.0, 2_000.0 if i == 4 else 20.0, None) for i in range(5)]
    shown = _html.timeline(history, 1_000)
    assert shown.count("<rect") == 10 and shown.count("#cf222e") == 1 and "40 records" in shown
    at = datetime.datetime.fromtimestamp(4).time()
    assert f"<title>{at}: 40 records, 2,001 ms</title>" in shown
    assert _html.timeline([], 1_000) == ""
    progress = {"batches": 5, "records": 100, "bad": 2, "lag": 7, "trouble": ["kafka <silent>"], "checkpoints": 1, "history": history}
    card = _html.job("a&b", "runs", 1_000, progress, "http://127.0.0.1:1/")
    for part in ("a&amp;b", ">20</td>", ">7</td>", "bad records", "checkpoints", "kafka &lt;silent&gt;", "2,001 ms"):
        assert part in card, card
    assert "<svg" not in _html.job("a", "has not started", 1_000, None, None)
