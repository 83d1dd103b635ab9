"""Which handlers are taken, which are refused, and who wants what."""

import functools
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Receiver
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy


def wanting(registry: Registry, source: str, provider: str, kind: str | None) -> tuple[str, ...]:
    return tuple(handler.name for handler in registry.wanting(source, provider, kind))


async def pay(event: Event, tx: AsyncSession) -> None:
    """A handler."""


def ship(event: Event, tx: Session) -> None:
    """A handler that is a plain function."""


class Counter:
    """A handler that is an object."""

    async def __call__(self, event: Event, tx: AsyncSession) -> None:
        """Do nothing."""

    def method(self, event: Event, tx: Session) -> None:
        """Do nothing."""

    @staticmethod
    async def static(event: Event, tx: AsyncSession) -> None:
        """Do nothing."""


class Generator:
    """An object that would never run."""

    def __call__(self, _event: Event, _tx: Session) -> Iterator[None]:
        yield


class Logged:
    """A decorator that keeps the function where `functools.partial` does."""

    def __init__(self, func: Callable[..., Awaitable[None]]) -> None:
        self.func = func

    async def __call__(self, event: Event, tx: AsyncSession) -> None:
        await self.func(event, tx)


@pytest.mark.parametrize(
    ("source", "patterns", "kind", "wanted"),
    [
        ("stripe-eu", (), "charge.paid", True),
        ("stripe", (), "charge.paid", True),
        ("stripe", (), None, True),
        ("stripe", ("*",), None, True),
        ("stripe", ("charge.*",), None, False),
        ("stripe", ("charge.paid",), "charge.paid", True),
        ("stripe", ("charge.*",), "charge.paid", True),
        ("stripe", ("charge.*",), "charge.dispute.created", True),
        ("stripe", ("charge.*",), "recharge.paid", False),
        ("stripe", ("charge.*",), "Charge.paid", False),
        ("stripe", ("payout.*", "charge.p?id"), "charge.paid", True),
        ("stripe-us", (), "charge.paid", False),
        ("alipay", (), "charge.paid", False),
        ("strip?", (), "charge.paid", False),
    ],
)
def test_who_wants_what(source: str, patterns: tuple[str, ...], kind: str | None, wanted: bool) -> None:
    registry = Registry()
    registry.on(source, *patterns)(pay)
    for _ in range(2):  # asked for and remembered
        assert wanting(registry, "stripe-eu", "stripe", kind) == (("pay",) if wanted else ())


def test_handlers_come_in_the_order_of_their_registration() -> None:
    registry = Registry()
    registry.on("stripe", name="b")(pay)
    assert wanting(registry, "stripe", "stripe", "x") == ("b",)
    registry.on("stripe", name="a")(ship)
    assert wanting(registry, "stripe", "stripe", "x") == ("b", "a")
    assert registry.names() == ("b", "a")
    assert [handler.is_async for handler in registry] == [True, False]


def test_types_from_outside_do_not_fill_the_memory() -> None:
    registry = Registry()
    registry.on("stripe", "charge.*")(pay)
    for number in range(10_000):
        assert wanting(registry, "stripe", "stripe", f"charge.{number}") == ("pay",)
    assert len(registry._wanting) < 5_000


def test_stacked_decorators_make_one_handler() -> None:
    registry = Registry()
    registry.on("stripe", "charge.*")(registry.on("alipay")(registry.on("stripe", "charge.paid")(pay)))
    assert len(registry) == 1
    assert wanting(registry, "stripe", "stripe", "charge.paid") == ("pay",)
    assert wanting(registry, "alipay", "alipay", None) == ("pay",)
    assert wanting(registry, "paypal", "paypal", None) == ()


def test_two_handlers_with_one_name_are_an_error_that_names_both() -> None:
    registry = Registry()
    registry.on("stripe")(pay)
    with pytest.raises(HandlerError, match=r"'pay'.*\.pay .*\.ship ") as caught:
        registry.on("stripe", name="pay")(ship)
    assert str(caught.value).count(".py:") == 2


def test_stacked_decorators_that_disagree() -> None:
    registry = Registry()
    registry.on("stripe")(pay)
    with pytest.raises(HandlerError, match=r"'pay'.*disagree"):
        registry.on("alipay", retry=RetryPolicy(attempts=1))(pay)


def generator(_event: Event, _tx: Session) -> Iterator[None]:
    yield


async def async_generator(_event: Event, _tx: AsyncSession) -> AsyncIterator[None]:
    yield


def no_arguments() -> None: ...


def one_argument(event: Event) -> None: ...


def three_arguments(event: Event, tx: Session, more: int) -> None: ...


