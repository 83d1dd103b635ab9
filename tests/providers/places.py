"""Where a callback says its signature and its time, as its class tells: to look at them and to change them."""

import json
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

from msgspec.structs import replace

from receiver.events import Callback
from tests.providers.accounts import Account


def with_header(callback: Callback, name: bytes, *values: bytes) -> Callback:
    """With a header for each of `values` under that name; none: it is gone."""
    kept = [pair for pair in callback.headers if pair[0] != name]
    return replace(callback, headers=[*kept, *((name, value) for value in values)])


def header(callback: Callback, name: bytes) -> bytes:
    """The value of a header that is there."""
    return dict(callback.headers)[name]


def signature(account: Account, callback: Callback) -> bytes:
    """The signature, wherever it stands."""
    name = account.kind.signature_header
    if _in_header(account, callback):
        return header(callback, name or b"")
    if _is_form(callback):
        return dict(_pairs(callback.body))[_parameter(account)]
    *_, last = account.kind.signature_member
    return str(_parent(account, json.loads(callback.body))[last]).encode()


def with_signature(account: Account, callback: Callback, *values: bytes) -> Callback:
    """With a signature for each of `values`, all in the one place; none: it is gone."""
    if _in_header(account, callback):
        return with_header(callback, account.kind.signature_header or b"", *values)
    body = _form(account, callback, values) if _is_form(callback) else _document(account, callback, values)
    return replace(callback, body=body)


def with_time(account: Account, callback: Callback, *values: bytes) -> Callback | None:
    """With a signed time for each of `values`; none: it is gone. None where no such time is sent."""
    kind = account.kind
    if kind.timestamp_header is not None:
        return with_header(callback, kind.timestamp_header, *values)
    if kind.timestamp_item is None:
        return None
    before, _, behind = signature(account, callback).partition(kind.timestamp_item)
    digits = len(behind) - len(behind.lstrip(b"0123456789"))
    comma, rest = behind[digits : digits + 1], behind[digits + 1 :]
    said = [kind.timestamp_item + value + comma for value in values]
    return with_signature(account, callback, before + b"".join(said) + rest)


def room(account: Account, callback: Callback) -> int:
    """Bytes that the signature's place can take before HTTP itself refuses the request."""
    return 1_000_000 if _in_header(account, callback) else 200_000


def _in_header(account: Account, callback: Callback) -> bool:
    return account.kind.signature_header in dict(callback.headers)


def _is_form(callback: Callback) -> bool:
    return not callback.body.startswith(b"{")


def _parameter(account: Account) -> bytes:
    (name,) = account.kind.signature_member
    return str(name).encode()


def _pairs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        yield name, unquote_to_bytes(value.replace(b"+", b" "))


def _form(account: Account, callback: Callback, values: tuple[bytes, ...]) -> bytes:
    name = _parameter(account)
    kept = [pair for pair in callback.body.split(b"&") if not pair.startswith(name + b"=")]
    return b"&".join([*kept, *(name + b"=" + quote(value, safe="").encode() for value in values)])


def _document(account: Account, callback: Callback, values: tuple[bytes, ...]) -> bytes:
    whole = json.loads(callback.body)
    *_, last = account.kind.signature_member
    parent = _parent(account, whole)
    del parent[last]
    for number, value in enumerate(values):
        parent[f"{last}{'@' * number}"] = value.decode("utf-8", "replace")
    # A dict cannot hold a name twice; its text can.
    return json.dumps(whole, ensure_ascii=False).replace('@": ', '": ').encode()


def _parent(account: Account, whole: object) -> dict[str | int, object]:
    for step in account.kind.signature_member[:-1]:
        assert isinstance(whole, dict | list)
        whole = whole[step] if isinstance(whole, dict) else whole[int(step)]
    assert isinstance(whole, dict)
    return whole
