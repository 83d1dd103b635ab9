"""A lean closed-loop HTTP client: each connection sends its next request as soon as it has its answer.

Sockets and epoll only: on two cores shared with the servers, every microsecond spent here is one less for them.
"""

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

_RECEIVE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a run came to."""

    seconds: float
    latencies: list[float]
    """Seconds from send to answer, in the order of the answers."""
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in milliseconds that `share` (0 to 1) of the requests stayed below."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


def run(host: str, port: int, requests: Sequence[bytes], *, connections: int, timeout: float = 120.0) -> Load:
    """Send all `requests` over `connections` keep-alive connections.

    Raises:
        RuntimeError: an answer did not come in time, or the server closed a connection.
    """
    sockets = [socket.create_connection((host, port)) for _ in range(connections)]
    poller = select.epoll()
    by_fd = {}
    for made in sockets:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)  # noqa: FBT003  the standard library's own signature
        poller.register(made, select.EPOLLIN)
        by_fd[made.fileno()] = made
    try:
        return _drive(poller, by_fd, requests, time.perf_counter() + timeout)
    finally:
        poller.close()
        for made in sockets:
            made.close()


def _drive(poller: select.epoll, by_fd: dict[int, socket.socket], requests: Sequence[bytes], give_up: float) -> Load:
    clock = time.perf_counter
    total, following = len(requests), 0
    sent: dict[int, float] = {}
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    started = clock()
    for fd, connection in list(by_fd.items())[:total]:
        sent[fd] = clock()
        connection.sendall(requests[following])
        following += 1
    while len(latencies) < total:
        if clock() > give_up:
            raise RuntimeError(f"only {len(latencies)} of {total} answers came in time")
        for fd, _ in poller.poll(1.0):
            connection = by_fd[fd]
            received = answer(connection)
            now = clock()
            latencies.append(now - sent[fd])
            status = int(received[9:12])
            statuses[status] = statuses.get(status, 0) + 1
            if following < total:
                sent[fd] = clock()
                connection.sendall(requests[following])
                following += 1
    return Load(seconds=clock() - started, latencies=latencies, statuses=statuses)


def answer(connection: socket.socket) -> bytes:
    """One whole answer. It nearly always comes in one piece; what is missing is waited for."""
    data = connection.recv(_RECEIVE_BYTES)
    while not _whole(data):
        select.select([connection], [], [], 10.0)
        more = connection.recv(_RECEIVE_BYTES)
        if not more:
            raise RuntimeError("the server closed the connection")
        data += more
    return data


def _whole(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    where = head.lower().find(b"content-length:")
    return where < 0 or len(body) >= int(head[where + 15 :].split(b"\r\n", 1)[0])
