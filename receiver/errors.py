"""Every error the receiver raises on purpose, each with a stable reason code.

The reason is the metric label, the problem type and the log field: it never changes once released. The status
that a reason is answered with stands in `receiver/ingress/problems.py`, the only place that maps one to the other.
"""

from typing import Generic, Literal, TypeVar

R = TypeVar("R", bound=str)


class ReceiverError(Exception):
    """Base of all errors raised on purpose.

    `reason` is the stable code; the message says what was wrong and what to do, and never holds a secret.
    """

    reason: str = "error"


class Coded(ReceiverError, Generic[R]):
    """Base of those with several reasons.

    Args:
        reason: the code.
        message: what is wrong; default: the code says it.
    """

    def __init__(self, reason: R, message: str | None = None) -> None:
        """Keep the code as the error's reason."""
        super().__init__(message or reason)
        self.reason = reason


class SettingsError(ReceiverError):
    """A setting is missing, unknown or wrong. The message begins with the setting's name."""

    reason = "settings"


class VerificationError(Coded[str]):
    """The callback is not what its provider signed: the one error that every verifier raises.

    Args:
        reason: which check failed, e.g. `signature_missing`. Safe to show: it says nothing about the expected value.
    """


class UnknownOutcome(ReceiverError):
    """Postgres did not say whether the commit happened; the provider must call again."""

    reason = "outcome_unknown"


class StoreUnavailable(ReceiverError):
    """Postgres cannot be reached, or said that it did not store; the provider must call again."""

    reason = "store_unavailable"


class StoreRefused(ReceiverError):
    """Postgres cannot hold one of the rows; tried alone, so that its neighbours do not suffer."""

    reason = "store_refused"


class Overloaded(ReceiverError):
    """The bounded queue is full or the callback waited too long; the provider must call again."""

    reason = "overloaded"


class KeyUnavailable(ReceiverError):
    """A key that the provider publishes could not be fetched yet; the provider must call again."""

    reason = "key_unavailable"


class HandlerError(ReceiverError):
    """A handler was registered in a way that cannot work. The message names the handler."""

    reason = "handler"


class TransactionIsOurs(ReceiverError):
    """A handler tried to end the transaction it was lent."""

    reason = "transaction_is_ours"


class BodyTooLarge(ReceiverError):
    """The request's body is larger than `body_limit`."""

    reason = "body_too_large"


class BodyTimeout(ReceiverError):
    """The request's body did not arrive within `body_deadline`."""

    reason = "body_timeout"


class HeadTooLarge(ReceiverError):
    """The request's line and headers are larger than any provider's."""

    reason = "head_too_large"


class HeadTimeout(ReceiverError):
    """The request's headers did not arrive within `body_deadline`."""

    reason = "head_timeout"


class BodyCompressed(ReceiverError):
    """The request's body is compressed; signatures cover the bytes as sent."""

    reason = "body_compressed"


class ClientGone(ReceiverError):
    """The client closed the connection before its request was complete; nobody hears the answer."""

    reason = "client_gone"


class LeaseLost(ReceiverError):
    """The dispatch belongs to somebody else by now; what was done for it is rolled back."""

    reason = "lease_lost"


class RunNotBegun(ReceiverError):
    """A handler was called for a run that has not begun; nothing that it wrote counts, and it will be called again."""

    reason = "run_not_begun"


class CommitInterrupted(ReceiverError):
    """A commit was waiting, and what was to be run behind it was cut short; the run will be repeated."""

    reason = "commit_interrupted"


class TransactionAborted(ReceiverError):
    """A handler went on after its transaction had failed; nothing that it wrote can be committed."""

    reason = "transaction_aborted"


class TransactionEnded(ReceiverError):
    """A handler ended the transaction that it was lent, by SQL of its own; what it wrote may have been committed."""

    reason = "transaction_ended"


class HandlerTimedOut(ReceiverError):
    """A handler ran for longer than its timeout."""

    reason = "timeout"


class ProviderUnclear(ReceiverError):
    """A provider's API said neither that an event is so nor that it is not; to be asked again."""

    reason = "provider_unclear"


class OnceBusy(ReceiverError):
    """Somebody else does at this moment what is to be done once."""

    reason = "once_busy"


class ConfirmationTimedOut(ReceiverError):
    """A source's confirmation ran for longer than its timeout."""

    reason = "confirmation_timeout"


UpdateReason = Literal[
    "update_time_missing",  # the event has no time of its own
    "update_time_type",  # no datetime
    "update_time_naive",  # a time without a zone says no moment
    "update_time_column",  # no column for the time, or one that cannot hold it
    "update_rank",  # a rank without its column, the column without a rank, or one that is no int
    "update_column_unknown",  # no such column
    "update_column_twice",  # one column, two values
    "update_key_missing",  # no key, or NULL in it, which equals nothing
    "update_key_not_unique",  # no unique constraint over just these columns
]


