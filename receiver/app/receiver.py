"""The object that a merchant holds: handlers are registered on it, and it is itself an ASGI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.app.public import public_app
from receiver.app.service import Service, required
from receiver.errors import SettingsError
from receiver.handlers import Registry, RetryPolicy
from receiver.handlers.lanes import Lane, OnDead
from receiver.handlers.registry import HandlerFunction
from receiver.observability.metrics import DispatchMetrics
from receiver.settings import Settings, load
from receiver.sources import Source, build_sources
from receiver.worker import Worker


class Receiver:
    """Receives payment callbacks and runs handlers, each exactly once in effect.

    As a program: `receiver serve payments:receiver` and `receiver work payments:receiver`. Inside an application of
    your own: `app = FastAPI(lifespan=receiver.lifespan)` and `app.mount("/payments", receiver)`.

    Args:
        settings: default: environment, `.env` and `receiver.toml` of the current folder, read at start.
        folder: what relative `file:` references are relative to, and where the settings file is looked for.
        retry: the policy of handlers that have none of their own.
    """

    def __init__(
        self, settings: Settings | None = None, *, folder: Path | None = None, retry: RetryPolicy | None = None
    ) -> None:
        self._settings = settings
        self._folder = folder or Path()
        self._app: ASGIApp | None = None
        self.handlers = Registry(retry=retry)
        self.metrics = CollectorRegistry()

    def on(
        self,
        source: str,
        *types: str,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        on_dead: OnDead = "pass",
        concurrency: int | None = None,
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Register a handler for events of a source, or of a provider.

        Args:
            source: a source's name (`stripe-eu`) or a provider's (`stripe`).
            types: event types or patterns such as `charge.*`; none: every event of the source.
            name: default: the function's. Stored with each dispatch: renaming it orphans what is not yet done.
            retry: when and how often to try again.
            timeout: seconds that one run may take.
            lane: `entity` keeps the events of one payment, order … in order; or a function of the event that names
                the lane. In one lane one runs at a time, the oldest first; other lanes never wait.
            on_dead: in a lane: `block` keeps what is behind a dead dispatch waiting until it is replayed.
            concurrency: runs at once in one worker.

        Raises:
            HandlerError: the function cannot be a handler, or another has its name.
        """
        return self.handlers.on(
            source, *types, name=name, retry=retry, timeout=timeout, lane=lane, on_dead=on_dead, concurrency=concurrency
        )

    def load_settings(self) -> Settings:
        """The settings given to the constructor, or those found in the environment and the folder."""
        if self._settings is None:
            self._settings = load(self._folder)
        return self._settings

    def sources(self, settings: Settings) -> dict[str, Source]:
        """The configured accounts. Raises SettingsError, naming each setting that is wrong."""
        return build_sources(settings, self._folder)

    def service(self, settings: Settings) -> Service:
        """The server's half."""
        return Service(settings, self.sources(settings), self.handlers, self.metrics)

    def worker(self, settings: Settings) -> Worker:
        """The worker's half."""
        return Worker(
            database_url=required(settings.database_url, "database_url"),
            redis_url=required(settings.redis_url, "redis_url"),
            registry=self.handlers,
            readers={name: source.content for name, source in self.sources(settings).items()},
            settings=settings,
            metrics=DispatchMetrics(self.metrics),
        )

    @asynccontextmanager
    async def lifespan(self, _app: object = None, *, work: bool = True) -> AsyncIterator[None]:
        """Run inside another application, from its start to its end.

        Args:
            _app: what FastAPI hands over; not used.
            work: run handlers in this process too; False where `receiver work` does it.
        """
        settings = self.load_settings()
        service = self.service(settings)
        try:
            self._app = (await service.start(public_app())).app
            if work:
                async with self.worker(settings):
                    yield
            else:
                yield
        finally:
            self._app = None
            await service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, mounted in another application whose lifespan includes ours."""
        if self._app is None:
            raise SettingsError("lifespan: the receiver is not running; pass receiver.lifespan to your FastAPI")
        await self._app(scope, receive, send)
