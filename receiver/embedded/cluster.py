"""Makes the database cluster of a new folder, and opens one whose password was lost."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from receiver.embedded.binaries import Binaries
from receiver.embedded.errors import EmbeddedError
from receiver.embedded.folder import open_in
from receiver.embedded.launcher import Launch, Launcher
from receiver.embedded.privileges import Account

# Not `receiver`: by default PostgreSQL puts a role's tables into the schema of its own name, and that one is ours.
USER = "merchant"
DATABASE = "receiver"
PREFIX = "init-"  # of the folder in which a cluster is being made


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The data folder of a server that does not run."""

    data: Path
    binaries: Binaries
    launcher: Launcher
    account: Account
    log: Path
    durable: bool  # whether to sync; false where the server itself is told not to

    @property
    def exists(self) -> bool:
        """Whether it has been made, and wholly so."""
        return (self.data / "PG_VERSION").exists()

    def make(self, password: str) -> None:
        """Make it, with our user and database, beside its place, and rename it there when it is whole.

        Raises:
            EmbeddedError: `embedded_start_failed`, with the last words of the program that failed; `embedded_folder`,
                something else is in its place.
        """
        work = self.data.parent / f"{PREFIX}{secrets.token_hex(4)}"
        work.mkdir(mode=0o700)
        try:
            self._initdb(work / self.data.name, self._password_file(work, password))
            self._single_user(work / self.data.name, f"CREATE DATABASE {DATABASE}")
            self._put_in_place(work / self.data.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what starts left behind that were cut off while they made a cluster."""
        for abandoned in self.data.parent.glob(f"{PREFIX}*"):
            shutil.rmtree(abandoned, ignore_errors=True)

    def set_password(self, password: str) -> None:
        """Give our user a new password without knowing the old one.

        Raises:
            EmbeddedError: `embedded_start_failed`, as above.
        """
        self._single_user(self.data, f"ALTER ROLE {USER} PASSWORD '{password}'")

    def _password_file(self, work: Path, password: str) -> Path:
        """A file, for a command line shows its arguments to everybody and initdb cannot reopen root's pipe."""
        path = work / "password"
        with os.fdopen(open_in(work, path.name, os.O_WRONLY | os.O_EXCL), "w") as file:
            file.write(password)
        self.account.give(path)
        self.account.give(work)
        return path

    def _initdb(self, data: Path, password_file: Path) -> None:
        options = {
            "pgdata": str(data),
            "username": USER,
            "pwfile": str(password_file),
            "auth": "scram-sha-256",
            "encoding": "UTF8",
            "locale": "C",
            "locale-provider": "builtin",  # needs no locale of the machine's
            "builtin-locale": "C.UTF-8",
        }
        flags = ["--no-instructions", *([] if self.durable else ["--no-sync"])]
        command = [
            str(self.binaries.postgres("initdb")),
            *flags,
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        self.launcher.run(Launch(command=command, death_signal=SIGKILL, log=self.log))

    def _single_user(self, data: Path, statement: str) -> None:
        """Run one statement as the superuser, without a server; an error in it is a failure of the program."""
        settings = {
            "exit_on_error": "on",
            "fsync": "on" if self.durable else "off",
            "log_min_error_statement": "panic",  # a statement may hold the password
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        command = [str(self.binaries.postgres("postgres")), "--single", "-D", str(data), *options, "postgres"]
        self.launcher.run(Launch(command=command, death_signal=SIGKILL, log=self.log, stdin=f"{statement}\n"))

    def _put_in_place(self, data: Path) -> None:
        try:
            data.rename(self.data)
        except OSError as error:
            message = f"{self.data} is in the way of a new database cluster: {error.strerror}"
            raise EmbeddedError("embedded_folder", message) from error
        _sync_folder(self.data.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
