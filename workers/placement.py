"""Which worker should run which stream: decided from what is, without doing anything.

A worker has a capacity, which the places taken on it never exceed, and a load, which is to be even. A stream that
moves takes a place on both workers until it has moved, but counts as load of its target alone.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from workers.assignments import TTL, Entry, View

TOLERANCE = 0.1
"""Loads may differ by this share of their mean, or by one, before streams move."""
MOVES = 50
"""Streams that move at once to even out loads."""
PATIENCE = 60.0
"""Seconds for which a stream may fail until it is polled meanwhile."""
COUNTED = 2.0
"""Seconds by which the server's uptime, which it counts in whole ones, may be too low."""


class Plan(NamedTuple):
    """What to do, with streams by their ids and workers by their nodes."""

    start: list[tuple[str, str]]
    """Streams that nobody runs, and where to."""
    hand_over: list[tuple[str, str]]
    """Streams that move, and where to."""
    stop: list[str]
    """Streams that are not wanted."""
    poll: list[str]
    """Streams that can't be kept up: what they collect is to be polled meanwhile."""


def plan(wanted: Collection[str], view: View, restarted_lately: bool) -> Plan:
    """Decide what to do; equal input has equal answers.

    `restarted_lately`: whether leases may be missing for a reason that the view doesn't show. Nothing is started then.
    """
    wanted = sorted(set(wanted))
    leases = {id: lease for id, lease in view.leases.items() if lease.state != "stopped"}
    stop = sorted((leases.keys() | view.next.keys()) - set(wanted))
    places = _Places(view, stopping=set(stop))
    missing = [id for id in wanted if id not in leases and id not in view.next]
    waits = restarted_lately or _leases_may_return(view)
    start = [] if waits else list(places.fill(missing))
    movable = [id for id in wanted if id in leases and id not in view.next and _counts(leases[id])]
    hand_over = list(places.fill(id for id in movable if _drains(view, leases[id].node)))
    hand_over += places.even_out({id: leases[id] for id in movable})
    poll = [id for id in wanted if _fails(leases.get(id) or view.next.get(id), view.now)]
    return Plan(start, hand_over, stop, sorted(poll + ([] if waits else missing[len(start) :])))


class _Places:
    """What is taken on the workers that take streams, and what their loads are once all that is decided is done."""

    def __init__(self, view: View, stopping: Collection[str]) -> None:
        self._capacity = {node: worker.capacity for node, worker in view.workers.items() if not worker.draining}
        leases, successors = (
            {id: entry for id, entry in part.items() if _counts(entry)} for part in (view.leases, view.next)
        )
        self._taken = Counter(entry.node for entry in (*leases.values(), *successors.values()))
        self._load = Counter(entry.node for id, entry in (leases | successors).items() if id not in stopping)

    def fill(self, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Place each on the worker with the least load, in order, until nobody has room."""
        least = [(self._load[node], node) for node in self._capacity if self._has_room(node)]
        heapq.heapify(least)
        for id in ids:
            if not least:
                return
            node = least[0][1]
            self._put(node)
            if self._has_room(node):
                heapq.heapreplace(least, (self._load[node], node))
            else:
                heapq.heappop(least)
            yield id, node

    def even_out(self, movable: Mapping[str, Entry]) -> list[tuple[str, str]]:
        """Move streams from the fullest workers to the emptiest, if loads differ by too much."""
        on: dict[str, list[str]] = defaultdict(list)
        for id, lease in sorted(movable.items(), key=lambda item: (item[1].state == "running", item[0])):
            if lease.node in self._capacity and lease.state != "placed":
                on[lease.node].append(id)  # those that run come last, and move first
        mean = sum(self._load[node] for node in self._capacity) / max(len(self._capacity), 1)
        bound = max(1.0, TOLERANCE * mean)
        moves: list[tuple[str, str]] = []
        while len(moves) < MOVES:
            sources = [(self._load[node], node) for node, ids in on.items() if ids]
            targets = [(self._load[node], node) for node in self._capacity if self._has_room(node)]
            if not sources or not targets or max(sources)[0] - min(targets)[0] <= bound:
                break
            bound = 1.0
            source, target = max(sources)[1], min(targets)[1]
            self._put(target)
            self._load[source] -= 1
            moves.append((on[source].pop(), target))
        return moves

    def _has_room(self, node: str) -> bool:
        return self._taken[node] < self._capacity[node]

    def _put(self, node: str) -> None:
        self._taken[node] += 1
        self._load[node] += 1


def _counts(entry: Entry) -> bool:
    return entry.state in ("placed", "running", "backing_off")


def _counted(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {id: entry for id, entry in entries.items() if _counts(entry)}


def _drains(view: View, node: str) -> bool:
    return node in view.workers and view.workers[node].draining


def _fails(entry: Entry | None, now: int) -> bool:
    return entry is not None and (entry.state == "failed" or 0 < entry.failing < now - PATIENCE * 1000)


def _leases_may_return(view: View) -> bool:
    """Tell whether workers ran streams before the server did: they take again what it forgot, within TTL."""
    if view.uptime >= TTL:
        return False
    began = view.now - (view.uptime + COUNTED) * 1000
    held = Counter(entry.node for entry in (*view.leases.values(), *view.next.values()))
    return any(worker.began < began or worker.running > held[node] for node, worker in view.workers.items())
