"""Forms are decoded as the standard library decodes them, and refused where two readers would not agree."""

from urllib.parse import quote_from_bytes, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.sources import forms
from receiver.sources.documents import UnreadableError

PIECES = st.sampled_from(
    [b"=", b"==", b"%3D", b"%3d", b"%0D%0A", b"%0a", b"%00", b"%ff", b"%2B", b"+", b"_", b".", b"a", b"9"]
)
VALUES = st.lists(PIECES | st.integers(0, 255).map(lambda byte: b"%%%02X" % byte), max_size=12).map(b"".join)


@settings(max_examples=300, deadline=None, database=None)
@given(value=VALUES)
def test_a_value_is_decoded_as_by_the_standard_library(value: bytes) -> None:
    assert forms.parsed(b"a=" + value) == {b"a": unquote_to_bytes(value.replace(b"+", b" "))}


@settings(max_examples=100, deadline=None, database=None)
@given(value=st.binary(max_size=60), name=st.binary(min_size=1, max_size=9))
def test_what_is_written_is_read(value: bytes, name: bytes) -> None:
    plain = quote_from_bytes(name, safe=""), quote_from_bytes(value, safe="")
    assert forms.parsed("=".join(plain).encode()) == {name: value}
    assert forms.parsed(f"{quote_plus(name)}={quote_plus(value)}".encode()) == {name: value}


@pytest.mark.parametrize(
    "raw", [b"a=%", b"a=%4", b"a=%zz", b"a=%4g", b"a=%%41", b"%=1", b"a=1&b=%", b"a=\xff", b"a=\n", b"a=b c", b"=1"]
)
def test_malformed(raw: bytes) -> None:
    with pytest.raises(UnreadableError, match="form_malformed"):
        forms.parsed(raw)
