"""Every setting with its default, its unit and its bounds."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from receiver.settings.shapes import checked_database_url, checked_redis_url

CONFIG_FILE: Final = "receiver.toml"
PREFIX: Final = "RECEIVER_"
NESTED: Final = "__"


class SourceSettings(BaseModel):
    """One account of a provider. Beside these, each provider has settings of its own, which it checks itself."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    provider: str = Field(min_length=1, description="the kind of sender, such as stripe")
    verification: Literal["signature", "none"] = Field(
        default="signature", description='"none" takes callbacks from anybody; it must be said in so many words'
    )
    confirm: str | None = Field(
        default=None,
        min_length=1,
        description='what asks whether an event is so, before any handler: "provider", or your own "module:function"',
    )
    token: Literal["url", "field"] | None = Field(
        default=None,
        description='where callbacks bring your token: "url", behind the source\'s name, or "field", in the body',
    )
    token_field: str | None = Field(
        default=None,
        min_length=1,
        description='for "field": its place in `event.data`, such as data.object.metadata.token',
    )
    token_for: Literal["entity", "event", "any"] | None = Field(
        default=None,
        description='what a token is good for once it was used: the events of that payment ("entity"), that "event"'
        ' alone, or "any"; default: as the provider gives addresses',
    )

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Without the provider's own settings, some of which are secrets."""
        return [("provider", self.provider), ("verification", self.verification)]


class Settings(BaseSettings):
    """All settings. Environment (`RECEIVER_…`, nested by `__`) wins over `.env`, then secrets, then `receiver.toml`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        env_file=".env",
        env_file_encoding="utf-8",
        dotenv_filtering="only_existing",  # other programs' variables may stand there; `load` looks for misspelt ones
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        toml_file=CONFIG_FILE,
    )

    database_url: Annotated[str, AfterValidator(checked_database_url)] | None = Field(
        default=None, repr=False, description="postgresql://user:password@host:port/database"
    )
    redis_url: Annotated[str, AfterValidator(checked_redis_url)] | None = Field(
        default=None, repr=False, description="redis://[:password@]host:port/number"
    )
    embedded: Path | None = Field(default=None, description="folder of the embedded servers, instead of the two URLs")
    sources: dict[str, SourceSettings] = Field(default_factory=dict, description="accounts, by name")

    host: str = Field(default="127.0.0.1", min_length=1, description="address of the public listener")
    port: int = Field(default=8000, ge=0, le=65535, description="port of the public listener")
    operator_host: str = Field(default="127.0.0.1", min_length=1, description="address of the operator listener")
    operator_port: int = Field(default=8001, ge=0, le=65535, description="port of the operator listener")
    processes: int = Field(default=1, ge=1, le=64, description="server processes, each with a socket of its own")

    body_limit: int = Field(default=1_048_576, ge=1024, description="largest body of a callback, in bytes")
    body_deadline: float = Field(default=10.0, gt=0, description="seconds a body may take to arrive")
    answer_deadline: float = Field(default=4.0, gt=0, description="seconds after which a callback is answered 503")
    queue_limit: int = Field(default=4096, ge=1, description="callbacks that may wait for a commit in one process")
    mark_ttl: int = Field(default=604_800, ge=1, description="seconds that a mark of a stored callback lives in Redis")
    redis_timeout: float = Field(default=0.25, gt=0, description="seconds to wait for Redis before going on without it")
    certificate_folder: Path | None = Field(
        default=None, description="folder for certificates that were fetched, beside Redis"
    )
    retention_days: int = Field(default=90, ge=1, description="days that keys are kept; at least the retry horizon")

    concurrency: int = Field(default=16, ge=1, le=256, description="handlers that one worker runs at once")
    lease_seconds: float = Field(default=60.0, ge=1, description="seconds a worker owns a dispatch before others may")
    poll_seconds: float = Field(default=1.0, gt=0, description="seconds between looks for due dispatches")
    wait_for_disk: bool = Field(default=True, description="a handler's commit waits until it is on disk")
    grace_seconds: float = Field(default=20.0, ge=0, description="seconds that running handlers get at shutdown")

    token_keys: list[str] = Field(
        default_factory=list,
        repr=False,
        description="secrets that sign issued tokens, newest first; env:NAME or file:PATH; at least 32 characters each",
    )
    token_ttl: int = Field(default=900, ge=1, description="seconds that a token is good, if nothing else is asked for")
    token_longest_ttl: int = Field(default=86_400, ge=1, description="seconds that may be asked for")
    token_most: int = Field(default=100, ge=1, le=10_000, description="tokens that may be asked for at once")
    token_rate: int = Field(default=600, ge=1, description="tokens that one caller may have in a minute")
    token_lease_seconds: float = Field(
        default=30.0, ge=1, description="seconds after which the token of a server that died is free again"
    )
    token_without_redis: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="tokens that Redis has lost, or cannot be asked for: accept judges by unique key alone",
    )

    key_connections: int = Field(
        default=8, ge=1, le=100, description="connections to PostgreSQL for Idempotency-Keys, in one process"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence, strongest first."""
        toml = TomlConfigSettingsSource(settings_cls)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, toml
