#!/usr/bin/python3
"""Checks that scripts/oracle.py finds all lost, repeated and wrong rows, and no others. Ends with a line like those of cargo test."""
import collections
import copy
import json
import pathlib
import random
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import oracle
from oracle import Plan, Shape

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "tests/data/checkpoint-v1"
STEP = 100
EVENT_TIME = Shape(500, 200, "append", 300, 1000)
SHAPES = [Shape(), Shape(mode="changes"), Shape(500, 200), Shape(300, None, "changes"), Shape(200, 400, "changes"), EVENT_TIME]


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def zigzag(n):
    return varint(n << 1 if n >= 0 else -n * 2 - 1)


def a_batch(time, ranges):
    """The bytes of a batch time and its ranges: source 0, each partition with its number as split id."""
    out = varint(time) + varint(len(ranges))
    for partition, begin, until in ranges:
        out += varint(0) + varint(partition) + varint(0) + varint(5) + b"words" + zigzag(partition) + zigzag(begin) + zigzag(until)
    return out


def a_plan(plan):
    return a_batch(plan.time, plan.ranges) + b"\1" + varint(plan.run) + b"\1"


def a_loss(time, ranges):
    return b"\0\1" + a_batch(time, ranges)


def a_segment(generation, before, records):
    """The bytes of a segment, without checksums, because the oracle reads none. `before`: generation, length and end of the previous
    segment. `records`: plans, or raw bytes."""
    head = varint(7) + varint(generation) + varint(1)
    head += b"\0" if before is None else b"\1" + varint(before[0]) + varint(1) + varint(before[1]) + varint(before[2])
    out = b"tidemillplan" + struct.pack(">IQQQ", 1, len(head), 0, 0) + head
    for record in records:
        data = record if isinstance(record, bytes) else a_plan(record)
        out += struct.pack(">IIQ", len(data), 0, 0) + data
    return out


class ThePlanLog(unittest.TestCase):
    def read(self, segments):
        with tempfile.TemporaryDirectory() as directory:
            plans = pathlib.Path(directory, "plans")
            plans.mkdir()
            for number, data in enumerate(segments, 1):
                plans.joinpath(f"g{number:08}-000001").write_bytes(data)
            return oracle.plan_log(directory)

    def test_a_log_of_the_program(self):
        plans = oracle.plan_log(FIXTURE)
        self.assertEqual(oracle.interval(FIXTURE), 1000)
        times = [plan.time for plan in plans]
        self.assertEqual(times, sorted(times))
        self.assertTrue(plans and any(plan.ranges for plan in plans))
        self.assertTrue(all(begin <= until for plan in plans for _, begin, until in plan.ranges))

    def test_an_interrupted_append_is_not_read(self):
        one, two, three = (Plan(100, [(0, 0, 300)], 0), Plan(200, [(0, 300, 300), (2, -1, 9)], 7), Plan(1000, [], 0))
        first = a_segment(1, None, [one, two])
        whole = len(a_segment(1, None, [one]))
        self.assertEqual(self.read([first]), [one, two])
        self.assertEqual(self.read([first[:whole] + bytes(512)]), [one])
        for cut in range(whole, len(first)):
            self.assertEqual(self.read([first[:cut]]), [one], cut)
            self.assertEqual(self.read([first[:cut], a_segment(2, (1, whole, 100), [three])]), [one, three])
        self.assertEqual(self.read([first, a_segment(2, (1, len(first), 900), []), a_segment(3, (2, 62, 900), [three])]), [one, two, three])

    def test_a_version_of_a_file_is_beside_the_ranges(self):
        content = varint(1) + varint(5) + varint(4) + varint(6) + b"labels" + varint(3) + b"a x" + zigzag(0) + zigzag(3)
        plan = varint(100) + varint(2) + content + a_batch(100, [(2, 5, 9)])[2:] + b"\1" + varint(4) + b"\1"
        self.assertEqual(self.read([a_segment(1, None, [plan])]), [Plan(100, [(2, 5, 9)], 4, (), (b"a x",))])

    def test_a_log_without_its_beginning_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "keep-plans"):
            self.read([a_segment(3, (2, 100, 500), [])])
        self.assertEqual(self.read([a_segment(3, (2, 100, 0), [Plan(100, [], 0)])]), [Plan(100, [], 0)])

    def test_expired_records_are_beside_the_plans(self):
        one, two = Plan(100, [(0, 0, 300)], 0), Plan(200, [(0, 300, 400), (2, 5, 9)], 0)
        losses = a_loss(100, [(0, 0, 70)]), a_loss(200, [(2, 5, 6), (0, 300, 310)]), a_loss(100, [(0, 70, 80)])
        # The record of a loss may be before its plan, in a later run of the batch, or before a batch was planned. It may be repeated.
        segments = [a_segment(1, None, [losses[0], one, losses[1]]), a_segment(2, (1, 900, 100), [losses[1], two, losses[2]])]
        aged = [one._replace(aged=((0, 0, 70), (0, 70, 80))), two._replace(aged=((0, 300, 310), (2, 5, 6)))]
        self.assertEqual(self.read(segments), aged)
        with self.assertRaisesRegex(AssertionError, "kind 2"):
            self.read([a_segment(1, None, [one, b"\0\2\5"])])


