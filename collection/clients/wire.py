"""Wire: what one exchange says, and how it is asked. No connection and no clock: bytes in, records out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.errors import CollectionError
from collection.records import Trade
from collection.storage.coverage import By

SHOWN = 500
"""Characters of what can't be read that are kept."""
UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
"""What reading a message or an answer of an unknown form may raise."""


class Trades(NamedTuple):
    """Trades of one market, by its name on the wire, in the order in which the exchange sent them."""

    symbol: str
    trades: Sequence[Trade]
    refused: Sequence[Refused] = ()


class Subscribed(NamedTuple):
    """The exchange sends trades of these markets from now on: named, or those of a request by its number."""

    symbols: Sequence[str] = ()
    request: int | None = None


class Rejected(NamedTuple):
    """The exchange will not send trades of these markets: named, or some of a request by its number."""

    error: CollectionError
    symbols: Sequence[str] = ()
    request: int | None = None


class Leaving(NamedTuple):
    """The exchange is about to close the connection, or asks to connect anew."""

    reason: str


class Unread(NamedTuple):
    """A message that can't be read; its market, by its name on the wire, where that much could be."""

    text: str
    error: str
    symbol: str = ""


Event = Trades | Subscribed | Rejected | Leaving | Unread


class Limits(NamedTuple):
    """What the exchange allows, as its documentation says, less a little.

    A rate lets its weight go at once, and as much again while it fills: windows are to hold both.
    """

    markets: int
    """On one connection."""
    together: int
    """In one message that subscribes."""
    messages: Rate
    """Sent over one connection."""
    connections: Rate
    """Tried from one address."""
    requests: Rate
    """Weight of REST requests from one address."""


class Request(NamedTuple):
    """A GET request: what follows the REST address, its parameters, and what it weighs."""

    path: str
    params: Mapping[str, str | int]
    weight: float = 1.0


Pages = Literal["from_id", "before_id", "since", "newest"]


class Wire(ABC):
    """The spot trades of one exchange, over its WebSocket and over REST, under the same ids.

    A symbol is a market's name in WebSocket messages.
    """

    exchange: ClassVar[str]
    """Its id, which is ccxt's."""
    by: ClassVar[By]
    """What positions are: ids where the exchange numbers the trades of a market without a hole, else times."""
    pages: ClassVar[Pages]
    """How REST pages: from an id on, before an id, since a time in Unix milliseconds, or the newest trades alone."""
    page_size: ClassVar[int]
    """The most trades of one answer."""
    limits: ClassVar[Limits]
    rest: ClassVar[str]
    """The address of REST."""
    rest_key: ClassVar[Sequence[str]]
    """Where the setting `urls` has another one, which is where ccxt has it in its `urls["api"]`."""
    socket: ClassVar[str]
    """The address of the WebSocket."""
    socket_key: ClassVar[Sequence[str]]
    socket_path: ClassVar[str] = ""
    """What is added to that address."""
    ping: ClassVar[bytes | None] = None
    """What the exchange wants to be sent now and then, where a ping of the WebSocket protocol is not enough."""

    @abstractmethod
    def symbol(self, market: str) -> str:
        """Return the symbol of a market (`BTC/USDT`)."""

    @abstractmethod
    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        """Return the message that asks for trades; `request` is a number that the connection uses once."""

    @abstractmethod
    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        """Return the message that ends it."""

    @abstractmethod
    def read(self, message: bytes, received: int) -> Event | None:
        """Read a message; None where it says nothing of interest (a heartbeat, an answer to `ping` or `unsubscribe`).

        `received` is the time of receipt in Unix milliseconds. What can't be read raises one of UNREADABLE: use `hear`.
        """

    def hear(self, message: bytes, received: int) -> Event | None:
        """As `read`, but returns what can't be read as Unread, and never raises."""
        try:
            return self.read(message, received)
        except UNREADABLE as error:
            text = bytes(message[:SHOWN]).decode(errors="replace")
            return Unread(text, f"{type(error).__name__}: {error}", self._symbol_in(message))

    @abstractmethod
    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        """Return the symbol that a message of trades names, whatever else is wrong with it; raises as `read` does."""

    def _symbol_in(self, message: bytes) -> str:
        try:
            symbol = self.symbol_of(msgspec.json.decode(message))
        except UNREADABLE:
            return ""
        return symbol if isinstance(symbol, str) else ""

    def listing(self) -> Request | None:
        """Return what is to be asked once before `ask` knows the markets; None where names follow from a rule."""
        return None

    def learn(self, body: bytes) -> None:  # noqa: B027 - most have nothing to learn
        """Read the answer to `listing`; raises as `read_page` does."""

    @abstractmethod
    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        """Return the request for at most `limit` trades, from where `at` says (see `pages`), None for the newest.

        Raises ConfigurationError for a market that `listing` has shown not to be there.
        """

    @abstractmethod
    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        """Read the answer to `ask`: trades by ascending (time, id), and what of it is refused.

        Raises RetryLater or ConfigurationError where the answer is an error though its status is 200, and otherwise as
        `read` does for an answer that can't be read.
        """

    def error(self, status: int, body: bytes) -> CollectionError | None:
        """Return what an answer with an error's status means; None where the status says all.

        An unknown market is a ConfigurationError. Never raises.
        """
        return None
