"""Log lines: one event name each, on stderr; JSON unless a person is watching."""

import logging
import sys

import structlog


def configure(*, level: str = "info") -> None:
    """Set up structlog for a program of ours. A library user's own set-up is never touched: only the CLI calls this."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Made anew for each line: whoever replaces stderr later, and closes the old one, must not make logging raise.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
