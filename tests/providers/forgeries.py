"""Forgeries of every kind, as one table: how each is made of a good callback, and the reasons it may be refused for."""

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from receiver.events import Callback
from tests.providers.accounts import IDS, Account, account, stranger
from tests.providers.places import room, signature, with_signature, with_time

Forge = Callable[[Account, Callback], Callback | None]
"""Makes a forgery of a good callback; None where the provider's description leaves no room for it."""
Bytes = Callable[[bytes], bytes]

SIGNATURE = {"signature_missing", "signature_malformed", "signature_mismatch"}
NO_SIGNATURE = {*SIGNATURE, "timestamp_missing", "item_malformed"}
LONG = {*SIGNATURE, "header_malformed", "form_malformed", "timestamp_malformed"}
TIME = {"timestamp_malformed", "header_malformed"}
CERTIFICATE = {"certificate_malformed", "certificate_untrusted", "signature_type_unknown"}
BODY = {*SIGNATURE, *CERTIFICATE, "form_malformed", "form_duplicate_name"}
FOREIGN = {"signature_mismatch", "key_unknown", "certificate_untrusted"}


def respelled(change: Bytes) -> Forge:
    """Another signature in its place; none where the change leaves it as it is."""

    def forge(one: Account, callback: Callback) -> Callback | None:
        good = signature(one, callback)
        made = change(good)
        return None if made == good else with_signature(one, callback, made)

    return forge


