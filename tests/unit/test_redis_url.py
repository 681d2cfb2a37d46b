"""URLs that name several servers: read, refused in one line without a password, and spelt for Celery."""

from __future__ import annotations

import pytest

from collection.errors import ConfigurationError
from collection.redis_url import servers
from collection.settings import load_settings
from collection.storage import open_storage


def test_a_clusters_url_names_its_hosts() -> None:
    found = servers("rediss+cluster://user:p%40ss@one,two:7001,[::1]:7002/?ssl_ca_certs=%2Fca.pem")
    assert found is not None
    assert found.hosts == [("one", 6379), ("two", 7001), ("::1", 7002)]
    assert (found.login, found.db, found.tls, found.name) == ("user:p%40ss@", 0, True, "")
    assert found.options == "ssl_ca_certs=%2Fca.pem"


def test_a_sentinels_url_names_its_hosts_and_the_master() -> None:
    found = servers("redis+sentinel://:pw@one,two:26380/my%20master/3?sentinel_password=a%26b&socket_timeout=2")
    assert found is not None
    assert found.hosts == [("one", 26379), ("two", 26380)]
    assert (found.login, found.db, found.tls, found.name) == (":pw@", 3, False, "my master")
    assert (found.options, found.sentinel_login) == ("socket_timeout=2", {"password": "a&b"})


@pytest.mark.parametrize("url", ["redis://h:1/0", "unix:///run/redis.sock", "memory://", "redis"])
def test_other_urls_are_none_of_several_servers(url: str) -> None:
    assert servers(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:hush@one:x",
        "redis+cluster://:hush@one:7000,",
        "redis+cluster://:hush@one:7000, two:7001",
        "redis+cluster://:hush@one:7000/1",
        "redis+cluster://:hush#x@one:7000",
        "redis+cluster://:hush@one:7000?no_such_option=1",
        "redis+cluster://:hush@one:7000?socket_timeout=soon",
        "redis+sentinel://:hush@one:26379",
        "redis+sentinel://:hush@one:26379/",
        "redis+sentinel://:hush@one:26379/name/x",
        "redis+sentinel://:hush@one:26379/name/0/0",
        "redis+sentinel://:hush@one:26379/name?no_such_option=1",
        "redis+sentinel://:hu/sh@one:26379/name",
    ],
)
def test_a_malformed_url_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^the storage URL is malformed: [^\n]*$") as caught:
        open_storage(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis+cluster://:hush@one:x", "redis+sentinel://:hush@one:26379"])
def test_a_malformed_url_of_the_settings_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COLLECTION_URL", url)
    with pytest.raises(ConfigurationError, match=r"^environment: COLLECTION_URL: is no URL such as [^\n]*$") as caught:
        load_settings()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("kind", ["redis+cluster", "rediss+cluster", "rediss+sentinel"])
def test_what_can_not_be_the_broker_too_says_what_to_set(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    url = f"{kind}://:hush@one:1" + ("/name" if "sentinel" in kind else "")
    monkeypatch.setenv("COLLECTION_URL", url)
    settings = load_settings()
    assert settings.storage() == url
    for asked in (settings.broker, settings.broker_options):
        with pytest.raises(ConfigurationError) as caught:
            asked()
        [line] = caught.value.problems
        assert line.startswith(
            f"environment: COLLECTION_URL: Celery's broker can't be {kind}://; set COLLECTION_BROKER"
        )
        assert "hush" not in line
    monkeypatch.setenv("COLLECTION_BROKER_URL", "redis://two")
    assert (load_settings().broker(), load_settings().broker_options()) == ("redis://two", {})


def test_a_broker_behind_sentinels_is_spelt_as_celery_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", "redis+sentinel://u:p%40w@one,[::1]:26380/name/2?sentinel_password=s")
    settings = load_settings()
    assert settings.broker() == "sentinel://u:p%40w@one:26379/2;sentinel://u:p%40w@[::1]:26380/2"
    assert settings.broker_options() == {
        "master_name": "name",
        "sentinel_kwargs": {"socket_timeout": 5, "socket_connect_timeout": 5, "password": "s"},
    }
