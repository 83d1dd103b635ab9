"""What is a key, what is none, and which requests with one key are the same."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import KeyRefused
from receiver.idempotency.keys.header import digest, fingerprint, read_key


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b"8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b' "a b"\t', "a b"),
        (rb'"a\"b\\c"', 'a"b\\c'),
        (b"*token:/~=", "*token:/~="),
        (b'"' + b"x" * 255 + b'"', "x" * 255),
        (b"x" * 255, "x" * 255),
        (b'"' + b"\\\\" * 255 + b'"', "\\" * 255),
    ],
)
def test_a_key_is_the_same_quoted_and_plain(value: bytes, key: str) -> None:
    assert read_key([value]) == key


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b" "],
        [b'""'],
        [b"x" * 256],
        [b'"' + b"x" * 256 + b'"'],
        [b"a b"],
        [b"a,b"],
        [b'"a'],
        [b'a"'],
        [b'"a"b"'],
        [b'"a\\"'],
        [b'"a\\b"'],
        [b'"a";p=1'],
        [b'"a", "b"'],
        [b":YQ==:;q"],
        ["é".encode()],
        [b'"\xe9"'],
        [b'"a\x7f"'],
        [b'"a\tb"'],
        [b'"a\n"'],
        [b"a\n"],
        [b"a", b"a"],
        [b"a", b"b"],
        [b"", b""],
    ],
)
def test_what_is_no_key_is_malformed(values: list[bytes]) -> None:
    with pytest.raises(KeyRefused) as caught:
        read_key(values)
    assert caught.value.reason == "key_malformed"


def test_no_header_is_no_key() -> None:
    assert read_key([]) is None


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_each_key_can_be_quoted(key: str) -> None:
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    assert read_key([f'"{quoted}"'.encode()]) == key


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_key_or_malformed(value: bytes) -> None:
    try:
        key = read_key([value])
    except KeyRefused:
        return
    assert key is not None
    assert 1 <= len(key) <= 255
    assert key.isascii()


def test_scope_caller_and_key_cannot_be_mixed_up() -> None:
    made = [digest(*each) for each in permutations(["a", "b", "ab"])]
    made += [digest("a", None, "b"), digest("a", "", "b"), digest("ab", None, "b"), digest("a", None, "\ud800")]
    assert len(set(made)) == len(made)


def test_method_path_query_and_body_make_the_request() -> None:
    requests = [
        ("POST", "/a", b"", b""),
        ("PUT", "/a", b"", b""),
        ("POST", "/b", b"", b""),
        ("POST", "/a", b"q", b""),
        ("POST", "/a", b"", b"q"),
        ("POST", "/aq", b"", b""),
        ("POST", "/\udce9", b"", b""),
    ]
    assert len({fingerprint(*each) for each in requests}) == len(requests)
    assert fingerprint("POST", "/a", b"q", b"b") == fingerprint("POST", "/a", b"q", b"b")
