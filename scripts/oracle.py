#!/usr/bin/python3
"""Checks that kafka_wordcount wrote every count exactly once. It reads the documented formats and shares no code with the library.

Usage: oracle.py --brokers HOST:PORT --in TOPIC --out TOPIC --checkpoint DIR [--window MS] [--slide MS] [--mode update|changes]
                 [--delay MS --idle-after MS]

Reads the committed records of both topics and the whole plan log (docs/formats.md). The job must run with a --keep-plans that is
long enough. Computes the rows of one run without failures, and prints how many rows are lost, repeated, or wrong. The exit
status is 0 only if none is. The plan log names records that had expired before they were read. The oracle prints them, and expects
them in no row. If such a record is still in the topic, it is lost. --window, --slide and --mode are those of the job. Without a
window the job writes running totals. With --delay it has windows by event time (--event-time).
Needs confluent-kafka (on Debian or Ubuntu: apt-get install python3-confluent-kafka).
"""
import argparse
import collections
import itertools
import json
import pathlib
import struct
import sys
import urllib.parse

HEAD = 40  # bytes of a frame before its payload
# Milliseconds. A delay means windows by event time.
Shape = collections.namedtuple("Shape", "window slide mode delay idle", defaults=(None, None, "update", None, 60_000))
# ranges and aged: (partition, from, until). contents: versions of files that the batch has read.
Plan = collections.namedtuple("Plan", "time ranges run aged contents", defaults=((), ()))
Verdict = collections.namedtuple("Verdict", "lost twice wrong rows notes")


# --- the plan log --------------------------------------------------------------------------------------------------


class Bytes:
    """Decodes varints, signed ones as zigzag, and strings with their length in front."""

    def __init__(self, data):
        self.data, self.at, self.contents = data, 0, []

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self):
        n = self.unsigned()
        return (n >> 1) ^ -(n & 1)

    def text(self):
        n = self.unsigned()
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def split(self):
        """The partition of a split of Kafka or of a custom source, the number of a shard; `None` for a content, and 0 for any other split."""
        kind = self.unsigned()
        if kind == 5:
            self.unsigned()  # the batch that it corrects
        self.text()
        if kind == 0:
            return self.signed()
        if kind == 1:
            self.unsigned(), self.signed()  # size, modified
        if kind == 3:
            partition, (_replayable, ends) = self.signed(), (self.unsigned(), self.unsigned())
            if ends:
                self.signed()  # its end
            return partition
        if kind == 4:
            size = self.unsigned()
            self.at += size
            self.contents.append(self.data[self.at - size : self.at])
            return None
        if kind == 5:
            self.signed(), self.unsigned()  # partition, number of records
            self.at += self.unsigned()  # its records
        if kind == 6:
            shard = self.text()
            self.signed(), self.text(), self.signed(), self.text(), self.unsigned()  # its span
            return int(shard.rsplit("-", 1)[-1])
        return 0

    def batch(self):
        """A batch time and its ranges."""
        time, ranges = self.unsigned(), []
        for _ in range(self.unsigned()):
            self.unsigned(), self.unsigned()  # source, split id
            ranges.append((self.split(), self.signed(), self.signed()))
        return time, [r for r in ranges if r[0] is not None]

    def plan(self):
        time, ranges = self.batch()
        self.at += 1  # shown
        return Plan(time, ranges, self.unsigned(), (), tuple(self.contents))


def payload(data):
    return data[HEAD : HEAD + struct.unpack(">Q", data[16:24])[0]]


def interval(directory):
    """The batch interval, in milliseconds."""
    genesis = Bytes(payload(pathlib.Path(directory, "genesis").read_bytes()))
    genesis.unsigned(), genesis.text()  # id, job
    return genesis.unsigned()


def entries(directory):
    """The bytes of every record of the log, in order. The next segment says how long its predecessor is without its incomplete end."""
    segments = []
    for path in sorted(pathlib.Path(directory, "plans").glob("g*-*")):
        new = path.read_bytes()
        head = Bytes(payload(new))
        head.unsigned(), head.unsigned(), head.unsigned()  # directory, generation, segment
        if head.unsigned():
            head.unsigned(), head.unsigned()
            before, planned = head.unsigned(), head.unsigned()
            assert segments or not planned, f"{path} follows a segment that is gone: the job needs a longer --keep-plans"
            segments[-1:] = [data[:before] for data in segments[-1:]]
        segments.append(new)
    for data in segments:
        at = HEAD + len(payload(data))
        while at + 16 <= len(data):
            size = struct.unpack(">I", data[at : at + 4])[0]
            if size == 0 or at + 16 + size > len(data):
                break
            yield data[at + 16 : at + 16 + size]
            at += 16 + size


