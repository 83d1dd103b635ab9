"""UnionPay's back-end notifications. Amounts are in fen; a message has no id of its own."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample

_MERCHANT: Final = "777290058110048"


def _notification(txn_type: str, response: str, message: str, **rest: str) -> Sample:
    return Sample(
        type=f"txnType={txn_type} respCode={response}",
        payload={
            "version": "5.1.0",
            "encoding": "UTF-8",
            "bizType": "000201",
            "txnType": txn_type,
            "txnSubType": "00",
            "accessType": "0",
            "merId": _MERCHANT,
            "orderId": "{id}",
            "txnTime": "{china_day}{china_clock}",
            "txnAmt": "420000",
            "currencyCode": "156",
            "queryId": "{entity}",
            "respCode": response,
            "respMsg": message,
            "settleAmt": "420000",
            "settleCurrencyCode": "156",
            "traceNo": "117200",
            **rest,
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _notification("01", "00", "success", txnSubType="01"),
    "failed": _notification("01", "51", "余额不足", txnSubType="01"),
    "refunded": _notification("04", "00", "success", queryId="refund_of_{entity}", origQryId="{entity}"),
    "cancelled": _notification("31", "00", "success", queryId="cancel_of_{entity}", origQryId="{entity}"),
    "renewed": _notification("11", "00", "success", txnSubType="02", bizType="000501"),
}
