"""Errors as RFC 9457 problem details: the one place where a reason becomes a status."""

from collections.abc import Mapping
from typing import Final

from receiver import problems

CONTENT_TYPE: Final = problems.CONTENT_TYPE.encode()
RETRY_AFTER_SECONDS: Final = 5

_UNVERIFIED: Final = (401, "The callback is not what its provider signed.")

PROBLEMS: Final[Mapping[str, tuple[int, str]]] = {
    "client_gone": (400, "The request was not complete when the connection closed."),
    "source_unknown": (404, "There is no such source."),
    "method_not_allowed": (405, "Callbacks are sent with POST."),
    "body_timeout": (408, "The body did not arrive in time."),
    "body_too_large": (413, "The body is larger than the limit."),
    "body_compressed": (415, "Compressed bodies are not taken: signatures cover the bytes as sent."),
    "head_timeout": (408, "The headers did not arrive in time."),
    "head_too_large": (431, "The headers are larger than the limit."),
    "token_missing": (401, "The callback has no token, and this source wants one."),
    "token_foreign": (401, "The callback's token was not made here for this source."),
    "token_expired": (401, "The callback's token was good for a while, and that is over."),
    "token_repeated": (401, "The callback's token was used for something else before."),
    "internal": (503, "The receiver failed; call again."),
    "key_unavailable": (503, "The provider's key could not be fetched yet; call again."),
    "outcome_unknown": (503, "It is not known whether the callback was stored; call again."),
    "overloaded": (503, "Too many callbacks are waiting; call again."),
    "store_refused": (503, "The store cannot hold this callback; call again."),
    "store_unavailable": (503, "The store is not available; call again."),
    "resource_undecryptable": (503, "The callback is genuine but cannot be decrypted with the configured key."),
}


def status_of(reason: str) -> int:
    """The HTTP status for `reason`; what is not listed is a failed verification: 401."""
    return PROBLEMS.get(reason, _UNVERIFIED)[0]


def problem(reason: str, extra: Mapping[str, str]) -> bytes:
    """The body of the answer: RFC 9457 members, the stable reason, and what the provider wants to see besides.

    Nothing of the callback is echoed, and nothing that would help to forge one.
    """
    status, title = PROBLEMS.get(reason, _UNVERIFIED)
    return problems.details(reason, status, title, extra)