def keywords_only(*, event: Event, tx: Session) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (generator, {}, "generator"),
        (async_generator, {}, "generator"),
        (functools.partial(generator), {"name": "partly"}, "generator"),
        (functools.partial(async_generator), {"name": "partly"}, "generator"),
        (functools.partial(Generator()), {"name": "partly"}, "generator"),
        (staticmethod(generator), {}, "generator"),
        (no_arguments, {}, r"\(event, tx\)"),
        (one_argument, {}, r"\(event, tx\)"),
        (three_arguments, {}, r"\(event, tx\)"),
        (keywords_only, {}, r"\(event, tx\)"),
        (max, {"name": "largest"}, "cannot be read"),
        ("pay", {"name": "text"}, "not callable"),
        (lambda _event, _tx: None, {}, "no name"),
        (Counter(), {}, "no name"),
        (functools.partial(ship), {}, "no name"),
        (pay, {"name": ""}, "no name"),
        (pay, {"name": "1st"}, "no name"),
        (pay, {"name": "it's"}, "no name"),
        (pay, {"name": "a" * 101}, "no name"),
        (pay, {"name": "zahlen_ü"}, "no name"),
        (pay, {"name": "pay\n"}, "no name"),
        (pay, {"timeout": 0}, "timeout"),
        (pay, {"timeout": -1}, "timeout"),
        (pay, {"timeout": math.nan}, "timeout"),
    ],
)
def test_what_cannot_work_is_refused_by_name(function: Any, options: dict[str, Any], said: str) -> None:
    registry = Registry()
    with pytest.raises(HandlerError, match=said) as caught:
        registry.on("stripe", **options)(function)
    assert "handler" in str(caught.value)
    assert len(registry) == 0


def test_a_decorator_without_arguments_is_refused_at_once() -> None:
    receiver = Receiver()
    for decorate, instead in ((receiver.on, '@receiver.on("stripe", "'), (receiver.confirm, '@receiver.confirm("str')):
        bare: Callable[[object], object] = decorate  # type: ignore[assignment]
        for function in (pay, ship, Counter(), functools.partial(pay), staticmethod(pay)):
            with pytest.raises(HandlerError, match=rf"names no source; write {re.escape(instead)}"):
                bare(function)
    assert len(receiver.handlers) == 0


@pytest.mark.parametrize(("source", "patterns"), [("", ()), ("stripe", ("",)), ("stripe", ("charge.*", ""))])
def test_empty_source_or_type_is_refused(source: str, patterns: tuple[str, ...]) -> None:
    with pytest.raises(HandlerError, match=r"'pay'.*empty"):
        Registry().on(source, *patterns)(pay)


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (Counter(), True),
        (Counter().method, False),
        (functools.partial(pay), True),
        (functools.partial(three_arguments, more=1), False),
        (functools.partial(Counter()), True),
        (functools.partial(Counter().method), False),
        (functools.partial(functools.partial(pay)), True),
        (Counter.__dict__["static"], True),
        (functools.partial(Counter.__dict__["static"]), True),
        (staticmethod(ship), False),
        (Logged(pay), True),
        (lambda _event, _tx: None, False),
        (lambda *_arguments: None, False),
    ],
)
def test_other_callables_are_taken_with_a_name(function: Callable[..., None], is_async: bool) -> None:
    registry = Registry()
    registry.on("stripe", name="it.works:2-a")(function)
    assert registry.get("it.works:2-a").is_async is is_async


def options(registry: Registry, name: str) -> tuple[RetryPolicy, float]:
    found = registry.get(name).options
    return found.policy, found.timeout


def test_defaults_and_overrides() -> None:
    policy, own = RetryPolicy(attempts=7), RetryPolicy(attempts=2)
    registry = Registry(retry=policy)
    registry.on("stripe", name="a")(pay)
    registry.on("stripe", name="b", retry=own, timeout=math.inf)(pay)
    assert options(registry, "a") == (policy, 300)
    assert options(registry, "b") == (own, math.inf)
    with pytest.raises(KeyError):
        registry.get("c")


def test_handlers_that_no_event_can_reach() -> None:
    registry = Registry()
    registry.on("strpe", name="typo")(pay)
    registry.on("stripe", name="fine")(pay)
    registry.on("internal", name="emitted")(pay)
    registry.on("alipay", name="both")(registry.on("stripe", name="both")(ship))
    assert [handler.name for handler in registry.unreachable({"stripe", "stripe-eu"})] == ["typo"]


async def _lane(_event: object) -> str:
    return "a"


WRONG: list[tuple[dict[str, object], str]] = [
    ({"retry": 3}, "retry must be RetryPolicy, not 3"),
    ({"retry": 0}, "retry must be RetryPolicy, not 0"),
    ({"timeout": "2"}, "timeout must be int or float, not '2'"),
    ({"timeout": 10**400}, "too large"),
    ({"batch": "2"}, "batch must be int, not '2'"),
    ({"batch": True}, "batch must be int, not True"),
    ({"batch": 1.5}, "batch must be int, not 1.5"),
    ({"concurrency": 1.5}, "concurrency must be int, not 1.5"),
    ({"raw": "no"}, "raw must be bool, not 'no'"),
    ({"lane": _lane}, "lane must be a plain function"),
    ({"name": 7}, "7 is no name"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[str(*options) for options, _ in WRONG])
def test_wrong_kinds_are_refused_where_they_are_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(HandlerError, match=said):
        Registry().on("stripe", **options)(pay)


def test_the_policy_of_all_handlers_is_looked_at_too() -> None:
    wrong: Any = 0
    with pytest.raises(HandlerError, match="retry must be RetryPolicy, not 0"):
        Registry(retry=wrong).on("stripe")(pay)


@pytest.mark.parametrize("asked", [("stripe", ["a", "b"]), ("stripe", 5), ("stripe", "a\0"), (5,), (None, "a")])
def test_what_is_wanted_must_be_text(asked: tuple[Any, ...]) -> None:
    with pytest.raises(HandlerError, match="is no source or event type"):
        Registry().on(*asked)(pay)
