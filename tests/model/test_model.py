"""The protocol, in every order in which its steps and its faults can come. Nothing here touches a server."""

import sys
from dataclasses import replace
from functools import cache
from typing import Final

import pytest

from tests.model.explore import STUCK, Finding, explore
from tests.model.model import CHARGED_TWICE, HANDLED_TWICE, UNSTORED, model
from tests.model.rules import Mutant, Rules

INGRESS: Final = Rules(servers=2, troubles=0)
WORK: Final = Rules(workers=2, troubles=2, redis=False, late=False)
BOTH: Final = Rules()
TWO_FAILOVERS: Final = Rules(failovers=2, troubles=0)

SCENES: Final = {"ingress": INGRESS, "work": WORK, "both": BOTH, "two-failovers": TWO_FAILOVERS}


@cache
def found(rules: Rules) -> Finding:
    return explore(model(rules))


@pytest.mark.parametrize("rules", SCENES.values(), ids=SCENES)
def test_all_that_is_promised_holds(rules: Rules) -> None:
    finding = found(rules)
    assert finding.broken is None, finding
    assert finding.states > 10_000


def test_where_a_failover_loses_nothing_news_of_it_may_be_late() -> None:
    finding = found(replace(INGRESS, standby_has_all=True, cut_unheard=True))
    assert finding.broken is None, finding
    assert finding.states > 10_000


def test_where_a_failover_loses_rows_news_of_it_must_not_be_late() -> None:
    finding = found(replace(INGRESS, cut_unheard=True))
    assert finding.broken == UNSTORED, "the limit that docs/model.md tells of is gone"


MUTANTS: Final[list[tuple[Mutant, Rules, str]]] = [
    ("mark-before-commit", INGRESS, UNSTORED),
    ("answer-before-commit", INGRESS, UNSTORED),
    ("mark-without-timeline", INGRESS, UNSTORED),
    ("mark-not-compared-again", INGRESS, UNSTORED),
    ("no-fence", WORK, HANDLED_TWICE),
    ("lease-without-end", WORK, STUCK),
    ("effect-and-success-apart", WORK, HANDLED_TWICE),
    ("call-without-key", WORK, CHARGED_TWICE),
    ("key-of-the-row", WORK, CHARGED_TWICE),
]


@pytest.mark.parametrize(("mutant", "rules", "promise"), MUTANTS, ids=[each[0] for each in MUTANTS])
def test_a_rule_that_is_broken_is_found(mutant: Mutant, rules: Rules, promise: str) -> None:
    finding = found(replace(rules, broken=mutant))
    sys.stdout.write(f"{finding}\n")
    assert finding.broken == promise, finding


def test_what_the_rules_are_for_does_happen() -> None:
    """A model in which nobody is ever fenced out would show nothing of the fence."""
    taken = frozenset().union(*(found(rules).taken for rules in SCENES.values()))
    assert taken >= {
        "worker 1 is fenced out",
        "a lease whose owner is frozen runs out, worker 2 leases it, epoch 2",
        "worker 1 commits effect and success, the reply is lost",
        "server 1 believes the mark, the provider hears 200",
        "Postgres carries out the statement that nobody waits for",
        "the standby takes over",
    }
