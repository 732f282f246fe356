"""The programs of docs/guide/python.md run as they stand there, and so do the examples of the package."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
from conftest import block, blocks

import tidemill

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "python.md"
PROGRAMS = [part.split("```")[0] for part in GUIDE.read_text(encoding="utf-8").split("```python\n")[1:]]
PRINTED = [
    None,  # it waits for a socket: it is only compiled
    block("('be', 1)", "('or', 1)", "('to', 1)")
    + block("('be', 1)", "('or', 1)", "('to', 1)")
    + block("('be', 1)", "('not', 1)", "('to', 1)")
    + block("('be', 2)", "('not', 1)", "('or', 1)", "..."),
    block("('high', 2)", "('low', 1)"),
    block("('anna', 1)", "('rmoff', 1)"),
    None,  # it needs a stream of Kinesis: test_kinesis.py runs one like it
    block("2") + block("1") + "[[10, 20], [30]]\n",
    "2 records True\n1 records True\n",
    block("1") + block("x: ValueError: invalid literal for int() with base 10: 'x'"),
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)), ids=range(len(PROGRAMS)))
def test_a_program_of_the_guide(program, printed, capsys):
    code = compile(program, GUIDE.name, "exec")
    if printed is not None:
        exec(code, {"__name__": "__main__"})
        assert blocks(capsys.readouterr().out) == printed


MODULES = [name for _, name, _ in pkgutil.walk_packages(tidemill.__path__, "tidemill.") if not name.endswith("_engine")]


@pytest.mark.parametrize("module", ["tidemill", *MODULES])
def test_examples_of_the_package(module):
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_the_program_of_the_readme_compiles():
    readme = (GUIDE.parents[2] / "README.md").read_text(encoding="utf-8")
    [program] = [part.split("```")[0] for part in readme.split("```python\n")[1:]]
    compile(program, "README.md", "exec")
