"""Providers that other packages bring, and what is wrong with some: packages that are really on the path."""

import datetime as dt
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Verified
from receiver.settings import made
from receiver.sources import build_sources, find_provider, installed, provider_names

Install = Callable[..., None]
FULL = """
import datetime as dt
from receiver.providers import About, Ack, HmacProvider, Layout


class Acme(HmacProvider):
    name = "acme"
    title = "Acme"
    signature_header = b"acme-signature"
    keep_headers = frozenset({b"acme-signature"})
    retry_horizon = dt.timedelta(days=1)
    answer_deadline = dt.timedelta(seconds=5)
    success = Ack(status=200)
    layout = Layout(id=("id",))
    about = About(signed="", resends="", key="", retries="", sources=())
    samples = {}
    id_form = "{unique}"


class Bare(HmacProvider):
    name = "acme"
    title = "Acme"


class Stub(Acme):
    @classmethod
    def made_up(cls):
        return {}


Stub.__abstractmethods__ = frozenset({"read"})
number = 5
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lays a package on the path, as an installer would."""

    def lay(entry: str, *, package: str = "acme-pay", module: str = FULL) -> None:
        folder = tmp_path / package
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[receiver.providers]\n{entry}\n")
        (folder / "acme_module.py").write_text(module)
        monkeypatch.syspath_prepend(folder)
        forget()

    yield lay
    monkeypatch.undo()
    forget()
    sys.modules.pop("acme_module", None)


def forget() -> None:
    installed.installed.cache_clear()
    installed.load.cache_clear()


def mistake(provider: str) -> str:
    with pytest.raises(SettingsError) as caught:
        build_sources(made(sources={"a": {"provider": provider, "secrets": "s"}}), Path())
    (line,) = str(caught.value).splitlines()
    assert line.startswith("sources.a.provider: "), line
    return line.removeprefix("sources.a.provider: ")


def test_a_package_brings_a_provider(install: Install) -> None:
    install("acme = acme_module:Acme")
    assert "acme" in provider_names()
    assert find_provider("acme").title == "Acme"
    source = build_sources(made(sources={"a": {"provider": "acme", "secrets": "s"}}), Path())["a"]
    assert source.provider.name == "acme"