def plan_log(directory):
    """Every plan, in order, with its ranges that had expired. Their record is before the plan, or anywhere after it."""
    plans, aged = [], collections.defaultdict(set)
    for data in entries(directory):
        if data[0]:
            plans.append(Bytes(data).plan())
        else:
            assert data[1] == 1, f"a record of the plan log is of kind {data[1]}, of which docs/formats.md says nothing"
            time, ranges = Bytes(data[2:]).batch()
            aged[time].update(ranges)
    return [plan._replace(aged=tuple(sorted(aged[plan.time]))) for plan in plans]


# --- the log of a receiver -----------------------------------------------------------------------------------------


def received(directory):
    """Every record of the only receiver of a job, by number. The records are texts. `directory` has all segments, also those that the job
    has deleted."""
    segments = []
    for path in pathlib.Path(directory).glob("*-g*-*"):
        if path.suffix:
            continue  # an incomplete file
        data = path.read_bytes()
        head = Bytes(payload(data))
        head.unsigned(), head.unsigned()  # directory, R
        generation, segment = head.unsigned(), head.unsigned()
        head.text()
        segments.append((generation, segment, head.unsigned(), data))
    segments.sort(key=lambda segment: segment[:2])
    records = {}
    for i, (_, _, first, data) in enumerate(segments):
        # What is behind this number was never seen by the next run, and nobody was told that it is safe.
        end, number, at = segments[i + 1][2] if i + 1 < len(segments) else None, first, HEAD + len(payload(data))
        while number != end and at + 16 <= len(data):
            size = struct.unpack(">I", data[at : at + 4])[0]
            if size == 0 or at + 16 + size > len(data):
                break
            block = Bytes(data[at + 16 : at + 16 + size])
            for _ in range(block.unsigned()):
                records[number] = block.text()
                number += 1
            at += 16 + size
        assert end in (None, number), f"segment {i + 1} of the receiver ends before record {number}, and the next begins at {end}"
    return records


# --- what one run writes -------------------------------------------------------------------------------------------


def batches(plans, step, records, notes):
    """Each batch time, and how often each word is in it. The times between plans are batches too, without words.

    `records[partition][offset]` is a word. The words of a plan are removed from it.
    """
    following, due = {}, None
    for plan in plans:
        if plan.time % step or due not in (None, plan.time):
            notes.append(f"a batch at {plan.time}, where {due} was next")
        words = collections.Counter()
        for partition, begin, until in plan.ranges:
            if following.get(partition, begin) != begin:
                notes.append(f"a gap or an overlap at {plan.time}: partition {partition} from {begin}, not {following[partition]}")
            following[partition] = until
            there = records.get(partition, {})
            aged = [range(low, high) for p, low, high in plan.aged if p == partition]
            taken = (offset for offset in range(begin, until) if offset in there and not any(offset in gone for gone in aged))
            words.update(there.pop(offset) for offset in taken)
        due = plan.time + (plan.run + 1) * step
        for time in range(plan.time, due, step):
            yield time, words
            words = collections.Counter()


def tables(batches, step, shape):
    """The table of counts at each output: since the beginning, or of the batches u with time - window < u <= time."""
    if shape.window is None:
        table = collections.Counter()
        for _, words in batches:
            table.update(words)
            yield dict(table)
        return
    last = collections.deque()
    for time, words in batches:
        last.append((time, words))
        while last[0][0] <= time - shape.window:
            last.popleft()
        if time % (shape.slide or step) == 0:
            yield dict(sum((words for _, words in last), collections.Counter()))


