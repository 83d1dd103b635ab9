"""What usually causes a failed verification, by reason, for the person who has to mend it."""

from collections.abc import Mapping
from typing import Final

HINTS: Final[Mapping[str, str]] = {
    "signature_mismatch": "usually the secret of another endpoint, account or mode (test and live have their own), or"
    " a body that is not byte for byte what was sent: a framework that parsed and re-serialised it, a proxy that"
    " rewrote it",
    "signature_missing": "the header (or form field) with the signature is not there: a proxy that drops unknown"
    " headers, or a sender that is not this provider",
    "signature_malformed": "the signature is not written as this provider writes it: cut short, wrapped, or of another"
    " scheme",
    "signature_type_unknown": "signed with an algorithm that this provider does not offer for callbacks",
    "timestamp_expired": "signed too long before it arrived: a replayed capture (give its time with --at), a queue in"
    " between, or a clock that is ahead (`receiver doctor` compares it)",
    "timestamp_future": "signed after it arrived: this machine's clock is behind (`receiver doctor` compares it)",
    "timestamp_missing": "the time that is part of what is signed is not there: a proxy that drops unknown headers",
    "timestamp_malformed": "the time is not plain Unix seconds: changed on the way, or of another scheme",
    "key_expired": "signed with a key whose not_after is over: if the provider still uses it, move that time",
    "key_not_yet_valid": "signed with a key whose not_before is to come: if it is in use already, move that time",
    "key_unknown": "signed with a key that this source does not have: add the new certificate or public key and keep"
    " the old one",
    "key_unavailable": "the provider's certificate has to be fetched, and this command does no fetching: give it with"
    " --key, or let the server take the callback",
    "signature_type_missing": "the header that names the algorithm is not there: a proxy that drops unknown headers",
    "certificate_address_missing": "the header with the certificate's address is not there: a proxy that drops unknown"
    " headers, or a sender that is not this provider",
    "certificate_address_forbidden": "the certificate's address is not one of the provider's: a forgery",
    "certificate_missing": "the certificate that such a message brings along is not there: changed on the way",
    "certificate_malformed": "what should be the provider's certificate is none: changed on the way",
    "certificate_untrusted": "the certificate leads to no trusted root, or names somebody else: a forgery, or the"
    " provider has changed its authority (then the roots and intermediates in the settings are too old)",
    "certificate_expired": "the certificate was not valid then: an old capture (give its time with --at), or a clock"
    " that is wrong (`receiver doctor` compares it)",
    "serial_missing": "the header that names the key is not there: a proxy that drops unknown headers",
    "nonce_missing": "the header with the nonce is not there: a proxy that drops unknown headers",
    "id_missing": "the header with the event's id, which is part of what is signed, is not there",
    "header_conflict": "a header that matters stands there twice with two values: a proxy that adds its own",
    "header_malformed": "a header that matters is not ASCII, or longer than any signature",
    "body_empty": "there is no body: it was read before it was captured, or the capture lacks the empty line before it",
    "form_malformed": "the body is not a form as the provider sends it: decoded already, or sent as JSON",
    "signature_reused": "the signature was made for something else: an attempt to pass one thing off as another",
    "header_missing": "a header that is signed is not there: a proxy that drops unknown headers",
    "type_missing": "the header with the event's type is not there: a proxy that drops unknown headers",
    "query_malformed": "the query, which is signed, is not as it was sent: a proxy that rewrites or drops it",
    "item_malformed": "an item of the batch is not as the provider writes it, so its signature cannot be checked",
    "token_missing": "the provider was given the address without a token, or it calls for a payment that was made"
    " before tokens were wanted: keep a source without a token for those",
    "token_foreign": "the token was made for another source, or signed with a key that is no longer in token_keys",
    "token_expired": "the token is older than the days for which it was made",
    "form_duplicate_name": "the form has a field twice, so nobody can say which value was signed",
}

_UNKNOWN: Final = "the callback is not what its provider signed"


def hint(reason: str) -> str:
    """What to look at first."""
    return HINTS.get(reason, _UNKNOWN)