WRONG = {
    "no such module": (
        "acme = nowhere:Acme",
        FULL,
        "nowhere:Acme of acme-pay, cannot be imported: ModuleNotFoundError",
    ),
    "no such class": ("acme = acme_module:Acne", FULL, "acme_module:Acne of acme-pay, cannot be imported: Attribute"),
    "a module that fails": ("acme = acme_module:A", "1 / 0", "acme_module:A of acme-pay, cannot be imported: ZeroDiv"),
    "no class": ("acme = acme_module:number", FULL, "acme_module:number of acme-pay, is no class below receiver.prov"),
    "no provider": ("acme = acme_module:About", FULL, "acme_module:About of acme-pay, is no class below receiver.prov"),
    "half of one": (
        "acme = acme_module:Bare",
        FULL,
        "acme_module:Bare of acme-pay, is not complete: it lacks keep_headers, retry_horizon, answer_deadline, succ",
    ),
    "an abstract one": (
        "acme = acme_module:Stub",
        FULL,
        "acme_module:Stub of acme-pay, is not complete: it lacks read",
    ),
    "another name": (
        "acne = acme_module:Acme",
        FULL,
        "acme_module:Acme of acme-pay, calls itself 'acme'; let both be the same",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_it(install: Install, case: str) -> None:
    entry, module, message = WRONG[case]
    install(entry, module=module)
    name = entry.partition(" ")[0]
    assert mistake(name).startswith(f"{name!r}, {message}")


FAILING = {
    "a constructor that raises": ("def __init__(self, options): 1 / 0", "cannot be set up: ZeroDivisionError at "),
    "a horizon that is none": ("retry_horizon = 5", "cannot be set up: TypeError at "),
    "an answer that raises": ("def acknowledgement(self): 1 / 0", "cannot be set up: ZeroDivisionError at "),
    "an answer that is none": ("success = 'ok'", "what acknowledgement() returns is no Ack"),
    "a failure as success": ("success = Ack(status=500)", "the status of its acknowledgement is no success"),
    "a status that is none": ("success = Ack(status='200')", "the status of its acknowledgement is no success"),
    "an answer of text": ("success = Ack(status=200, body='ok')", "the body of its acknowledgement is not bytes"),
    "a header in a header": (
        "success = Ack(status=200, content_type='a\\r\\nb: c')",
        "the content type of its acknowledgement is none",
    ),
    "headers of text": ("keep_headers = frozenset({'a'})", "its kept_headers are not bytes"),
}


@pytest.mark.parametrize("case", FAILING)
def test_one_that_fails_is_named(install: Install, case: str) -> None:
    line, message = FAILING[case]
    install("acme = acme_module:Rogue", module=f"{FULL}\n\nclass Rogue(Acme):\n    {line}\n")
    said = mistake("acme").replace("'acme': ", "").removeprefix("'acme' ")
    assert said.startswith(message)


READ = {
    "nothing": "()",
    "no facts": "None",
    "no fact": "('x',)",
    "an id of another kind": "(fact(external_id=7),)",
    "a type of another kind": "(fact(type=5),)",
    "an unknown trust": "(fact(trust='total'),)",
    "a body of text": "(fact(body='text'),)",
    "a time without a zone": "(fact(occurred_at=dt.datetime(2026, 1, 1)),)",
    "a time that is text": "(fact(occurred_at='2026-01-01T00:00:00Z'),)",
}
READING = """

class Rogue(Acme):
    def authenticate(self, callback, now):
        return 0

    def read(self, callback):
        return {}


def fact(**changed):
    from receiver.providers import Fact

    given = {{"type": "t", "entity_id": None, "occurred_at": None, "key_time": 0, "fingerprint": None, **changed}}
    return Fact(**{{"external_id": "a", **given}})
"""


def verified(install: Install, read: str) -> Verified:
    install("acme = acme_module:Rogue", module=FULL + READING.format(read))
    source = build_sources(made(sources={"a": {"provider": "acme", "secrets": "s"}}), Path())["a"]
    return source.verify(Callback(method="POST", headers=[], body=b"{}"), 0)


@pytest.mark.parametrize("case", READ)
def test_what_it_should_not_have_read(install: Install, case: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        verified(install, READ[case])


def test_what_it_may_have_read(install: Install) -> None:
    moment = "dt.datetime(2026, 1, 1, tzinfo=dt.UTC)"
    read = verified(install, f"[fact(occurred_at={moment}, body=b'b', fingerprint=bytes(16)), fact(odd='o')]")
    first, second = read.facts
    assert (first.body, first.fingerprint, second.odd, read.secret) == (b"b", bytes(16), "o", 0)
    assert first.occurred_at == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(("read", "well"), [("(fact(),)", True), ("(fact(entity_id=7),)", False)])
def test_one_behind_a_lock(install: Install, read: str, well: bool) -> None:
    """It is looked over as ever, before its lock looks at what it has read; and it wants a token."""
    install("acme = acme_module:Rogue", module=FULL + READING.format(read))
    given = {"provider": "acme", "secrets": "s", "token": "url", "token_for": "entity"}
    source = build_sources(made(sources={"a": given}, token_keys=["k" * 32]), Path())["a"]
    token = source.address_end(0).removeprefix("/")
    whole = Callback(method="POST", headers=[], body=b"{}", token=token)
    if well:
        assert source.verify(whole, 0).facts[0].token is not None
        assert source.proved(whole, 0).facts[0].token is None
        with pytest.raises(VerificationError, match="token_missing"):
            source.verify(Callback(method="POST", headers=[], body=b"{}"), 0)
    else:
        with pytest.raises((TypeError, ValueError), match="entity_id"):
            source.verify(whole, 0)


def test_two_packages_with_one_name(install: Install) -> None:
    install("acme = acme_module:Acme")
    install("acme = acme_module:Acme", package="acme-other")
    said = mistake("acme")
    assert said.startswith("'acme' is brought by ")
    assert "of acme-pay" in said
    assert "of acme-other" in said


def test_a_built_in_name_is_nobody_elses(install: Install) -> None:
    install("stripe = acme_module:Acme")
    assert mistake("stripe") == "'stripe' is built in; acme_module:Acme of acme-pay needs another name"


@pytest.mark.parametrize(
    ("written", "meant"), [("strip", "stripe"), ("acmee", "acme"), ("WeChatPay", "wechatpay"), ("x", None)]
)
def test_did_you_mean(install: Install, written: str, meant: str | None) -> None:
    install("acme = acme_module:Acme")
    said = mistake(written)
    assert said.startswith(f"{written!r} is none of acme, adyen, alipay, ")
    assert said.endswith(f"; did you mean {meant!r}?" if meant else ", xendit")
