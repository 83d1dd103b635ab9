"""WeChat Pay's notifications; `resource` stands here in clear and is encrypted when signed."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _notice(event_type: str, summary: str, resource: Mapping[str, object]) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "create_time": "{china}",
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": summary,
            "resource": {"mchid": "1900000000", "out_trade_no": "{entity}", **resource},
        },
    )


_PAYER: Final = {"openid": "oAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
_AMOUNT: Final = {"total": 4200, "payer_total": 4200, "currency": "CNY", "payer_currency": "CNY"}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _notice(
        "TRANSACTION.SUCCESS",
        "支付成功",
        {
            "appid": "wx0000000000000000",
            "transaction_id": "42000{entity}",
            "trade_type": "JSAPI",
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "bank_type": "OTHERS",
            "attach": "",
            "success_time": "{china}",
            "payer": _PAYER,
            "amount": _AMOUNT,
        },
    ),
    "failed": _notice(
        "TRANSACTION.FAIL",
        "支付失败",
        {
            "appid": "wx0000000000000000",
            "trade_state": "FAIL",
            "trade_state_description": "余额不足",
            "trade_scene": "PARKING",
            "create_time": "{china}",
            "payer": _PAYER,
            "amount": {"total": 4200, "currency": "CNY"},
        },
    ),
    "refunded": _notice(
        "REFUND.SUCCESS",
        "退款成功",
        {
            "transaction_id": "42000{entity}",
            "out_refund_no": "refund-{entity}",
            "refund_id": "50000{entity}",
            "refund_status": "SUCCESS",
            "success_time": "{china}",
            "user_received_account": "支付用户零钱",
            "amount": {"total": 4200, "refund": 4200, "payer_total": 4200, "payer_refund": 4200},
        },
    ),
    "refund failed": _notice(
        "REFUND.ABNORMAL",
        "退款异常",
        {
            "transaction_id": "42000{entity}",
            "out_refund_no": "refund-{entity}",
            "refund_id": "50000{entity}",
            "refund_status": "ABNORMAL",
            "amount": {"total": 4200, "refund": 4200, "payer_total": 4200, "payer_refund": 4200},
        },
    ),
    "disputed": _notice(
        "COMPLAINT.CREATE",
        "产生新投诉",
        {"complaint_id": "2000{entity}", "complaint_time": "{china}", "action_type": "CREATE_COMPLAINT"},
    ),
}
