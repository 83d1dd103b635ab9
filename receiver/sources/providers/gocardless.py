"""GoCardless: `Webhook-Signature`, an HMAC-SHA256 of the raw body in hexadecimal; a body holds up to 250 events."""

import datetime as dt
from typing import ClassVar

from receiver.events import Callback, Fact
from receiver.sources import batches, documents, times
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.samples.gocardless import SAMPLES


class GoCardless(HmacProvider):
    """One webhook endpoint of a GoCardless account."""

    name: ClassVar[str] = "gocardless"
    title: ClassVar[str] = "GoCardless"
    signature_header = b"webhook-signature"
    differs = (("meta", "webhook_id"),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)  # eight times, the last intervals are not documented
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    about = About(
        signed="The raw body with all its events, by HMAC-SHA256 under the endpoint's secret, in hexadecimal. What is "
        "stored of an event is its own part of the body, so its signature cannot be checked again later.",
        resends="The ids of the events and their `created_at`, which the API documents as fixed. `meta.webhook_id` is "
        "that of the sending. Whether an event may come again in other company is not documented: each counts alone.",
        key="The id of each event. A batch that comes again, or one that overlaps it, adds only what is new.",
        retries="Up to eight times at growing intervals (1 minute, 2 minutes, 10 minutes, …), and whenever somebody "
        "presses the button for it.",
        sources=(
            "https://developer.gocardless.com/api-reference/#appendix-webhooks",
            "https://support.gocardless.com/hc/en-nz/articles/360000989989-Webhook-retries-failures",
            "gocardless-pro-python, `webhooks.parse`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "EV{unique}"

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event for each item of `events`."""
        try:
            document = documents.strict_object(callback.body)
            items = batches.items(callback.body, document, "events")
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        return tuple(_fact(item, written) for item, written in items)


def _fact(item: object, written: bytes) -> Fact:
    if not isinstance(item, dict):
        return documents.odd("item_malformed", written)
    if documents.holds_nul(item):
        return documents.odd("json_nul", written)
    external_id, id_odd = documents.identifier(item.get("id"), given="id" in item)
    resource, action = item.get("resource_type"), item.get("action")
    type_, type_odd = documents.event_type(f"{resource}.{action}" if _are_texts(resource, action) else ())
    occurred_at = times.from_iso(item.get("created_at"))
    return Fact(
        external_id=external_id,
        type=type_,
        # `payments` are linked as `payment`; what else is linked is what they belong to.
        entity_id=documents.entity(documents.member(item, "links", str(resource).removesuffix("s"))),
        occurred_at=occurred_at,
        key_time=times.to_unix(occurred_at),
        fingerprint=None,
        body=written,
        odd=id_odd or type_odd,
    )


def _are_texts(*values: object) -> bool:
    return all(isinstance(value, str) and value for value in values)
