"""Callbacks at a steady pace, whether or not the server keeps up, as providers send them."""

import select
import socket
import time
from collections import deque
from collections.abc import Sequence

from benchmarks.load import answer

_CONNECTIONS = 32


def send(host: str, port: int, requests: Sequence[bytes], *, per_second: float) -> list[int]:
    """Send each of `requests` when it is due; when each was due, by `time.monotonic_ns`.

    Raises:
        RuntimeError: an answer was not 200, or the server closed a connection.
    """
    idle = deque(socket.create_connection((host, port)) for _ in range(_CONNECTIONS))
    connections = {each.fileno(): each for each in idle}
    poller = select.epoll()
    for each in idle:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        moments = _drive(poller, connections, idle, requests, per_second)
        while len(idle) < len(connections):
            _take_answers(poller, connections, idle, 10.0)
        return moments
    finally:
        poller.close()
        for each in connections.values():
            each.close()


def _drive(
    poller: select.epoll,
    connections: dict[int, socket.socket],
    idle: deque[socket.socket],
    requests: Sequence[bytes],
    per_second: float,
) -> list[int]:
    began = time.monotonic_ns()
    moments = [began + int(number * 1e9 / per_second) for number in range(len(requests))]
    for moment, request in zip(moments, requests, strict=True):
        time.sleep(max(moment - time.monotonic_ns(), 0) / 1e9)
        _take_answers(poller, connections, idle, 0.0)
        while not idle:
            _take_answers(poller, connections, idle, 10.0)
        chosen = idle.popleft()
        chosen.sendall(request)
        poller.register(chosen, select.EPOLLIN)
    return moments


def _take_answers(
    poller: select.epoll, connections: dict[int, socket.socket], idle: deque[socket.socket], timeout: float
) -> None:
    for fd, _ in poller.poll(timeout):
        status = int(answer(connections[fd])[9:12])
        if status != 200:
            raise RuntimeError(f"the answer was {status}")
        poller.unregister(fd)
        idle.append(connections[fd])
