"""Callbacks signed with a source's own keys, to be posted to the receiver."""

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.app.receiver import Receiver
from receiver.errors import SettingsError
from receiver.events import Callback, Event
from receiver.ingress.arrivals import to_arrival
from receiver.operate.composed import Recipe, compose
from receiver.sources import Source


@dataclass(frozen=True, kw_only=True)
class SignedCallback:
    """One callback: `await client.post(callback.path, content=callback.body, headers=callback.headers)`.

    Posted twice it is a resend.
    """

    path: str
    """`/callbacks/{source}`, below wherever the receiver is mounted; with a token behind it if the source wants one
    there, and with a query where the provider signs one."""
    headers: Mapping[str, str]
    """The signature among them, for a while: providers sign a time, and the receiver refuses old ones."""
    body: bytes
    """As signed."""
    source: Source = field(repr=False)
    sent_at: dt.datetime

    def event(self, *, handler: str = "handler", attempt: int = 1) -> Event:
        """The event that the receiver would store for it, as a handler gets it.

        Args:
            handler: of use where you call the function yourself; `run_handler` puts the right name there.
            attempt: number of the run, from 1.

        Raises:
            ValueError: it would go to quarantine; the message is the reason.
        """
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        address, _, query = self.path.partition("?")
        token = address.partition(f"/callbacks/{self.source.name}/")[2] or None
        callback = Callback(method="POST", headers=headers, body=self.body, query=query.encode(), token=token)
        verify = self.source.verify if token else self.source.proved  # one in a field is for the test to put there
        verified = verify(callback, self.sent_at.timestamp())
        fact, *_ = verified.facts
        if fact.odd is not None:
            raise ValueError(fact.odd)
        return to_arrival(self.source, fact, callback, (), verified.secret).event(
            handler=handler, attempt=attempt, received_at=self.sent_at, reader=self.source.content
        )


def signed_callback(
    receiver: Receiver,
    source: str,
    what: str = "paid",
    *,
    entity_id: str | None = None,
    payload: Mapping[str, object] | None = None,
    changes: Mapping[str, object] | None = None,
    created_at: dt.datetime | None = None,
    sent_at: dt.datetime | None = None,
) -> SignedCallback:
    """What the provider would send now: a new event at each call.

    Args:
        receiver: whose settings have the source.
        source: name of the source.
        what: a word such as `paid`, or one of the provider's event types; `receiver send SOURCE x` lists them.
        entity_id: the payment or order that it is about; default: one of its own.
        payload: your own instead of the sample, in which `{id}`, `{entity}` and `{created}` are filled in.
        changes: paths such as `data.object.amount`, each with its new value.
        created_at: when the event was created, aware; default: `sent_at`.
        sent_at: when it was signed, aware; default: now.

    Raises:
        SettingsError: there is no such source, or it has no key to sign with.
        PayloadWrong: there is no such sample, or a change leads nowhere.
    """
    known = receiver.sources(receiver.load_settings())
    if source not in known:
        raise SettingsError(f"sources.{source}: is not configured; there is {', '.join(known) or 'none'}")
    sent_at = sent_at or dt.datetime.now(dt.UTC)
    created = int((created_at or sent_at).timestamp())
    recipe = Recipe(source=known[source], kind=what, payload=payload, changes=tuple((changes or {}).items()))
    signed = known[source].sign(compose(recipe, secrets.token_hex(8), created, entity_id), sent_at.timestamp())
    return SignedCallback(
        path=signed.at(f"/callbacks/{source}{known[source].address_end(sent_at.timestamp())}"),
        headers=dict(signed.headers),
        body=signed.body,
        source=known[source],
        sent_at=sent_at,
    )
