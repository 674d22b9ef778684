"""Throughput: mints per second, latency and CPU time as the number of callers grows."""

from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Goal, percentile
from benchmarks.processes import Process
from benchmarks.targets import App, Target, Upstream
from benchmarks.workers import Steady, requests_threads, steady

LEVELS = (1, 8, 32, 64)
CPU_AT, CPU_RATIO = 32, 1.6
UPSTREAM_MS = 20
ROUNDS = 2
SECONDS = 2.0


def measure(upstream: Upstream, app: App, bare: Target, effort: float) -> Iterator[Figure]:
    """Measure the endpoint, the bare loop, and the upstream alone, which neither can outdo, in turn."""
    upstream.set(latency_ms=UPSTREAM_MS, record=False)
    seconds = SECONDS * effort
    for callers in LEVELS:
        ours, cpu, loop, alone = [], [], [], []
        for _ in range(ROUNDS):
            run, used = with_cpu(app, app.mint, callers, seconds)
            ours.append(run)
            cpu.append(used)
            loop.append(requests_threads(bare, callers, seconds, {}))
            alone.append(steady(bare, callers, seconds / 2))
        section = f"{callers} caller{'s' * (callers > 1)}, upstream takes {UPSTREAM_MS} ms"
        loop_cpu = median(1000 * run.cpu_seconds / run.sent for run in loop)
        yield Figure(section, "mints/s", rate(ours), "/s", rate(loop))
        yield Figure(section, "p50", at(ours, 50), "ms", at(loop, 50))
        yield Figure(section, "p99", at(ours, 99), "ms", at(loop, 99))
        limit = Goal(CPU_RATIO, of_ratio=True) if callers == CPU_AT else None
        yield Figure(section, "CPU per mint, of the host or the loop", median(cpu), "ms", loop_cpu, limit)
        yield Figure(section, "the upstream alone, same callers: mints/s", rate(alone), "/s")


def with_cpu(server: Process, target: Target, callers: int, seconds: float) -> tuple[Steady, float]:
    """Return a run, and the milliseconds of CPU time that the server used for each request."""
    before = server.cpu_seconds()
    run = steady(target, callers, seconds)
    return run, 1000 * (server.cpu_seconds() - before) / run.sent


def rate(runs: list[Steady]) -> float:
    """Return the runs' median rate."""
    return median(run.per_second for run in runs)


def at(runs: list[Steady], percent: float) -> float:
    """Return a percentile of all the runs' latencies, in milliseconds."""
    return 1000 * percentile([one for run in runs for one in run.latencies], percent)
