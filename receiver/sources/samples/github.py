"""GitHub's events that are about money: sponsorships and the marketplace."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _event(event: str, action: str, **rest: object) -> Sample:
    return Sample(
        type=event,
        payload={
            HEADERS: {"X-GitHub-Event": event, "X-GitHub-Delivery": "{id}"},
            "action": action,
            "sender": {"login": "octocat", "id": 1},
            **rest,
        },
    )


def _sponsorship(**rest: object) -> dict[str, object]:
    tier = {"monthly_price_in_cents": 500, "monthly_price_in_dollars": 5, "name": "$5 a month"}
    return {"sponsorship": {"node_id": "{entity}", "created_at": "{utc}", "tier": tier, **rest}}


def _purchase(unit: int) -> dict[str, object]:
    return {
        "effective_date": "{utc}",
        "marketplace_purchase": {"account": {"id": "{entity}", "type": "User"}, "unit_count": unit},
    }


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("sponsorship", "created", **_sponsorship()),
    "cancelled": _event("sponsorship", "cancelled", **_sponsorship()),
    "renewed": _event("marketplace_purchase", "changed", **_purchase(2)),
    "bought": _event("marketplace_purchase", "purchased", **_purchase(1)),
    "ping": _event("ping", "ping", zen="Keep it logically awesome.", repository={"id": "{entity}"}),
}
