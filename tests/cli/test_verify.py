"""`receiver verify`: the right verdict for callbacks that we sign ourselves, in every form of a capture."""

import ast
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from receiver.operate.hints import HINTS
from receiver.sources import Signed, Source
from tests.cli.kit import AT, Cli, Sources, as_json, signed

NAMES = ("stripe", "standardwebhooks", "alipay", "wechatpay")
TIMED = ("stripe", "standardwebhooks", "wechatpay")


def as_vector(callback: Signed) -> bytes:
    return json.dumps({"id": "x", "request": json.loads(as_json(callback)), "clock": AT}).encode()


def as_http(callback: Signed, newline: bytes = b"\r\n", *, length: bool = True) -> bytes:
    headers = [*callback.headers, *([("Content-Length", str(len(callback.body)))] if length else [])]
    lines = [b"POST /callbacks/x?y=1 HTTP/1.1", *(f"{name}: {value}".encode() for name, value in headers)]
    return newline.join(lines) + newline * 2 + callback.body


def as_chunks(callback: Signed) -> bytes:
    head, _, body = as_http(callback, length=False).partition(b"\r\n\r\n")
    half = len(body) // 2
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])]
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


FORMS: Mapping[str, Callable[[Signed], bytes]] = {
    "JSON": as_json,
    "vector": as_vector,
    "raw HTTP": as_http,
    "raw HTTP, LF": lambda callback: as_http(callback, b"\n"),
    "raw HTTP, no length": lambda callback: as_http(callback, length=False),
    "raw HTTP, saved by an editor": lambda callback: as_http(callback) + b"\n",
    "chunked": as_chunks,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_genuine_callback_is_valid_in_every_form(
    cli: Cli, with_sources: Path, sources: dict[str, Source], name: str, form: Callable[[Signed], bytes]
) -> None:
    (with_sources / "captured").write_bytes(form(signed(sources[name])))
    said = cli("verify", name, "--request", "captured", "--at", AT, "--json")
    verdict = said.fields()
    assert said.code == 0, verdict
    assert (verdict["valid"], verdict["id"], verdict["entity"]) == (True, "evt_42", "order-42")
    assert verdict["key"] == sources[name].key_label(0) is not None
    assert verdict["type"] == sources[name].provider.samples["paid"].type


@pytest.mark.parametrize("name", NAMES)
def test_a_person_reads_the_same(cli: Cli, with_sources: Path, sources: dict[str, Source], name: str) -> None:
    (with_sources / "captured").write_bytes(as_json(signed(sources[name])))
    said = cli("verify", name, "--request", "captured", "--at", AT)
    assert (said.code, said.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert (lines["valid"], lines["id"], lines["entity"]) == ("yes", "evt_42", "order-42")


def reserialised(callback: Signed) -> Signed:
    return Signed(headers=callback.headers, body=json.dumps(json.loads(callback.body), sort_keys=False).encode())


def altered(callback: Signed) -> Signed:
    middle = len(callback.body) // 2
    flipped = bytes([callback.body[middle] ^ 1])
    return Signed(headers=callback.headers, body=callback.body[:middle] + flipped + callback.body[middle + 1 :])


CHANGES: Mapping[str, tuple[tuple[str, ...], Callable[[Signed], Signed], str | None]] = {
    "one bit": (("stripe", "standardwebhooks", "wechatpay"), altered, None),
    "newline added": (TIMED, lambda c: Signed(headers=c.headers, body=c.body + b"\n"), "a line end was added"),
    "mark added": (TIMED, lambda c: Signed(headers=c.headers, body=b"\xef\xbb\xbf" + c.body), "a byte-order mark"),
    "CRLF": (
        ("stripe",),
        lambda c: Signed(headers=c.headers, body=c.body.replace(b"\n", b"\r\n")),
        "line ends were changed from LF to CRLF",
    ),
    "re-serialised": (TIMED, reserialised, "the body was parsed and serialised again"),
}


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [(name, change, found) for names, change, found in CHANGES.values() for name in names],
    ids=[f"{name}, {change}" for change, (names, _, _) in CHANGES.items() for name in names],
)
def test_what_was_changed_on_the_way_is_found_out(
    *,
    cli: Cli,
    with_sources: Path,
    sources: dict[str, Source],
    name: str,
    change: Callable[[Signed], Signed],
    found: str,
) -> None:
    (with_sources / "captured").write_bytes(as_json(change(signed(sources[name]))))
    said = cli("verify", name, "--request", "captured", "--at", AT, "--json")
    verdict = said.fields()
    assert said.code == Exit.FAILED
    assert (verdict["valid"], verdict["reason"]) == (False, "signature_mismatch")
    assert verdict["hint"] == HINTS["signature_mismatch"]
    assert (str(verdict["found"]) if found else "").startswith(found or "")
    assert bool(verdict["found"]) == bool(found)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(("late", "reason"), [(7200, "timestamp_expired"), (-7200, "timestamp_future")])
def test_a_clock_that_is_off_is_shown_with_both_times(
    *, cli: Cli, with_sources: Path, sources: dict[str, Source], name: str, late: int, reason: str
) -> None:
    (with_sources / "captured").write_bytes(as_vector(signed(sources[name])))
    assert cli("verify", name, "--request", "captured").code == 0  # at the file's own clock
    said = cli("verify", name, "--request", "captured", "--at", AT + late)
    assert said.code == Exit.FAILED
    assert reason in said.out
    for shown in ("2025-10-09 08:53:20Z", f"2025-10-09 {8 + late // 3600:02}:53:20Z", "2:00:00", "itself is right"):
        assert shown in said.out


def test_without_a_clock_it_is_now(cli: Cli, with_sources: Path, sources: dict[str, Source]) -> None:
    (with_sources / "captured").write_bytes(as_json(signed(sources["stripe"], int(time.time()))))
    assert cli("verify", "stripe", "--request", "captured").code == 0


def test_nothing_secret_is_printed(
    cli: Cli, with_sources: Path, sources: dict[str, Source], made_up_sources: Sources
) -> None:
    for name in NAMES:
        secrets = [line for value in made_up_sources[name].values() for line in _lines(value)]
        for callback in (signed(sources[name]), altered(signed(sources[name])), Signed(headers=(), body=b"")):
            (with_sources / "captured").write_bytes(as_json(callback))
            for json_too in ([], ["--json"]):
                said = cli("verify", name, "--request", "captured", "--at", AT, *json_too)
                assert not [secret for secret in secrets if secret in said.out + said.err]


def _lines(value: object) -> list[str]:
    """The parts of a key that would give it away."""
    values = value if isinstance(value, list) else [value]
    return [line for single in values for line in str(single).splitlines() if len(line) > 20 and "-----" not in line]


def test_stdin_is_a_file_too(program: Cli, with_sources: Path, sources: dict[str, Source]) -> None:
    assert with_sources == Path.cwd()
    said = program("verify", "stripe", "--request", "-", "--at", AT, "--json", stdin=as_http(signed(sources["stripe"])))
    assert (said.code, said.err, said.fields()["valid"]) == (0, "", True)


def test_what_is_odd_is_valid_with_a_warning(cli: Cli, with_sources: Path, sources: dict[str, Source]) -> None:
    (with_sources / "captured").write_bytes(as_json(sources["stripe"].sign({"object": "event", "id": 5}, AT)))
    said = cli("verify", "stripe", "--request", "captured", "--at", AT)
    assert said.code == 0
    assert "valid       yes" in said.out
    assert said.err == "note: genuine, but it would be kept in quarantine and no handler would run: id_invalid\n"


def test_a_body_of_another_length_than_stated_is_noted(
    cli: Cli, with_sources: Path, sources: dict[str, Source]
) -> None:
    (with_sources / "captured").write_bytes(as_http(signed(sources["stripe"]))[:-3])
    said = cli("verify", "stripe", "--request", "captured", "--at", AT)
    assert said.code == Exit.FAILED
    assert said.err.startswith("note: Content-Length says")


def test_every_reason_of_every_provider_has_a_hint() -> None:
    import receiver.sources as package  # noqa: PLC0415  its folder is what is looked through

    raised: set[str] = set()
    for file in Path(str(package.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "VerificationError":
                literals = (part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant))
                raised |= {literal for literal in literals if isinstance(literal, str)}
    assert raised > {"signature_mismatch", "timestamp_expired", "timestamp_future"}
    assert raised - set(HINTS) == set()
