"""pgbench, PostgreSQL's own load generator: what the database can do on this machine, with no receiver around it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.engine import make_url

from receiver.embedded import EmbeddedServers

HERE = Path(__file__).parent


def transactions_per_second(
    servers: EmbeddedServers, script: str, *, clients: int, seconds: int, variables: Mapping[str, str]
) -> float:
    """Run a script of this folder, prepared, one transaction per turn.

    Args:
        servers: where to.
        script: file name.
        clients: connections.
        seconds: how long.
        variables: what `:name` stands for in the script.
    """
    url = make_url(servers.database_url)
    given = [item for name, value in variables.items() for item in ("-D", f"{name}={value}")]
    done = subprocess.run(
        [
            str(servers.binary("pgbench")),
            *("-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds)),
            *("-h", str(url.host), "-p", str(url.port), "-U", str(url.username)),
            *("-f", str(HERE / script)),
            *given,
            str(url.database),
        ],
        env={**os.environ, "PGPASSWORD": str(url.password)},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    return float(line.split()[2])
