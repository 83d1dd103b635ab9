"""`python -m tests.fuzz`: every verifier and parser, on other inputs each time, for some minutes; see `rounds`."""

import argparse
import secrets
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzz.rounds import TRIES, all_keep, garbled_ones, odd_ones
from tests.providers.accounts import IDS, account

EXAMPLES: Final = 200
"""Drawn of each kind before it is the next provider's turn."""
INTERRUPTED: Final = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int
    only: list[str]


def main() -> int:
    """0: nothing was found; 1: something was, and it is printed."""
    options = asked()
    console = Console(stderr=True)
    console.print(f"seed {options.seed}: make fuzz ARGS='--seed {options.seed}' draws the same, but for keys and times")
    tried: Counter[str] = Counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as bar:
            fuzz(options, bar, tried)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
        traceback.print_exc()
        return 1
    Console().print(", ".join(f"{count:,} {what}" for what, count in tried.items()) + ": one error and no other")
    return 0


def asked() -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of drawing; what is odd is tried whole before")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of all chance")
    parser.add_argument("--only", nargs="+", choices=IDS, default=list(IDS), help="some accounts instead of all")
    return Options(**vars(parser.parse_args()))


def fuzz(options: Options, bar: Progress, tried: Counter[str]) -> None:
    """All that is odd once, then what is drawn, until the time is over."""
    task = bar.add_task("", total=len(options.only))
    for id_ in options.only:
        bar.update(task, description=f"odd and garbled: {id_}")
        tried["odd"] += all_keep(account(id_), odd_ones(account(id_)))
        tried["garbled"] += all_keep(account(id_), garbled_ones(account(id_)))
        bar.advance(task)
    began, seed = time.monotonic(), options.seed
    bar.reset(task, total=options.minutes * 60)
    while True:
        for id_ in options.only:
            for what, one in TRIES.items():
                bar.update(task, description=f"{what}: {id_}", completed=time.monotonic() - began)
                one(account(id_), EXAMPLES, seed)
                tried[what] += EXAMPLES
            if time.monotonic() - began > options.minutes * 60:
                return
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
