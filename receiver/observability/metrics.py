"""Prometheus metrics: what was taken, refused and run, by names that never change."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class IngressMetrics:
    """Counts of callbacks. Children are kept: looking one up by its labels costs more than counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._taken = Counter(
            "receiver_callbacks",
            "Genuine callbacks by result: accepted, duplicate, conflict, quarantined",
            ["source", "result"],
            registry=registry,
        )
        self._rejected = Counter(
            "receiver_rejected", "Callbacks that failed verification", ["source", "reason"], registry=registry
        )
        self._failed = Counter(
            "receiver_failed", "Callbacks that the provider must repeat", ["source", "reason"], registry=registry
        )
        self._verified = Counter(
            "receiver_verified",
            "Genuine callbacks by the key that matched",
            ["source", "secret"],
            registry=registry,
        )
        self._fetched = Counter(
            "receiver_key_fetches",
            "Keys that providers publish, asked for: fetched, failed, refused, not_asked",
            ["source", "result"],
            registry=registry,
        )
        self.depth = Gauge("receiver_queue_depth", "Callbacks that wait for a commit", registry=registry)
        self._children: dict[tuple[str, ...], Counter] = {}

    def taken(self, source: str, result: str) -> None:
        """Count a genuine callback. `conflict` is the one to alert on: two facts under one id."""
        key = (source, result)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._taken.labels(source, result)
        child.inc()

    def verified(self, source: str, secret: str) -> None:
        """Count the key that verified a callback: one whose count stands still may be taken out."""
        key = (source, secret, "")
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._verified.labels(source, secret)
        child.inc()

    def rejected(self, source: str, reason: str) -> None:
        """Count a callback that failed verification."""
        self._rejected.labels(source, reason).inc()

    def fetched(self, source: str, result: str) -> None:
        """Count a key that was asked for, or that was not since too many were."""
        self._fetched.labels(source, result).inc()

    def failed(self, source: str, reason: str) -> None:
        """Count a callback that was answered "call again"."""
        self._failed.labels(source, reason).inc()


class DispatchMetrics:
    """Counts and times of handler runs. Children are kept, as above."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter("receiver_attempts", "Handler runs by outcome", ["handler", "outcome"], registry=registry)
        self._seconds = Histogram(
            "receiver_handler_seconds", "Duration of handler runs", ["handler"], buckets=_BUCKETS, registry=registry
        )
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._open = Gauge(
            "receiver_circuit_open", "1: only probes of this handler run here", ["handler"], registry=registry
        )

        self._confirmations = Counter(
            "receiver_confirmations", "Confirmations by outcome", ["source", "outcome"], registry=registry
        )
        self._confirming = Histogram(
            "receiver_confirmation_seconds",
            "Duration of confirmations",
            ["source"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def asked(self, source: str, outcome: str, seconds: float) -> None:
        """Count one confirmation. `not_confirmed` is the one to alert on: somebody calls with what is not so."""
        self._confirmations.labels(source, outcome).inc()
        self._confirming.labels(source).observe(seconds)

    def circuit(self, handler: str, *, is_open: bool) -> None:
        """Show whether nothing but probes of a handler, or of a source's confirmation, runs here."""
        self._open.labels(handler).set(int(is_open))

    def ran(self, handler: str, outcome: str, seconds: float) -> None:
        """Count one run."""
        key = (handler, outcome)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = (self._runs.labels(handler, outcome), self._seconds.labels(handler))
        runs, durations = found
        runs.inc()
        durations.observe(seconds)
