"""The payload of an emitted event as JSON that loses nothing and is the same bytes for the same payload."""

import math
from typing import Final

import msgspec

from receiver.errors import EmitError
from receiver.events import parse_exactly

MOST_BYTES: Final = 1_048_576
"""As many as a callback may have by default."""

_NUMBER: Final = "payload: a number is NaN or infinite, or has more than 4,300 digits"

# Keys are sorted: what is emitted again, with its keys in another order, is the same payload.
_encode: Final = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def to_json(payload: object) -> bytes:
    """`payload` as JSON, which `parse_exactly` reads back: numbers to their last digit.

    Args:
        payload: dicts with `str` keys, lists, tuples, `str`, `int`, `float`, `Decimal`, `bool`, None; also what has
            one form as text or as an object: `datetime`, `date`, `UUID`, enums, dataclasses, msgspec's structs.

    Raises:
        EmitError: it cannot be written so, or would not be read back; a reason that begins with `emit_payload_`.
    """
    try:
        body = _encode(payload)
        finite = _all_finite(payload)
    except RecursionError:
        raise EmitError("emit_payload_depth", "payload: it is nested too deeply, or contains itself") from None
    except UnicodeEncodeError:
        raise EmitError("emit_payload_text", "payload: a text holds a lone surrogate, which UTF-8 cannot") from None
    except TypeError as error:
        raise EmitError("emit_payload_type", f"payload: {error}") from None
    except ValueError:
        raise EmitError("emit_payload_number", _NUMBER) from None
    if not finite:
        raise EmitError("emit_payload_number", _NUMBER)
    if len(body) > MOST_BYTES:
        raise EmitError("emit_payload_large", f"payload: {len(body):,} bytes, of {MOST_BYTES:,} at most")
    _check_readable(body)
    return body


def _all_finite(payload: object) -> bool:
    """JSON has no number for NaN and the infinities: of a float the encoder writes null instead, and says nothing."""
    left: list[object] = [msgspec.to_builtins(payload)]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left.extend(part.values())
        elif isinstance(part, list | tuple):
            left.extend(part)
        elif isinstance(part, float) and not math.isfinite(part):
            return False
    return True


def _check_readable(body: bytes) -> None:
    """Refuse what handlers could not read: better here than in each of their attempts."""
    try:
        parse_exactly(body)
    except ValueError as error:
        if "recursion" in str(error):
            raise EmitError("emit_payload_depth", "payload: it has more than 200 levels") from None
        raise EmitError("emit_payload_number", _NUMBER) from None
