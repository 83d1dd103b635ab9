"""Adyen's SDK and we agree on every item and every body, but for batches and for what can be read in two ways."""

import importlib
import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, TEXT, Change

sdk = importlib.import_module("Adyen.util")  # it has no types
KEYS = st.binary(min_size=32, max_size=32).map(bytes.hex)
REFERENCE = TEXT | st.text("ab:\\ ", max_size=8)
NAMES = ("pspReference", "originalReference", "merchantAccountCode", "eventCode")
ITEMS = st.fixed_dictionaries(
    {
        "pspReference": REFERENCE,
        "merchantAccountCode": REFERENCE,
        "merchantReference": REFERENCE,
        "amount": st.fixed_dictionaries(
            {"value": st.integers() | st.sampled_from(["0", "1130"]), "currency": st.sampled_from(["EUR", "JPY", ""])}
        ),
        "eventCode": st.sampled_from(["AUTHORISATION", "REFUND", "REPORT_AVAILABLE"]),
        "success": st.sampled_from(["true", "false"]),
    },
    optional={"originalReference": REFERENCE, "reason": TEXT, "eventDate": TEXT},
)
Item = dict[str, object]


def adyen(key: str) -> Provider:
    return provider_with({"provider": "adyen", "secrets": [key]})


def signed(item: Item, key: str) -> Item:
    signature = sdk.generate_notification_sig(item, key).decode()
    return {**item, "additionalData": {"hmacSignature": signature}}


def batch(items: list[Item]) -> bytes:
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": i} for i in items]}).encode()


def ours(key: str, body: bytes, headers: Mapping[bytes, bytes]) -> bool:
    try:
        return bool(adyen(key).verify(Callback(method="POST", headers=list(headers.items()), body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(key: str, item: Item) -> bool:
    return bool(sdk.is_valid_hmac_notification(item, key))


def ambiguous(item: Item) -> bool:
    """The difference: where a colon stands in another member than the reference, one signature fits several items."""
    return any(":" in str(item.get(name, "")) for name in NAMES)


@MODEST
@given(items=st.lists(ITEMS, min_size=1, max_size=3), key=KEYS, other=KEYS, data=st.data())
def test_every_item(items: list[Item], key: str, other: str, data: st.DataObject) -> None:
    sent = [signed(item, data.draw(st.sampled_from([key, key, key, other]))) for item in items]
    if data.draw(st.booleans()):
        changed, by = data.draw(st.sampled_from(sent)), data.draw(ITEMS)
        changed.update({name: by[name] for name in data.draw(st.sets(st.sampled_from(sorted(by))))})
    verdicts = [theirs(key, item) and not ambiguous(item) for item in sent]
    assert ours(key, batch(sent), {}) == all(verdicts)


def test_an_item_that_is_not_the_first() -> None:
    """A difference: given a batch, the SDK's helper looks at its first item alone."""
    key, other = "1" * 64, "2" * 64
    item: Item = {"pspReference": "P", "amount": {"value": 0, "currency": ""}, "eventCode": "A", "success": "true"}
    body = batch([signed(item, key), signed(item, other)])
    assert sdk.is_valid_hmac_notification(json.loads(body), key)
    assert not ours(key, body, {})


@MODEST
@given(items=st.lists(ITEMS, min_size=1, max_size=3), key=KEYS)
def test_they_accept_what_we_sign(items: list[Item], key: str) -> None:
    fine = [item for item in items if not ambiguous(item)]
    sealed = json.loads(adyen(key).seal(batch(fine), NOW).body)
    assert all(theirs(key, entry["NotificationRequestItem"]) for entry in sealed["notificationItems"])


@MODEST
@given(content=JSON, key=KEYS, used=KEYS, change=CHANGES)
def test_every_body(content: dict[str, object], key: str, used: str, change: Change) -> None:
    written = json.dumps(content).encode()
    for real in (key, used):
        header = dict(as_callback(adyen(real).seal(written, NOW)).headers)[b"hmacsignature"].decode()
        body, signature = change(written, header)
        # A signature that is not ASCII is its TypeError, and a refusal here.
        verdict = signature.isascii() and bool(sdk.is_valid_hmac_payload(signature, key, body))
        assert ours(key, body, {b"hmacsignature": signature.encode()}) == verdict
