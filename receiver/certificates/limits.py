"""How often one account may ask: whoever sends callbacks decides which keys are wanted, and may be a forger."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from receiver.errors import ReceiverError

AGAIN_SECONDS: Final = 60.0
"""For so long a document is not asked for a second time."""
MOST_IN_THAT_TIME: Final = 10
"""Documents of one account."""
MOST_AT_ONCE: Final = 3
"""Documents of one account."""


@dataclass
class Limits:
    """What one account asked for within the last minute, and what became of it."""

    _asked: dict[str, float] = field(default_factory=dict)
    _results: dict[str, ReceiverError | None] = field(default_factory=dict)

    def result(self, document: str) -> tuple[bool, ReceiverError | None]:
        """Whether the document was asked for within the last minute, and what went wrong then."""
        self._forget()
        return document in self._asked, self._results.get(document)

    def may_ask(self, under_way: int) -> bool:
        """Whether one more may be asked for, beside those that are under way."""
        self._forget()
        return under_way < MOST_AT_ONCE and len(self._asked) < MOST_IN_THAT_TIME

    def ask(self, document: str) -> None:
        """It is asked for now."""
        self._asked[document] = monotonic()

    def settle(self, document: str, error: ReceiverError | None) -> None:
        """What became of it."""
        if document in self._asked:
            self._results[document] = error

    def _forget(self) -> None:
        over = monotonic() - AGAIN_SECONDS
        for document in [document for document, asked in self._asked.items() if asked <= over]:
            del self._asked[document]
            self._results.pop(document, None)
