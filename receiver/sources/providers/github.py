"""GitHub, and whatever signs as it does: `X-Hub-Signature-256: sha256=…`, an HMAC-SHA256 of the raw body."""

import datetime as dt
from typing import ClassVar, Final

from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.github import SAMPLES

_DELIVERY: Final = b"x-github-delivery"
_EVENT: Final = b"x-github-event"


class GitHub(HmacProvider):
    """One webhook of a repository, an organisation, an app or a sponsored account."""

    name: ClassVar[str] = "github"
    title: ClassVar[str] = "GitHub"
    signature_header = b"x-hub-signature-256"
    prefix = b"sha256="
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _DELIVERY, _EVENT, signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)  # by hand or by API, for that long
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id_header=_DELIVERY,
        type_header=_EVENT,
        entities=(("sponsorship", "node_id"), ("marketplace_purchase", "account", "id"), ("repository", "id")),
        whole=True,
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the webhook's secret, in hexadecimal behind `sha256=`.",
        unsigned="The headers with event and delivery id.",
        resends="Body, event and delivery id; a redelivery is the same delivery again.",
        key="The hash of the body together with the event. The id is not signed; a forged one gets no second event.",
        retries="Not by itself: a delivery that failed is sent again by hand or by API, within 3 days.",
        sources=(
            "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
            "octokit/webhooks-methods.js",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"
