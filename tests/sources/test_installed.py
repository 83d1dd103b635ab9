"""Providers that other packages bring, and what is wrong with some: packages that are really on the path."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver.errors import SettingsError
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
