"""Effects exactly once, for FastStream (extra `faststream`). See docs/guides/idempotency-messages.md."""

try:
    from receiver.idempotency.streams import ExactlyOnce, Tx
except ModuleNotFoundError as error:
    if error.name != "faststream":
        raise
    raise ModuleNotFoundError("say: pip install 'receiver[faststream]'", name=error.name) from None

__all__ = ["ExactlyOnce", "Tx"]
