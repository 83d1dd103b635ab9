"""What `receiver verify` reads: every part of a captured callback, or one line that says why it is none."""

from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from receiver.events import Callback
from receiver.operate.captured import read_captured
from receiver.operate.errors import RequestUnreadable
from tests.cli.kit import Cli

UNREADABLE = {
    "empty": b"",
    "no request line": b"hello\n\nworld",
    "no header": b"POST / HTTP/1.1\nnot a header\n\n{}",
    "broken JSON": b'{"method": ',
    "JSON of another kind": b'{"hello": 1}',
    "headers of another kind": b'{"headers": [1, 2]}',
    "no base64": b'{"headers": [], "body_b64": "%%%"}',
    "half a surrogate pair": b'{"headers": [["a", "\\ud800"]]}',
    "address that is none": b'{"headers": [], "url": "http://["}',
    "endless clock": b'{"clock": 1e400, "request": {"headers": []}}',
    "clock with many digits": b'{"clock": 1' + b"0" * 400 + b', "request": {"headers": []}}',
    "chunks cut short": b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\nff\nabc",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_holds_no_callback_is_one_clear_line(cli: Cli, with_sources: Path, content: bytes) -> None:
    (with_sources / "captured").write_bytes(content)
    said = cli("verify", "stripe", "--request", "captured")
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.startswith("receiver: request_unreadable: ")
    assert said.err.count("\n") == 1


def callback(method: str = "POST", body: bytes = b"d", query: bytes = b"", *values: bytes) -> Callback:
    return Callback(method=method, headers=[(b"a", value) for value in values], body=body, query=query)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"GET /x?a=1&b=2 HTTP/1.1\r\nA: h\r\n\r\n", callback("GET", b"", b"a=1&b=2", b"h")),
        (b"POST /x\nA:  b \nA: c\n\nd", callback("POST", b"d", b"", b"b", b"c")),
        (b'{"headers": {"A": "b"}, "body": "d", "url": "/x?q=1"}', callback("POST", b"d", b"q=1", b"b")),
        (b'{"method": "get", "headers": [], "query": "z=2"}', callback("GET", b"", b"z=2")),
    ],
)
def test_every_part_of_a_captured_callback_is_kept(content: bytes, expected: Callback) -> None:
    assert read_captured(content).callback == expected


def test_a_form_that_is_neither_says_what_the_forms_are() -> None:
    with pytest.raises(RequestUnreadable, match="an empty line, the body"):
        read_captured(b"\x00\x01")
