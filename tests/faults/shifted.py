"""A program whose clock is wrong: `python shifted.py SECONDS receiver serve …`, or a path in place of the module.

Every clock that Python code can read is shifted before any of the program is imported; the clock that counts from the
start of the machine is not, since no wrong time of day moves that one.
"""

import runpy
import sys
import time

import time_machine


def main() -> None:
    """Shift, then do what `python -m MODULE …` or `python PATH …` does."""
    _, seconds, program, *_ = sys.argv
    del sys.argv[:2]
    with time_machine.travel(time.time() + float(seconds), tick=True):
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
