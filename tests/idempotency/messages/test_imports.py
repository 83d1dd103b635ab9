"""FastStream is wanted by those alone who ask for it."""

import subprocess
import sys

HIDDEN = "import sys; sys.modules['faststream'] = None; import {}"


def test_everything_else_does_without() -> None:
    modules = "receiver.messages, receiver.app.receiver, receiver.cli.main"
    subprocess.run([sys.executable, "-c", HIDDEN.format(modules)], check=True)


def test_without_it_the_middleware_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN.format("receiver.faststream")], check=False, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: say: pip install 'receiver[faststream]'"