class ExpectedRows(unittest.TestCase):
    """Expected rows computed by hand: a, then a and b, then nothing for 400 ms, then b."""

    records = {0: {0: "a", 1: "a", 2: "b"}, 1: {7: "b"}}
    plans = [Plan(1100, [(0, 0, 1)], 0), Plan(1200, [(0, 1, 4), (1, 0, 3)], 3), Plan(1600, [(0, 4, 4), (1, 3, 9)], 0)]

    def expected(self, *shape):
        notes = []
        rows = oracle.expected(self.plans, STEP, copy.deepcopy(self.records), Shape(*shape), notes)
        self.assertEqual(notes, [])
        return dict(rows)

    def test_totals(self):
        self.assertEqual(self.expected(), {"a": [(1, None), (2, None)], "b": [(1, None), (2, None)]})
        changes = [(1, 1), (1, -1), (2, 1)]
        self.assertEqual(self.expected(None, None, "changes"), {"a": changes, "b": changes})

    def test_windows_slide_over_empty_batches(self):
        # 1100: a1  1200: a2 b1  1300: a1 b1  1400, 1500: nothing  1600: b1
        self.assertEqual(self.expected(200, 100, "changes"), {
            "a": [(1, 1), (1, -1), (2, 1), (2, -1), (1, 1), (1, -1)], "b": [(1, 1), (1, -1), (1, 1)]})
        self.assertEqual(self.expected(200, 100), {"a": [(1, None), (2, None), (1, None)], "b": [(1, None), (1, None)]})

    def test_windows_are_written_at_multiples_of_their_slide(self):
        # 1200: a2 b1  1400: nothing  1600: b1
        self.assertEqual(self.expected(200, 200, "changes"), {"a": [(2, 1), (2, -1)], "b": [(1, 1), (1, -1), (1, 1)]})
        # 1200: a1 b1 of 1200 alone  1600: b1
        self.assertEqual(self.expected(100, 400), {"a": [(1, None)], "b": [(1, None)]})


class EventTime(unittest.TestCase):
    """Windows computed by hand. Partition 1 holds the watermark until it is idle."""

    shape = Shape(100, 50, "append", 20, 300)

    def windows(self, *batches):
        counted = ((0, {record: 1 for record in records}) for records in batches)
        return [(start, dict(words)) for start, words in oracle.windows(counted, STEP, self.shape)]

    def test_a_window_closes_when_the_watermark_has_passed_its_end(self):
        self.assertEqual(self.windows([(0, "a", 60)], [(0, "b", 119)]), [])
        self.assertEqual(self.windows([(0, "a", 60)], [(0, "b", 120)]), [(0, {"a": 1})])
        self.assertEqual(self.windows([(0, "a", 60), (0, "b", 170)]), [(0, {"a": 1}), (50, {"a": 1})])
        self.assertEqual(self.windows([(0, "a", -10), (0, "b", 170)]), [(-100, {"a": 1}), (-50, {"a": 1})])

    def test_a_late_record_is_in_the_windows_that_are_open(self):
        self.assertEqual(self.windows([(0, "a", 60), (0, "x", 120)], [(0, "b", 70)], [(0, "x", 170)]),
                         [(0, {"a": 1}), (50, {"a": 1, "b": 1, "x": 1})])
        self.assertEqual(self.windows([(0, "a", 60), (0, "x", 190)], [(0, "b", 70)], [(0, "c", None)]),
                         [(0, {"a": 1}), (50, {"a": 1})])

    def test_the_slowest_partition_holds_the_watermark_until_it_is_idle(self):
        ahead = [(0, "x", 500)]
        held = [[(0, "a", 10), (1, "b", 30)], ahead, ahead]
        self.assertEqual(self.windows(*held), [])
        self.assertEqual(self.windows(*held, [], [], []), [])
        self.assertEqual(self.windows(*held, ahead), [(-50, {"a": 1, "b": 1}), (0, {"a": 1, "b": 1})])
        self.assertEqual(self.windows(*held, [(1, "b", 140)]), [(-50, {"a": 1, "b": 1}), (0, {"a": 1, "b": 1})])


