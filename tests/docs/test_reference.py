"""The reference pages are complete: each setting, reason, option, column, metric and public name stands in its page."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from prometheus_client import CollectorRegistry

import receiver
import receiver.faststream
import receiver.messages
import receiver.providers
import receiver.testing
from receiver.cli.exits import MEANINGS, Exit
from receiver.cli.main import app
from receiver.dispatch import asking, verdict
from receiver.embedded.errors import Reason
from receiver.errors import EmitReason, KeyReason, MessageReason, OnceReason, ReceiverError, UpdateReason
from receiver.events import Event
from receiver.idempotency import PROBLEMS as REFUSALS
from receiver.ingress.problems import PROBLEMS, status_of
from receiver.observability.metrics import DispatchMetrics, IngressMetrics
from receiver.settings import Settings, SourceSettings
from receiver.storage.outcomes import ALREADY_DONE
from receiver.storage.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCES = ROOT / "receiver" / "sources"
REASON = re.compile(
    r"(body|json|id|type|form|charset|text|resource|signature|timestamp|header|key|serial|nonce|batch|query|entity)_[a-z_]+"
    r"|(certificate|xml|payload|item)_[a-z_]+"
)


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def sections(text: str) -> dict[str, str]:
    """The text below each heading, by the heading's words."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {title.replace("`", ""): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_stand_there_with_default_and_unit(name: str) -> None:
    field = Settings.model_fields[name]
    shown = "none" if field.default is None or field.default_factory else f"`{field.default}`"
    assert f"| `{name}` | {shown} | {field.description} |" in page("settings.md")


@pytest.mark.parametrize("name", SourceSettings.model_fields)
def test_settings_of_all_sources_stand_there(name: str) -> None:
    assert f"| `{name}` | {SourceSettings.model_fields[name].description} |" in page("settings.md")


MEMBERS = {
    "resource_type",
    "signature_key",
    "event_type",
    "id_header",
    "type_header",
    "timestamp_header",
    "timestamp_item",
    "timestamp_format",
}
"""Names in messages and settings that look like reasons."""


def reasons_of_verification() -> set[str]:
    """Every reason that is written in a verifier."""
    constants = (
        node.value
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {value for value in constants if REASON.fullmatch(value)} - MEMBERS


def reasons_of_errors() -> set[str]:
    for module in pkgutil.walk_packages(receiver.__path__, "receiver."):
        if not module.name.endswith("__main__") and ".embedded.become" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[ReceiverError]) -> Iterator[type[ReceiverError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    return {kind.reason for kind in below(ReceiverError)} - {ReceiverError.reason}


REASONS = sorted(
    reasons_of_verification()
    | reasons_of_errors()
    | set(PROBLEMS)
    | set(REFUSALS)
    | set(get_args(Reason))
    | {
        verdict.RAISED,
        verdict.EXHAUSTED,
        verdict.EVENT_GONE,
        verdict.STOPPED,
        verdict.NEVER,
        asking.NOT_CONFIRMED,
        asking.FAILED,
        asking.PAUSED,
        asking.OVERDUE,
        ALREADY_DONE,
        "retry_asked",
        "not_yet",
        "lease_expired",
    }
    | {"id_conflict"}
    | set(get_args(UpdateReason))
    | set(get_args(EmitReason))
    | set(get_args(OnceReason))
    | set(get_args(KeyReason))
    | set(get_args(MessageReason))
)


def test_verifiers_have_reasons() -> None:
    assert {"signature_mismatch", "timestamp_expired", "json_invalid", "resource_undecryptable"} <= set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_stand_there(reason: str) -> None:
    assert re.search(rf"^\| `{reason}` \|", page("errors.md"), re.MULTILINE)


@pytest.mark.parametrize(("reason", "told"), [*PROBLEMS.items(), *REFUSALS.items()])
def test_statuses_stand_there(reason: str, told: tuple[int, str]) -> None:
    status, title = told
    assert f"| `{reason}` | {status} | {title} |" in page("errors.md")


def test_failed_verifications_are_401() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", sections(page("errors.md"))["Failed verification: 401"], re.MULTILINE)
    assert len(rows) > 10
    assert {status_of(reason) for reason in rows} == {401}


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(commands(typer.main.get_command(app), ("receiver",)))


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_stand_there_with_every_option(name: str) -> None:
    section = sections(page("cli.md"))[name]
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert all(f"| `{word}" in section for word in parameter.opts), parameter.opts


@pytest.mark.parametrize("code", MEANINGS)
def test_exit_codes_stand_there(code: Exit) -> None:
    assert f"| {int(code)} | {MEANINGS[code]} |" in page("cli.md")


def test_metrics_stand_there() -> None:
    registry = CollectorRegistry()
    ingress, dispatch = IngressMetrics(registry), DispatchMetrics(registry)
    ingress.taken("a", "accepted")
    ingress.rejected("a", "b")
    ingress.failed("a", "b")
    dispatch.ran("a", "b", 0)
    dispatch.circuit("a", is_open=True)
    dispatch.asked("a", "b", 0)
    text = page("metrics.md")
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        row = re.search(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert row, name
        assert all(f"`{label}`" in row[0] for label in labels), (name, labels)


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_columns_stand_there(table: object) -> None:
    name, columns = getattr(table, "name", ""), getattr(table, "columns", ())
    section = sections(page("tables.md"))[name]
    rows = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert rows == {column.name for column in columns}


MODULES_OF_NAMES = (receiver, receiver.messages, receiver.faststream, receiver.testing)
PUBLIC = [(module, name) for module in MODULES_OF_NAMES for name in module.__all__]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_public_names_stand_there(module: object, name: str) -> None:
    section = sections(page("python.md"))[name]
    thing = getattr(module, name)
    parameters = [each for each in inspect.signature(thing).parameters if each not in {"args", "kwargs"}]
    assert [each for each in parameters if f"`{each}" not in section] == []
    for member, value in vars(thing).items():
        if not member.startswith("_") and (inspect.isfunction(value) or member in Event.__annotations__):
            assert f"`{member}" in section, member


OWN = page("python.md").partition("## `receiver.providers`")[2]
MODULES = {name for name in receiver.providers.__all__ if inspect.ismodule(getattr(receiver.providers, name))}


@pytest.mark.parametrize("name", sorted(set(receiver.providers.__all__) - MODULES))
def test_what_providers_are_made_of_stands_there(name: str) -> None:
    thing = getattr(receiver.providers, name)
    text = sections(OWN).get(name) or next(row for row in OWN.splitlines() if row.startswith(f"| `{name}` |"))
    methods = [member for member, value in vars(thing).items() if inspect.isroutine(value) or _is_class_method(value)]
    members = [*getattr(thing, "__annotations__", ()), *methods]
    assert [member for member in members if not member.startswith("_") and f"`{member}" not in text] == []


def _is_class_method(value: object) -> bool:
    return isinstance(value, classmethod)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_helpers_that_stand_there_exist(name: str) -> None:
    row = next(row for row in OWN.splitlines() if row.startswith(f"| `{name}` |"))
    named = re.findall(r"`(\w+)", row.partition("|")[2].partition("|")[2])
    assert named
    assert [helper for helper in named if not hasattr(getattr(receiver.providers, name), helper)] == []