def repeated(one: Account, callback: Callback) -> Callback:
    """20,000 signatures, or as many as HTTP lets through."""
    good = signature(one, callback)
    return with_signature(one, callback, b" ".join([good] * min(20_000, room(one, callback) // len(good))))


def body(change: Bytes) -> Forge:
    """Another body under the same signature, where a signature covers it all."""

    def forge(one: Account, callback: Callback) -> Callback | None:
        (fact, *_) = one.source.verify(callback, time.time()).facts
        return replace(callback, body=change(callback.body)) if fact.trust == "signed" else None

    return forge


def flipped(whole: bytes) -> bytes:
    """One bit of it, in a letter or digit near its end's side."""
    place = next(at for at in range(len(whole) // 3, len(whole)) if chr(whole[at]).isalnum())
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def again(whole: bytes) -> bytes:
    """The same document by another hand: JSON with other blanks, a form with its parts in another order and case."""
    if whole.startswith(b"{"):
        return json.dumps(json.loads(whole), indent=5).encode()
    return whole.replace(b"=", b"%3D", 1)


def timed(*values: bytes) -> Forge:
    """Another spelling where the signed time stands, of which there may be several."""
    return lambda one, callback: with_time(one, callback, *values)


def off(seconds: float) -> Forge:
    """Signed by the right key, so many seconds outside of the time that is allowed."""

    def forge(one: Account, _: Callback) -> Callback | None:
        window = one.kind.time_window
        if window is None:
            return None
        late = window.total_seconds() if seconds > 0 else -window.total_seconds()
        return one.sent(now=time.time() + late + seconds)

    return forge


def of_another(one: Account, _: Callback) -> Callback:
    """What the next provider in the list would send."""
    return account(IDS[(IDS.index(one.id) + 1) % len(IDS)]).sent()


def of_another_body(one: Account, callback: Callback) -> Callback | None:
    """The signature of another callback of the same account."""
    other = signature(one, one.sent(list(one.kind.samples)[-1], now=time.time() - 1))
    return None if other == signature(one, callback) else with_signature(one, callback, other)


def unkeyed(algorithm: str) -> Forge:
    """What anybody can compute: a digest of the body."""

    def forge(one: Account, callback: Callback) -> Callback:
        return with_signature(one, callback, hashlib.new(algorithm, callback.body).hexdigest().encode())

    return forge


def keyed_with_a_public_key(one: Account, callback: Callback) -> Callback | None:
    """An HMAC under what is no secret, for those who verify with whatever key there is."""
    public = [name for name in ("public_key", "public_keys", "certificates", "roots") if name in one.settings]
    if not public:
        return None
    digest = hmac.digest(str(one.settings[public[0]]).encode(), callback.body, "sha256")
    return with_signature(one, callback, b64encode(digest))


def conflicting(one: Account, callback: Callback) -> Callback | None:
    """The good one and another, in two headers or parameters."""
    if one.kind.signature_repeats:
        return None
    return with_signature(one, callback, signature(one, callback), b"0")


FORGERIES: Mapping[str, tuple[Forge, set[str]]] = {
    "no signature": (with_signature, {"signature_missing"}),
    "an empty signature": (respelled(lambda _: b""), {"signature_missing"}),
    "a version alone": (respelled(lambda _: b"v1,"), NO_SIGNATURE),
    "a comma alone": (respelled(lambda _: b","), NO_SIGNATURE),
    "an equals sign alone": (respelled(lambda _: b"="), NO_SIGNATURE),
    "a zero": (respelled(lambda _: b"0"), NO_SIGNATURE),
    "truncated": (respelled(lambda s: s[:-9]), SIGNATURE),
    "a letter longer": (respelled(lambda s: s + b"A"), SIGNATURE),
    "overlong": (respelled(lambda s: s + b"A" * 20_000), LONG),
    "20,000 of them": (repeated, LONG),
    "no comma": (respelled(lambda s: s.replace(b",", b"").replace(b";", b"")), {*NO_SIGNATURE, "timestamp_malformed"}),
    "in quotes": (respelled(lambda s: b'"' + s + b'"'), NO_SIGNATURE),
    "invalid base64": (respelled(lambda _: b"v1,!!!!"), NO_SIGNATURE),
    "junk in its middle": (respelled(lambda s: s[: len(s) // 2 + 9] + b"*" + s[len(s) // 2 + 9 :]), SIGNATURE),
    "in another case": (respelled(bytes.swapcase), NO_SIGNATURE),
    "not ASCII": (respelled(lambda s: s + "é".encode()), {"header_malformed", *SIGNATURE}),
    "Latin-1": (respelled(lambda s: b"\xff" + s), {"header_malformed", *SIGNATURE}),
    "an old scheme alone": (
        respelled(lambda s: s.replace(b"v1", b"v0").replace(b"h1", b"h0").replace(b"sha256=", b"sha1=")),
        {"signature_missing", "signature_malformed", "signature_mismatch"},
    ),
    "conflicting": (conflicting, {"header_conflict", "form_duplicate_name", "signature_missing"}),
    "that of another callback": (of_another_body, {"signature_mismatch"}),
    "SHA-256 without a key": (unkeyed("sha256"), NO_SIGNATURE),
    "SHA-1 without a key": (unkeyed("sha1"), NO_SIGNATURE),
    "HMAC under a public key": (keyed_with_a_public_key, SIGNATURE),
    "a stranger's": (lambda one, _: stranger(one.id).sent(), FOREIGN),
    "another provider's": (of_another, {*NO_SIGNATURE, "form_malformed", "id_missing"}),
    "one bit of the body": (body(flipped), BODY),
    "serialised again": (body(again), BODY),
    "a trailing newline": (body(lambda b: b + b"\n"), BODY),
    "a byte-order mark": (body(lambda b: b"\xef\xbb\xbf" + b), BODY),
    "not UTF-8": (body(lambda b: b + b"\xff\xfe"), BODY),
    "an empty body": (body(lambda _: b""), BODY),
    "a NUL in the body": (body(lambda b: b + b"\0"), BODY),
    "signed long ago": (off(-60), {"timestamp_expired"}),
    "signed in the future": (off(60), {"timestamp_future"}),
    "no time": (timed(), {"timestamp_missing"}),
    "an empty time": (timed(b""), {"timestamp_missing", "timestamp_malformed"}),
    **{
        f"time {value.decode()}": (timed(value), TIME)
        for value in (b"NaN", b"1e400", b"1_760_000_000", b"+1760000000", b"-1", b"0x68E77800", b"17600 00000")
    },
    "time of 400 digits": (timed(b"9" * 400), TIME),
    "time with a fraction": (lambda one, callback: with_time(one, callback, b"%d.9" % time.time()), TIME),
    "time in Arabic digits": (timed("١٧٦٠٠٠٠٠٠٠".encode()), TIME),
    "two times": (timed(b"1", b"2"), {"timestamp_malformed", "signature_malformed", "header_conflict"}),
}
UNCHECKED = {"signature_mismatch", "header_malformed", "header_conflict"}
"""Why a time is refused that is signed but not judged: it is not the one that was signed."""


def forgeries_of(one: Account) -> dict[str, tuple[Callback, set[str]]]:
    """All forgeries that there are of the account's first sample, and the reasons that each may be refused for."""
    good = one.sent()
    found: dict[str, tuple[Callback, set[str]]] = {}
    for case, (forge, reasons) in FORGERIES.items():
        forged = forge(one, good)
        if forged is not None:
            assert forged != good, case
            judged = one.kind.time_window is not None or "time" not in case
            found[case] = forged, reasons if judged else reasons | UNCHECKED
    return found