class PlantedFaults(unittest.TestCase):
    """A random input and the rows of one run. Then a fault is planted into the rows."""

    def setUp(self):
        self.random = random.Random(self.id())

    def history(self, shape):
        time, at, plans, records = self.random.randrange(1, 50) * STEP, [0, 0, 0], [], {0: {}, 1: {}, 2: {}}
        for _ in range(40):
            ranges = []
            for partition in range(3):
                until = at[partition] + self.random.randrange(6)
                for offset in range(at[partition], until):
                    if self.random.randrange(5):  # the others were aborted
                        word = f"w{self.random.randrange(6)}"
                        event_time = time - self.random.choice([0, 0, 90, 400, 2000]) if self.random.randrange(20) else None
                        records[partition][offset] = word if shape.delay is None else (partition, word, event_time)
                ranges.append((partition, at[partition], until))
                at[partition] = until
            run = self.random.choice([0, 0, 0, 2, 9])
            plans.append(Plan(time, ranges, run))
            time += (run + 1) * STEP
        return plans, records

    def each(self):
        for shape in SHAPES:
            for _ in range(20):
                plans, records = self.history(shape)
                yield shape, plans, records, dict(oracle.expected(plans, STEP, copy.deepcopy(records), shape, []))

    def judged(self, shape, plans, records, seen):
        return tuple(oracle.judge(plans, STEP, records, seen, shape)[:3])

    def changed(self, seen, change):
        word = self.random.choice(sorted(w for w in seen if seen[w]))
        rows = list(seen[word])
        change(rows, self.random.randrange(len(rows)))
        return {**seen, word: rows}

    def test_no_fault(self):
        for shape, plans, records, seen in self.each():
            self.assertEqual(self.judged(shape, plans, records, seen), (0, 0, 0))

    def test_a_lost_row(self):
        for shape, plans, records, seen in self.each():
            lost, _, _ = self.judged(shape, plans, records, self.changed(seen, lambda rows, i: rows.pop(i)))
            self.assertEqual(lost, 1)

    def test_a_lost_word(self):
        for shape, plans, records, seen in self.each():
            word = self.random.choice(sorted(seen))
            lost, _, _ = self.judged(shape, plans, records, {w: rows for w, rows in seen.items() if w != word})
            self.assertEqual(lost, len(seen[word]))

    def test_a_repeated_row(self):
        for shape, plans, records, seen in self.each():
            _, twice, _ = self.judged(shape, plans, records, self.changed(seen, lambda rows, i: rows.insert(i, rows[i])))
            self.assertEqual(twice, 1)

    def test_all_rows_since_a_batch_repeated(self):
        for shape, plans, records, seen in self.each():
            _, twice, _ = self.judged(shape, plans, records, self.changed(seen, lambda rows, i: rows.extend(rows[i:])))
            self.assertGreater(twice, 0)

    def test_a_wrong_count(self):
        for shape, plans, records, seen in self.each():
            wrong = self.changed(seen, lambda rows, i: rows.__setitem__(i, (rows[i][0] + 1000, rows[i][1])))
            self.assertEqual(self.judged(shape, plans, records, wrong)[2], 1)

    def test_a_wrong_order(self):
        for shape, plans, records, seen in self.each():
            swapped = {w: rows[1:2] + rows[:1] + rows[2:] for w, rows in seen.items()}
            if swapped != seen:
                self.assertNotEqual(self.judged(shape, plans, records, swapped), (0, 0, 0))

    def test_a_word_that_was_not_sent(self):
        for shape, plans, records, seen in self.each():
            self.assertEqual(self.judged(shape, plans, records, {**seen, "x": [(1, None)]})[2], 1)

    def test_a_record_that_is_in_no_plan(self):
        for shape, plans, records, seen in self.each():
            records[1][10_000] = "w1" if shape.delay is None else (1, "w1", 0)
            self.assertEqual(self.judged(shape, plans, records, seen)[0], 1)

    def test_plans_that_read_a_record_twice_or_skip_a_time(self):
        for shape, plans, records, seen in self.each():
            again = plans[20]._replace(ranges=[(p, max(0, begin - 1), until) for p, begin, until in plans[20].ranges])
            self.assertNotEqual(self.judged(shape, plans[:20] + [again] + plans[21:], records, seen), (0, 0, 0))
            late = [plan._replace(time=plan.time + STEP * (i > 20)) for i, plan in enumerate(plans)]
            self.assertNotEqual(self.judged(shape, late, records, seen), (0, 0, 0))

    def test_expired_records_are_reported_and_not_lost(self):
        for shape, plans, records, _ in self.each():
            partition, begin, until = max(plans[20].ranges, key=lambda r: r[2] - r[1])
            aged = plans[:20] + [plans[20]._replace(aged=((partition, begin, until),))] + plans[21:]
            left = {p: {o: w for o, w in there.items() if p != partition or not begin <= o < until} for p, there in records.items()}
            seen = dict(oracle.expected(aged, STEP, copy.deepcopy(left), shape, []))
            verdict = oracle.judge(aged, STEP, left, seen, shape)
            self.assertEqual(verdict[:3], (0, 0, 0))
            self.assertIn(f"{plans[20].time}: offsets {begin} to {until} of partition {partition} had aged out", verdict.notes)
            # Records that are still in the topic have not expired. A job that continued without them has lost them.
            there = sum(map(len, records.values())) - sum(map(len, left.values()))
            self.assertEqual(self.judged(shape, aged, records, seen)[0], there)

    def test_windows_that_another_watermark_closes(self):
        found = 0
        for _ in range(20):
            plans, records = self.history(EVENT_TIME)
            right = oracle.expected(plans, STEP, copy.deepcopy(records), EVENT_TIME, [])
            # Too early; too late, so that late records count; and without partitions that are idle.
            for other in EVENT_TIME._replace(delay=0), EVENT_TIME._replace(delay=1500), EVENT_TIME._replace(idle=10**9):
                seen = dict(oracle.expected(plans, STEP, copy.deepcopy(records), other, []))
                self.assertEqual(self.judged(EVENT_TIME, plans, records, seen) == (0, 0, 0), seen == right)
                found += seen != right
        self.assertGreater(found, 20)

    def test_wrong_plans_do_not_hide_a_lost_record_from_totals(self):
        for shape, plans, records, _ in self.each():
            if shape.window is None:
                fewer = {p: {o: w for o, w in there.items() if (p, o) != (0, min(records[0]))} for p, there in records.items()}
                written = dict(oracle.expected(plans, STEP, fewer, shape, []))
                self.assertNotEqual(self.judged(shape, plans, records, written), (0, 0, 0))


