"""As whom the servers run: PostgreSQL refuses root, so root lends them an ordinary account."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from receiver.embedded.errors import EmbeddedError

BECOME = str(Path(__file__).with_name("become.py"))
ACCOUNTS = ("nobody", "daemon")  # present on every usual system; we never add one

# Owned by root and open to all: for what an ordinary account must reach where it cannot reach our own folders.
PUBLIC_ROOTS = (
    Path("/var/lib/receiver-embedded"),
    Path("/var/tmp/receiver-embedded"),  # noqa: S108 -- only used if root owns it and nobody else may write there
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Whom the servers run as."""

    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether that is somebody else than ourselves."""
        return self.uid != os.geteuid()

    def give(self, path: Path) -> None:
        """Make the account the owner of a path that we have just made."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)


def choose_account(directory: Path, data: Path) -> Account:
    """Ourselves; for root the owner of the data that are there, else of the folder, else `nobody`.

    So what root and the folder's owner start in turn is owned by one of them, and neither locks the other out.

    Raises:
        EmbeddedError: `embedded_no_account`, root found nobody to run as.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    with suppress(FileNotFoundError):
        if owner := data.stat().st_uid:
            return Account(uid=owner, gid=data.stat().st_gid)
    for account in _named(directory.stat().st_uid, *ACCOUNTS):
        return account
    raise EmbeddedError(
        "embedded_no_account",
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists; "
        "run as an ordinary user",
    )


def _named(*names: int | str) -> Iterator[Account]:
    """Those of the accounts that exist, root left out. initdb runs for no uid that has no name."""
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwuid(name) if isinstance(name, int) else pwd.getpwnam(name)
            if entry.pw_uid != 0:
                yield Account(uid=entry.pw_uid, gid=entry.pw_gid)


def can_reach(account: Account, paths: Sequence[Path]) -> bool:
    """Whether the account can enter (folders) or execute (files) all of these.

    Asked as that account, in a process of its own: mode bits alone do not tell (ACLs, mounts, user namespaces).
    """
    if not account.is_other:
        return True
    command = [sys.executable, "-I", "-S", BECOME, "reach", str(account.uid), str(account.gid), *map(str, paths)]
    answers = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True)
    return answers.returncode == 0 and "no" not in answers.stdout.split()


def public_root(account: Account) -> Path:
    """The first place of root's that the account can reach; made where it is missing.

    Raises:
        EmbeddedError: `embedded_folder`, there is none.
    """
    return usable_root(account, PUBLIC_ROOTS)


def usable_root(account: Account, roots: Sequence[Path]) -> Path:
    """The same, out of these.

    Raises:
        EmbeddedError: as above.
    """
    for root in roots:
        make_public(root)
        if _is_safe(root) and can_reach(account, [root]):
            return root
    raise EmbeddedError(
        "embedded_folder",
        f"the servers run as uid {account.uid} and need {' or '.join(map(str, roots))}: "
        "it cannot be made, or others than root own it or may write there",
    )


def make_public(folder: Path) -> None:
    """Make a folder that everybody may enter, if it can be made; one that exists stays as it is."""
    with suppress(OSError):
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask


def _is_safe(folder: Path) -> bool:
    """Whether only root can have put there what is there: names in a temporary folder can be guessed."""
    with suppress(OSError):
        found = folder.lstat()
        return folder.is_dir() and not folder.is_symlink() and found.st_uid == 0 and not found.st_mode & 0o022
    return False
