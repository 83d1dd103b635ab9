"""Alipay's notifications of a trade.

Alipay has no type of its own for a refund: a trade that is refunded in part stays `TRADE_SUCCESS`, one that is
refunded in full becomes `TRADE_CLOSED`, as does one that nobody paid in time. `refund_fee` tells them apart.
"""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _trade(status: str, rest: Mapping[str, str]) -> Sample:
    return Sample(
        type=status,
        payload={
            "app_id": "2021000000000000",
            "auth_app_id": "2021000000000000",
            "buyer_id": "2088000000000001",
            "charset": "utf-8",
            "gmt_create": "{china_plain}",
            "notify_id": "{id}",
            "notify_type": "trade_status_sync",
            "out_trade_no": "order-{entity}",
            "seller_id": "2088000000000002",
            "subject": "两个蓝色的",
            "total_amount": "42.00",
            "trade_no": "{entity}",
            "trade_status": status,
            "version": "1.0",
            **rest,
        },
    )


_PAID: Final = {
    "buyer_pay_amount": "42.00",
    "fund_bill_list": '[{"amount":"42.00","fundChannel":"ALIPAYACCOUNT"}]',
    "gmt_payment": "{china_plain}",
    "invoice_amount": "42.00",
    "point_amount": "0.00",
    "receipt_amount": "42.00",
}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _trade("TRADE_SUCCESS", _PAID),
    "failed": _trade("TRADE_CLOSED", {"gmt_close": "{china_plain}"}),
    "refunded": _trade(
        "TRADE_CLOSED",
        {**_PAID, "gmt_refund": "{china_plain}.000", "out_biz_no": "refund-{entity}", "refund_fee": "42.00"},
    ),
    "refunded in part": _trade(
        "TRADE_SUCCESS",
        {**_PAID, "gmt_refund": "{china_plain}.000", "out_biz_no": "part-{entity}", "refund_fee": "4.20"},
    ),
    "finished": _trade("TRADE_FINISHED", {**_PAID, "gmt_close": "{china_plain}"}),
}