class TheLogOfAReceiver(unittest.TestCase):
    """Segments by hand, without checksums, because the oracle reads none."""

    def segment(self, generation, number, first, *blocks):
        head = varint(7) + varint(9) + varint(generation) + varint(number) + varint(3) + b"out" + varint(first)
        data = b"tidemillrcvd" + struct.pack(">IQQQ", 1, len(head), 0, 0) + head
        for block in blocks:
            block = varint(len(block)) + b"".join(varint(len(line)) + line.encode() for line in block)
            data += struct.pack(">IIQ", len(block), 0, 0) + block
        return f"00000000000000aa-g{generation:08}-{number:06}", data

    def read(self, *segments):
        with tempfile.TemporaryDirectory() as directory:
            for name, data in segments:
                pathlib.Path(directory, name).write_bytes(data)
            pathlib.Path(directory, segments[0][0] + ".17.tmp").write_bytes(b"")
            return oracle.received(directory)

    def test_records_count_over_all_segments(self):
        one, two = self.segment(1, 1, 0, ["1 a", "2 b"], ["3 c"]), self.segment(1, 2, 3, ["4 d"])
        ten = self.segment(10, 1, 4, ["5 e"])
        self.assertEqual(self.read(ten, two, one), {0: "1 a", 1: "2 b", 2: "3 c", 3: "4 d", 4: "5 e"})

    def test_what_the_next_run_did_not_see_is_not_read(self):
        name, whole = self.segment(1, 1, 0, ["1 a"], ["2 b", "3 c"])
        first = len(self.segment(1, 1, 0, ["1 a"])[1])
        for cut in range(first, len(whole)):
            self.assertEqual(self.read((name, whole[:cut])), {0: "1 a"}, cut)
        self.assertEqual(self.read((name, whole), self.segment(2, 1, 1, ["4 d"])), {0: "1 a", 1: "4 d"})
        with self.assertRaisesRegex(AssertionError, "ends before record 1"):
            self.read((name, whole[:first]), self.segment(2, 1, 3, ["4 d"]))

    def test_the_log_of_a_program(self):
        there = oracle.received(FIXTURE.parent / "received-v1/received")
        self.assertEqual(sorted(there), list(range(min(there), min(there) + len(there))))


