"""Ways to spoil, or only to respell, a callback that was fine."""

from collections.abc import Callable

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback
from tests.sources.conftest import (
    NOW,
    Kit,
    header,
    with_body,
    with_header,
)

Change = Callable[[Callback, Kit], Callback]
SIGNATURE = {
    "stripe": b"stripe-signature",
    "standardwebhooks": b"webhook-signature",
    "wechatpay": b"wechatpay-signature",
}
TIMESTAMP = {"standardwebhooks": b"webhook-timestamp", "wechatpay": b"wechatpay-timestamp"}


def refusal(kit: Kit, callback: Callback, now: float = NOW) -> str:
    """Why the callback is refused."""
    with pytest.raises(VerificationError) as caught:
        kit.provider.verify(callback, now)
    assert str(caught.value) == caught.value.reason, "the message is the reason and nothing more"
    return caught.value.reason


def signature(change: Callable[[bytes], bytes]) -> Change:
    """Change the header that holds the signature."""

    def changed(callback: Callback, kit: Kit) -> Callback:
        name = SIGNATURE[kit.name]
        return with_header(callback, name, change(header(callback, name)))

    return changed


def body(change: Callable[[bytes], bytes]) -> Change:
    """Change the body."""
    return lambda callback, _: with_body(callback, change(callback.body))


def timestamped(value: bytes) -> Change:
    """Put another spelling where the timestamp stands."""

    def changed(callback: Callback, kit: Kit) -> Callback:
        if kit.name == "stripe":
            old = header(callback, b"stripe-signature")
            return with_header(callback, b"stripe-signature", old.replace(b"t=%d" % NOW, b"t=" + value))
        return with_header(callback, TIMESTAMP[kit.name], value)

    return changed


def stray(s: bytes) -> bytes:
    """The same bytes in base64, with a bit set where none belongs."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padding = len(s) - len(s.rstrip(b"="))
    place = len(s) - padding - 1
    return s[:place] + bytes([letters[letters.index(s[place]) + 1]]) + s[place + 1 :]


def entry(version: bytes) -> Callable[[bytes], bytes]:
    """The one entry of that version out of a list."""
    return lambda s: next(part for part in s.split(b" ") if part.startswith(version + b","))


def replaced(old: bytes, new: bytes) -> Change:
    """Change the form; what is to be replaced must be there."""

    def changed(callback: Callback, _: Kit) -> Callback:
        assert old in callback.body
        return with_body(callback, callback.body.replace(old, new))

    return changed


def sign_value(change: Callable[[bytes], bytes]) -> Change:
    """Change the value of `sign`, as it is encoded in the form."""

    def changed(callback: Callback, _: Kit) -> Callback:
        pairs = callback.body.split(b"&")
        return with_body(callback, b"&".join(change(p) if p.startswith(b"sign=") else p for p in pairs))

    return changed