EmitReason = Literal[
    "emit_session",  # a session of the other kind
    "emit_type",  # a type that is no name
    "emit_key",  # no key, or one that cannot be stored
    "emit_entity",  # an entity that cannot be stored
    "emit_time_naive",  # a time without a zone says no moment
    "emit_payload_type",  # JSON has no form for it
    "emit_payload_number",  # not finite, or too long to be read again
    "emit_payload_text",  # a lone surrogate
    "emit_payload_depth",  # too many levels, or one that contains itself
    "emit_payload_large",  # too many bytes
    "emit_conflict",  # another payload stands under this key
]


OnceReason = Literal[
    "once_session",  # a session of the other kind
    "once_scope",  # no scope, or one that cannot be stored
    "once_key",  # no key
    "once_text",  # a lone surrogate
]


KeyReason = Literal[
    "key_missing",  # the route wants one
    "key_malformed",  # no key, too long, or sent twice
    "key_reused",  # with another request
    "key_running",  # the first request with it has not ended
    "key_lease_lost",  # another request took it over while this one ran
    "key_response_lost",  # done, but nobody knows what was answered
    "key_not_replayable",  # done, but the response was too large to be kept
    "key_store_unavailable",  # PostgreSQL cannot say
]


class KeyRefused(Coded[KeyReason]):
    """A request with an `Idempotency-Key`, or without the one that its route wants, may not go on.

    Args:
        reason: stable code; the answer's too.
    """


MessageReason = Literal[
    "message_id_missing",  # nothing that stays the same when it comes again
    "message_batch",  # several messages under one acknowledgement
    "message_ack",  # an acknowledgement that would come before the commit
    "message_ack_policy",  # the same, by the subscriber's policy
    "message_handler",  # no handler whose effect it could be
    "message_scope_shared",  # two handlers under one scope
    "message_transaction",  # the transaction was ended inside the block
]


class MessageError(Coded[MessageReason]):
    """A message cannot have its effect exactly once. It is not acknowledged by the receiver, so it comes again.

    Args:
        reason: stable code of what is wrong.
        message: what to do about it; never holds anything of the message.
    """


class OnceError(Coded[OnceReason]):
    """`once` was called in a way that cannot work: nothing is written, and the transaction goes on.

    Args:
        reason: stable code of what is wrong.
        message: names the argument; never holds its value.
    """


class EmitError(Coded[EmitReason]):
    """`emit` was called with what cannot be stored: nothing is written, and the transaction goes on.

    Args:
        reason: stable code of what is wrong.
        message: names the argument; never holds a value of the payload.
    """


class UpdateError(Coded[UpdateReason]):
    """`update_if_newer` was called in a way that cannot work: nothing is written.

    Args:
        reason: stable code of what is wrong.
        message: names the table and the column; never holds a value.
    """


class Waiting(Coded[R]):
    """Base of those after which it may be worth to try again.

    Args:
        reason: the code.
        message: what is wrong; default: the code says it.
        retry_after: seconds after which to try again; None: it is no use.
    """

    def __init__(self, reason: R, message: str | None = None, *, retry_after: int | None = None) -> None:
        """Keep the time, too."""
        super().__init__(reason, message)
        self.retry_after = retry_after


TokenReason = Literal[
    "token_missing",  # the request has none
    "token_foreign",  # never issued here, or for another scope
    "token_repeated",  # issued, and taken by another request
    "token_expired",  # it was good for a while, and that is over
    "token_unknown",  # issued here, and lost with Redis' data: the client is to fetch a new one
]


class TokenError(Waiting[TokenReason]):
    """A request may not go on with the token that it has, or has none.

    Args:
        reason: which check failed. Safe to show.
        retry_after: seconds after which the same token might be free again; None: never.
    """


class TokenStoreUnavailable(ReceiverError):
    """Redis cannot be reached, or did not say what became of a token; the client must try again."""

    reason = "token_store_unavailable"


TokensReason = Literal[
    "tokens_not_issued",  # nobody said who may have tokens
    "token_request",  # the request for tokens is not well formed; the message says what is wrong
    "token_rate",  # this caller has asked for too many
]


class TokensRefused(Waiting[TokensReason]):
    """Tokens are not issued for this request.

    Args:
        reason: why. Safe to show.
        message: what is wrong, by the member's name; default: the reason.
        retry_after: seconds after which to ask again; None: no use.
    """
