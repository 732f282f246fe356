#!/usr/bin/env python3
"""The peers of the benchmarks: how they are installed, and how they are started. `scripts/bench` calls it.

Usage: peers.py setup PEER...            installs them in $PEERS_HOME, once; a changed version in this folder installs again
       peers.py command PEER MODE        prints the command, with {brokers}, {in} and {out} to be filled in; MODE: throughput or latency
       peers.py hop RECORDS LENGTH SLIDE the same for Flink's sliding counts over generated words
       peers.py nexmark QUERY EVENTS PARALLELISM
                                         the same for Flink's query of NEXMark over generated events
       peers.py yahoo ADS PARALLELISM    the same for Flink's windows of the Yahoo benchmark, with {brokers}, {in} and {out}
       peers.py page-rank BATCHES        the same for Pathway's PageRank over generated edges

Versions are pinned in the pom.xml and requirements.txt beside each program. A peer reads {"word": "..."} from the topic {in}, from the
beginning, and writes the running count of each word to the topic {out} as {"word": "...", "count": N}. It may leave out counts that a
later one replaces.
"""
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
home = pathlib.Path(os.environ.get("PEERS_HOME") or pathlib.Path.home() / ".cache/tidemill/peers-2")
OPENED = ["java.lang", "java.util", "java.time", "java.net", "java.nio", "sun.nio.ch"]
JAVA = ["java", "-Xmx2g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", *(f"--add-opens=java.base/{p}=ALL-UNNAMED" for p in OPENED)]
PEERS = ["raw", "flink", "flink-record", "kafka-streams", "spark", "pathway", "bytewax", "tidemill-python", "tidemill-python-lambda"]


def folder(peer):
    """The folder of a peer's program; some peers share one."""
    return {"flink-record": "flink", "tidemill-python-lambda": "tidemill-python"}.get(peer, peer)


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr, **options)


def venv(requirements, place):
    run(sys.executable, "-m", "venv", place)
    run(place / "bin/pip", "install", "--quiet", "--requirement", requirements)


def jars(pom, place):
    run("mvn", "--quiet", "--batch-mode", "--file", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={place}")


def install(peer):
    """Installs a peer. The stamp is written last: an incomplete installation is done again."""
    program, place = here / folder(peer), home / folder(peer)
    inputs = sorted(program.rglob("*")) if program.is_dir() else [here / "requirements.txt"]
    made_from = "".join(f"{path.name}\n{path.read_text()}" for path in inputs if path.suffix in (".xml", ".txt", ".java"))
    stamp = place / "made-from"
    if stamp.exists() and stamp.read_text() == made_from:
        return
    print(f"peers.py: installing {place.name} in {home}, once", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if (program / "pom.xml").exists():
        jars(program / "pom.xml", place / "jars")
    if (program / "WordCount.java").exists():
        run("javac", "-cp", f"{place}/jars/*", "-d", place / "classes", *sorted(program.glob("*.java")))
    requirements = program / "requirements.txt" if program.is_dir() else here / "requirements.txt"
    if requirements.exists():
        venv(requirements, place / "venv")
    stamp.write_text(made_from)


def raw_loop():
    """Builds the raw loop, a bench target of this project, and returns its path."""
    command = ["cargo", "build", "--locked", "--features", "dataflows", "--bench", "raw_loop", "--message-format", "json"]
    command += [] if os.environ.get("BENCH_PROFILE") == "dev" else ["--release"]
    built = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [json.loads(line).get("executable") for line in built.splitlines() if '"raw_loop"' in line]
    return next(path for path in reversed(made) if path)


def tidemill_python():
    """Builds the package of this project, as a release, into an environment of its own, and returns its Python."""
    place = home / "tidemill-python"
    if not (place / "bin/python").exists():
        venv(root / "python/requirements.txt", place)  # maturin, and what the tests need
    release = [] if os.environ.get("BENCH_PROFILE") == "dev" else ["--release"]
    path = f"{place}/bin{os.pathsep}{os.environ['PATH']}"
    run(place / "bin/maturin", "develop", "--locked", "--quiet", *release, "--manifest-path", root / "python/Cargo.toml",
        env={**os.environ, "VIRTUAL_ENV": str(place), "PATH": path})
    return place / "bin/python"


def command(peer, mode):
    place, topics = home / folder(peer), ["{brokers}", "{in}", "{out}"]
    if peer == "raw":
        return [raw_loop(), *topics, mode]
    if peer in ("flink", "flink-record"):
        how = "mini-batch" if peer == "flink" else "record"
        return [*JAVA, "-cp", f"{place}/classes:{place}/jars/*", "WordCount", *topics, mode, how]
    if peer == "kafka-streams":
        return [*JAVA, "-cp", f"{place}/classes:{place}/jars/*", "WordCount", *topics, mode]
    if folder(peer) == "tidemill-python":
        return [tidemill_python(), here / "tidemill-python/wordcount.py", *topics, mode, "lambda" if peer.endswith("lambda") else "rust"]
    python, program = place / "venv/bin/python", here / peer / "wordcount.py"
    if peer == "spark":
        return ["env", f"SPARK_JARS={place}/jars", python, program, *topics, mode]
    if peer == "pathway":
        return ["env", "PATHWAY_THREADS=1", python, program, *topics, mode]
    names = ["BROKERS={brokers}", "IN={in}", "OUT={out}", f"PYTHONPATH={here / peer}"]
    return ["env", *names, python, "-m", "bytewax.run", "wordcount:flow"]


def hop(records, length, slide):
    """Flink's sliding counts over generated words."""
    place = home / "flink"
    return [*JAVA, "-cp", f"{place}/classes:{place}/jars/*", "WordCount", "hop", records, length, slide]


def yahoo(ads, parallelism):
    """Flink's windows of the Yahoo benchmark."""
    place = home / "flink"
    return [*JAVA, "-cp", f"{place}/classes:{place}/jars/*", "Yahoo", "{brokers}", "{in}", "{out}", ads, parallelism]


def nexmark(query, events, parallelism):
    """A query of NEXMark with Flink, over generated events."""
    place = home / "flink"
    return [*JAVA, "-cp", f"{place}/classes:{place}/jars/*", "Nexmark", query, events, parallelism]


def page_rank(batches):
    """Pathway's PageRank over generated edges."""
    return ["env", "PATHWAY_THREADS=1", home / "pathway/venv/bin/python", here / "pathway/page_rank.py", batches]


def known(peers):
    for peer in peers:
        if peer not in PEERS:
            sys.exit(f"peers.py: no peer {peer!r}; there are: {' '.join(PEERS)}")
    return peers


def main():
    match sys.argv[1:]:
        case ["setup", *peers]:
            for peer in known(peers):
                build = {"raw": raw_loop, "tidemill-python": tidemill_python}.get(folder(peer))
                build() if build else install(peer)
            install("harness")
        case ["command", peer, ("throughput" | "latency") as mode]:
            known([peer])
            print(shlex.join(str(word) for word in command(peer, mode)))
        case ["hop", records, length, slide]:
            print(shlex.join(str(word) for word in hop(records, length, slide)))
        case ["nexmark", query, events, parallelism]:
            print(shlex.join(str(word) for word in nexmark(query, events, parallelism)))
        case ["yahoo", ads, parallelism]:
            print(shlex.join(str(word) for word in yahoo(ads, parallelism)))
        case ["page-rank", batches]:
            print(shlex.join(str(word) for word in page_rank(batches)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
