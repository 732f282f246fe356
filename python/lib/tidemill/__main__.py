"""Runs a program with the runtime options of programs in Rust: `tidemill launch -n 2 -w 2 -- python -m tidemill words.py host 9999`."""

import os
import runpy
import sys

from ._options import take

if __name__ == "__main__":
    program = take()
    sys.path[0] = os.path.dirname(os.path.abspath(program))
    runpy.run_path(program, run_name="__main__")
