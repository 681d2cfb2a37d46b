"""Who runs which stream: one contract, on a single server and on a cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from collection.embedded import EmbeddedRedis
from collection.errors import StorageUnavailable
from collection.storage.redis_server import connect
from tests.clusters import RedisCluster
from tests.passing import LAST, fall_back, let_pass
from workers.assignments import FAILED, GONE, NOTE, PLACED, STOPPED, TTL, Assignments, Entry, Kind

BTC, ETH = "trades:binance:BTC/USDT", "trades:binance:ETH/USDT"
ONE, TWO, THREE = "streams1@host", "streams2@host", "streams3@host"


@pytest.fixture(params=["redis_with_timeseries", "redis_cluster"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    server: EmbeddedRedis | RedisCluster = request.getfixturevalue(request.param)
    with connect(server.url) as connected:
        connected.flushall()
        yield connected


@pytest.fixture
def streams(client: redis.Redis) -> Assignments:
    return Assignments(client)


def placed(streams: Assignments, id: str, node: str, kind: Kind = "start") -> str:
    [(_, _, token)] = streams.place([(id, node, kind)])
    return token


def running(streams: Assignments, id: str, node: str) -> str:
    token = placed(streams, id, node)
    assert streams.enter(id, token, node) == "lease"
    return token


def succeeding(streams: Assignments, id: str, node: str) -> str:
    token = placed(streams, id, node, "hand_over")
    assert streams.enter(id, token, node) == "next"
    return token


def lease(streams: Assignments, id: str = BTC) -> Entry:
    return streams.view().leases[id]


def left(streams: Assignments, id: str = BTC) -> float:
    """Seconds for which the lease holds."""
    view = streams.view()
    return (view.leases[id].expires - view.now) / 1000


def test_a_stream_is_placed_entered_kept_and_released(streams: Assignments) -> None:
    token = placed(streams, BTC, ONE)
    assert (lease(streams).state, lease(streams).node, lease(streams).token) == ("placed", ONE, token)
    assert left(streams) == pytest.approx(PLACED, abs=1)
    assert streams.enter(BTC, token, ONE) == "lease"
    assert lease(streams).state == "running"
    assert left(streams) == pytest.approx(TTL, abs=1)
    assert streams.keep(ONE, 5, False, {BTC: token}).lost == []
    streams.release(BTC, token)
    assert streams.view().leases == {}


def test_a_message_that_comes_again_or_late_enters_nothing(streams: Assignments, client: redis.Redis) -> None:
    token = placed(streams, BTC, ONE)
    assert streams.enter(BTC, "1", ONE) is None
    assert streams.enter(ETH, token, ONE) is None
    assert streams.enter(BTC, token, ONE) == "lease"
    assert streams.enter(BTC, token, TWO) is None
    assert lease(streams).node == ONE
    streams.back_off(BTC, token, 1, "away")
    assert streams.enter(BTC, token, TWO) == "lease"
    assert lease(streams).node == TWO
    late = placed(streams, ETH, ONE)
    let_pass(client, PLACED)
    assert streams.enter(ETH, late, ONE) is None


def test_a_renewal_lengthens_the_lease_and_keeps_its_beginning(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    let_pass(client, TTL - 2)
    since = lease(streams).since
    streams.keep(ONE, 5, False, {BTC: token})
    assert (lease(streams).state, lease(streams).since) == ("running", since)
    assert left(streams) == pytest.approx(TTL, abs=1)


def test_a_lease_that_is_not_renewed_ends(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    let_pass(client, TTL)
    assert streams.view().leases == {}
    assert not client.exists("qc:{streams}:leases")
    assert placed(streams, BTC, TWO) > token


@pytest.mark.parametrize("loss", ["memory", "sleep"])
def test_what_is_there_no_more_is_taken_again_under_its_token(
    streams: Assignments, client: redis.Redis, loss: str
) -> None:
    held = {BTC: running(streams, BTC, ONE), ETH: running(streams, ETH, ONE)}
    if loss == "memory":
        client.flushall()
    else:
        let_pass(client, 2 * TTL)
    kept = streams.keep(ONE, 5, False, held)
    assert kept.lost == []
    leases = streams.view().leases
    assert {id: entry.token for id, entry in leases.items()} == held
    assert {(entry.state, entry.node) for entry in leases.values()} == {("running", ONE)}


def test_tokens_stay_greater_than_one_that_was_taken_again_on_a_server_whose_clock_is_behind(
    streams: Assignments, client: redis.Redis
) -> None:
    client.set(LAST, "8999999999999999")
    token = running(streams, BTC, ONE)
    assert token == "9000000000000000"
    client.flushall()
    streams.keep(ONE, 5, False, {BTC: token})
    assert placed(streams, ETH, ONE) == "9000000000000001"


def test_tokens_grow_though_the_clock_falls_back(streams: Assignments, client: redis.Redis) -> None:
    tokens = [running(streams, BTC, ONE)]
    for _ in range(3):
        fall_back(client, 3600)
        streams.stop([BTC])
        tokens += [token for _, _, token in streams.place([(BTC, ONE, "start"), (ETH, ONE, "start")])]
        let_pass(client, PLACED)
    assert tokens == sorted(set(tokens), key=int)


def test_what_another_holds_is_reported_as_lost(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    let_pass(client, TTL)
    other = running(streams, BTC, TWO)
    assert streams.keep(ONE, 5, False, {BTC: token}).lost == [BTC]
    assert streams.view().workers[ONE].running == 0
    streams.release(BTC, token)
    assert not streams.back_off(BTC, token, 1, "late")
    streams.fail(BTC, token, "late")
    assert (lease(streams).token, lease(streams).state) == (other, "running")
    assert streams.keep(TWO, 5, False, {BTC: other}).lost == []


def test_a_successor_gets_the_lease_when_it_delivers_and_the_other_learns_it(
    streams: Assignments, client: redis.Redis
) -> None:
    first = running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    assert streams.keep(ONE, 5, False, {BTC: first}).lost == []
    assert streams.keep(TWO, 5, False, {BTC: second}).lost == []
    assert (lease(streams).token, streams.view().next[BTC].token) == (first, second)
    let_pass(client, 2)
    since = streams.view().next[BTC].since
    assert streams.promote(BTC, second)
    assert (lease(streams).token, lease(streams).node, lease(streams).since) == (second, TWO, since)
    assert streams.view().next == {}
    assert streams.promote(BTC, second)
    assert not streams.promote(BTC, first)
    assert streams.keep(ONE, 5, False, {BTC: first}).lost == [BTC]
    assert streams.keep(TWO, 5, False, {BTC: second}).lost == []


def test_a_successor_is_renewed_and_takes_the_lease_of_one_that_is_gone(
    streams: Assignments, client: redis.Redis
) -> None:
    running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    let_pass(client, TTL - 1)
    streams.keep(TWO, 5, False, {BTC: second})
    let_pass(client, 2)
    assert streams.view().leases == {}
    assert streams.place([(BTC, THREE, "start")]) == []
    assert streams.take(BTC, THREE) is None
    assert streams.promote(BTC, second)
    assert lease(streams).node == TWO


def test_where_redis_forgot_both_only_one_of_them_goes_on(streams: Assignments, client: redis.Redis) -> None:
    first = running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    client.flushall()
    assert streams.keep(TWO, 5, False, {BTC: second}).lost == []
    assert streams.keep(ONE, 5, False, {BTC: first}).lost == [BTC]
    assert streams.promote(BTC, second)


def test_only_one_successor_at_a_time_and_none_of_what_nobody_runs(streams: Assignments, client: redis.Redis) -> None:
    assert streams.place([(BTC, TWO, "hand_over")]) == []
    running(streams, BTC, ONE)
    placed(streams, BTC, TWO, "hand_over")
    assert streams.place([(BTC, THREE, "hand_over"), (BTC, THREE, "start")]) == []
    client.hdel("qc:{streams}:next", BTC)
    assert placed(streams, BTC, THREE, "hand_over")


def test_placing_many_does_what_can_be_done(streams: Assignments) -> None:
    running(streams, BTC, ONE)
    done = streams.place([(BTC, TWO, "start"), (ETH, TWO, "start"), (ETH, THREE, "start"), (BTC, THREE, "hand_over")])
    assert [(id, node) for id, node, _ in done] == [(ETH, TWO), (BTC, THREE)]
    assert [token for _, _, token in done] == sorted({token for _, _, token in done}, key=int)


def test_one_that_backs_off_waits_and_enters_again(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    assert streams.back_off(BTC, token, 20, "binance: 503")
    first = lease(streams)
    assert (first.state, first.note, first.failing) == ("backing_off", "binance: 503", first.since)
    assert left(streams) == pytest.approx(20 + TTL, abs=1)
    assert streams.keep(ONE, 5, False, {BTC: token}).lost == []  # which may be said in the same moment
    assert left(streams) == pytest.approx(20 + TTL, abs=1)
    assert lease(streams).state == "backing_off"
    let_pass(client, 20)
    assert streams.enter(BTC, token, ONE) == "lease"
    again = lease(streams)
    assert (again.failing, again.note) == (first.failing - 20_000, "binance: 503")
    assert again.since > again.failing
    streams.back_off(BTC, token, 1, "binance: 504")
    assert lease(streams).failing == again.failing
    streams.enter(BTC, token, ONE)
    streams.delivered(BTC, token)
    assert (lease(streams).failing, lease(streams).note, lease(streams).state) == (0, "", "running")


def test_a_successor_may_back_off_and_goes_on_failing(streams: Assignments) -> None:
    first = running(streams, BTC, ONE)
    streams.back_off(BTC, first, 1, "away")
    second = succeeding(streams, BTC, TWO)
    assert streams.view().next[BTC].failing == lease(streams).failing > 0
    assert streams.back_off(BTC, second, 3, "away as well")
    assert streams.view().next[BTC].state == "backing_off"
    assert streams.enter(BTC, second, TWO) == "next"


def test_a_successors_configuration_error_leaves_the_stream_to_others_soon(streams: Assignments) -> None:
    running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    streams.fail(BTC, second, "no key here")
    view = streams.view()
    assert view.leases[BTC].state == "running"
    assert view.next[BTC].expires <= view.now + 30_000


def test_a_configuration_error_stays_visible_and_is_not_placed_again(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    streams.fail(BTC, token, "binance has no BTC/USDT\ud800" + "x" * NOTE)
    assert (lease(streams).state, len(lease(streams).note)) == ("failed", NOTE)
    assert left(streams) == pytest.approx(FAILED, abs=1)
    assert streams.place([(BTC, TWO, "start")]) == []
    assert streams.take(BTC, TWO) is None
    assert streams.enter(BTC, token, ONE) is None
    let_pass(client, FAILED)
    assert placed(streams, BTC, TWO)


def test_a_stream_that_is_stopped_is_lost_to_whoever_runs_it_and_may_be_placed_again(
    streams: Assignments, client: redis.Redis
) -> None:
    first = running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    streams.stop([BTC, ETH])
    view = streams.view()
    assert [(id, entry.state) for id, entry in view.leases.items()] == [(BTC, "stopped")]
    assert view.next == {}
    assert left(streams) == pytest.approx(STOPPED, abs=1)
    assert streams.keep(ONE, 5, False, {BTC: first}).lost == [BTC]
    assert streams.keep(TWO, 5, False, {BTC: second}).lost == [BTC]
    assert not streams.promote(BTC, second)
    assert streams.place([(BTC, TWO, "hand_over")]) == []
    stone = lease(streams)
    streams.stop([BTC])
    assert lease(streams) == stone
    assert placed(streams, BTC, THREE) > stone.token
    streams.stop([BTC])
    let_pass(client, STOPPED)
    assert streams.view().leases == {}


def test_a_successor_whose_predecessor_is_gone_can_be_stopped(streams: Assignments, client: redis.Redis) -> None:
    first = running(streams, BTC, ONE)
    second = succeeding(streams, BTC, TWO)
    streams.release(BTC, first)
    streams.stop([BTC])
    assert streams.keep(TWO, 5, False, {BTC: second}).lost == [BTC]


def test_a_stream_is_taken_by_hand_where_nobody_has_it(streams: Assignments) -> None:
    token = streams.take(BTC, ONE)
    assert token is not None
    assert (lease(streams).state, lease(streams).node, lease(streams).token) == ("running", ONE, token)
    assert streams.take(BTC, TWO) is None
    assert streams.enter(BTC, token, ONE) is None
    streams.stop([BTC])
    assert streams.take(BTC, TWO) is not None


def test_workers_register_and_are_forgotten(streams: Assignments, client: redis.Redis) -> None:
    now = streams.keep(ONE, 5, False, {}).now
    streams.keep(TWO, 7, True, {BTC: running(streams, BTC, TWO)})
    let_pass(client, 3)
    streams.keep(ONE, 5, False, {})
    one, two = (streams.view().workers[node] for node in (ONE, TWO))
    assert (one.capacity, one.draining, one.running) == (5, False, 0)
    assert one.seen - one.began == pytest.approx(3000, abs=900)
    assert one.seen == pytest.approx(now, abs=900)
    assert (two.capacity, two.draining, two.running) == (7, True, 1)
    streams.forget(ONE)
    assert streams.view().workers.keys() == {TWO}


def test_workers_that_are_not_heard_of_are_left_out_and_in_the_end_gone(
    streams: Assignments, client: redis.Redis
) -> None:
    for node in (TWO, ONE):
        streams.keep(node, 5, False, {})
    let_pass(client, TTL)
    assert (streams.view().workers, streams.view().gone) == ({}, [])
    let_pass(client, GONE - TTL)
    assert streams.view().gone == [ONE, TWO]
    assert streams.view().gone == []


def test_a_worker_that_comes_with_streams_is_known_to_have_begun_before(
    streams: Assignments, client: redis.Redis
) -> None:
    held = {BTC: running(streams, BTC, ONE)}
    streams.keep(ONE, 5, False, held)
    client.flushall()
    streams.keep(ONE, 5, False, held)
    streams.keep(TWO, 5, False, {})
    workers = streams.view().workers
    assert (workers[ONE].began, workers[TWO].began) == (0, workers[TWO].seen)


def test_a_worker_that_returns_without_streams_begins_anew(streams: Assignments, client: redis.Redis) -> None:
    streams.keep(ONE, 5, False, {})
    let_pass(client, 2 * TTL)
    streams.keep(ONE, 5, False, {})
    one = streams.view().workers[ONE]
    assert one.began == one.seen


def test_the_room_is_what_others_that_take_streams_have_free(streams: Assignments, client: redis.Redis) -> None:
    streams.keep(THREE, 100, False, {})
    let_pass(client, TTL)
    held = {BTC: running(streams, BTC, ONE)}
    streams.keep(TWO, 5, False, {})
    assert streams.keep(ONE, 10, True, held).room == 5
    succeeding(streams, BTC, TWO)
    placed(streams, ETH, TWO)
    assert streams.keep(ONE, 10, True, held).room == 3
    streams.stop([ETH])
    streams.fail("x", running(streams, "x", TWO), "wrong")
    assert streams.keep(ONE, 10, True, held).room == 4
    let_pass(client, TTL - 1)
    streams.keep(TWO, 5, False, {})
    let_pass(client, PLACED - TTL)
    assert streams.keep(ONE, 10, True, {}).room == 5
    streams.keep(TWO, 5, True, {})
    assert streams.keep(ONE, 10, True, held).room == 0
    assert streams.keep(THREE, 1, False, {}).room == 0


def test_texts_that_look_like_fields_do_no_harm(streams: Assignments, client: redis.Redis) -> None:
    token = running(streams, BTC, ONE)
    note = '"expires":1,"token":"2","state":"placed" é€ \\" 💥'
    streams.back_off(BTC, token, 1, note)
    streams.enter(BTC, token, ONE)
    let_pass(client, 2)
    assert streams.keep(ONE, 5, False, {BTC: token}).lost == []
    assert (lease(streams).note, lease(streams).state, lease(streams).token) == (note, "running", token)
    assert left(streams) == pytest.approx(TTL, abs=1)


def test_what_redis_wrote_last_before_it_died_may_be_missing(streams: Assignments, client: redis.Redis) -> None:
    token = placed(streams, BTC, ONE)
    before = client.hget("qc:{streams}:leases", BTC)
    assert before is not None
    streams.enter(BTC, token, ONE)
    client.hset("qc:{streams}:leases", BTC, before)
    streams.keep(ONE, 5, False, {BTC: token})
    assert lease(streams).state == "running"
    assert streams.enter(BTC, token, ONE) is None


def test_the_view_of_a_new_server_says_how_long_it_is_up(streams: Assignments, client: redis.Redis) -> None:
    view = streams.view()
    assert 0 <= view.uptime < 1000
    assert (view.leases, view.next, view.workers, view.gone) == ({}, {}, {}, [])
    assert list(client.scan_iter()) == []


def test_one_call_renews_hundreds_of_streams(streams: Assignments, client: redis.Redis) -> None:
    ids = [f"trades:binance:M{number}/USDT" for number in range(2_500)]
    held = {id: token for id, _, token in streams.place([(id, ONE, "start") for id in ids])}
    assert len(held) == 2_500
    assert streams.keep(ONE, 3_000, False, held).lost == []
    client.hset("qc:{streams}:leases", ids[7], json.dumps({"token": "9", "expires": 9e12, "state": "running"}))
    assert streams.keep(ONE, 3_000, False, held).lost == [ids[7]]
    client.flushall()
    assert streams.keep(ONE, 3_000, False, held).lost == []
    assert {id: entry.token for id, entry in streams.view().leases.items()} == held
    streams.stop(ids)
    assert streams.keep(ONE, 3_000, False, held).lost == ids


def test_threads_that_call_at_once_share_one_winner(streams: Assignments) -> None:
    gate = threading.Barrier(8)

    def take(number: int) -> str | None:
        gate.wait()
        return streams.take(BTC, f"streams{number}@host")

    with ThreadPoolExecutor(8) as pool:
        assert len([token for token in pool.map(take, range(8)) if token]) == 1


def test_redis_that_is_away_says_so(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, modules=False) as server, connect(server.url) as client:
        streams = Assignments(client)
        token = running(streams, BTC, ONE)
        server.stop()
        for call in (
            lambda: streams.keep(ONE, 5, False, {BTC: token}),
            lambda: streams.enter(BTC, token, ONE),
            lambda: streams.view(),
            lambda: streams.place([(ETH, ONE, "start")]),
        ):
            with pytest.raises(StorageUnavailable, match="Redis is away"):
                call()
