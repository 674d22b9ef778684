"""Sixty-four callers at once: how soon the last is answered, and the connections and identity calls it costs.

The bare side is the same callers at the upstream itself, over connections that they have already: 64 threads of
`requests` would measure their own interpreter lock.
"""

from collections import Counter
from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Goal
from benchmarks.targets import IDENTITY_PATH, MINT_PATH, App, Target, Upstream, call
from benchmarks.workers import Burst, bursts, steady

CALLERS = 64
UPSTREAM_MS = 200
ALL_ANSWERED_MS = 2 * UPSTREAM_MS
ROUNDS = 7
COLD_ROUNDS = 3


def measure(upstream: Upstream, app: App, bare: Target, effort: float) -> Iterator[Figure]:
    """Measure warm, with cold connections, and at a process that nobody has called before."""
    upstream.set(latency_ms=UPSTREAM_MS, record=False)
    rounds = max(3, round(ROUNDS * effort))
    direct = bursts(bare, CALLERS, rounds, warm_up=2)
    warm = bursts(app.mint, CALLERS, rounds, warm_up=2)
    yield from _figures("warm", warm, direct, goal=True)
    upstream.set(record=True)
    cold, fresh, identity_calls = [], [], []
    for _ in range(max(1, round(COLD_ROUNDS * effort))):
        with App(upstream, "app-cold") as once_called:
            call(once_called.mint)  # leaves it with a token and one connection
            cold += bursts(once_called.mint, CALLERS, 1, warm_up=0)
        upstream.forget()
        with App(upstream, "app-fresh") as untouched:
            fresh += bursts(untouched.mint, CALLERS, 1, warm_up=0)
        identity_calls.append(len(upstream.recorded(IDENTITY_PATH)))
    yield from _figures("cold connections", cold, direct, goal=True)
    yield from _figures("first ever at a process", fresh, direct, goal=False)
    yield Figure(_section("first ever at a process"), "identity calls, worst", max(identity_calls), goal=Goal(1))
    upstream.set(record=False)


def connections(upstream: Upstream, app: App) -> Iterator[Figure]:
    """Count the upstream connections that a warm app opens, one caller and many taking turns."""
    # The warm-up is slow, so that all of its mints are under way at once and none is given another's connection.
    upstream.set(latency_ms=UPSTREAM_MS, record=True)
    upstream.forget()
    bursts(app.mint, CALLERS, 2, warm_up=0)
    warm = _connections(upstream)
    upstream.set(latency_ms=20)
    upstream.forget()
    for callers in (1, CALLERS, 8):
        steady(app.mint, callers, 0.7)
    sent = len(upstream.recorded(MINT_PATH))
    opened = _connections(upstream) - warm
    upstream.set(record=False)
    section = "Upstream connections"
    yield Figure(section, f"opened for {CALLERS} callers at once", len(warm))
    yield Figure(
        section, f"opened after that, by {sent} mints of 1 to {CALLERS} callers", len(opened), goal=Goal(0)
    )


def _connections(upstream: Upstream) -> set[int]:
    return {one["connection"] for one in upstream.recorded(MINT_PATH)}


def _section(case: str) -> str:
    return f"{CALLERS} callers at once, upstream takes {UPSTREAM_MS} ms, {case}"


def _figures(case: str, rounds: list[Burst], direct: list[Burst], *, goal: bool) -> Iterator[Figure]:
    section = _section(case)
    limit = Goal(ALL_ANSWERED_MS) if goal else None
    times, bare = ([1000 * one.seconds for one in some] for some in (rounds, direct))
    statuses = sum((one.statuses for one in rounds), Counter[str]())
    yield Figure(section, f"last answered, median of {len(rounds)}", median(times), "ms", median(bare), limit)
    yield Figure(section, "last answered, worst", max(times), "ms", max(bare), limit)
    refused = statuses.total() - statuses["200"]
    listed = ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
    yield Figure(section, f"not answered 200 ({listed})", refused, goal=Goal(0))
