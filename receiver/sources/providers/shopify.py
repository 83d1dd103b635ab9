"""Shopify: `X-Shopify-Hmac-Sha256`, an HMAC-SHA256 of the raw body in base64; topic and ids in headers alone."""

import datetime as dt
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources import signatures, times
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.shopify import SAMPLES

_OLD: Final = b"x-shopify-"
_NEW: Final = b"shopify-"
_NAMES: Final = ("hmac-sha256", "topic", "event-id", "webhook-id", "shop-domain", "triggered-at", "api-version", "test")


class Shopify(HmacProvider):
    """The webhooks of one Shopify app."""

    name: ClassVar[str] = "shopify"
    title: ClassVar[str] = "Shopify"
    signature_header = b"x-shopify-hmac-sha256"
    differs = (("@headers", "X-Shopify-Webhook-Id"),)
    encoding = "base64"
    other_headers = frozenset({b"x-shopify-topic"})
    keep_headers: ClassVar[frozenset[bytes]] = frozenset(
        {b"content-type", *(prefix + name.encode() for prefix in (_OLD, _NEW) for name in _NAMES)}
    )
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=4)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id_header=b"x-shopify-event-id",
        type_header=b"x-shopify-topic",
        entities=(("id",), ("admin_graphql_api_id",)),
        occurred_at=("updated_at",),
        reading=times.from_iso,
        whole=True,
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the app's client secret, in base64.",
        unsigned="All headers: topic, shop and ids. Who has captured a callback may send it again under another topic, "
        "so let a handler look at what the body says.",
        resends="The body, the topic and `X-Shopify-Event-Id` stay the same; `X-Shopify-Webhook-Id` is that of the "
        "sending.",
        key="The hash of the body together with the topic, since one body may be meant for two topics (`orders/create` "
        "and `orders/paid`). The event's id is not signed, and a forged one gets no second event.",
        retries="8 times in 4 hours; a subscription that fails so long is removed.",
        sources=(
            "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
            "https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates",
            "shopify-app-js, `shopify-api/lib/webhooks/validate.ts`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def authenticate(self, callback: Callback, now: float) -> int:
        """As for all, but without a topic nobody knows what the callback says."""
        renamed = _renamed(callback)
        matched = super().authenticate(renamed, now)
        if not signatures.headers(renamed, self.other_headers).get(b"x-shopify-topic"):
            raise VerificationError("type_missing")
        return matched

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        return super().read(_renamed(callback))


def _renamed(callback: Callback) -> Callback:
    """With the names of old for headers that come under the newer ones, `shopify-…`; both at once must agree."""
    if not any(name.startswith(_NEW) for name, _ in callback.headers):
        return callback
    headers = [(_OLD + name[len(_NEW) :] if name.startswith(_NEW) else name, value) for name, value in callback.headers]
    return Callback(method=callback.method, headers=headers, body=callback.body, query=callback.query)
