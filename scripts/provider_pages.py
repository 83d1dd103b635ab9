"""Writes docs/providers: a page for each provider, out of its class and of docs/providers/notes, and a table of all.

make providers
"""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from receiver.sources import PROVIDERS, Provider, Setting
from receiver.sources.template import HEADERS

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "providers"
NOTES: Final = FOLDER / "notes"
_MADE: Final = "<!-- made by `make providers` out of the provider's class and notes/; change those -->"
_TRUST: Final = {
    "signed": "all of it is signed",
    "partial": "a part of it is signed",
    "sender": "the sender alone, by a secret that comes along",
    "none": "nothing",
}


def main() -> int:
    """Write the pages; the exit code."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[Path, str]:
    """What should stand in each page."""
    made = {FOLDER / f"{name}.md": page(kind) for name, kind in PROVIDERS.items()}
    return {FOLDER / "README.md": overview(), **made}


def overview() -> str:
    """The table of all."""
    head = "| provider | vouched for | external id, or what stands in for it | answered | waits | repeats for |"
    rows = [_row(kind) for kind in PROVIDERS.values()]
    return "\n".join(
        [
            "# All providers",
            "",
            _MADE,
            "",
            "How sure an event of each is, and what makes it one event. What is not signed as a whole says so in",
            "`event.trust`, and is to be confirmed by the provider's API before money moves.",
            "",
            head,
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _row(kind: type[Provider]) -> str:
    cells = (
        f"[{kind.title}]({kind.name}.md)",
        vouched(kind),
        kind.about.key.partition(". ")[0].rstrip("."),
        f"{kind.success.status}{_body(kind)}",
        f"{kind.answer_deadline.total_seconds():g} s",
        duration(kind.retry_horizon),
    )
    return f"| {' | '.join(cells)} |"


def _body(kind: type[Provider]) -> str:
    return f", `{kind.success.body.decode()}`" if kind.success.body else ""


def vouched(kind: type[Provider]) -> str:
    """What vouches for its events, from the least to the most."""
    found = dict.fromkeys(trust for trust in (kind.trust, kind.at_best) if trust)
    return ", or ".join(f"`{trust}`: {_TRUST[trust]}" for trust in found)


def page(kind: type[Provider]) -> str:
    """The page of one."""
    return "\n".join(_lines(kind))


def _lines(kind: type[Provider]) -> Iterator[str]:
    yield from (f"# {kind.title}", "", _MADE, "")
    yield from ("```toml", *example(kind), "```", "")
    yield from ("| setting | what it is |", "| --- | --- |")
    yield from (f"| `{name}` | {setting.help} |" for name, setting in kind.settings.items())
    yield from ("", f"Needed: {' and '.join(' or '.join(f'`{name}`' for name in group) for group in kind.needs)}.", "")
    yield (NOTES / f"{kind.name}.md").read_text(encoding="utf-8")
    yield from ("## What is signed", "", kind.about.signed, "")
    if kind.about.unsigned:
        yield from (f"**Not signed:** {kind.about.unsigned}", "")
    yield from ("## What makes an event one event", "", kind.about.key, "", f"On a resend: {kind.about.resends}", "")
    if kind.differs:
        others = ", ".join(f"`{'.'.join(path).removeprefix(f'{HEADERS}.')}`" for path in kind.differs)
        yield from (f"Key and fingerprint do not depend on the signature, on its time, nor on {others}.", "")
    yield from ("## Answers and retries", "", *_facts(kind), "", kind.about.retries, "")
    yield from ("## Samples", "", *_samples(kind), "")
    yield from ("## Read in", "", *(f"- {source}" for source in kind.about.sources), "")


def _facts(kind: type[Provider]) -> Iterator[str]:
    yield from ("| | |", "| --- | --- |")
    yield f"| what vouches for an event (`event.trust`) | {vouched(kind)} |"
    yield f"| answer to a success | {kind.success.status}{_body(kind)} |"
    yield f"| waits for the answer | {kind.answer_deadline.total_seconds():g} s |"
    yield f"| repeats for, so that keys are kept as long | {duration(kind.retry_horizon)} |"


def _samples(kind: type[Provider]) -> Iterator[str]:
    yield "`receiver send SOURCE WORD` sends one, signed with the source's own key."
    yield from ("", "| word | type |", "| --- | --- |")
    yield from (f"| `{word}` | `{sample.type}` |" for word, sample in kind.samples.items())
    if any(HEADERS in sample.payload for sample in kind.samples.values()):
        yield from ("", "Type or id are sent as headers, not in the body.")


def example(kind: type[Provider]) -> list[str]:
    """A section of a settings file with what the provider needs."""
    wanted = [name for group in kind.needs for name in group[:1]]
    plain = [f"{name} = {_value(kind, name)}" for name in wanted if not kind.settings[name].mapping]
    lines = [f"[sources.{kind.name}]                # callbacks come to /callbacks/{kind.name}", *plain]
    lines.insert(1, f'provider = "{kind.name}"')
    for name in wanted:
        if kind.settings[name].mapping:
            lines += ["", f"[sources.{kind.name}.{name}]", f"NAME = {_reference(kind, name, kind.settings[name])}"]
    return lines


def _value(kind: type[Provider], name: str) -> str:
    setting = kind.settings[name]
    text = _reference(kind, name, setting)
    return f"[{text}]" if setting.many else text


def _reference(kind: type[Provider], name: str, setting: Setting) -> str:
    if setting.example:
        return f'"{setting.example}"'
    if setting.secret:
        return f'"env:{kind.name.upper()}_{name.upper().removesuffix("S")}"'
    return f'"file:keys/{kind.name}-{name.replace("_", "-").removesuffix("s")}.pem"'


def duration(time: dt.timedelta) -> str:
    """In days or hours, whichever is whole."""
    hours = round(time.total_seconds() / 3600)
    days, rest = divmod(hours, 24)
    return f"{days} day{'s' if days > 1 else ''}" if days and not rest else f"{hours} h"


if __name__ == "__main__":
    raise SystemExit(main())
