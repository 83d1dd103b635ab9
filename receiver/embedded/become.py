"""Becomes an ordinary user and then a server: run as a script, `python -I -S become.py …`, never imported.

    become.py reach UID GID PATH…                    prints yes or no for each: can that user enter and execute it?
    become.py run UID GID PARENT SIGNAL COMMAND…     becomes COMMAND, which gets SIGNAL when PARENT dies

A script between fork and exec, not a `preexec_fn`: Python code in a forked child of a threaded program can deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# The caller's PGDATA, PGOPTIONS, LC_ALL or LD_LIBRARY_PATH must not reach a server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def become(uid: int, gid: int) -> None:
    """Give up root for good, where there is root to give up."""
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def bind_to(parent: int, death_signal: int) -> None:
    """Have the kernel signal us when the parent dies.

    After `become`, for setuid() clears the setting. The parent may have died before it was made: then it is not ours.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the program that wanted this server is gone")


def main(verb: str, uid: str, gid: str, *rest: str) -> None:
    """Do what the command line says."""
    become(int(uid), int(gid))
    if verb == "reach":
        sys.stdout.writelines("yes\n" if os.access(path, os.X_OK) else "no\n" for path in rest)
        return
    parent, death_signal, *command = rest
    bind_to(int(parent), int(death_signal))
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the starting thread may have blocked some
    os.execve(command[0], command, ENVIRONMENT)  # noqa: S606 -- becoming that program is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
