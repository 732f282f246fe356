"""Functions that Rust knows give what Python gives."""

import operator

import pytest
from conftest import run

import tidemill
from tidemill._functions import native

TEXTS = ["to be", "", "  a  b ", "ÄÖ ß İ", "x\x1cy z", "TIDE\n", "a  b"]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x,
        lambda x: x.split(" "),
        lambda x: x.split(),
        lambda x: x.lower(),
        lambda x: x.upper(),
        lambda x: x.strip(),
        lambda x: (x, 1),
        lambda x: ("n", x),
        lambda x: (x, x),
        lambda x: (x.lower(), 1.5),
        str.lower,
        str.split,
        tidemill.split("b"),
        tidemill.row(tidemill.lower, tidemill.upper, None),
        tidemill.regex(r"(\w+) (\w+)"),
        tidemill.regex("b"),
    ],
    ids=str,
)
def test_of_one_text(f):
    assert isinstance(native(f), tuple), "Rust knows it"
    assert run([TEXTS], lambda s: s.map(f)) == [[f(text) for text in TEXTS]]


def test_of_other_values_python_decides():
    rows = [("a", 1), {"k": "v"}, [1, 2], "text"]
    assert run([rows], lambda s: s.map(lambda x: x[0] if not isinstance(x, dict) else 0)) == [["a", 0, 1, "t"]]
    pairs = [("a", "B"), ["c", "D"], "eF"]
    assert run([pairs], lambda s: s.map(lambda x: x[1])) == [["B", "D", "F"]]
    assert run([pairs], lambda s: s.map(operator.itemgetter(-1))) == [["B", "D", "F"]]


def test_flat_map_and_values():
    assert run([["a b", "c"]], lambda s: s.flatMap(tidemill.split(" "))) == [["a", "b", "c"]]
    assert run([["ab"]], lambda s: s.flatMap(lambda x: x)) == [["a", "b"]], "the letters of a text, as in Python"
    assert run([[("k", "A b")]], lambda s: s.mapValues(tidemill.lower)) == [[("k", "a b")]]
    assert run([[("k", "A b")]], lambda s: s.flatMapValues(str.split)) == [[("k", "A"), ("k", "b")]]


def test_json():
    tweets = [
        '{"user": {"screen_name": "rmoff", "id": 9007199254740993}, "text": "a", "text": "b", "n": [1, {"x": 1e400}]}',
        '{"n": [10, {"x": 0.1}], "user": {"id": 123456789012345678901234567890, "screen_name": null}, "text": "\\ud83d\\ude00"}',
    ]
    for path in ("user.screen_name", "user.id", "text", "n.0", "n.1", "n.1.x", "user", ""):
        f = tidemill.json(path)
        assert run([tweets], lambda s, f=f: s.map(f)) == [[f(tweet) for tweet in tweets]]
    with pytest.raises(tidemill.JobError, match="KeyError") as raised:
        run([tweets], lambda s: s.map(tidemill.json("nobody")))
    assert isinstance(raised.value.__cause__, KeyError)


NUMBERS = [3, -2, 2**62, 2**62, 2.5, -0.0, 10**30, True]


@pytest.mark.parametrize("f", [operator.add, operator.sub, operator.mul, min, max], ids=str)
def test_of_two_numbers(f):
    for a in NUMBERS:
        for b in NUMBERS:
            [[(_, value)]] = run([[("k", a), ("k", b)]], lambda s: s.reduceByKey(f), workers=1)
            assert (repr(value), type(value)) == (repr(f(a, b)), type(f(a, b)))


def test_of_two_texts_and_tuples():
    for a, b in [("a", "é"), ("b", "a"), ((1, 2), (3,)), ([1], [2])]:
        [[(_, value)]] = run([[("k", a), ("k", b)]], lambda s: s.reduceByKey(operator.add), workers=1)
        assert value == a + b


def test_what_is_recognized():
    word = "shadow"
    assert native(lambda a, b: a + b) == "add"
    assert native(lambda word: (word, 1)) == ("tuple", [("this",), ("constant", 1)])
    assert native(lambda x: (x, word)) is None, "it captures a variable"
    assert native(lambda a, b=1: a + b) is None
    assert native(lambda a, b: b + a) is None
    assert native(lambda x: x["text"]) is None
    assert native(lambda *x: x) is None
    assert native(max) == "max"
    assert native([].append) is None
    with pytest.raises(TypeError, match="use a lambda"):
        tidemill.row(lambda x: x + 1)