class Clock:
    """The watermark: the largest time of each partition that is not idle, of these the smallest, less the delay. It never falls."""

    def __init__(self, step, shape):
        self.step, self.shape, self.largest, self.quiet, self.mark = step, shape, {}, {}, None

    def tick(self, newest):
        """A batch with these largest times. Without any, no time passes."""
        if not newest:
            return
        for partition in self.largest:
            self.quiet[partition] += self.step
        for partition, at in newest.items():
            self.largest[partition] = max(at, self.largest.get(partition, at))
            self.quiet[partition] = 0
        self.largest = {p: at for p, at in self.largest.items() if self.quiet[p] < self.shape.idle}
        if self.largest:
            mark = min(self.largest.values()) - self.shape.delay
            self.mark = mark if self.mark is None else max(mark, self.mark)


def windows(batches, step, shape):
    """Each window by event time, with its words, when the watermark has passed its end. Records that come later are not in it."""
    clock, open_windows = Clock(step, shape), collections.defaultdict(collections.Counter)
    for _, records in batches:
        newest = {}
        for (partition, word, at), n in records.items():
            if at is None:
                continue
            newest[partition] = max(at, newest.get(partition, at))
            start = at - at % shape.slide
            while start + shape.window > at:
                if clock.mark is None or start + shape.window > clock.mark:
                    open_windows[start][word] += n
                start -= shape.slide
        clock.tick(newest)
        closed = [start for start in open_windows if clock.mark is not None and start + shape.window <= clock.mark]
        for start in sorted(closed):
            yield start, open_windows.pop(start)


def expected(plans, step, records, shape, notes):
    """The rows of each word, in order, as one run without failures writes them. By event time: the row of each word and window."""
    rows, before = collections.defaultdict(list), {}
    if shape.delay is not None:
        for start, words in windows(batches(plans, step, records, notes), step, shape):
            for word, n in words.items():
                rows[of_window(word, start)].append((n, None))
        return rows
    for table in tables(batches(plans, step, records, notes), step, shape):
        for word in before.keys() | table.keys():
            old, new = before.get(word), table.get(word)
            if old == new:
                continue
            if shape.mode == "changes":
                rows[word] += [(n, diff) for n, diff in ((old, -1), (new, 1)) if n is not None]
            elif new is not None:
                rows[word].append((new, None))
        before = table
    return rows


def compare(want, have, notes):
    """How many rows of a word are lost, repeated, or wrong (not expected, or at another position)."""
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(want, have)))
    if same == len(want) == len(have):
        return 0, 0, 0
    left, right = want[same:], have[same:]
    notes.append(f"row {same}: {left[:3]} expected, {right[:3]} found")
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    missing, more = collections.Counter(left) - collections.Counter(right), collections.Counter(right) - collections.Counter(left)
    again = sum(n for row, n in more.items() if row in want)
    strange = sum(n for row, n in more.items() if row not in want)
    return sum(missing.values()), again, strange + (not missing and not more)


def occurrences(records):
    """How often each word is in the input. `records[partition][offset]` are the words."""
    return collections.Counter(itertools.chain.from_iterable(there.values() for there in records.values()))


def judge(plans, step, records, seen, shape):
    """Judges every row. `records[partition][offset]` are the input words, and `seen[word]` the output rows."""
    records, notes = {p: dict(there) for p, there in records.items()}, []
    came = occurrences(records)
    rows = expected(plans, step, records, shape, notes)
    wrong, twice, lost = len(notes), 0, sum(map(len, records.values()))
    if lost:
        notes.append(f"{lost} words are in no plan, or were passed over")
    for plan in plans:
        notes += [f"{plan.time}: offsets {low} to {high} of partition {partition} had aged out" for partition, low, high in plan.aged]
    for word in sorted(rows.keys() | seen.keys()):
        said = []
        verdict = compare(rows.get(word, []), seen.get(word, []), said)
        lost, twice, wrong = (a + b for a, b in zip((lost, twice, wrong), verdict))
        notes += [f"{word}: {text}" for text in said]
    if shape.window is None:  # independent of the plans: the last total of a word is how often it is in the input
        for word, n in came.items():
            if seen.get(word, [None])[-1] != (n, 1 if shape.mode == "changes" else None):
                wrong += not lost
                notes.append(f"{word}: went in {n} times, and the last total is {seen.get(word, [None])[-1]}")
    return Verdict(lost, twice, wrong, sum(map(len, seen.values())), notes)


