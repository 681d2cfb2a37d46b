"""The settings that are tables of their own: of an exchange, of kinds of data, of quotes."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from collection.redis_url import servers
from collection.text import Seconds

SHORTEST_INTERVAL = 0.05
"""Seconds between two polls, at the least."""

Transport = Literal["auto", "poll", "stream"]


def well_formed(value: SecretStr, schemes: tuple[str, ...] | None) -> SecretStr:
    """Check a URL, without showing any of it."""
    try:
        if schemes is None and servers(value.get_secret_value()):
            return value
        parts = urlsplit(value.get_secret_value())
        parts.port  # noqa: B018  which is read here, and may be none
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or "://" not in value.get_secret_value() or (schemes and parts.scheme not in schemes):
        example = "redis://localhost:6379/0" if schemes is None else f"http://host:3128 ({', '.join(schemes)})"
        raise ValueError(f"is no URL such as {example}; special characters of a password are percent-encoded")
    return value


class ExchangeSettings(BaseModel):
    """How one exchange is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Transport = Field(
        "auto", description="poll over HTTP, stream over a WebSocket, or auto: stream where ccxt can"
    )
    client: Literal["auto", "ccxt"] = Field(
        "auto", description="auto: this system's own client where there is one, else ccxt's"
    )
    urls: dict[str, Any] = Field({}, description="other addresses, as in ccxt's `urls['api']`")
    options: dict[str, Any] = Field({}, description="ccxt's options of this exchange, where its client is used")
    proxy: SecretStr | None = Field(None, description="a proxy: http://…, or with the extra `socks` socks5://…")
    api_key: SecretStr | None = Field(None, description="where market data needs a key")
    secret: SecretStr | None = Field(None, description="the key's secret")
    password: SecretStr | None = Field(None, description="the key's passphrase")

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, value: SecretStr | None) -> SecretStr | None:
        return value and well_formed(value, ("http", "https", "socks4", "socks5", "socks5h"))


def _not_too_short(value: float) -> float:
    if value < SHORTEST_INTERVAL:
        raise ValueError(f"{value:g} s is shorter than {SHORTEST_INTERVAL:g} s")
    return value


Interval = Annotated[Seconds, AfterValidator(_not_too_short)]


class Intervals(BaseModel):
    """The time between two polls of each kind of data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trades: Interval = 5.0


class Retention(BaseModel):
    """How long each kind of data is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trades: Seconds = 30 * 86_400.0
    quotes: Seconds = 86_400.0


class QuoteSettings(BaseModel):
    """How quotes are made and told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Interval = Field(1.0, description="time between two rounds of all quotes")
    delay: Seconds = Field(
        0.25, description="how long after a moment its quotes are made: what was received is on its way for a while"
    )
    deviation: float = Field(
        0.0001, ge=0, lt=1, description="a quote whose price moved by more is published: 0.0001 is a basis point"
    )
    heartbeat: Seconds = Field(10.0, description="time after which a quote is published again, though it is the same")
