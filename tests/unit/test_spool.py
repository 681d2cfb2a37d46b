"""The spool on disk: what it took it gives back, whatever happened to the process or to a file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from collection.errors import ConfigurationError, StorageUnavailable
from collection.settings import load_settings
from collection.storage import Covers, Interval
from collection.storage import set_aside as set_aside_module
from collection.storage.batch import Batch
from collection.storage.delivery import Bad
from collection.storage.segments import MAGIC, Segment, encode_frame, read_frames
from collection.storage.spool import Spool
from collection.storage.spool_folders import storage_name
from collection.storage.spool_report import spool_report
from collection.storage.values import Entry

URL = "redis://:hush@localhost:6379/0"
LAST = 2**64 - 1

BATCHES = [
    ("trades:x:A/B", Batch("trade", [(1, 0, b"a"), (2, LAST, b"\x00" * 40)], Covers("id", [Interval(-1, LAST)]))),
    ("price", Batch("number", [(1, 1.0), (2, -0.1), (3, 2.0**53)], None, {"refused:no_price": 3})),
    ("notes", Batch("value", [(1, 7, "ü".encode())], Covers("time", [Interval(0, 5), Interval(9, 12)]))),
    ("notes", Batch(None, [], counts={"error:deadline": 1})),
    ("notes", Batch(None, [], Covers("time", [Interval(12, 13)]))),
]


def records(first: int, count: int) -> Batch:
    entries: list[Entry] = [(number, number, b"x" * 10) for number in range(first, first + count)]
    return Batch("value", entries)


def drain(spool: Spool) -> list[tuple[str, Batch]]:
    found = []
    while segment := spool.oldest():
        found += list(spool.read(segment))
        spool.remove(segment)
    return found


def successor(root: Path) -> Spool:
    spool = Spool(root, URL)
    spool.adopt()
    return spool


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != "url")


def test_batches_come_back_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    for one in BATCHES:
        spool.append([one])
    assert spool.pending
    assert drain(spool) == BATCHES
    assert not spool.pending
    assert files(tmp_path) == []


def test_an_unused_spool_leaves_no_trace(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", URL)
    assert (spool.adopt(), spool.oldest(), spool.pending) == (0, None, False)
    spool.close()
    assert spool_report(tmp_path / "spool").waiting == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_leaves_is_adopted_once_and_only_when_it_is_gone(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, URL), Spool(tmp_path, URL)
    first.append(BATCHES)
    assert second.adopt() == 0
    second.append([("k", records(1, 1))])
    first.close()
    assert (second.adopt(), second.adopt(), successor(tmp_path).pending) == (1, 0, False)
    assert drain(second) == [*BATCHES, ("k", records(1, 1))]
    second.close()
    assert [path.name for path in tmp_path.rglob("*")] == [storage_name(URL)[0], "url"]


def test_each_storage_has_a_folder_of_its_own_whatever_its_password(tmp_path: Path) -> None:
    Spool(tmp_path, URL).append(BATCHES)
    others = ["redis://localhost:6379/1", "redis://other:6379/0", "rediss://localhost:6379/0", "unix:///r.sock?db=1"]
    assert len({storage_name(url) for url in [URL, *others]}) == 5
    same = ["redis://localhost", "redis://user:other%40@LOCALHOST:6379/", "redis://localhost/0?password=a&username=b"]
    assert {storage_name(url) for url in same} == {storage_name(URL)}
    assert "hush" not in "".join(path.name + path.read_text("latin-1") for path in tmp_path.rglob("url"))


def test_a_frame_that_was_cut_off_anywhere_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(BATCHES)
    [path] = tmp_path.rglob("*.segment")
    spool.close()
    whole, last = path.read_bytes(), len(encode_frame(*BATCHES[-1]))
    for cut in range(1, last):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[:-cut])
        later = successor(tmp_path)
        assert drain(later) == BATCHES[:-1]
        assert later.torn == 1
        later.close()
    assert "the last frame was cut off" in caplog.text
    assert files(tmp_path) == []


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, MAGIC[:3]])
def test_an_end_that_was_never_written_is_left_out(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "1.segment"
    path.write_bytes(MAGIC + encode_frame(*BATCHES[0]) + tail if tail[0] == 0 else tail)
    segment = Segment(path)
    assert [(key, batch) for _, key, batch in segment.read()] == (BATCHES[:1] if tail[0] == 0 else [])
    assert (segment.torn, segment.damaged) == (True, False)


def test_a_byte_that_flipped_anywhere_is_found_and_what_it_hit_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(BATCHES)
    [path] = tmp_path.rglob("*.segment")
    spool.close()
    whole = path.read_bytes()
    begins = [len(MAGIC), *(end for end, _, _ in read_frames(whole))]
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damaged)
        later = successor(tmp_path)
        before = sum(begin <= place for begin in begins[1:])
        assert drain(later) == BATCHES[: before if place >= len(MAGIC) else 0]
        later.close()
        [kept] = files(tmp_path)
        assert kept.suffix == ".damaged"
        assert kept.read_bytes() == damaged
        assert spool_report(tmp_path).damaged == [kept]
        kept.unlink()
    assert f"{path}: a frame is damaged: the " in caplog.text
    assert "the damaged segment is kept; the coverage of what can't be read stays open" in caplog.text


def test_beyond_the_limit_the_oldest_go_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = 20_000
    spool = Spool(tmp_path, URL, limit=limit)
    for number in range(100):
        key = f"k{number % 2}"
        spool.append([(key, records(number * 20, 20)), (key, Batch(None, counts={"refused:no_price": 1}))])
        assert sum(path.stat().st_size for path in files(tmp_path)) <= limit + 200  # and the counts
    counts: dict[str, Counter[str]] = {"k0": Counter(), "k1": Counter()}
    kept: dict[str, list[int]] = {"k0": [], "k1": []}
    for key, batch in drain(spool):
        counts[key].update(batch.counts)
        kept[key] += [entry[0] for entry in batch.entries]
    for key in counts:
        assert counts[key]["dropped:spool_full"] + len(kept[key]) == 1000
        assert counts[key]["refused:no_price"] == 50
        assert kept[key][-1] == (1999 if key == "k1" else 1979)
    assert min(kept["k0"] + kept["k1"]) == 2000 - len(kept["k0"]) - len(kept["k1"])  # the newest, without a hole
    assert f"go, the oldest, for it has reached its limit of {limit} bytes" in caplog.text


def test_the_limit_is_for_all_processes_and_takes_from_the_own_and_the_adopted(tmp_path: Path) -> None:
    dead, alive = (Spool(tmp_path, URL, limit=20_000) for _ in range(2))
    for number in range(8):
        dead.append([("dead", records(number * 50, 50))])
        alive.append([("alive", records(number * 50, 50))])
    dead.close()
    spool = successor(tmp_path)
    spool._limit = 20_000
    for number in range(50):
        spool.append([("own", records(number * 50, 50))])
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 20_000 + 200
    assert {key for key, batch in drain(spool) if batch.entries} == {"own"}
    assert {key for key, _ in drain(alive)} == {"alive"}


def test_more_than_the_limit_at_once_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, limit=1000)
    spool.append([("k", records(1, 10))])
    with pytest.raises(StorageUnavailable, match=r"spool .*: its limit is 1000 bytes"):
        spool.append([("k", records(11, 100))])
    assert drain(spool) == [("k", records(1, 10))]


def test_a_full_disk_costs_nothing_of_what_was_taken_before_or_after(tmp_path: Path) -> None:
    # The limit of file sizes is for a whole process.
    script = """