# --- posted words --------------------------------------------------------------------------------------------------

# What posted_wordcount has written: how often each row of the table `lines` is there, the rows of the table `counts`, and the entries of the
# ledger. A row is (time, id, word, label), an entry (time, lines, highest, labels).
Posted = collections.namedtuple("Posted", "lines counts ledger")
# What the senders know: how often each (id, word) was sent, and those that were acknowledged.
Sent = collections.namedtuple("Sent", "times acknowledged")


def posted(plans, step, records, notes):
    """What one run without failures writes. The lines of a plan are removed from `records`."""
    rows, counts, ledger, labels = collections.Counter(), collections.Counter(), {}, {}
    versions, came, highest, used = {plan.time: plan.contents for plan in plans}, 0, None, set()
    for time, lines in batches(plans, step, {0: records}, notes):
        for content in versions.get(time, ()):
            labels = dict(line.split(" ", 1) for line in content.decode().splitlines())
        for line, n in lines.items():
            number, word = line.split(" ", 1)
            number, label = int(number), labels.get(word, "none")
            rows[time, number, word, label] += n
            counts[word] += n
            came, highest, used = came + n, max(number, number if highest is None else highest), used | {label}
        ledger[time] = time, came, highest, tuple(sorted(used))
    return Posted(rows, dict(counts), ledger)


def judge_posted(plans, step, records, sent, found):
    """Judges what posted_wordcount has written. `records` are those of its receiver, by number."""
    records, notes = dict(records), []
    want = posted(plans, step, records, notes)
    wrong, twice, lost = len(notes), 0, len(records)
    if lost:
        notes.append(f"{lost} received lines are in no plan, such as {next(iter(records.values()))}")
    missing, more = want.lines - found.lines, found.lines - want.lines
    lost += sum(missing.values())
    twice += sum(n for row, n in more.items() if row in want.lines)
    wrong += sum(n for row, n in more.items() if row not in want.lines)
    notes += [f"{n} of {row} expected and not found" for row, n in missing.items()]
    notes += [f"{n} of {row} found and not expected" for row, n in more.items()]
    # Independent of plans and of the log: what senders were told is there, and nothing comes more often than it was sent.
    there = collections.Counter()
    for (_, number, word, _), n in found.lines.items():
        there[number, word] += n
    for line in sent.acknowledged - there.keys():
        lost += 1
        notes.append(f"{line} was acknowledged, and is not in the table")
    for line, n in there.items():
        if n > sent.times[line]:
            twice += n - sent.times[line]
            notes.append(f"{line} was sent {sent.times[line]} times, and is in the table {n} times")
    for word in sorted(want.counts.keys() | {word for word, _ in found.counts}):
        have = [n for other, n in found.counts if other == word]
        if have != [want.counts.get(word)]:
            wrong += 1
            notes.append(f"{word} came {want.counts.get(word)} times, and the table has {have}")
    for entry in found.ledger:
        if entry != want.ledger.get(entry[0]):
            wrong += 1
            notes.append(f"the accumulators were {entry}, and should be {want.ledger.get(entry[0])}")
    for time in {time for time, *_ in want.lines} - {time for time, *_ in found.ledger}:
        lost += 1
        notes.append(f"the ledger has no entry of the batch {time}")
    return Verdict(lost, twice, wrong, sum(found.lines.values()), notes)


# --- words of a job in SQL -------------------------------------------------------------------------------------------


def logged_files(table):
    """The files that the _spark_metadata of a directory names, in its order: docs/formats.md. A fault of the log is a ValueError."""
    log, files = pathlib.Path(table) / "_spark_metadata", []
    names = {int(path.name.removesuffix(".compact")): path.name for path in log.iterdir() if not path.name.startswith(".")}
    compactions = [number for number, name in names.items() if name.endswith(".compact")]
    first, last = max(compactions, default=0), max(names, default=-1)
    for number in range(first, last + 1):
        if number not in names or names[number].endswith(".compact") != (number % 10 == 9):
            raise ValueError(f"{log}: the file {number} is missing, or has the wrong name")
        version, *lines = (log / names[number]).read_text().split("\n")
        if version != "v1":
            raise ValueError(f"{log / names[number]} begins with {version!r}")
        for line in map(json.loads, lines):
            path = pathlib.Path(urllib.parse.unquote(line["path"].removeprefix("file://")))
            if line["action"] != "add" or line["isDir"] or line["size"] != path.stat().st_size:
                raise ValueError(f"{log / names[number]}: {line}")
            files.append(path)
    if len(set(files)) != len(files):
        raise ValueError(f"{log} names a file twice")
    return files


