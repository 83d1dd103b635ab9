"""`python -m tests.soak`: every fault at random for some minutes; nothing may be lost, doubled or left undone."""

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.live import Live

from receiver.embedded import EmbeddedServers, discard
from receiver.storage import migrate
from tests.soak.report import progress, tables
from tests.soak.run import Options, Say, Soak, run

INTERRUPTED = 130


def main() -> int:
    """0: nothing is wrong; 1: something is, and the folder with the logs is kept."""
    options = asked()
    console = Console(stderr=True)
    console.print(f"seed {options.seed}: make soak ARGS='--seed {options.seed}' draws the same faults")
    folder = Path(tempfile.mkdtemp(prefix="receiver-soak-"))
    folder.chmod(0o755)
    try:
        soak = soaked(options, folder, console)
    except (KeyboardInterrupt, asyncio.CancelledError):
        discard(folder)
        return INTERRUPTED
    except BaseException:
        console.print(f"the logs are in {folder}")
        raise
    Console().print(tables(soak))
    if soak.violations:
        console.print(f"the logs are in {folder}")
        return 1
    discard(folder)
    return 0


def asked() -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for which things go wrong")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of all chance")
    parser.add_argument("--callbacks", type=int, default=50_000, help="events to send; some of them twice")
    return Options(**vars(parser.parse_args()))


def soaked(options: Options, folder: Path, console: Console) -> Soak:
    """A soak on servers of its own."""
    with ExitStack() as stack:
        live = stack.enter_context(Live(console=console, refresh_per_second=2))

        def say(soak: Soak) -> None:
            live.update(progress(soak))

        stores = stack.enter_context(EmbeddedServers(folder / "servers", postgres_settings={"fsync": "off"}))
        migrate.upgrade(stores.database_url)
        programs = folder / "programs"
        programs.mkdir()
        return asyncio.run(interruptible(options, stores, programs, say))


async def interruptible(options: Options, stores: EmbeddedServers, folder: Path, say: Say) -> Soak:
    """SIGTERM ends it in order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(options, stores, folder, say)


if __name__ == "__main__":
    sys.exit(main())
