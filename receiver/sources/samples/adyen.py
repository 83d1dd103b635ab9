"""Adyen's standard notifications, one item each. Amounts are in minor units."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _notification(code: str, *, success: str = "true", original: bool = False, reason: str = "") -> Sample:
    own = (
        {"pspReference": "mod_of_{entity}", "originalReference": "{entity}"}
        if original
        else {"pspReference": "{entity}"}
    )
    return Sample(
        type=code,
        payload={
            "live": "false",
            "notificationItems": [
                {
                    "NotificationRequestItem": {
                        **own,
                        "additionalData": {"paymentMethod": "visa", "cardSummary": "1111"},
                        "amount": {"currency": "EUR", "value": 4200},
                        "eventCode": code,
                        "eventDate": "{utc}",
                        "merchantAccountCode": "MadeUpMerchant",
                        "merchantReference": "order-of-{entity}",
                        "paymentMethod": "visa",
                        "reason": reason,
                        "success": success,
                    }
                }
            ],
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _notification("AUTHORISATION", reason="076181:1111:03/2030"),
    "failed": _notification("AUTHORISATION", success="false", reason="Refused"),
    "captured": _notification("CAPTURE", original=True),
    "refunded": _notification("REFUND", original=True),
    "disputed": _notification("CHARGEBACK", original=True, reason="Fraudulent transaction"),
    "renewed": _notification("RECURRING_CONTRACT"),
}
