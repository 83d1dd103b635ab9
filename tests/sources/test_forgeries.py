"""What no provider sent is refused with the one verification error, whatever is wrong with it."""

import json
from collections.abc import Mapping

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import made_up
from tests.sources.changes import (
    SIGNATURE,
    Change,
    body,
    entry,
    refusal,
    signature,
    timestamped,
)
from tests.sources.conftest import (
    JSON_NAMES,
    NAMES,
    NOW,
    Kit,
    first,
    header,
    provider_with,
    with_header,
)

ARABIC = "١٧٦٠٠٠٠٠٠٠".encode()

EVERY_JSON: Mapping[str, tuple[Change, set[str]]] = {
    "no signature": (lambda c, k: with_header(c, SIGNATURE[k.name]), {"signature_missing"}),
    "empty signature": (signature(lambda _: b""), {"signature_missing"}),
    "truncated": (signature(lambda s: s[:-9]), {"signature_mismatch", "signature_malformed"}),
    "a byte longer": (signature(lambda s: s + b"0"), {"signature_mismatch", "signature_malformed"}),
    "overlong": (signature(lambda s: s + b"A" * 17_000), {"header_malformed"}),
    "20,000 signatures": (signature(lambda s: b" ".join([s] * 20_000)), {"header_malformed"}),
    "not ASCII": (signature(lambda s: s + "é".encode()), {"header_malformed"}),
    "Latin-1 byte": (signature(lambda s: b"\xff" + s), {"header_malformed"}),
    "junk inside": (signature(lambda s: s[:30] + b"!*" + s[30:]), {"signature_mismatch", "signature_malformed"}),
    "newline inside": (signature(lambda s: s[:30] + b"\n" + s[30:]), {"signature_mismatch", "signature_malformed"}),
    "just a version": (
        signature(lambda _: b"v1,"),
        {"timestamp_missing", "signature_mismatch", "signature_malformed"},
    ),
    "commas alone": (signature(lambda _: b",,"), {"signature_malformed"}),
    "two headers that differ": (
        lambda c, k: with_header(c, SIGNATURE[k.name], header(c, SIGNATURE[k.name]), b"v1=0"),
        {"header_conflict"},
    ),
    "one bit of the body": (body(lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]), {"signature_mismatch"}),
    "a trailing newline": (body(lambda b: b + b"\n"), {"signature_mismatch"}),
    "serialised again": (
        body(lambda b: json.dumps(json.loads(b), indent=7).encode()),
        {"signature_mismatch"},
    ),
    "not UTF-8": (body(lambda b: b + b"\xff\xfe"), {"signature_mismatch"}),
    "empty body": (body(lambda _: b""), {"signature_mismatch"}),
    "timestamp empty": (timestamped(b""), {"timestamp_missing", "timestamp_malformed"}),
    **{
        f"timestamp {value!r}": (timestamped(value), {"timestamp_malformed"})
        for value in (b"NaN", b"1e400", b"1760000000.9", b"1_760_000_000", b" 1760000000", b"1760000000 ")
    },
    **{
        f"timestamp {value!r}": (timestamped(value), {"timestamp_malformed"})
        for value in (b"+1760000000", b"-1760000000", b"0x68E77800", b"9" * 13, b"9" * 5000, b"1760000000\x00")
    },
    "timestamp in Arabic digits": (timestamped(ARABIC), {"header_malformed"}),
    "timestamp a second later": (timestamped(b"%d" % (NOW + 1)), {"signature_mismatch"}),
    "timestamp in milliseconds": (timestamped(b"%d" % (NOW * 100)), {"timestamp_future"}),
    "timestamp zero": (timestamped(b"0"), {"timestamp_expired"}),
}


@pytest.mark.parametrize(
    ("name", "version"),
    [("stripe", b""), ("standardwebhooks", b"v1"), ("standardwebhooks", b"v1a"), ("wechatpay", b"")],
)
@pytest.mark.parametrize("case", EVERY_JSON)
def test_changed_after_signing(kits: Mapping[str, Kit], name: str, version: bytes, case: str) -> None:
    change, reasons = EVERY_JSON[case]
    kit = kits[name]
    callback = kit.sent()
    if version:
        callback = signature(entry(version))(callback, kit)
    assert kit.provider.verify(callback, NOW).facts, "what is changed below was valid"
    assert refusal(kit, change(callback, kit)) in reasons


@pytest.mark.parametrize("name", NAMES)
def test_another_account_of_the_same_provider(kits: Mapping[str, Kit], name: str) -> None:
    stranger = provider_with(made_up(name))
    payload = kits[name].payload()
    signed = stranger.sign(payload, NOW)
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    callback = Callback(method="POST", headers=headers, body=signed.body)
    assert refusal(kits[name], callback) in {"signature_mismatch", "key_unknown"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_another_provider(kits: Mapping[str, Kit], name: str, other: str) -> None:
    if name != other:
        assert refusal(kits[name], kits[other].sent()).endswith(("_missing", "_malformed"))


@pytest.mark.parametrize("name", ["stripe", "standardwebhooks"])
def test_a_retired_secret(kits: Mapping[str, Kit], name: str) -> None:
    old, new = kits[name].settings, made_up(name)
    secrets = [first(new["secrets"]), first(old["secrets"])]
    both = provider_with({"provider": name, "secrets": secrets})
    callback = kits[name].sent()
    assert both.verify(callback, NOW).secret == 1, "the second of two secrets matched"
    with pytest.raises(VerificationError):
        provider_with({"provider": name, "secrets": secrets[:1]}).verify(callback, NOW)


WINDOW = {
    "stripe": (300, 300.5),
    "standardwebhooks": (300, 300.5),
    "wechatpay": (299.5, 300),
}


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize(("sign", "reason"), [(1, "timestamp_expired"), (-1, "timestamp_future")])
def test_time_window(kits: Mapping[str, Kit], name: str, sign: int, reason: str) -> None:
    kit, (inside, outside) = kits[name], WINDOW[name]
    assert kit.provider.verify(kit.sent(), NOW + sign * inside).facts
    assert refusal(kit, kit.sent(), NOW + sign * outside) == reason


def test_alipay_signs_no_time(kits: Mapping[str, Kit]) -> None:
    assert kits["alipay"].provider.verify(kits["alipay"].sent(), NOW * 2).facts
