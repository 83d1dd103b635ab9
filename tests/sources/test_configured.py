"""Settings become sources, or one error that names every mistake by its setting."""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.settings import Settings, SourceSettings, load
from receiver.sources import PROVIDERS, Source, build_sources, made_up
from tests.sources.conftest import NAMES, NOW, Kit, as_callback, first

EC = ec.generate_private_key(ec.SECP256R1())
EC_PUBLIC = EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
EC_PRIVATE = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OTHER_RSA = rsa.generate_private_key(65537, 2048)
OTHER_PRIVATE = OTHER_RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OTHER_PUBLIC = OTHER_RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
KEY_32 = "k" * 32


def built(folder: Path, sources: Mapping[str, Mapping[str, object]], retention_days: int = 90) -> dict[str, Source]:
    parsed = {name: SourceSettings.model_validate(given) for name, given in sources.items()}
    return build_sources(Settings(sources=parsed, retention_days=retention_days), folder)


def mistakes(folder: Path, sources: Mapping[str, Mapping[str, object]], retention_days: int = 90) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        built(folder, sources, retention_days)
    return str(caught.value).splitlines()


STRIPE = {"provider": "stripe", "secrets": ["whsec_1"]}
STANDARD = {"provider": "standardwebhooks", "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ALIPAY = {"provider": "alipay", "public_key": OTHER_PUBLIC}
WECHAT = {"provider": "wechatpay", "api_v3_key": KEY_32, "public_keys": {"PUB_KEY_ID_1": OTHER_PUBLIC}}

WRONG: Mapping[str, tuple[Mapping[str, object], str]] = {
    "unknown provider": ({"provider": "strip"}, "provider: 'strip' is none of "),
    "unknown setting": (
        {**STRIPE, "secret": "x"},
        "secret: unknown setting; stripe has provider, verification, confirm, token, token_field, token_for, secrets",
    ),
    "no secrets": ({"provider": "stripe"}, "secrets: is missing (signing secrets"),
    "no secret in the list": ({"provider": "stripe", "secrets": []}, "secrets: is empty"),
    "empty secret": ({"provider": "stripe", "secrets": [""]}, "secrets[0]: is empty"),
    "one empty secret": ({"provider": "stripe", "secrets": ["whsec_1", ""]}, "secrets[1]: is empty"),
    "blank secret": ({"provider": "stripe", "secrets": [" \t\n"]}, "secrets[0]: is empty"),
    "empty plain secret": ({"provider": "stripe", "secrets": ""}, "secrets[0]: is empty"),
    "zero width": (
        {"provider": "stripe", "secrets": ["whsec_1\u200b"]},
        "secrets[0]: has a character in it that nobody sees",
    ),
    "line break": (
        {"provider": "stripe", "secrets": ["whs\nec_1"]},
        "secrets[0]: has a character in it that nobody sees",
    ),
    "space around": ({"provider": "stripe", "secrets": ["whsec_1 "]}, "secrets[0]: has white space around it"),
    "secret a number": ({"provider": "stripe", "secrets": [5]}, "secrets[0]: must be a string"),
    "secrets a table": ({"provider": "stripe", "secrets": {"a": "b"}}, "secrets[0]: must be a string"),
    "variable not set": ({"provider": "stripe", "secrets": ["env:NO_SUCH"]}, "secrets[0]: the environment variable"),
    "file not there": ({"provider": "stripe", "secrets": "file:nowhere"}, "secrets[0]: cannot read"),
    "neither secret nor key": ({"provider": "standardwebhooks"}, "secrets: is missing, or sources.a.public_keys"),
    "secret no base64": ({**STANDARD, "secrets": ["whsec_!!"]}, "secrets[0]: is no base64"),
    "secret just a prefix": ({**STANDARD, "secrets": ["whsec_"]}, "secrets[0]: is empty"),
    "public key short": ({**STANDARD, "public_keys": ["whpk_AAAA"]}, "public_keys[0]: is 3 bytes long"),
    "public key no base64": ({**STANDARD, "public_keys": ["whpk_?"]}, "public_keys[0]: is no base64"),
    "signing key short": ({**STANDARD, "signing_key": "whsk_AAAA"}, "signing_key: is 3 bytes long"),
    "signing key of another": (
        {**STANDARD, "public_keys": PUBLIC, "signing_key": "whsk_" + "A" * 43 + "="},
        "signing_key: belongs to none",
    ),
    "signing key a list": ({**STANDARD, "signing_key": ["x"]}, "signing_key: must be one string"),
    "no address": ({"provider": "square", "secrets": "a"}, "notification_url: is missing"),
    "an address that is none": (
        {"provider": "square", "secrets": "a", "notification_url": "shop.example/hooks"},
        "notification_url: is no URL",
    ),
    "an address with a space": (
        {"provider": "square", "secrets": "a", "notification_url": "https://shop.example/hooks "},
        "notification_url: is no URL",
    ),
    "no public key": ({"provider": "alipay"}, "public_key: is missing (Alipay's public key"),
    "no key at all": ({"provider": "alipay", "public_key": "hello"}, "public_key[0]: is no public key"),
    "second is none": ({"provider": "alipay", "public_key": [OTHER_PUBLIC, "x"]}, "public_key[1]: is no public key"),
    "an elliptic key": ({"provider": "alipay", "public_key": EC_PUBLIC}, "public_key[0]: is no RSA key"),
    "a private key": ({"provider": "alipay", "public_key": OTHER_PRIVATE}, "public_key[0]: is no public key"),
    "a broken certificate": (
        {"provider": "alipay", "public_key": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
        "public_key[0]: is no certificate in PEM",
    ),
    "signing key broken": ({**ALIPAY, "signing_key": "hello"}, "signing_key: is no private key"),
    "signing key elliptic": ({**ALIPAY, "signing_key": EC_PRIVATE}, "signing_key: is no RSA key"),
    "another's signing key": (
        {**made_up("alipay"), "signing_key": OTHER_PRIVATE},
        "signing_key: belongs to none of the public keys",
    ),
    "no WeChat key": (
        {"provider": "wechatpay", "api_v3_key": KEY_32},
        "certificates: is missing, or sources.a.public_keys",
    ),
    "no APIv3 key": ({"provider": "wechatpay", "public_keys": WECHAT["public_keys"]}, "api_v3_key: is missing"),
    "APIv3 key of 31": ({**WECHAT, "api_v3_key": "k" * 31}, "api_v3_key[0]: is 31 bytes long"),
    "certificate that is a key": ({**WECHAT, "certificates": [OTHER_PUBLIC]}, "certificates[0]: is no certificate"),
    "public keys a list": ({**WECHAT, "public_keys": [OTHER_PUBLIC]}, "public_keys: must be a table"),
    "public keys empty": ({**WECHAT, "public_keys": {}}, "public_keys: is empty"),
    "public key empty": ({**WECHAT, "public_keys": {"PUB_KEY_ID_1": ""}}, "public_keys.PUB_KEY_ID_1: is empty"),
    "public key broken": ({**WECHAT, "public_keys": {"PUB_KEY_ID_1": "x"}}, "public_keys.PUB_KEY_ID_1: is no public"),
    "one serial, two keys": (
        {
            **WECHAT,
            "public_keys": {"00AB": OTHER_PUBLIC, "ab": first(made_up("alipay")["public_key"])},
        },
        "public_keys.ab: is another key under a serial",
    ),
    "WeChat signing key of another": (
        {**made_up("wechatpay"), "signing_key": OTHER_PRIVATE},
        "signing_key: belongs to none of the certificates",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(tmp_path: Path, case: str) -> None:
    given, message = WRONG[case]
    (line,) = mistakes(tmp_path, {"a": given})
    assert line.startswith(f"sources.a.{message}")
    assert "PRIVATE KEY" not in line


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    lines = mistakes(
        tmp_path,
        {
            "a": {"provider": "stripe", "secrets": [""], "secret": "x", "key": "y"},
            "b": {"provider": "wechatpay"},
            "c": STRIPE,
        },
    )
    assert [line.partition(":")[0] for line in lines] == [
        "sources.a.secret",
        "sources.a.key",
        "sources.a.secrets[0]",
        "sources.b.certificates",
        "sources.b.api_v3_key",
    ]


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", ".", "..", "-a", "a%2f", "a" * 65, "a\n"])
def test_names_that_are_no_part_of_a_url(tmp_path: Path, name: str) -> None:
    (line,) = mistakes(tmp_path, {name: STRIPE})
    assert line.startswith(f"sources.{json.dumps(name, ensure_ascii=False)}: a name has")


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    assert mistakes(tmp_path, {"internal": STRIPE}) == [
        "sources.internal: this name is kept for events that handlers emit"
    ]
    (line,) = mistakes(tmp_path, {"a": {"provider": "internal"}})
    assert line.startswith("sources.a.provider: 'internal' is none of ")


LONG = {
    name: -(-kind.retry_horizon // dt.timedelta(days=1))
    for name, kind in PROVIDERS.items()
    if kind.retry_horizon > dt.timedelta(days=1)
}
"""Days that keys must be kept, where that is more than the least that can be said."""


@pytest.mark.parametrize("name", LONG)
def test_retention_covers_the_retries(tmp_path: Path, name: str) -> None:
    """To the day: a key that is gone while the provider still repeats would let a second event in."""
    sources = {"a": made_up(name)}
    (line,) = mistakes(tmp_path, sources, LONG[name] - 1)
    assert line.startswith(f"retention_days: {LONG[name] - 1} is too short for sources.a: ")
    assert built(tmp_path, sources, LONG[name])


def test_the_longest_retries_are_known() -> None:
    assert (LONG["adyen"], LONG["wise"], LONG["stripe"], LONG["alipay"]) == (30, 16, 3, 2)


def test_references_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kits: Mapping[str, Kit]) -> None:
    kit = kits["stripe"]
    (tmp_path / "secret").write_text(first(kit.settings["secrets"]) + "\n", encoding="utf-8")
    monkeypatch.setenv("OLD_SECRET", "whsec_old")
    sources = built(tmp_path, {"pay-eu": {"provider": "stripe", "secrets": ["env:OLD_SECRET", "file:secret"]}})
    assert sources["pay-eu"].name == "pay-eu"
    assert sources["pay-eu"].verify(kit.sent(), NOW).secret == 1


def test_settings_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kits: Mapping[str, Kit]
) -> None:
    """Lists and tables arrive as JSON or as one string, names in lower case, and PEM often on one line."""
    wechat, stripe = kits["wechatpay"].settings, kits["stripe"].settings
    for name, value in {
        "ONE__PROVIDER": "stripe",
        "ONE__SECRETS": first(stripe["secrets"]),
        "TWO__PROVIDER": "stripe",
        "TWO__SECRETS": json.dumps(["whsec_old", *kits["stripe"].provider.samples, first(stripe["secrets"])]),
        "THREE__PROVIDER": "wechatpay",
        "THREE__CERTIFICATES": first(wechat["certificates"]).replace("\n", "\\n"),
        "THREE__PUBLIC_KEYS__PUB_KEY_ID_1": OTHER_PUBLIC.replace("\n", "\\n"),
        "THREE__API_V3_KEY": str(wechat["api_v3_key"]),
        "FOUR__PROVIDER": "wechatpay",
        "FOUR__PUBLIC_KEYS": json.dumps({"PUB_KEY_ID_1": "".join(OTHER_PUBLIC.splitlines()[1:-1])}),
        "FOUR__API_V3_KEY": KEY_32,
        "FIVE__PROVIDER": "stripe",
        "FIVE__SECRETS": "[not JSON",
    }.items():
        monkeypatch.setenv(f"RECEIVER_SOURCES__{name}", value)
    sources = build_sources(load(tmp_path), tmp_path)
    assert sources["one"].verify(kits["stripe"].sent(), NOW).secret == 0
    assert sources["two"].verify(kits["stripe"].sent(), NOW).secret == len(kits["stripe"].provider.samples) + 1
    assert sources["three"].verify(kits["wechatpay"].sent(), NOW).secret == 0
    assert set(sources) == {"one", "two", "three", "four", "five"}


@pytest.mark.parametrize("name", NAMES)
def test_a_settings_file(tmp_path: Path, name: str, kits: Mapping[str, Kit]) -> None:
    lines = [f'{key} = """{value}"""' if isinstance(value, str) else f"{key} = {json.dumps(value)}"
             for key, value in kits[name].settings.items()]  # fmt: skip
    text = "\n".join([f"[sources.{name}]", *lines])
    (tmp_path / "receiver.toml").write_text(text, encoding="utf-8")
    source = build_sources(load(tmp_path), tmp_path)[name]
    callback = kits[name].sent()
    assert source.verify(callback, NOW).facts == kits[name].provider.verify(callback, NOW).facts
    again = as_callback(source.sign(kits[name].payload(), NOW))
    assert source.verify(again, NOW).secret == 0
    assert source.content(again.body) == kits[name].provider.content(callback.body)


@pytest.mark.parametrize("name", NAMES)
def test_no_verification_only_in_so_many_words(tmp_path: Path, name: str, kits: Mapping[str, Kit]) -> None:
    source = built(tmp_path, {"a": {"provider": name, "verification": "none"}})["a"]
    signed = kits[name].sent()
    unsigned = Callback(
        method="POST", headers=[pair for pair in signed.headers if b"signature" not in pair[0]], body=signed.body
    )
    verified = source.verify(unsigned, NOW)
    assert verified.secret == -1
    if name == "wechatpay":
        assert verified.facts[0].odd == "resource_undecryptable"
    else:
        assert verified.facts == kits[name].provider.verify(signed, NOW).facts
    with pytest.raises(VerificationError):
        source.provider.verify(unsigned, NOW)


@pytest.mark.parametrize("name", NAMES)
def test_signing_without_a_key(tmp_path: Path, name: str, kits: Mapping[str, Kit]) -> None:
    source = built(tmp_path, {"a": {"provider": name, "verification": "none"}})["a"]
    with pytest.raises(SettingsError, match=r"^sources\.a\.(secrets|signing_key|api_v3_key): is needed to "):
        source.sign(kits[name].payload(), NOW)


def test_encrypting_without_a_key(tmp_path: Path, kits: Mapping[str, Kit]) -> None:
    given = {name: value for name, value in kits["wechatpay"].settings.items() if name != "api_v3_key"}
    source = built(tmp_path, {"a": {**given, "verification": "none"}})["a"]
    with pytest.raises(SettingsError, match=r"^sources\.a\.api_v3_key: is needed to encrypt"):
        source.sign(kits["wechatpay"].payload(), NOW)


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_verifies_and_says_what_was_asked(kits: Mapping[str, Kit], name: str) -> None:
    kit = kits[name]
    assert {"paid", "failed", "refunded"} <= set(kit.provider.samples)
    for what, sample in kit.provider.samples.items():
        event = kit.provider.sample_id(f"42{what}", NOW)
        payload = kit.provider.sample(what, external_id=event, entity_id="order-9", created=NOW)
        fact = kit.fact(as_callback(kit.provider.sign(payload, NOW + 60)), NOW + 60)
        assert (fact.external_id, fact.type, fact.entity_id, fact.odd) == (event, sample.type, "order-9", None)
        assert fact.occurred_at is not None
        assert fact.occurred_at.timestamp() == NOW
        assert "{" + "id}" not in str(payload)


@pytest.mark.parametrize("name", NAMES)
def test_samples_by_type(name: str) -> None:
    provider = PROVIDERS[name]
    for sample in provider.samples.values():
        payload = provider.sample(sample.type, external_id="e", entity_id="o", created=NOW)
        assert sample.type in payload.values()
    with pytest.raises(SettingsError, match=f"{name} has no sample 'x'; it has paid "):
        provider.sample("x", external_id="e", entity_id="o", created=NOW)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_provider(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name
    for group in provider.needs:
        assert set(group) <= set(provider.settings)
    assert all(header == header.lower() for header in provider.keep_headers)
    assert all(setting.help and "\n" not in setting.help for setting in provider.settings.values())
    assert 200 <= provider.success.status < 300
    assert provider.retry_horizon.days < 90


def test_a_failure_for_wechat(kits: Mapping[str, Kit]) -> None:
    assert kits["wechatpay"].provider.failure("key_unknown") == {"code": "FAIL", "message": "key_unknown"}
    assert kits["stripe"].provider.failure("key_unknown") == {}


def test_kept_headers_are_enough_to_verify_again(kits: Mapping[str, Kit]) -> None:
    for kit in kits.values():
        sent = kit.sent()
        kept = [pair for pair in sent.headers if pair[0] in kit.provider.keep_headers]
        assert kit.provider.verify(Callback(method="POST", headers=kept, body=sent.body), NOW).facts


CHANGES: Mapping[str, Mapping[str, object]] = {
    "secret": {"secrets": ["whsec_2"]},
    "another secret": {"secrets": ["whsec_1", "whsec_2"]},
    "name of a key": {"secrets": [{"value": "whsec_1", "name": "first"}]},
    "end of a key": {"secrets": [{"value": "whsec_1", "not_after": "2030-01-01T00:00:00Z"}]},
    "confirmation": {"confirm": "shop:ask"},
    "verification": {"verification": "none"},
    "provider": {"provider": "github"},
}


def test_source_is_the_same_if_its_settings_are(tmp_path: Path) -> None:
    (one,), (two,) = (built(tmp_path, {"a": STRIPE}).values() for _ in range(2))
    assert one is not two
    assert one.same_as(two)


@pytest.mark.parametrize("what", CHANGES)
def test_source_is_another_if_a_setting_is(tmp_path: Path, what: str) -> None:
    (one,), (two,) = (built(tmp_path, {"a": given}).values() for given in (STRIPE, {**STRIPE, **CHANGES[what]}))
    assert not one.same_as(two)
    assert not two.same_as(one)
