"""Xendit: `x-callback-token`, a static token that comes along with each callback."""

import datetime as dt
import hmac
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, keys, new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option
from receiver.sources.samples.xendit import SAMPLES
from receiver.sources.template import HEADERS

_TOKEN: Final = b"x-callback-token"
_ID: Final = b"webhook-id"
_NAMES: Final = (
    "id",
    "payment_id",
    "capture_id",
    "external_id",
    "status",
    "amount",
    "created",
    "updated",
    "transaction_timestamp",
)
"""Members that name a thing, its state, and when it came into it."""


class Xendit(Provider):
    """The webhooks of one Xendit account."""

    name: ClassVar[str] = "xendit"
    title: ClassVar[str] = "Xendit"
    trust: ClassVar[Trust] = "sender"
    signature_header = _TOKEN
    differs = ((HEADERS, _ID.decode()),)
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="webhook verification tokens, newest first; each one verifies", secret=True, many=True, key=True
        ),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",),)
    # Without the token, which is the secret.
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _ID})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=25)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=30)
    success: ClassVar[Ack] = Ack(status=200)
    events = Layout(
        id_header=_ID,
        parts=(("event",), *(("data", name) for name in _NAMES)),
        type=("event",),
        entities=(("data", "id"), ("data", "payment_id"), ("data", "payment_request_id")),
        occurred_at=("created",),
    )
    """Of the newer products, which name what happened."""
    things = Layout(
        id_header=_ID,
        parts=tuple((name,) for name in _NAMES),
        type=("status",),
        entities=(("id",), ("payment_id",)),
        occurred_at=("updated",),
    )
    """Of the older ones, such as invoices: a thing in its new state."""
    about = About(
        signed="Nothing. The account's verification token is sent in `x-callback-token`.",
        unsigned="All of it. The token proves who sent the callback, not what it says: it is the same in every one, so "
        "who has seen one, in a log or a proxy, can write any other, with any amount and state. The trust is `sender`: "
        "fetch the thing by its id and compare state, amount and currency before money moves.",
        resends="The members that name the thing and its state. Xendit may also send one event twice under two "
        "`webhook-id`s, when a system of its own has lost track of what was delivered.",
        key="Event, ids, state, amount and times of the thing together, as Xendit advises (`payment_id` and so on). "
        "`webhook-id` is shown as the external id where it is sent.",
        retries="After 15 and 45 minutes, 2, 3, 6 and 12 hours: 24 hours in all. What was not answered in 30 "
        "seconds is not repeated by itself.",
        sources=(
            "https://docs.xendit.co/apidocs/webhook-behavior",
            "https://docs.xendit.co/webhook",
            "https://docsv2.xendit.co/v1/docs/handling-webhooks",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the tokens."""
        self._tokens = [token.encode() for token in keys.secrets(options, "secrets")]

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One token."""
        return {"secrets": [new_keys.secret()]}

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare the token."""
        del now
        token = signatures.headers(callback, frozenset({_TOKEN})).get(_TOKEN)
        if not token:
            raise VerificationError("signature_missing")
        for index, known in enumerate(self._tokens):
            if hmac.compare_digest(token, known):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        layout = self.events if "event" in document else self.things
        return (layout.fact(document, callback.body, callback, self.trust),)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest token."""
        del now
        if not self._tokens:
            raise SettingsError("secrets: is needed to sign")
        headers = {"Content-Type": "application/json", **(beside or {}), "x-callback-token": self._tokens[0].decode()}
        return Signed(headers=tuple(headers.items()), body=body)
