"""Square: `x-square-hmacsha256-signature`, an HMAC-SHA256 over the notification URL and the raw body, in base64."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError
from receiver.sources.base import About, Ack, Setting
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.options import Option, text
from receiver.sources.samples.square import SAMPLES

_URL: Final = re.compile(r"https?://[!-~]+")


class Square(HmacProvider):
    """One webhook subscription of a Square application."""

    name: ClassVar[str] = "square"
    title: ClassVar[str] = "Square"
    signature_header = b"x-square-hmacsha256-signature"
    encoding = "base64"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="signature keys of the subscription, newest first; each one verifies", secret=True, many=True, key=True
        ),
        "notification_url": Setting(
            help="the subscription's URL exactly as it stands at Square: it is part of what is signed",
            example="https://shop.example/callbacks/square",
        ),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",), ("notification_url",))
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    # One page says 24 hours, an older one 72.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=72)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("event_id",), type=("type",), entities=(("data", "id"),), occurred_at=("created_at",), keyed=True
    )
    about = About(
        signed="The notification URL and the raw body behind it, by HMAC-SHA256 under the signature key, in base64.",
        resends="`event_id`, which Square documents as the key for idempotency, and `created_at`, as the time when the "
        "event was created.",
        key="`event_id`.",
        retries="For 24 hours (an older page says 72), ever more seldom.",
        sources=(
            "https://developer.squareup.com/docs/webhooks/step3validate",
            "https://developer.squareup.com/docs/webhooks/troubleshooting",
            "squareup, `square.utils.webhooks_helper.verify_signature`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the keys and the URL."""
        super().__init__(options)
        url = text(options, "notification_url")
        if url is not None and not _URL.fullmatch(url):
            raise SettingsError("notification_url: is no URL: it is written as Square shows it, https:// in front")
        self._url = (url or "").encode()

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One key, and a URL that need not lead anywhere."""
        return {**super().made_up(), "notification_url": "https://shop.example/callbacks/square"}

    def signed_parts(self, body: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """The URL, then the body."""
        del found
        return self._url, body
