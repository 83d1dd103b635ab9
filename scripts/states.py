"""Writes the diagram and the table of transitions into docs/states.md, from `receiver/storage/states.py`.

make states
"""

from itertools import groupby
from pathlib import Path
from typing import Final

from receiver.storage.states import TRANSITIONS, Attempts, State, Transition

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "states.md"
_BEGIN: Final = "<!-- made by `make states` -->\n"
_END: Final = "<!-- end -->\n"


def main() -> int:
    """Write the page; the exit code."""
    PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def written_into(page: str) -> str:
    """`page` with what is between the marks made anew."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_diagram()}\n{_table()}\n{_END}{after}"


def _diagram() -> str:
    """One arrow for each pair of states; what leads from one to the other stands at it."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in _arrows()]
    return "\n".join([*lines, f"    {State.SUCCEEDED} --> [*]", "```", ""])


def _arrows() -> list[tuple[tuple[str, str], list[str]]]:
    order = ["[*]", *(str(state) for state in State)]
    arrows = [
        (before, str(each.after), each.name) for each in TRANSITIONS for before in [*map(str, each.before)] or ["[*]"]
    ]
    arrows.sort(key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1])))
    return [(ends, [name for _, _, name in found]) for ends, found in groupby(arrows, key=lambda arrow: arrow[:2])]


def _table() -> str:
    head = "| transition | from | to | by | epoch | attempts | when |\n| --- | --- | --- | --- | --- | --- | --- |\n"
    return head + "".join(_row(each) for each in TRANSITIONS)


def _row(each: Transition) -> str:
    before = ", ".join(f"`{state}`" for state in State if state in each.before) or "nothing"
    epoch = "one more" if each.rises else "stays" if each.before else "zero"
    attempts = " or ".join(attempts for attempts in Attempts if attempts in each.attempts)
    return f"| {each.name} | {before} | `{each.after}` | {each.by} | {epoch} | {attempts} | {each.when} |\n"


if __name__ == "__main__":
    raise SystemExit(main())
