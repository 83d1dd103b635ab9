"""A token says who made it and until when it is good; nothing that was changed or made elsewhere passes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import TokenError
from receiver.tokens import LENGTH, Token, TokenSigner

NOW = 1_760_000_000
MODEST = settings(max_examples=200, deadline=None, database=None)
signer = TokenSigner([b"new key", b"old key"])


def refusal(text: str, scope: str = "orders", now: float = NOW) -> str:
    with pytest.raises(TokenError) as caught:
        signer.read(text, scope, now)
    return caught.value.reason


@MODEST
@given(scope=st.text(max_size=40), life=st.integers(1, 2**31))
def test_what_was_issued_is_read(scope: str, life: int) -> None:
    text, token = signer.issue(scope, NOW + life)
    assert len(text) == LENGTH
    assert signer.read(text, scope, NOW) == token == Token(scope=scope, nonce=token.nonce, expires_at=NOW + life)
    assert signer.read(text, scope, NOW + life - 0.001) == token
    assert refusal(text, scope, NOW + life) == "token_expired"
    assert refusal(text, scope + "x") == "token_foreign"


def test_each_is_another() -> None:
    assert len({signer.issue("orders", NOW + 60)[0] for _ in range(10_000)}) == 10_000


def test_an_old_key_still_reads_and_a_strangers_does_not() -> None:
    text, token = TokenSigner([b"old key"]).issue("orders", NOW + 60)
    assert signer.read(text, "orders", NOW) == token
    assert refusal(TokenSigner([b"a stranger's"]).issue("orders", NOW + 60)[0]) == "token_foreign"
    assert refusal(TokenSigner([b"a stranger's"]).issue("orders", NOW - 60)[0]) == "token_foreign", "not: expired"


@MODEST
@given(data=st.data())
def test_one_character_changed(data: st.DataObject) -> None:
    text, _ = signer.issue("orders", NOW + 60)
    place = data.draw(st.integers(0, LENGTH - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[place]))
    assert refusal(text[:place] + other + text[place + 1 :]) == "token_foreign"


@MODEST
@given(text=st.text(max_size=80) | st.text("AZaz09-_", min_size=LENGTH, max_size=LENGTH))
def test_garbage(text: str) -> None:
    assert refusal(text) == "token_foreign"


def test_without_a_key_there_is_no_signer() -> None:
    with pytest.raises(ValueError, match="keys: at least one"):
        TokenSigner([])
