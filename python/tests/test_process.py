"""Programs as processes: how they end."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
from conftest import TIMEOUT

PROGRAM = """
    import sys
    from tidemill import SparkContext
    from tidemill.streaming import StreamingContext
    sc = SparkContext("local[2]", "process")
    sc.setLogLevel("ERROR")
    ssc = StreamingContext(sc, 0.05)
    numbers = ssc.queueStream([[1], [2]])
"""


def start(text, **settings):
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(text)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell without job control lets what it starts in the background ignore SIGINT, and this would be inherited.
    return subprocess.Popen([sys.executable, "-c", program], preexec_fn=heeds_interrupts, **pipes, **settings)


def heeds_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(process):
    try:
        return *process.communicate(timeout=TIMEOUT), process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.mark.parametrize(("number", "says"), [(signal.SIGINT, "interrupted\nended\n"), (signal.SIGTERM, "ended\n")])
def test_a_signal_ends_the_job_after_a_last_batch(number, says):
    process = start("""
        numbers.foreachRDD(lambda rdd: print("batch", rdd.collect(), flush=True))
        ssc.start()
        try:
            ssc.awaitTermination()
        except KeyboardInterrupt:
            print("interrupted")
        print("ended")
    """)
    assert process.stdout.readline() == "batch [1]\n"
    process.send_signal(number)
    out, err, code = end(process)
    assert out.endswith(says) and code == 0, (out, err)


def test_an_exception_that_nobody_catches_has_both_tracebacks():
    out, err, code = end(
        start("""
        numbers.map(lambda n: n // 0).pprint()
        ssc.start()
        ssc.awaitTermination()
    """)
    )
    assert code == 1 and "ZeroDivisionError" in err and "The above exception was the direct cause" in err
    assert "JobError: map (" in err and "panicked" not in err, err


@pytest.mark.parametrize("await_it", [True, False])
def test_a_program_that_ends_ends_its_job(await_it):
    out, err, code = end(
        start(f"""
        numbers.pprint()
        ssc.start()
        if {await_it}:
            assert not ssc.awaitTerminationOrTimeout(0.2)
    """)
    )
    assert code == 0 and "call ssc.awaitTermination()" in err, err


def test_stop_in_a_function_of_the_program():
    out, err, code = end(
        start("""
        numbers.foreachRDD(lambda rdd: ssc.stop(stopSparkContext=True, stopGraceFully=True))
        ssc.start()
        ssc.awaitTermination()
        print("ended")
    """)
    )
    assert (out, code) == ("ended\n", 0), err


def test_a_fork_and_threads():
    out, err, code = end(
        start("""
        import os, threading
        seen = []
        numbers.map(lambda n: (n, threading.current_thread().name)).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
        ssc.start()
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        while len(seen) < 2:
            assert not ssc.awaitTerminationOrTimeout(0.05)
        ssc.stop(stopGraceFully=True)
        print([n for n, _ in seen])
    """)
    )
    assert (out, code) == ("[1, 2]\n", 0), err


def test_a_child_of_a_fork_ends_without_the_job():
    out, err, code = end(
        start("""
        import os, sys
        numbers.foreachRDD(lambda rdd: None)
        ssc.start()
        child = os.fork()
        if child == 0:
            assert StreamingContext.getActive() is None
            assert ssc.awaitTerminationOrTimeout(1)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        ssc.stop(stopGraceFully=True)
    """)
    )
    assert (out, code) == ("7\n", 0), err


IMPORTS = """
try:
    import tidemill
except ImportError as e:
    print(e, flush=True)
"""


def test_a_subinterpreter_is_refused_with_a_word():
    out, err, code = end(
        start(f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        run = getattr(interpreters, "exec", None) or interpreters.run_string
        run(interpreters.create(), {IMPORTS!r})
    """)
    )
    assert out == "tidemill cannot be used in a subinterpreter: use the main interpreter, or another process\n", (out, err)
    assert code == 0, err


def test_import_is_quick():
    """The median of seven imports takes less than 150 ms. It is time of the processor, because others use the machine too."""
    import statistics

    def once(module):
        begun = os.times()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        ended = os.times()
        return ended.children_user + ended.children_system - begun.children_user - begun.children_system

    took = statistics.median(once("tidemill.streaming") for _ in range(7)) - statistics.median(once("sys") for _ in range(7))
    assert took < 0.15, took


WORDS = """
    import sys
    from tidemill import SparkContext
    from tidemill.streaming import StreamingContext
    assert sys.argv[1:] == ["an argument"], sys.argv
    ssc = StreamingContext(SparkContext(appName="words"), 0.05)
    batches = [[f"{i % 7} {i % 3}" for i in range(1000)], ["0"]]
    words = ssc.queueStream(batches, bounded=True).repartition(8).flatMap(lambda line: [int(word) for word in line.split(" ")])
    words.map(lambda n: (("n", n), {"a": 1})).groupByKey().mapValues(len).pprint()
    states = words.map(lambda n: (n, 1)).updateStateByKey(lambda new, total: sum(new) + (total or 0))
    states.foreachRDD(lambda rdd: print(sorted(rdd.collect()), flush=True))
    ssc.start()
    ssc.awaitTermination()
"""
TOTALS = [(n, sum(1 for i in range(1000) for word in (i % 7, i % 3) if word == n)) for n in range(7)]


def hostfile(tmp_path):
    """Two free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"127.0.0.1:{one.getsockname()[1]}\n" for one in sockets))
    for one in sockets:
        one.close()
    return hosts


def test_two_processes_are_one_job(tmp_path):
    """What `tidemill launch -n 2 -w 2 -- python -m tidemill words.py` starts."""
    program = tmp_path / "words.py"
    program.write_text(textwrap.dedent(WORDS))
    hosts = hostfile(tmp_path)

    def process(i):
        options = ["-n", "2", "-p", str(i), "-w", "2", "--hostfile", str(hosts)]
        command = [sys.executable, "-m", "tidemill", "--quiet", str(program), "an argument", *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    (out, err, code), (nothing, other, code2) = [end(one) for one in [process(0), process(1)]]
    assert (code, code2) == (0, 0), err + other
    assert str(TOTALS) in out and str([(0, TOTALS[0][1] + 1), *TOTALS[1:]]) in out, out + err
    assert "(('n', 0), " in out and nothing == ""


def test_the_program_among_options(tmp_path, monkeypatch):
    from tidemill._options import divide

    monkeypatch.chdir(tmp_path)
    for name in ("plans", "program"):
        (tmp_path / name).write_text("")
    assert divide(["--plans", "plans", "words.py", "a"]) == (["--plans", "plans"], "words.py", ["a"])
    assert divide(["--plans", "plans", "program", "words.py"]) == (["--plans", "plans"], "program", ["words.py"])
    assert divide(["--quiet", "program"]) == (["--quiet"], "program", [])


def test_options_of_a_program(tmp_path):
    program = tmp_path / "words.py"
    program.write_text(textwrap.dedent(WORDS))

    def run(*options):
        command = [sys.executable, "-m", "tidemill", *options, str(program), "an argument"]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    done = run("-w", "3", "--checkpoint", str(tmp_path / "states"))
    assert done.returncode == 0 and "3 workers in 1 process" in done.stderr and str(TOTALS) in done.stdout, done.stderr
    wrong = run("--chekpoint", "x")
    assert wrong.returncode == 1 and "--checkpoint" in wrong.stderr
    missing = subprocess.run([sys.executable, "-m", "tidemill", "-w", "2"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1 and "the program is missing" in missing.stderr
