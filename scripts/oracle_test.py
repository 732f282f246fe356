#!/usr/bin/python3
"""Checks that scripts/oracle.py finds all lost, repeated and wrong rows, and no others. Ends with a line like those of cargo test."""
import copy
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


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    broken = len({str(test) for test, _ in result.failures + result.errors})
    print(f"test result: {'ok' if result.wasSuccessful() else 'FAILED'}. {result.testsRun - broken} passed; {broken} failed;")
    sys.exit(not result.wasSuccessful())
