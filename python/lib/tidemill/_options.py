"""The runtime options of `python -m tidemill`."""

from __future__ import annotations

import os
import sys

RUNTIME: list[str] = []
"""The options of this process: those of programs in Rust, such as `-w 2` and `--checkpoint DIR`."""


def given(*names: str) -> bool:
    """Whether one of these options is given."""
    return any(option.split("=")[0] in names for option in RUNTIME)


def _is_launchs(some: list[str]) -> bool:
    """Whether these are the options that `tidemill launch` adds."""
    return some[0::2] == ["-n", "-p", "-w", "--hostfile"] and all(number.isdigit() for number in some[1:7:2])


def divide(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    """Runtime options, the program, and its own arguments.

    Options are before the program; `tidemill launch` adds its own at the end.

    >>> divide(["--checkpoint", "states", "words.py", "host", "9999", "-n", "2", "-p", "0", "-w", "2", "--hostfile", "hosts"])
    (['--checkpoint', 'states', '-n', '2', '-p', '0', '-w', '2', '--hostfile', 'hosts'], 'words.py', ['host', '9999'])
    """
    # A file behind an option may be its value: --plans FILE. Only if there is no other one, it is the program.
    files = [i for i, argument in enumerate(arguments) if argument.endswith(".py") or os.path.isfile(argument)]
    own = (i for i in files if arguments[i].endswith(".py") or i == 0 or not arguments[i - 1].startswith("-"))
    at = next(own, files[0] if files else None)
    if at is None:
        raise SystemExit("python -m tidemill [RUNTIME OPTIONS] PROGRAM.py [ARGUMENTS]: the program is missing")
    before, program, after = arguments[:at], arguments[at], arguments[at + 1 :]
    begins = [i for i in range(len(after) - 7) if _is_launchs(after[i : i + 8])]
    if begins:
        before, after = before + after[begins[-1] :], after[: begins[-1]]
    return before, program, after


def take() -> str:
    """Takes the runtime options of this process out of `sys.argv`. Returns the program."""
    options, program, arguments = divide(sys.argv[1:])
    RUNTIME[:] = options
    sys.argv[:] = [program, *arguments]
    return program
