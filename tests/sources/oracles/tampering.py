"""What may happen to a body and its signature on the way, drawn by hypothesis."""

from collections.abc import Callable, Mapping

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MODEST = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
JSON = st.dictionaries(
    TEXT,
    st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda v: st.lists(v) | st.dictionaries(TEXT, v)),
    max_size=4,
)
Change = Callable[[bytes, str], tuple[bytes, str]]
_CHANGES: Mapping[str, Change] = {
    "nothing": lambda body, signature: (body, signature),
    "a newline behind the body": lambda body, signature: (body + b"\n", signature),
    "the body's first byte": lambda body, signature: (bytes([body[0] ^ 1]) + body[1:] if body else b"x", signature),
    "a signature that is cut": lambda body, signature: (body, signature[:-1]),
    "a signature that is longer": lambda body, signature: (body, signature + "0"),
    "capitals": lambda body, signature: (body, signature.swapcase()),
    "a space behind": lambda body, signature: (body, signature + " "),
    "a letter that is not ASCII": lambda body, signature: (body, signature + "é"),
    "no signature": lambda body, _: (body, ""),
}
CHANGES = st.sampled_from(list(_CHANGES.values()))
"""The first, so the one that hypothesis shrinks to, changes nothing."""
