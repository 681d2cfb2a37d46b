"""All configuration but the feeds: from `COLLECTION_*` variables, `.env` and `collection.toml`, in this order."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from collection.embedded import find_running
from collection.errors import ConfigurationError
from collection.names import check_exchange
from collection.problems import problems
from collection.redis_url import CLUSTER, Servers, servers
from collection.setting_groups import ExchangeSettings, Intervals, QuoteSettings, Retention, well_formed
from collection.text import Seconds, milliseconds, nearest

PREFIX = "COLLECTION_"
FOLDER = Path(".collection")
"""Where the embedded Redis and whatever else belongs to this folder lives."""
TOML = Path("collection.toml")
DOTENV = Path(".env")
OTHER_VARIABLES = {"COLLECTION_REDIS_SERVER", "COLLECTION_REDIS_MODULE"}
"""Read by the embedded Redis itself."""

SMALLEST_SPOOL = 1_000_000
"""Bytes."""


class _DotEnv(DotEnvSettingsSource):
    """Reads `.env` as it reads the environment: other programs' lines in it are none of our business."""

    def __call__(self) -> dict[str, Any]:
        return EnvSettingsSource.__call__(self)


class Settings(BaseSettings):
    """The table of all settings; nested ones are `COLLECTION_EXCHANGES__BINANCE__TRANSPORT` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_file=DOTENV, toml_file=TOML, extra="forbid", frozen=True
    )

    url: SecretStr | None = Field(None, description="Redis for both storage and broker: redis://host:6379/0")
    storage_url: SecretStr | None = Field(None, description="Redis for storage, where it is another one")
    broker_url: SecretStr | None = Field(None, description="Redis for Celery's messages, where it is another one")
    feeds: Path = Field(Path("feeds.toml"), description="the feeds file that beat and `run` read")
    exchanges: dict[str, ExchangeSettings] = Field({}, description="how exchanges are reached, by ccxt's id")
    intervals: Intervals = Field(Intervals(), description="time between two polls, by kind of data")
    quotes: QuoteSettings = Field(QuoteSettings(), description="how quotes are made and told")
    retention: Retention = Field(
        Retention(),
        description="how long data are kept, by kind, then dropped by whole days: no window may be longer",
    )
    start: str = Field(
        "now",
        description="where an empty series starts: now, earliest (of what is kept), or a time such as 2026-01-31T12:00",
    )
    handover: Seconds = Field(
        20.0, description="how long a worker that ends lets others take over its streams, before it ends them"
    )
    spool: Path = Field(FOLDER / "spool", description="the folder where what Redis does not take waits")
    spool_limit: ByteSize = Field(
        ByteSize(1_000_000_000), description="bytes that may wait there; beyond it the oldest are dropped, and counted"
    )

    @field_validator("url", "storage_url", "broker_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        return value and well_formed(value, None)

    @field_validator("exchanges")
    @classmethod
    def _known(cls, value: dict[str, ExchangeSettings]) -> dict[str, ExchangeSettings]:
        for name in value:
            check_exchange(name)
        return value

    @field_validator("spool_limit")
    @classmethod
    def _large(cls, value: ByteSize) -> ByteSize:
        if value < SMALLEST_SPOOL:
            raise ValueError(f"{int(value)} bytes are less than {SMALLEST_SPOOL}")
        return value

    @field_validator("start")
    @classmethod
    def _start(cls, value: str) -> str:
        if value not in ("now", "earliest"):
            try:
                milliseconds(value)
            except ValueError:
                raise ValueError(
                    f"{value!r} is neither 'now', 'earliest' nor a time such as 2026-01-31T12:00"
                ) from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _DotEnv(settings_cls), TomlConfigSettingsSource(settings_cls)

    def exchange(self, name: str) -> ExchangeSettings:
        """How the exchange is reached: the defaults where nothing is said of it."""
        return self.exchanges.get(name, ExchangeSettings())

    def storage(self) -> str:
        """The URL to store at; raises ConfigurationError where there is none."""
        return self._redis(self.storage_url)

    def broker(self) -> str:
        """The URL of Celery's broker in kombu's spelling; raises ConfigurationError where there is none."""
        url = self._redis(self.broker_url)
        if several := self._broker_servers():
            return ";".join(several.urls("sentinel"))
        if not url.startswith("unix://"):
            return url
        return url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)

    def broker_options(self) -> dict[str, Any]:
        """What kombu wants to know of the broker besides its URL."""
        if several := self._broker_servers():
            patience = {"socket_timeout": 5, "socket_connect_timeout": 5}
            return {"master_name": several.name, "sentinel_kwargs": {**patience, **several.sentinel_login}}
        return {}

    def _broker_servers(self) -> Servers | None:
        several = servers(self._redis(self.broker_url))
        if several and (several.scheme in CLUSTER or several.tls):
            place = _where(("broker_url" if self.broker_url else "url",))
            raise ConfigurationError(
                f"{place}: Celery's broker can't be {several.scheme}://;"
                f" set {PREFIX}BROKER_URL to a Redis that is redis://, rediss:// or redis+sentinel://"
            )
        return several

    def _redis(self, own: SecretStr | None) -> str:
        chosen = own or self.url
        if chosen:
            return chosen.get_secret_value()
        running = find_running(FOLDER)
        if running:
            return running
        raise ConfigurationError(
            "no Redis: run `collection up` in this folder, or set COLLECTION_URL=redis://localhost:6379/0"
        )


def load_settings(**given: Any) -> Settings:
    """Read the settings of the current folder and environment.

    Raises:
        ConfigurationError: Something is misspelt or wrong; all of it at once, each with its place.
    """
    wrong = [*_unknown_variables(os.environ, "environment"), *_unknown_variables(dotenv_values(DOTENV), str(DOTENV))]
    if wrong:
        raise ConfigurationError(*wrong)
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [f"{_where(path)}: {message}" for path, message in problems(error, Settings)]
        raise ConfigurationError(*lines) from None
    except SettingsError as error:
        raise ConfigurationError(f"settings: {error} ({error.__cause__})") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{TOML}: {error}") from None


@cache
def current() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def _unknown_variables(variables: Any, place: str) -> list[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return [
        f"{place}: {name}: unknown{nearest(name.split('__')[0], known | OTHER_VARIABLES, case=str.upper)}"
        for name in variables
        if name.upper().startswith(PREFIX)
        and name.upper().split("__")[0] not in known
        and name.upper() not in OTHER_VARIABLES
    ]


def _where(path: tuple[str, ...]) -> str:
    """Name the place that a setting comes from: the first source that says anything of it."""
    variable = PREFIX + "__".join(path).upper()
    parents = {PREFIX + "__".join(path[:length]).upper() for length in range(1, len(path) + 1)}
    for place, variables in (("environment", os.environ), (str(DOTENV), dotenv_values(DOTENV))):
        for name in variables:
            if name.upper() in parents:
                return f"{place}: {name if name.upper() == variable else f'{name}: {path[-1]}'}"
            if name.upper().startswith(f"{variable}__"):
                return f"{place}: {name}"
    return f"{TOML}: {'.'.join(path)}"
