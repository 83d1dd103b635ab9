"""Writes the locks in `requirements/` from pyproject.toml; `--upgrade` moves every pin to what is newest.

    python3 -m scripts.lock [--upgrade]

One lock holds for every system and every Python that we support, and names no place to download from: that is for
the pip configuration of whoever installs.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from scripts.packages import install, make_empty
from scripts.say import Failed, say

_ROOT: Final = Path(__file__).resolve().parents[1]
_PROJECT: Final = "pyproject.toml"
_DEV: Final = "requirements/dev.txt"
_OPTIONS: Final = (
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--custom-compile-command=make lock",
    "--quiet",
)


def main() -> int:
    """Write the locks; the exit code."""
    try:
        with tempfile.TemporaryDirectory(prefix="receiver-lock-") as temporary:
            folder = Path(temporary) / "venv"
            make_empty(folder)
            install(folder, "uv")
            _write_locks(folder / "bin" / "uv", sys.argv[1:])
    except Failed as error:
        say(str(error))
        return 1
    return 0


def _write_locks(uv: Path, options: list[str]) -> None:
    project = tomllib.loads((_ROOT / _PROJECT).read_text(encoding="utf-8"))
    oldest = project["project"]["requires-python"].removeprefix(">=")
    # The largest first: the others take its versions, so that one environment can hold any of them.
    locks: tuple[tuple[str, list[str], str], ...] = (
        (_DEV, [_PROJECT, "--extra=embedded", "--extra=test"], ""),
        ("requirements/bench.txt", [_PROJECT, "--extra=embedded", "--extra=bench", f"--constraint={_DEV}"], ""),
        ("requirements/demo.txt", [_PROJECT, "--extra=embedded", f"--constraint={_DEV}"], ""),
        ("requirements/runtime.txt", [_PROJECT, f"--constraint={_DEV}"], ""),
        ("requirements/build.txt", ["-", f"--constraint={_DEV}"], "\n".join(project["build-system"]["requires"])),
    )
    for path, arguments, given in locks:
        command = [str(uv), "pip", "compile", *_OPTIONS, f"--python-version={oldest}", *options, *arguments]
        done = subprocess.run([*command, f"--output-file={path}"], cwd=_ROOT, input=given, check=False, text=True)
        if done.returncode != 0:
            raise Failed(f"could not lock {path}")
        say(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
