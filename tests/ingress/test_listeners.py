"""What a server needs of the system before it listens."""

import subprocess
import sys

PROGRAM = """
import resource
from receiver.app.listeners import allow_many_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard)
"""


def test_a_low_soft_limit_of_open_files_is_raised() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
