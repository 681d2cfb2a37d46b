"""URLs of Redis that name several servers: a cluster's, or the sentinels that know which server is the master.

redis+cluster://[USER:PASSWORD@]host[:6379][,host2…][?option=…]
redis+sentinel://[USER:PASSWORD@]host[:26379][,host2…]/NAME[/DB][?sentinel_password=…][&option=…]

With `rediss` instead of `redis` they go through TLS. The options are those of redis-py's URLs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

CLUSTER = ("redis+cluster", "rediss+cluster")
SENTINEL = ("redis+sentinel", "rediss+sentinel")
_SENTINELS_OWN = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class Servers:
    """What the URL of several servers says."""

    scheme: str
    hosts: Sequence[tuple[str, int]]
    login: str
    """`USER:PASSWORD@`, percent-encoded, or empty."""
    name: str
    """What the sentinels call their master; empty for a cluster."""
    db: int
    options: str
    """Percent-encoded."""
    sentinel_login: Mapping[str, str]
    """`username` and `password` for the sentinels themselves, where they ask for one."""

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss+")

    def urls(self, scheme: str) -> list[str]:
        """Return a URL for each host as if it were alone, without options."""
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in self.hosts]
        return [f"{scheme}://{self.login}{host}:{port}/{self.db}" for host, port in hosts]


def servers(url: str) -> Servers | None:
    """Read a URL; None where it has another scheme than those of several servers.

    Raises:
        ValueError: It is malformed.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in CLUSTER + SENTINEL:
        return None
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    name, _, db = ("", "", path.strip("/")) if scheme in CLUSTER else path.partition("/")
    if set(rest) & set("# ") or not (db or "0").isdecimal() or bool(name) != (scheme in SENTINEL):
        raise ValueError("malformed")
    if scheme in CLUSTER and int(db or 0):
        raise ValueError("a cluster has no database but 0")
    options = dict(parse_qsl(query, strict_parsing=bool(query)))
    return Servers(
        scheme,
        [_address(host, 6379 if scheme in CLUSTER else 26379) for host in hosts.split(",")],
        login + at,
        unquote(name),
        int(db or 0),
        urlencode({option: value for option, value in options.items() if option not in _SENTINELS_OWN}),
        {_SENTINELS_OWN[option]: value for option, value in options.items() if option in _SENTINELS_OWN},
    )


def _address(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or port
