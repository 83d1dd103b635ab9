"""Xendit: `x-callback-token`, a static token that comes along with each callback."""

import datetime as dt
import hmac
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import keys, new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option
from receiver.sources.samples.xendit import SAMPLES

_TOKEN: Final = b"x-callback-token"
_ID: Final = b"webhook-id"


class Xendit(Provider):
    """The webhooks of one Xendit account."""

    name: ClassVar[str] = "xendit"
    title: ClassVar[str] = "Xendit"
    trust: ClassVar[Trust] = "sender"
    signature_header = _TOKEN
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
    layout = Layout(
        id_header=_ID,
        parts=(
            ("event",),
            *((name,) for name in ("id", "external_id", "status", "updated", "created", "amount")),
            *(("data", name) for name in ("id", "status", "updated", "created")),
        ),
        type=("event",),
        type_else=("status",),
        entities=(("id",), ("data", "id"), ("data", "payment_id")),
        occurred_at=("updated",),
    )
    about = About(
        signed="Nothing. The account's verification token is sent in `x-callback-token`.",
        unsigned="All of it: the token proves who sent the callback and not what it says, and who has seen one can "
        "write any other. Its events have the trust `sender`; confirm them by the API before money moves.",
        resends="The members that name the thing and its state, and the header `webhook-id` where there is one.",
        key="Event, ids, state and time of the thing together; `webhook-id` is shown as the external id where it is "
        "sent.",
        retries="After 15 and 45 minutes, 2, 3, 6 and 12 hours: 24 hours in all. What was not answered in 30 "
        "seconds is not repeated by itself.",
        sources=("https://docs.xendit.co/apidocs/webhook-behavior", "https://docs.xendit.co/webhook"),
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
        return self.layout.read(callback, self.trust)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest token."""
        del now
        if not self._tokens:
            raise SettingsError("secrets: is needed to sign")
        headers = {"Content-Type": "application/json", **(beside or {}), "x-callback-token": self._tokens[0].decode()}
        return Signed(headers=tuple(headers.items()), body=body)
