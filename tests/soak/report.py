"""What a person sees of a soak: how far it is, and at the end what it came to."""

from rich.console import Group
from rich.table import Table

from tests.soak.run import Soak


def figures(soak: Soak) -> list[tuple[str, int]]:
    """What was counted, by both sides."""
    if soak.provider is None:
        return []
    counts = soak.provider.counts
    return [
        ("callbacks sent", counts.sent),
        ("events", len(counts.made)),
        ("acknowledged", len(counts.acknowledged)),
        ("stored", soak.stored),
        ("answered 503", counts.answers[503]),
        ("not answered", counts.silence),
        ("handler runs owed", soak.owed),
        ("effects", soak.effects),
        ("unfinished", soak.unfinished),
        ("replays", soak.replays),
    ]


def progress(soak: Soak) -> Table:
    """One look at a running soak."""
    table = Table.grid(padding=(0, 2))
    table.add_row(soak.step, "")
    for name, count in figures(soak):
        table.add_row(name, f"{count:,}")
    if soak.scene is not None:
        table.add_row("faults injected", f"{soak.scene.injected.total():,}")
    return table


def tables(soak: Soak) -> Group:
    """The end of it."""
    counted = Table("", "count", title=f"{soak.options.minutes:g} minutes, seed {soak.options.seed}")
    counted.columns[1].justify = "right"
    for name, count in figures(soak):
        counted.add_row(name, f"{count:,}")
    injected = Table("fault", "injected")
    injected.columns[1].justify = "right"
    if soak.scene is not None:
        for name, count in sorted(soak.scene.injected.items()):
            injected.add_row(name, str(count))
    wrong = "\n".join(soak.violations) or "nothing lost, nothing doubled, nothing left undone, every lane in order"
    return Group(counted, injected, wrong)
