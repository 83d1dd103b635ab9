"""Callbacks that hold several events: the exact bytes of each, out of a body that was verified as a whole."""

import msgspec

from receiver.sources.documents import UnreadableError, json_object, member

MOST: int = 1_000
"""Items of one callback; the largest batch that a provider documents has 250."""


def items(body: bytes, *path: str) -> list[bytes]:
    """The items of the list at `path`, each as it is spelled.

    Raises:
        UnreadableError: the body is no strict JSON (see `json_object`), or `batch_malformed`: there is no such list, it
            is empty, or longer than `MOST`.
    """
    found = member(json_object(body), *path)
    if not isinstance(found, list) or not 0 < len(found) <= MOST:
        raise UnreadableError("batch_malformed")
    raw = msgspec.Raw(body)
    try:
        for name in path:
            raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[name]
        return [bytes(item) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    except msgspec.MsgspecError:  # stricter in some corner than the parser that accepted it
        raise UnreadableError("batch_malformed") from None
