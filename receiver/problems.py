"""The body of a refusal: problem details (RFC 9457), the same for callbacks and for the merchant's own API."""

from collections.abc import Mapping
from typing import Final

import msgspec

CONTENT_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:receiver:problem:"


def details(reason: str, status: int, title: str, extra: Mapping[str, str]) -> bytes:
    """RFC 9457's members, the stable reason, and what else is to be said.

    Args:
        reason: stable code.
        status: HTTP's.
        title: a sentence, the same for each refusal with this reason.
        extra: further members.
    """
    return msgspec.json.encode({"type": _TYPE + reason, "title": title, "status": status, "reason": reason, **extra})