def judge_copies(records, copies):
    """Judges files that have each word of the input once. `records[partition][offset]` are the words, `copies` is how often each was found."""
    came = occurrences(records)
    missing, more = came - copies, copies - came
    notes = [f"{n} of {word} are in no file" for word, n in missing.items()]
    notes += [f"{n} of {word} are in the files, and did not come" for word, n in more.items()]
    twice = sum(n for word, n in more.items() if word in came)
    return Verdict(sum(missing.values()), twice, sum(more.values()) - twice, sum(copies.values()), notes)


def judge_table(records, rows):
    """Judges a table that has the last total of each word: pairs of a word and a number."""
    came = occurrences(records)
    lost, twice, wrong, notes = 0, 0, 0, []
    for word in sorted(came.keys() | {word for word, _ in rows}):
        have = [n for other, n in rows if other == word]
        if have == [came.get(word)]:
            continue
        lost += not have
        twice += max(0, len(have) - 1)
        wrong += bool(have) and any(n != came.get(word) for n in have)
        notes.append(f"{word} came {came.get(word)} times, and the table has {have}")
    return Verdict(lost, twice, wrong, len(rows), notes)


# --- Kafka ---------------------------------------------------------------------------------------------------------


def log(brokers, topic, isolation="read_committed"):
    """Each partition's records: offset and JSON value."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "oracle", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "enable.partition.eof": True, "isolation.level": isolation, "log_level": 0})
    partitions = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    found, ended = {p: [] for p in partitions}, set()
    while len(ended) < len(partitions):
        message = next(filter(None, (consumer.poll(1) for _ in range(60))), None)
        assert message is not None, f"topic {topic} has no end"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
        else:
            found[message.partition()].append((message.offset(), json.loads(message.value())))
    consumer.close()
    return found


def words(brokers, topic):
    """The input words."""
    return {p: {offset: row["word"] for offset, row in there} for p, there in log(brokers, topic).items()}


def timed(brokers, topic):
    """The input words with their partition and their time."""
    return {p: {offset: (p, row["word"], row.get("at")) for offset, row in there} for p, there in log(brokers, topic).items()}


def of_window(word, start):
    """What a word in a window by event time is called, among the words."""
    return f"{word} from {start}"


def rows(brokers, topic, isolation="read_committed"):
    """The output rows, by word."""
    seen = collections.defaultdict(list)
    for there in log(brokers, topic, isolation).values():
        for _, row in there:
            word = of_window(row["word"], row["start"]) if "start" in row else row["word"]
            seen[word].append((row["count"], row.get("diff")))
    return seen


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--brokers", required=True)
    args.add_argument("--in", dest="words", required=True)
    args.add_argument("--out", dest="counts", required=True)
    args.add_argument("--checkpoint", required=True)
    args.add_argument("--window", type=int)
    args.add_argument("--slide", type=int)
    args.add_argument("--mode", choices=["update", "changes"], default="update")
    args.add_argument("--delay", type=int, help="of windows by event time")
    args.add_argument("--idle-after", type=int, default=60_000, help="of windows by event time")
    args = args.parse_args()
    if args.delay is not None and not (args.window and args.slide):
        sys.exit("--delay needs --window and --slide")
    shape = Shape(args.window, args.slide, args.mode, args.delay, args.idle_after)
    seen, there = rows(args.brokers, args.counts), (words if args.delay is None else timed)(args.brokers, args.words)
    verdict = judge(plan_log(args.checkpoint), interval(args.checkpoint), there, seen, shape)
    for note in verdict.notes[:20]:
        print(note)
    print(f"{verdict.rows} rows: {verdict.lost} lost, {verdict.twice} twice, {verdict.wrong} wrong")
    sys.exit(1 if verdict.lost or verdict.twice or verdict.wrong else 0)


if __name__ == "__main__":
    main()
