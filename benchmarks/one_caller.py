"""One caller: what the endpoint adds to the upstream's own time, with authentication, quota and log.

The same `requests` caller asks the endpoint, the upstream without it, and a route that does next to nothing, in
turn. The client's own cost is in all three, so that it drops out of what is added.
"""

import json
from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Goal, percentile
from benchmarks.targets import App, Target, Upstream
from benchmarks.workers import alternate

ADDED_MS = 1.0
OWN_MS = 1.0
BATCH = 20


def measure(upstream: Upstream, app: App, bare: Target, effort: float) -> Iterator[Figure]:
    """Measure over an upstream that answers at once, and over one that takes 20 ms."""
    targets = {"endpoint": app.mint, "bare": bare, "empty": app.health}
    for latency, batches in ((0, 40), (20, 10)):
        upstream.set(latency_ms=latency, record=False)
        section, before = f"One caller, upstream takes {latency} ms", len(app.log())
        took = alternate(targets, BATCH, max(3, round(batches * effort)))
        yield from _figures(section, took)
        yield Figure(section, "of it in the app, by its log", _own_ms(app.log()[before:]), "ms", goal=Goal(OWN_MS))
        if not latency:  # or the bare call would wait for something that health does not
            host = _more_ms(took["empty"], took["bare"])
            yield Figure(section, "of it in the local host: GET /api/health less the bare call", host, "ms")


def _own_ms(log: str) -> float:
    """Return the p50 of what the app's log lines have beyond the upstream's time: no client and no host in it."""
    lines = [json.loads(line[line.index("{") :]) for line in log.splitlines() if '"event": "minted"' in line]
    return float(median(line["total_ms"] - line["upstream_ms"] for line in lines))


def _figures(section: str, batches: dict[str, list[list[float]]]) -> Iterator[Figure]:
    at = {
        (name, percent): 1000 * percentile([one for batch in of for one in batch], percent)
        for name, of in batches.items()
        for percent in (50, 99)
    }
    yield Figure(section, "GET /api/health p50: client, host, next to nothing", at["empty", 50], "ms")
    yield Figure(section, "p50", at["endpoint", 50], "ms", at["bare", 50])
    yield Figure(section, "p99", at["endpoint", 99], "ms", at["bare", 99])
    added = _more_ms(batches["endpoint"], batches["bare"])
    yield Figure(section, "added at p50, as a client sees it", added, "ms", goal=Goal(ADDED_MS))


def _more_ms(some: list[list[float]], others: list[list[float]]) -> float:
    """Return by how much the p50 of some exceeds that of others.

    Batches that lie beside each other in time are compared, so that a slow spell does not count for one side.
    """
    pairs = zip(some, others, strict=True)
    return median(1000 * (percentile(one, 50) - percentile(other, 50)) for one, other in pairs)