class PostedWords(unittest.TestCase):
    """Two versions of labels, a line that was sent twice, and batches without lines. Then a fault is planted."""

    plans = [Plan(100, [(0, 0, 2)], 1, (), (b"a x\nb y\n",)), Plan(300, [(0, 2, 4)], 0), Plan(400, [(0, 4, 5)], 0, (), (b"a z\n",))]
    records = {0: "1 a", 1: "2 b", 2: "2 b", 3: "3 c", 4: "5 a"}
    sent = oracle.Sent(collections.Counter({(1, "a"): 1, (2, "b"): 2, (3, "c"): 1, (5, "a"): 1, (6, "a"): 3}), {(1, "a"), (2, "b"), (5, "a")})
    lines = {(100, 1, "a", "x"): 1, (100, 2, "b", "y"): 1, (300, 2, "b", "y"): 1, (300, 3, "c", "none"): 1, (400, 5, "a", "z"): 1}
    counts = [("a", 2), ("b", 2), ("c", 1)]
    ledger = [(100, 2, 2, ("x", "y")), (200, 2, 2, ("x", "y")), (300, 4, 3, ("none", "x", "y")), (300, 4, 3, ("none", "x", "y")),
              (400, 5, 5, ("none", "x", "y", "z"))]

    def judged(self, lines=None, counts=None, ledger=None, sent=None, plans=None, records=None):
        found = oracle.Posted(collections.Counter(lines or self.lines), counts or self.counts, ledger or self.ledger)
        return tuple(oracle.judge_posted(plans or self.plans, STEP, records or self.records, sent or self.sent, found)[:3])

    def test_no_fault(self):
        self.assertEqual(self.judged(), (0, 0, 0))

    def test_faults_of_each_row(self):
        for row in self.lines:
            lost, twice, wrong = self.judged({other: n for other, n in self.lines.items() if other != row})
            self.assertTrue(lost >= 1 and twice == wrong == 0, (row, lost, twice, wrong))
            lost, twice, wrong = self.judged({**self.lines, row: 2})
            self.assertTrue(twice >= 1 and lost == wrong == 0, (row, lost, twice, wrong))
            for other in (row[0] + 100, *row[1:]), (*row[:3], "w"), (*row[:2], "d", row[3]):
                changed = {r: n for r, n in self.lines.items() if r != row} | {other: 1}
                self.assertGreaterEqual(self.judged(changed)[2], 1, other)

    def test_faults_of_counts(self):
        for i, (word, n) in enumerate(self.counts):
            self.assertEqual(self.judged(counts=self.counts[:i] + self.counts[i + 1 :])[2], 1)
            self.assertEqual(self.judged(counts=self.counts[:i] + [(word, n + 1)] + self.counts[i + 1 :])[2], 1)
        self.assertEqual(self.judged(counts=[*self.counts, ("d", 1)])[2], 1)

    def test_faults_of_accumulators(self):
        for i, (time, came, highest, labels) in enumerate(self.ledger):
            for other in (time, came + 1, highest, labels), (time, came, highest + 1, labels), (time, came, highest, (*labels, "zz")):
                self.assertEqual(self.judged(ledger=self.ledger[:i] + [other] + self.ledger[i + 1 :])[2], 1)
        self.assertEqual(self.judged(ledger=self.ledger[:-1])[0], 1)
        self.assertEqual(self.judged(ledger=[*self.ledger, (500, 5, 5, ("none", "x", "y", "z"))])[2], 1)

    def test_lines_that_plans_and_log_do_not_have(self):
        # The log itself has lost what was acknowledged, and plans, table and accumulators agree with it.
        sent = oracle.Sent(self.sent.times, self.sent.acknowledged | {(6, "a")})
        self.assertEqual(self.judged(sent=sent), (1, 0, 0))
        # The log has a line more often than it was sent.
        once = oracle.Sent(self.sent.times - collections.Counter({(2, "b"): 1}), self.sent.acknowledged)
        self.assertEqual(self.judged(sent=once), (0, 1, 0))
        # A received line is in no plan.
        self.assertEqual(self.judged(records={**self.records, 5: "6 a"}), (1, 0, 0))

    def test_a_batch_that_sees_another_version(self):
        self.assertNotEqual(self.judged(plans=[*self.plans[:2], self.plans[2]._replace(contents=())]), (0, 0, 0))

    def test_plans_that_skip_a_record(self):
        self.assertNotEqual(self.judged(plans=[self.plans[0], self.plans[1]._replace(ranges=[(0, 3, 4)]), self.plans[2]]), (0, 0, 0))


