"""A job that continues from its checkpoint: states, windows, and what they hold."""

import dataclasses
import datetime
from decimal import Decimal
from typing import NamedTuple

import pytest
from conftest import run

from tidemill import _engine


@dataclasses.dataclass(frozen=True)
class Visit:
    page: str
    seconds: float


class Point(NamedTuple):
    x: int
    y: int


STATES = [
    ("text", -0.5, 10**40, None, True, b"\x00"),
    [1, {"a": [2, (3,)]}, {"set", "of"}, frozenset([1])],
    Visit("tide", 1.5),
    Point(1, 2),
    datetime.datetime(2026, 11, 29, 12, 30, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=1, seconds=2),
    Decimal("1.10"),
    bytearray(b"x"),
]


@pytest.mark.parametrize("state", STATES, ids=repr)
def test_a_state_comes_back_as_it_was(tmp_path, state):
    def update(new, old):
        return state if old is None else ([*old, *new] if isinstance(old, list) else old)

    def build(stream):
        return stream.updateStateByKey(update)

    first = run([[("k", 1)]], build, checkpoint=tmp_path)
    again = run([[("other", 2)]], build, workers=1, checkpoint=tmp_path)
    assert first == [[("k", state)]]
    assert dict(again[-1])["k"] == state and type(dict(again[-1])["k"]) is type(state)


def test_a_window_and_a_sum_continue(tmp_path, workers):
    def build(stream):
        sums = stream.updateStateByKey(lambda new, total: sum(new) + (total or 0))
        kept = stream.window(60).map(lambda pair: ("window", pair[1]))
        reduced = stream.reduceByKeyAndWindow(lambda a, b: int(a) + int(b), None, 60).map(lambda pair: ("reduced", pair[1]))
        return sums.union(kept).union(reduced)

    run([[("a", 1)], [("a", 2)]], build, workers, checkpoint=tmp_path)
    seen = run([[("a", 4)]], build, 3 - min(workers, 2), checkpoint=tmp_path)
    assert sorted(seen[-1]) == [("a", 7), ("reduced", 7), ("window", 1), ("window", 2), ("window", 4)]


def test_what_a_function_does_to_its_state_later_is_not_saved(tmp_path):
    kept = []

    def update(new, old):
        state = [*(old or []), *new]
        kept.append(state)
        return state

    def build(stream):
        return stream.updateStateByKey(update)

    run([[("k", 1)]], build, workers=1, checkpoint=tmp_path)
    for state in kept:
        state.append("changed")
    assert run([[("k", 2)]], build, workers=1, checkpoint=tmp_path)[-1] == [("k", [1, 2])]


GOLDEN = [
    (None, "00"),
    (True, "0101"),
    (-3, "0205"),
    (2**64, "030103000001"),
    (1.5, "04000000000000f83f"),
    ("tide", "050474696465"),
    (b"\xff", "0601ff"),
    (("a", 1), "07020501610202"),
    ([None], "080100"),
    ({"a": 1}, "090105016102" + "02"),
    ({2, 1}, "0a0202020204"),
    (datetime.date(2026, 1, 2), "0b0d6461746574696d652e6461746501050a323032362d30312d3032"),
]


@pytest.mark.parametrize(("value", "golden"), GOLDEN, ids=repr)
def test_values_keep_the_bytes_that_checkpoints_have(value, golden):
    assert _engine.encoded(value).hex() == golden
    assert _engine.decoded(bytes.fromhex(golden)) == value


def test_bytes_that_are_no_value():
    for broken in ("", "0d", "0504", "07ffffffff0f", "0b016100"):
        with pytest.raises((ValueError, TypeError)):
            _engine.decoded(bytes.fromhex(broken))
