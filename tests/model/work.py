"""The steps of the workers: from a lease to its outcome, with a call to the outside in between."""

from collections.abc import Iterator

from tests.model.rules import Rules
from tests.model.state import Row, State, Step, Worker


def work(state: State, rules: Rules) -> Iterator[Step]:
    """What the workers may do next."""
    for at, worker in enumerate(state.workers):
        who = f"worker {at + 1}"
        if worker.phase == "idle":
            yield from _lease(state, rules, at)
            continue
        if worker.phase == "leased":
            yield from _begin(state, rules, at, worker)
        elif worker.phase == "running":
            yield Step(f"{who} calls the outside", _call(state, rules, at, worker))
        elif worker.phase == "called":
            yield from _commit(state, rules, at, worker)
        elif not _locked(state, rules):
            yield Step(f"{who} records the failure, if it is still its own", _fail(state, at, worker))
        yield from _trouble(state, at, worker)


def _lease(state: State, rules: Rules, at: int) -> Iterator[Step]:
    """What is ready, or leased by somebody whose lease has run out and who holds no lock on it."""
    row = state.row
    if _locked(state, rules):
        return
    leased = row._replace(state="leased", epoch=row.epoch + 1)
    taken = state._replace(row=leased).with_worker(at, Worker(phase="leased", born=row.born, epoch=leased.epoch))
    label = f"worker {at + 1} leases it, epoch {leased.epoch}"
    if row.state == "ready":
        yield Step(label, taken)
    elif row.state == "leased" and rules.broken != "lease-without-end":
        if not any(_owns(worker, row) for worker in state.workers):
            yield Step(f"a lease whose owner is gone runs out, {label}", taken)
        elif state.troubles:
            taken = taken._replace(troubles=state.troubles - 1)
            yield Step(f"a lease whose owner is frozen runs out, {label}", taken, quiet=False)


def _begin(state: State, rules: Rules, at: int, worker: Worker) -> Iterator[Step]:
    who = f"worker {at + 1}"
    if _locked(state, rules):
        return
    if rules.broken == "no-fence" or _owns(worker, state.row):
        running = worker._replace(phase="running", open=True)
        yield Step(f"{who} begins its transaction, epoch {worker.epoch}", state.with_worker(at, running))
    else:
        yield Step(f"{who} is fenced out", state.with_worker(at, Worker()))


def _call(state: State, rules: Rules, at: int, worker: Worker) -> State:
    """A worker whose transaction was ended does not know it yet, and calls all the same."""
    called = state.with_worker(at, worker._replace(phase="called"))._replace(
        charges=state.charges | {_key(state, rules, worker)}
    )
    if rules.broken == "effect-and-success-apart" and worker.open:
        return called.committed(state.row._replace(effects=state.row.effects + 1))
    return called


def _key(state: State, rules: Rules, worker: Worker) -> int:
    """The idempotency key: made of what the provider signed, the same for ever."""
    if rules.broken == "call-without-key":
        return len(state.charges)
    return worker.born if rules.broken == "key-of-the-row" else 0


def _commit(state: State, rules: Rules, at: int, worker: Worker) -> Iterator[Step]:
    """Effect and `succeeded` in one commit; its reply may be lost."""
    who = f"worker {at + 1}"
    unsure = state.with_worker(at, worker._replace(phase="unsure", open=False))
    if not worker.open:
        yield Step(f"{who} cannot commit", unsure)
        return
    effects = state.row.effects + (rules.broken != "effect-and-success-apart")
    done = state.row._replace(state="succeeded", effects=effects)
    committed = state.with_worker(at, Worker()).committed(done)
    yield Step(f"{who} commits effect and success", committed)
    yield Step(f"{who} commits effect and success, the reply is lost", unsure.committed(done), quiet=False)


def _fail(state: State, at: int, worker: Worker) -> State:
    idle = state.with_worker(at, Worker())
    return idle.committed(state.row._replace(state="ready")) if _owns(worker, state.row) else idle


def _trouble(state: State, at: int, worker: Worker) -> Iterator[Step]:
    """A worker dies, its handler raises, its transaction is ended: because it is frozen, or its connection is cut."""
    if not state.troubles:
        return
    who = f"worker {at + 1}"
    left = state._replace(troubles=state.troubles - 1)
    yield Step(f"{who} crashes", left.with_worker(at, Worker()), quiet=False)
    if worker.open:
        ended = left.with_worker(at, worker._replace(open=False))
        yield Step(f"Postgres ends the transaction of {who}", ended, quiet=False)
        unsure = left.with_worker(at, worker._replace(phase="unsure", open=False))
        yield Step(f"the handler of {who} raises", unsure, quiet=False)


def _owns(worker: Worker, row: Row) -> bool:
    """The fence: same row, same epoch, still leased."""
    return row.state == "leased" and (worker.born, worker.epoch) == (row.born, row.epoch)


def _locked(state: State, rules: Rules) -> bool:
    return rules.broken != "no-fence" and any(worker.open for worker in state.workers)
