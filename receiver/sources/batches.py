"""Callbacks that hold several facts: each item as it is parsed, beside the very bytes that it stands in.

A batch is taken whole or not at all. What is bad about an item is one of two things:

- It is not proven: an item of Adyen's without a signature that fits. Then nothing of the batch is stored and the
  whole callback is refused.
- It is genuine but odd: without an id, for example. It goes to quarantine and the others are stored, and only when
  both are committed is success answered. To refuse the batch instead would lose the others: it would come again with
  the same oddity until its provider gives up.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from receiver.sources.documents import UnreadableError

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items(body: bytes, document: Mapping[str, object], name: str) -> list[tuple[object, bytes]]:
    """The elements of the array called `name`, in order: parsed, and as they are written.

    Args:
        body: what `document` was parsed from, by `documents.strict_object`.
        document: the object that holds the array.
        name: of the array.

    Raises:
        UnreadableError: `batch_malformed`: there is no such array, or nothing in it.
    """
    parsed = document.get(name)
    if not isinstance(parsed, list) or not parsed:
        raise UnreadableError("batch_malformed")
    try:
        written = [bytes(raw) for raw in _elements(written_member(body, name))]
    except msgspec.MsgspecError:  # stricter in some corner than the parser that accepted it
        raise UnreadableError("batch_malformed") from None
    return list(zip(parsed, written, strict=True))


def written_member(body: bytes, name: str) -> bytes:
    """The bytes of the member called `name`, which is there, of the JSON object in `body`."""
    return bytes(_members(body)[name])
