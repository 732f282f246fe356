"""What the job `posted` of scripts/torture needs: a PostgreSQL, senders, and a file of labels that changes."""
import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import oracle

NOBODY = 65534  # the user of Debian; PostgreSQL refuses to run as root
BLOCK = 20  # lines that are posted together
PATIENCE = 60  # seconds


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A PostgreSQL on a free port of loopback, with the tables of posted_wordcount."""

    def __init__(self):
        # A directory below that of the torture would be closed to the user nobody.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tidemill-torture-postgres-", dir="/tmp" if os.getuid() == 0 else None))
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if self.user:
            os.chown(self.dir, NOBODY, NOBODY)
        self.port, self.process = free_port(), None
        self.url = f"postgres://writer@127.0.0.1:{self.port}/postgres"
        self.call("initdb", "--pgdata=data", "--auth=trust", "--username=writer", "--no-sync")
        self.start()
        self.query("CREATE TABLE lines (time BIGINT, id BIGINT, word TEXT, label TEXT)")
        self.query("CREATE TABLE counts (word TEXT PRIMARY KEY, count BIGINT)")

    def command(self, name, *options):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise RuntimeError(f"{name} of PostgreSQL is missing; on Debian or Ubuntu: apt-get install postgresql")
        return [found[-1], *options], {"cwd": self.dir, "stdin": subprocess.DEVNULL, **self.user}

    def call(self, name, *options):
        command, how = self.command(name, *options)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
        return done.stdout

    def query(self, sql):
        return self.call("psql", "--no-psqlrc", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1", f"--dbname={self.url}", f"--command={sql}")

    def start(self):
        """Starts it, and waits until it answers. After a kill it first repairs its files."""
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        command, how = self.command("postgres", "-D", "data", "-p", str(self.port), *(word for s in settings for word in ("-c", s)))
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
        for _ in range(PATIENCE * 20):
            try:
                return self.query("SELECT 1")
            except RuntimeError:
                time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL does not answer on port {self.port}")

    def kill(self):
        """Ends it at once, in the middle of all transactions."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def outage(self, pause):
        """Ends it at once, and starts it again after so many seconds."""
        self.kill()
        time.sleep(pause)
        self.start()

    def end(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Sender(threading.Thread):
    """Posts lines with numbers of their own. It sends a block again until it is acknowledged."""

    def __init__(self, port, seed, first, step):
        super().__init__(daemon=True)
        self.port, self.random, self.number, self.step = port, random.Random(f"{seed} sender {first}"), first, step
        self.stop, self.connection, self.failure = threading.Event(), None, None
        self.times, self.acknowledged = collections.Counter(), set()

    def run(self):
        try:
            while not self.stop.is_set():
                block = [(self.number + i * self.step, f"w{self.random.randrange(40)}") for i in range(BLOCK)]
                self.number += BLOCK * self.step
                while not self.post(block) and not self.stop.wait(0.02):
                    pass
                self.stop.wait(0.05)
        except Exception as e:
            self.failure = e

    def post(self, block):
        """Whether the block is acknowledged."""
        body = "".join(f"{number} {word}\n" for number, word in block)
        try:
            if self.connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.connect()
                self.connection = connection
            self.times.update(block)
            self.connection.request("POST", "/", body)
            answer = self.connection.getresponse()
            text = answer.read().decode().strip()
        except (OSError, http.client.HTTPException):  # the job was killed, or has not started
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            return False
        if answer.status in (429, 503):  # the job is behind, or stops
            return False
        if (answer.status, text) != (200, str(BLOCK)):
            raise RuntimeError(f"a block of {BLOCK} lines was answered with {answer.status} {text}")
        self.acknowledged.update(block)
        return True


class Around(threading.Thread):
    """Moves new versions of the labels in, and keeps the segments of the receiver that the job will delete."""

    def __init__(self, folder, checkpoint, seed):
        super().__init__(daemon=True)
        self.labels, self.received, self.kept = folder / "labels", checkpoint / "received", folder / "received"
        self.random, self.stop, self.versions, self.failure = random.Random(f"{seed} labels"), threading.Event(), 0, None
        self.kept.mkdir()
        self.relabel()

    def run(self):
        try:
            while not self.stop.wait(0.05):
                self.keep()
                if self.random.randrange(12) == 0:
                    self.relabel()
        except Exception as e:
            self.failure = e

    def relabel(self):
        """Half of the words have a label, of which there are few: an accumulator holds them all."""
        new = self.labels.with_suffix(".new")
        new.write_text("".join(f"w{i} l{self.random.randrange(12)}\n" for i in range(40) if self.random.randrange(2)))
        new.rename(self.labels)
        self.versions += 1

    def keep(self):
        """A second name for each segment. The job appends to the same file, and deletes its own name only."""
        for path in self.received.glob("*-g*-*"):
            if re.fullmatch("[0-9a-f]{16}-g[0-9]+-[0-9]+", path.name) and not (self.kept / path.name).exists():
                try:
                    os.link(path, self.kept / path.name)
                except FileNotFoundError:
                    pass  # deleted meanwhile; a segment that has records lives for longer than a round of this thread


def found(postgres, ledger):
    """What the job has written."""
    lines, counts = collections.Counter(), []
    for row in postgres.query("SELECT time, id, word, label FROM lines").splitlines():
        at, number, word, label = row.split(",")
        lines[int(at), int(number), word, label] += 1
    for row in postgres.query("SELECT word, count FROM counts").splitlines():
        word, n = row.split(",")
        counts.append((word, int(n)))
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    return oracle.Posted(lines, counts, [(e["time"], e["lines"], e["highest"], tuple(e["labels"])) for e in entries])


def planted(plans, step, records, sent, there):
    """The names of faults that the oracle does not find in a copy."""
    row, entry, missed = max(there.lines), there.ledger[-1], []
    others = collections.Counter({other: n for other, n in there.lines.items() if other != row})
    cases = {"lost": [there._replace(lines=others), there._replace(ledger=[e for e in there.ledger if e[0] != row[0]])],
             "twice": [there._replace(lines=there.lines + collections.Counter([row]))],
             "wrong": [there._replace(lines=others + collections.Counter([(*row[:3], "?")])), there._replace(counts=there.counts[1:]),
                       there._replace(ledger=[*there.ledger, (entry[0], entry[1] + 1, *entry[2:])])]}
    for name, changed in cases.items():
        missed += [name for copy in changed if not getattr(oracle.judge_posted(plans, step, records, sent, copy), name)]
    return missed
