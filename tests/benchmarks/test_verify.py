"""The part of the benchmark that measures verification knows every provider."""

from benchmarks.verify import measure
from receiver.sources import PROVIDERS


def test_every_provider_is_measured() -> None:
    steps: list[str] = []
    measured = measure(rounds=1, seconds=0.001, step=steps.append)
    assert [row.name for row in measured] == list(PROVIDERS)
    assert len(steps) == len(PROVIDERS)
    for row in measured:
        assert 400 < row.bytes < 4_000, row
        assert 0 < row.genuine_us < 1e6, row
        assert 0 < row.forged_us < 1e6, row