class WordsOfSql(unittest.TestCase):
    """Files with each word, and a table with the last total of each."""

    records = {0: {0: "a", 1: "b", 3: "a"}, 1: {0: "a", 1: "c"}}
    copies = collections.Counter({"a": 3, "b": 1, "c": 1})
    totals = [("a", 3), ("b", 1), ("c", 1)]

    def test_no_fault(self):
        self.assertEqual(oracle.judge_copies(self.records, self.copies)[:4], (0, 0, 0, 5))
        self.assertEqual(oracle.judge_table(self.records, self.totals)[:4], (0, 0, 0, 3))

    def test_faults_of_files(self):
        for word in self.copies:
            self.assertEqual(oracle.judge_copies(self.records, self.copies - collections.Counter([word]))[:3], (1, 0, 0))
            self.assertEqual(oracle.judge_copies(self.records, self.copies + collections.Counter([word]))[:3], (0, 1, 0))
        self.assertEqual(oracle.judge_copies(self.records, self.copies + collections.Counter(["d"]))[:3], (0, 0, 1))

    def test_a_log_of_files(self):
        line = {"isDir": False, "modificationTime": 1, "blockReplication": 1, "blockSize": 1, "action": "add"}
        with tempfile.TemporaryDirectory() as directory:
            table = pathlib.Path(directory)
            (table / "_spark_metadata").mkdir()
            parts = [table / f"part {number}" for number in range(12)]
            lines = [json.dumps({"path": f"file://{str(part).replace(' ', '%20')}", "size": 2, **line}) for part in parts]
            for number, part in enumerate(parts):
                part.write_text("x\n")
                name, first = (f"{number}.compact", 0) if number == 9 else (str(number), number)
                (table / "_spark_metadata" / name).write_text("\n".join(["v1", *lines[first : number + 1]]))
            self.assertEqual(oracle.logged_files(table), parts)
            for name, text in (("10", "v2"), ("10", f"v1\n{lines[9]}"), ("11", f"v1\n{lines[11].replace('2', '3')}"), ("13", "v1")):
                file = table / "_spark_metadata" / name
                before = file.read_text() if file.exists() else None
                file.write_text(text)
                with self.assertRaises((ValueError, FileNotFoundError)):
                    oracle.logged_files(table)
                file.unlink() if before is None else file.write_text(before)

    def test_faults_of_the_table(self):
        for i, (word, n) in enumerate(self.totals):
            others = self.totals[:i] + self.totals[i + 1 :]
            self.assertEqual(oracle.judge_table(self.records, others)[:3], (1, 0, 0))
            self.assertEqual(oracle.judge_table(self.records, [*self.totals, (word, n)])[:3], (0, 1, 0))
            self.assertEqual(oracle.judge_table(self.records, [*others, (word, n + 1)])[:3], (0, 0, 1))
        self.assertEqual(oracle.judge_table(self.records, [*self.totals, ("d", 1)])[:3], (0, 0, 1))


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    broken = len({str(test) for test, _ in result.failures + result.errors})
    print(f"test result: {'ok' if result.wasSuccessful() else 'FAILED'}. {result.testsRun - broken} passed; {broken} failed;")
    sys.exit(not result.wasSuccessful())
