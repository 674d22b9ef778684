"""Memory: what the host's process holds while it mints again and again, beside what it held when it was warm.

Threads, connections and modules come with the first mints, and are no growth: hence the warm-up.
"""

from collections.abc import Iterator

from benchmarks.figures import Figure, Goal
from benchmarks.soak import Held
from benchmarks.targets import App, Upstream
from benchmarks.workers import times

CALLERS = 32
WARM_UP = 3000
PARTS = 10
GROWTH = 1.1


def measure(mints: int) -> Iterator[Figure]:
    """Mint so often over an upstream that answers at once, and look at each tenth."""
    section = f"Memory of the host's process (RSS), {CALLERS} callers, beside the start"
    with Upstream("memory-upstream") as upstream, App(upstream, "memory-app") as app:
        upstream.set(latency_ms=0, record=False)
        times(app.mint, CALLERS, WARM_UP)
        start = Held.by(app.pid).memory_mb
        yield Figure(section, f"at the start, after {WARM_UP} mints", start, "MB")
        for part in range(1, PARTS + 1):
            times(app.mint, CALLERS, mints // PARTS)
            goal = Goal(GROWTH, of_ratio=True) if part == PARTS else None
            held = Held.by(app.pid).memory_mb
            yield Figure(section, f"after {mints // PARTS * part} more", held, "MB", start, goal)
