"""A key is good from its not_before until its not_after, to the second, for every provider and in every spelling."""

import datetime as dt
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.operate.keys import examine_keys
from receiver.settings import made
from receiver.sources import PROVIDERS, Signed, Source, build_sources, made_up
from tests.sources.conftest import NOW

START, END = (dt.datetime.fromtimestamp(NOW + seconds, dt.UTC) for seconds in (-60, 60))


def built(settings: Mapping[str, object]) -> Source:
    return build_sources(made(sources={"a": settings}), Path())["a"]


@cache
def account(name: str, number: int = 0) -> Mapping[str, object]:
    """Settings with keys of our own making, once for each number: an RSA key takes a while."""
    del number
    return made_up(name)


def with_window(name: str, **window: object) -> dict[str, object]:
    """Settings of ours in which every key has the window."""
    settings = dict(account(name))
    for setting, kind in PROVIDERS[name].settings.items():
        values = settings.get(setting)
        if not kind.key or values is None:
            continue
        if isinstance(values, dict):
            settings[setting] = {key: {"value": value, **window} for key, value in values.items()}
        else:
            settings[setting] = [
                {"value": value, **window} for value in (values if isinstance(values, list) else [values])
            ]
    return settings


def sent(source: Source, now: float) -> Callback:
    kind = type(source.provider)
    payload = kind.sample(next(iter(kind.samples)), external_id=kind.sample_id("1", NOW), entity_id="o", created=NOW)
    return arrived(source.sign(payload, now))


def arrived(signed: Signed) -> Callback:
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body, query=signed.query.encode())


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    ("offset", "reason"), [(-61, "key_not_yet_valid"), (-60, None), (59, None), (60, "key_expired")]
)
def test_to_the_second(name: str, offset: int, reason: str | None) -> None:
    source = built(with_window(name, not_before=START, not_after=END))
    callback = sent(source, NOW + offset)
    if reason is None:
        assert source.verify(callback, NOW + offset).facts
        return
    with pytest.raises(VerificationError) as caught:
        source.verify(callback, NOW + offset)
    assert caught.value.reason == reason


def test_each_key_by_itself_and_by_its_name() -> None:
    old, new = made_up("stripe")["secrets"], made_up("stripe")["secrets"]
    assert isinstance(old, list)
    assert isinstance(new, list)
    secrets = [{"value": new[0], "name": "2026"}, {"value": old[0], "not_after": END}, "whsec_plain"]
    source = built({"provider": "stripe", "secrets": secrets})
    assert source.key_labels == ("2026", "secrets[1]", "secrets[2]")
    by_old = built({"provider": "stripe", "secrets": old})
    assert source.verify(sent(by_old, NOW), NOW).secret == 1
    with pytest.raises(VerificationError, match="key_expired"):
        source.verify(sent(by_old, NOW + 90), NOW + 90)
    assert source.verify(sent(source, NOW + 90), NOW + 90).secret == 0


def as_list(values: object) -> list[object]:
    return values if isinstance(values, list) else [values]


def rotated(name: str, old: Mapping[str, object], new: Mapping[str, object], **of_old: object) -> Mapping[str, object]:
    """Settings of a source with the keys of both; `of_old` is the window of the former, which stand first."""
    settings = dict(new)
    for setting, kind in PROVIDERS[name].settings.items():
        if setting not in new or not (kind.key or kind.many):
            continue
        before, after = old[setting], new[setting]
        if not kind.key:
            settings[setting] = [*as_list(before), *as_list(after)]
        elif isinstance(before, dict) and isinstance(after, dict):
            settings[setting] = {**{key: {"value": value, **of_old} for key, value in before.items()}, **after}
        else:
            settings[setting] = [*({"value": value, **of_old} for value in as_list(before)), *as_list(after)]
    return settings


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_old_key_ends_and_the_new_one_goes_on(name: str) -> None:
    kinds = PROVIDERS[name].settings
    old, new = dict(account(name)), dict(account(name, 1))
    # One account: what is no key is the same in both.
    if name == "paypal":  # its key is an id, and ours is always the same
        old = {**new, "webhook_id": ["1JE4291016473214D"]}
    alike = {part for part in new if part in kinds and not (kinds[part].key or kinds[part].many)}
    old |= {part: new[part] for part in alike if not part.startswith("signing")}
    source = built(rotated(name, old, new, not_after=END))
    assert len(source.windows) == len(source.key_labels) // 2
    by_old, by_new = sent(built(old), NOW), sent(built(new), NOW)
    assert source.verify(by_old, NOW).secret in source.windows
    assert source.verify(by_new, NOW).secret not in source.windows
    ended = built(rotated(name, old, new, not_after=START))
    with pytest.raises(VerificationError, match="key_expired"):
        ended.verify(by_old, NOW)
    assert ended.verify(by_new, NOW).secret not in ended.windows