import resource, sys
from pathlib import Path
from collection.errors import StorageUnavailable
from tests.unit.test_spool import URL, Spool, drain, records
spool = Spool(Path(sys.argv[1]), URL)
spool.append([("k", records(0, 100))])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, most))
for _ in range(2):
    try:
        spool.append([("k", records(100, 1000))])
    except StorageUnavailable as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
spool.append([("k", records(1100, 100))])
assert drain(spool) == [("k", records(0, 100)), ("k", records(1100, 100))]
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 2
    assert files(tmp_path) == []


def test_a_folder_that_cant_be_used_is_told_and_taken_as_soon_as_it_can(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.write_text("in the way")
    spool = Spool(root, URL)
    with pytest.raises(StorageUnavailable, match=r"spool .*/spool/\w+: (Not a directory|File exists)"):
        spool.append(BATCHES)
    root.unlink()
    spool.append(BATCHES)
    assert drain(spool) == BATCHES


def test_a_folder_that_somebody_deleted_is_made_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", URL)
    spool.append(BATCHES[:1])
    shutil.rmtree(tmp_path / "spool")
    spool.append(BATCHES[1:])
    assert drain(spool) == BATCHES[1:]


def test_what_was_acknowledged_is_not_read_again_but_by_a_successor(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    spool.append(BATCHES)
    segment = spool.oldest()
    assert segment is not None
    for number, one in enumerate(spool.read(segment)):
        if number == 2:  # the third fails
            break
        assert one == BATCHES[number]
    spool.append([("later", records(1, 1))])
    assert [batch for _, batch in spool.read(segment)] == [batch for _, batch in BATCHES[2:]]
    spool.close()  # before it is removed
    assert drain(successor(tmp_path)) == [*BATCHES, ("later", records(1, 1))]


def test_a_process_that_is_killed_leaves_what_was_durable(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from tests.unit.test_spool import URL, Spool, records
spool = Spool(Path(sys.argv[1]), URL)
for number in range(10**9):
    spool.append([("k", records(number * 10, 10))])
    print(number, flush=True)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=_root(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            last = [int(process.stdout.readline()) for _ in range(50)][-1]
            assert successor(tmp_path).pending is False
        finally:
            process.kill()
        last = max([last, *map(int, process.stdout.read().split())])
    numbers = [entry[0] for _, batch in drain(successor(tmp_path)) for entry in batch.entries]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= (last + 1) * 10


def test_a_report_tells_what_waits_and_what_was_set_aside(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path, URL), Spool(tmp_path, "unix://:hush@/run/redis.sock?db=1")
    dead.append(BATCHES)
    dead.set_aside("notes", "value", [Bad(records(1, 3).entries, "Redis: ERR no")])
    dead.close()
    alive.append([("k", records(1, 5))])
    report = spool_report(tmp_path)
    found = {one.storage: (one.held, dict(one.records)) for one in report.waiting}
    assert found == {
        "redis://localhost:6379": (False, {"trades:x:A/B": 2, "price": 3, "notes": 1}),
        "unix:///run/redis.sock?db=1": (True, {"k": 5}),
    }
    assert sum(one.bytes for one in report.waiting) == sum(path.stat().st_size for path in tmp_path.rglob("*.segment"))
    assert report.set_aside == {("notes", "Redis: ERR no"): 3}
    assert (report.damaged, drain(alive)) == ([], [("k", records(1, 5))])


def test_the_file_of_what_was_set_aside_is_readable_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_aside_module, "LARGEST", 2000)
    spool = Spool(tmp_path, URL)
    spool.set_aside("price", "number", [Bad([(5, 1.5)], "why")])
    spool.set_aside("k", "trade", [Bad([(6, LAST, b"\xff\x00")], "x" * 10_000)])
    lines = [json.loads(line) for line in (tmp_path / "set-aside.jsonl").read_text().splitlines()]
    assert [line.pop("at") > 1_700_000_000_000 for line in lines] == [True, True]
    assert lines == [
        {"key": "price", "type": "number", "reason": "why", "timestamp": 5, "value": 1.5},
        {"key": "k", "type": "trade", "reason": "x" * 500, "timestamp": 6, "id": str(LAST), "payload": "/wA="},
    ]
    for _ in range(100):
        spool.set_aside("k", "value", [Bad(records(1, 3).entries, "why")])
    assert sum(path.stat().st_size for path in tmp_path.glob("*.jsonl")) < 2 * 2500
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.jsonl")} == {0o600}


def test_the_limit_is_set_as_people_write_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().spool_limit == 1_000_000_000
    monkeypatch.setenv("COLLECTION_SPOOL_LIMIT", "512MB")
    assert load_settings().spool_limit == 512_000_000
    monkeypatch.setenv("COLLECTION_SPOOL_LIMIT", "10")
    with pytest.raises(ConfigurationError, match="COLLECTION_SPOOL_LIMIT: 10 bytes are less than 1000000"):
        load_settings()


def _root() -> Path:
    return Path(__file__).parents[2]
