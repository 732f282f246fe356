"""The same program in every process, and the same rows again."""

import functools
import operator
import os
import subprocess
import sys
import textwrap

import pytest
from conftest import run
from test_process import end, hostfile

from tidemill import split
from tidemill._fingerprint import mark

PROGRAM = """
    from tidemill import SparkContext
    from tidemill.streaming import StreamingContext
    ssc = StreamingContext(SparkContext(appName="differs"), 0.05)
    numbers = ssc.queueStream([[1]], bounded=True)
    numbers.map(lambda n: n + 1).pprint()
    ssc.start()
    ssc.awaitTermination()
"""


@pytest.mark.parametrize("change", [("n + 1", "n + 2"), ("lambda n", "abs"), (".map(", ".filter(")])
def test_processes_of_different_programs_name_the_line(tmp_path, change):
    programs = []
    text = textwrap.dedent(PROGRAM)
    for name, program in (("one", text), ("other", text.replace(": n + 1", "") if change[1] == "abs" else text)):
        (tmp_path / name).mkdir()
        program = program.replace(*change) if name == "other" else program
        (tmp_path / name / "words.py").write_text(program)
        programs.append(tmp_path / name / "words.py")
    hosts = hostfile(tmp_path)

    def process(i):
        command = [sys.executable, "-m", "tidemill", str(programs[i]), "-n", "2", "-p", str(i), "-w", "1", "--hostfile", str(hosts)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    (_, one, code), (_, other, code2) = [end(process) for process in [process(0), process(1)]]
    assert code and code2, one + other
    assert "built another graph: line" in one + other and '"python map (words.py:6) ' in one + other, one + other


def test_marks_of_functions():
    shift = 3
    functions = [
        lambda a: a + 1,
        lambda a: a + 2,
        lambda a: a + shift,
        lambda a: a in {"x", "y", "z"},
        lambda a: [b for b in a if b],
        lambda a, b=1: a + b,
        lambda a, b=2: a + b,
        functools.partial(operator.add, 1),
        functools.partial(operator.add, 2),
        operator.add,
        str.lower,
        split(" "),
        split(","),
    ]
    marks = [mark(((f, None),)) for f in functions]
    assert len(set(marks)) == len(functions)
    assert (mark(()), mark((1, [2]))) == ("-", "-")


def test_a_mark_is_the_same_in_every_process():
    program = "from tidemill._fingerprint import mark; words = {'x', 'y'}; shown = lambda f: lambda a: f(a) in words or a in {'p'}\n"
    program += "print(mark(((shown(str.lower), None), 3)), mark(((lambda: [a for a in words], None),)))"

    def marks(seed):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        return done.stdout

    assert len({marks(str(seed)) for seed in range(4)}) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.flatMap(lambda n: {n, -n}),
        lambda s: s.map(lambda n: ("k", n)).flatMapValues(lambda n: frozenset([n])),
        lambda s: s.mapPartitions(lambda rows: set(rows)),
        lambda s: s.transform(lambda rdd: set(rdd.collect())),
    ],
)
def test_rows_that_are_a_set_are_warned_about_once(build):
    with pytest.warns(RuntimeWarning) as warned:
        run([[1, 2], [3]], build)
    [warning] = [w for w in warned if w.category is RuntimeWarning]
    assert "the function returns a set, whose order is another one in each run" in str(warning.message)
    assert "test_determinism.py:" in str(warning.message)


def test_a_queue_of_sets_is_warned_about():
    with pytest.warns(RuntimeWarning, match="queueStream: a set"):
        assert run([{1}], lambda s: s) == [[1]]


def test_rows_in_an_order_are_not_warned_about(recwarn):
    run([[1, 2]], lambda s: s.flatMap(lambda n: sorted({n, -n})).transform(lambda rdd: list(dict.fromkeys(rdd.collect()))))
    assert not [w for w in recwarn if w.category is RuntimeWarning]
