"""CPU a trade from the socket to durable in Redis: this system's streams against cryptofeed and ccxt.pro + XADD.

    python -m bench.ingest                       all of it, between four and five minutes
    python -m bench.ingest --quick               one short round, and no rates beyond it: less than a minute
    python -m bench.ingest --only native plain   two of native, ccxt, cryptofeed, plain
    python -m bench.ingest --profile             where the native client's time goes, step by step

An exchange in this process sends 2,000 trades a second, evenly, each in a write of its own, over sockets without TLS,
to one program after the other, in alternating order. Each has a Redis of its own, append-only file on, at a Unix
socket. Ours keeps each trade once, with its bars and coverage; the others add it to a stream. CPU is that of the
whole process between two marks, by the kernel's clock of it. Ratios are medians over the rounds, with the least and
the greatest. Latency is from just before the write until a process that follows the storage has read the trade. Then
the rate is raised, with the program alone on one core, until what was sent is not stored half a second later.
cryptofeed is installed, once, into an environment of its own under .bench/.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence

from bench.ingest_contenders import Contender, contenders
from bench.ingest_profile import profile
from bench.ingest_run import Plan, Result, run

NAMES = ("native", "ccxt", "cryptofeed", "plain")
Results = dict[str, list[Result]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s, of 10 markets alone")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="who is compared")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long CPU is measured each time")
    parser.add_argument("--rate", type=float, default=2_000.0, help="trades a second")
    parser.add_argument("--markets", type=int, default=10, help="markets that share them")
    parser.add_argument("--profile", action="store_true", help="measure the steps of the native client instead")
    options = parser.parse_args()
    if options.profile:
        print("\n".join(profile(options.markets, options.rate, options.seconds)))
        return
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, options.seconds)
    known = contenders(options.only)
    plan = Plan(options.markets, options.rate, seconds, latency=min(seconds, 4.0), capacity=not options.quick)
    print("\n".join(report(known, plan, measure(known, plan, rounds))), flush=True)
    if not options.quick and options.markets > 1:
        alone = plan._replace(markets=1, latency=0, capacity=False)
        print("\n".join(report(known, alone, measure(known, alone, 1))))


def measure(known: Sequence[Contender], plan: Plan, rounds: int) -> Results:
    """Run all contenders by turns; CPU in each round, the rest in the last one."""
    results: Results = {one.name: [] for one in known}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds} …", flush=True)
        now = plan if number == rounds - 1 else plan._replace(latency=0, capacity=False)
        for one in known[:: -1 if number % 2 else 1]:
            results[one.name].append(run(one, now))
    return results


def report(known: Sequence[Contender], plan: Plan, results: Results) -> Iterable[str]:
    others = [one for one in known if one.name in ("cryptofeed", "plain")]
    against = "".join(f"{f'÷ {one.label}':>25}" for one in others)
    rounds = max(map(len, results.values()), default=0)
    shape = f"{plan.rate:,.0f} trades/s of {plan.markets} market{'s' if plan.markets > 1 else ''}"
    yield f"\n{shape}, one socket write a trade; rounds: {rounds} of {plan.seconds:g} s\n"
    yield f"{'µs of CPU a trade':20}{'process':>9}{'Redis':>7}{against}{'p50':>9}{'p99':>9}{'held':>10}  stored"
    for one in known:
        own = results[one.name]
        cpu = statistics.median(result.cpu for result in own)
        redis = statistics.median(result.redis for result in own)
        ratios = "".join(f"{_ratio(own, results[other.name]) if one.kind == 'ours' else '':>25}" for other in others)
        yield f"{one.label:20}{cpu:9.1f}{redis:7.1f}{ratios}{_latency(own)}{_held(own):>10}  {_stored(own)}"
    targets = {"cryptofeed": "≤ 0.33 ×", "plain": "≤ 0.17 ×"}
    yield f"{'targets of native':36}{''.join(f'{targets[one.name]:>25}' for one in others)}{'':9}{'≤ 250 ms':>9}"


def _ratio(own: Sequence[Result], other: Sequence[Result]) -> str:
    ratios = [one.cpu / two.cpu for one, two in zip(own, other, strict=True)]
    spread = f" ({min(ratios):.2f} – {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f} ×{spread}"


def _latency(results: Sequence[Result]) -> str:
    times = sorted(time for result in results for time in result.latencies)
    return "".join(f"{times[int(len(times) * part)]:6.0f} ms" if times else f"{'':9}" for part in (0.5, 0.99))


def _held(results: Sequence[Result]) -> str:
    held = [result.held for result in results if result.held is not None]
    return f"{max(held):,}/s" if held else ""


def _stored(results: Sequence[Result]) -> str:
    missing, twice = (sum(getattr(result, name) for result in results) for name in ("missing", "twice"))
    return ", ".join([f"{missing:,} missing" if missing else "all"] + ([f"{twice:,} twice"] if twice else []))


if __name__ == "__main__":
    main()