@pytest.mark.parametrize("old_first", [True, False])
def test_signed_with_a_key_that_is_good_and_one_that_has_ended(*, old_first: bool) -> None:
    """As Stripe signs for a day after its secret was changed: with both."""
    old: dict[str, object] = {"value": "whsec_old", "not_after": START}
    source = built({"provider": "stripe", "secrets": [old, "whsec_new"] if old_first else ["whsec_new", old]})
    signed = [
        built({"provider": "stripe", "secrets": secret}).provider.seal(b"{}", NOW)
        for secret in ("whsec_old", "whsec_new")
    ]
    first, second = (dict(one.headers)["Stripe-Signature"].partition(",v1=")[2] for one in signed)
    header = f"t={NOW},v1={first},v1={second}".encode()
    callback = Callback(method="POST", headers=[(b"stripe-signature", header)], body=b"{}")
    assert source.key_label(source.verify(callback, NOW).secret) == ("secrets[1]" if old_first else "secrets[0]")


def test_what_no_key_signed_is_no_matter_of_windows() -> None:
    source = built(with_window("stripe", not_after=END))
    for now in (NOW, NOW + 90):
        with pytest.raises(VerificationError, match="signature_mismatch"):
            source.verify(sent(built(made_up("stripe")), now), now)


def test_samples_are_signed_with_a_key_that_is_good() -> None:
    """The newest may be there before it is used."""
    secrets = [{"value": "whsec_next", "not_before": END}, "whsec_now"]
    source = built({"provider": "stripe", "secrets": secrets})
    assert source.verify(sent(source, NOW), NOW).secret == 1
    assert source.verify(sent(source, NOW + 60), NOW + 60).secret == 0


def test_as_an_environment_variable_has_it() -> None:
    """Lists and tables as JSON, times as ISO 8601."""
    written = json.dumps([{"value": "whsec_x", "not_after": "2030-01-01T00:00:00+01:00"}])
    (window,) = built({"provider": "stripe", "secrets": written}).windows.values()
    assert window.not_after == dt.datetime(2029, 12, 31, 23, tzinfo=dt.UTC).timestamp()


WRONG: Mapping[str, tuple[Mapping[str, object], str]] = {
    "no zone": ({"not_after": dt.datetime(2030, 1, 1)}, "not_after: 2030-01-01T00:00:00 has no zone"),  # noqa: DTZ001  the point
    "no time": ({"not_before": "soon"}, "not_before: 'soon' is no time"),
    "a number": ({"not_before": 1}, "not_before: must be a time"),
    "never good": ({"not_before": END, "not_after": START}, "not_after: is not after not_before"),
    "unknown": ({"until": END}, "until: unknown; a key has value, name, not_before, not_after"),
    "nameless": ({"name": " "}, "name: must be a word"),
    "not to be stored": ({"name": "a\0b"}, "name: must be a word"),
    "endless": ({"name": "a" * 65}, "name: must be a word"),
    "two of one name": ({"name": "secrets[0]"}, "name: 'secrets[0]' is what secrets[0] is called"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_name_the_setting(case: str) -> None:
    members, message = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        built({"provider": "stripe", "secrets": ["whsec_a", {"value": "whsec_b", **members}]})
    assert str(caught.value).startswith(f"sources.a.secrets[1].{message}")


@pytest.mark.parametrize(
    ("windows", "found"),
    [
        ([{}], None),
        ([{"not_after": END}], "its last key ends at 2025-10-09T08:54+00:00"),
        ([{"not_after": START}], "its last key ended at 2025-10-09T08:52+00:00"),
        ([{"not_after": START}, {}], "secrets[0] has ended"),
        ([{"not_after": END}, {}], None),
        ([{"not_after": END}, {"not_after": END + dt.timedelta(days=30)}], None),
    ],
)
def test_the_doctor_warns(windows: list[dict[str, object]], found: str | None) -> None:
    secrets = [{"value": f"whsec_{number}", **window} for number, window in enumerate(windows)]
    check = examine_keys(built({"provider": "stripe", "secrets": secrets}), NOW)
    assert (check.found if check else None) == found
    assert check is None or (check.status, bool(check.advice)) == ("warn", True)
