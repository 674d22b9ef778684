"""Overload: twice as many callers as MAX_CONCURRENT_MINTS, for a minute, beside as many as there are places.

What is in excess must be told so at once and must cost the others nothing; health must not notice.
"""

import time
from collections.abc import Iterator

from benchmarks.crowd import Crowd, codes
from benchmarks.figures import Figure, Goal, percentile
from benchmarks.targets import App, Upstream

PLACES = 32
UPSTREAM_MS = 200
PAUSE = 0.05
"""Seconds after which a caller asks again, refused or not: far sooner than Retry-After says."""
AT_ONCE_MS = 50.0
FULL_SPEED = 0.9


def measure(seconds: float = 60) -> Iterator[Figure]:
    """Measure with no caller in excess for a sixth of the time, and then with twice as many."""
    with (
        Upstream("overload-upstream") as upstream,
        App(upstream, "overload-app", {"MAX_CONCURRENT_MINTS": str(PLACES)}) as app,
    ):
        upstream.set(latency_ms=UPSTREAM_MS, record=False)
        _asked(app, PLACES, 1)
        alone, _ = _asked(app, PLACES, seconds / 6)
        crowd, health = _asked(app, 2 * PLACES, seconds)
    told = codes(crowd.answers)
    section = (
        f"{2 * PLACES} callers at {PLACES} places for {seconds:g} s, beside {PLACES} callers; "
        f"upstream takes {UPSTREAM_MS} ms"
    )
    full_speed = Goal(FULL_SPEED, at_least=True, of_ratio=True)
    yield Figure(section, "mints/s", _rate(crowd), "/s", _rate(alone), full_speed)
    yield Figure(section, "p99 of the served", _p99(crowd, "minted"), "ms", _p99(alone, "minted"))
    yield Figure(section, "p99 of the refused", _p99(crowd, "overloaded"), "ms", goal=Goal(AT_ONCE_MS))
    yield Figure(section, "p99 of GET /api/health", _p99(health, "ok"), "ms", goal=Goal(AT_ONCE_MS))
    yield Figure(section, "the callers' own lateness at worst, which is in all of these", 1000 * crowd.late, "ms")
    yield Figure(section, "refused", told["overloaded"])
    yield Figure(section, "answered otherwise", told.total() - told["overloaded"] - told["minted"], goal=Goal(0))


def _asked(app: App, callers: int, seconds: float) -> tuple[Crowd, Crowd]:
    with Crowd(app.mint.url, callers, pause=PAUSE) as crowd, Crowd(app.health.url, 1, method="GET") as health:
        time.sleep(seconds)
    return crowd, health


def _rate(crowd: Crowd) -> float:
    minted = [answer for answer in crowd.answers if answer.code == "minted"]
    return len(minted) / (max(one.ended for one in minted) - min(one.began for one in minted))


def _p99(crowd: Crowd, code: str) -> float:
    return 1000 * percentile([answer.seconds for answer in crowd.answers if answer.code == code], 99)
