"""The exchange hangs up, falls silent, refuses, or sends nonsense."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.place import Place, Recovery

BACKOFF = 30.0
"""Seconds between two tries, at the most."""


async def disconnects(place: Place) -> Recovery:
    """the exchange drops every socket every 3 s, for 20 s"""
    await place.start()
    await place.misbehave(disconnect_every=3)
    await asyncio.sleep(20)
    await place.misbehave()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACKOFF + 2)


async def half_open(place: Place) -> Recovery:
    """half-open sockets: open, but neither data nor pongs come"""
    await place.start()
    began = time.time()
    await place.misbehave(halfopen=1)
    await asyncio.sleep(1)
    await place.misbehave()
    seconds = await place.flowing(began + 1)
    await place.judge()
    return Recovery(seconds, 40)


async def refusals(place: Place) -> Recovery:
    """429 and 418 to everything for 20 s, sockets dropped meanwhile"""
    await place.start()
    await place.misbehave(rate_limit=0.5, ban=1, retry_after=3, disconnect_every=1)
    await asyncio.sleep(20)
    await place.misbehave()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACKOFF + 5)


async def nonsense(place: Place) -> Recovery:
    """messages repeated, reordered, lost, cut off and malformed, for 20 s"""
    await place.start()
    await place.misbehave(repeat=0.2, reorder=0.2, lose=0.05, cut=0.05, malform=0.05)
    await asyncio.sleep(20)
    await place.misbehave()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, 5)


async def deaf(place: Place) -> Recovery:
    """subscriptions that fall silent on a socket that lives on"""
    await place.start()
    began = time.time()
    await place.misbehave(deaf=1)
    await asyncio.sleep(1)
    await place.misbehave()
    seconds = await place.flowing(began + 1)
    await place.judge()
    return Recovery(seconds, 40)


async def disconnects_and_nonsense(place: Place) -> Recovery:
    """sockets dropped every 2 s, messages repeated, reordered, lost, cut off and malformed, for 8 s"""
    await place.start(markets=2)
    await place.misbehave(repeat=0.2, reorder=0.2, lose=0.05, cut=0.05, malform=0.05, disconnect_every=2)
    await asyncio.sleep(8)
    await place.misbehave()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACKOFF + 2)
