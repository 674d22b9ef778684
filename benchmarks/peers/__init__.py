"""Other people's token endpoints beside this one, each over the same simulated upstream.

They do less: none authenticates its callers, counts them or composes a session. What is compared is how they reach
the upstream; over TLS too, as plain HTTP hides what a new connection for every mint costs.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import requests

from benchmarks.figures import Figure, Goal
from benchmarks.peers.certificates import make
from benchmarks.peers.servers import SERVERS
from benchmarks.processes import CannotRunError, Process
from benchmarks.targets import IDENTITY_PATH, MINT_PATH, App, Target, Upstream, bare, call
from benchmarks.throughput import at, rate, with_cpu
from benchmarks.workers import Steady, requests_threads, steady

LEVELS = (1, 32)
UPSTREAM_MS = 20
ROUNDS = 3
SECONDS = 1.5
OURS = "this endpoint"


@dataclass
class Runs:
    """What one endpoint did at one number of callers."""

    steady: list[Steady] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def measure() -> Iterator[Figure]:
    """Measure over plain HTTP, then over TLS."""
    for scheme in ("http", "https"):
        with ExitStack() as running:
            ca, certificate = make() if scheme == "https" else (None, None)
            upstream = running.enter_context(
                Upstream(f"upstream-{scheme}", certificate=certificate, ca=ca),
            )
            app = running.enter_context(App(upstream, f"app-{scheme}"))
            direct = bare(upstream, app)
            endpoints: dict[str, tuple[Process, Target]] = {OURS: (app, app.mint)}
            for name, start in SERVERS.items():
                if started := _start(name, start, upstream, running):
                    endpoints[name] = started
            yield from _compare(scheme, upstream, endpoints, direct)


def _start(
    name: str, start: Callable[[Upstream], tuple[Process, Target]], upstream: Upstream, running: ExitStack
) -> tuple[Process, Target] | None:
    """Start a peer and call it once; without it, say so and go on."""
    try:
        process, target = start(upstream)
        running.enter_context(process)
        call(target)
    except (CannotRunError, requests.RequestException) as error:
        print(f"\n{name} is left out: {error}", file=sys.stderr)
        return None
    return process, target


def _compare(
    scheme: str, upstream: Upstream, endpoints: dict[str, tuple[Process, Target]], direct: Target
) -> Iterator[Figure]:
    for callers in LEVELS:
        upstream.set(latency_ms=UPSTREAM_MS, record=False)
        runs = {name: Runs() for name in endpoints}
        loop = []
        for _ in range(ROUNDS):
            for name, (process, target) in endpoints.items():
                run, cpu_ms = with_cpu(process, target, callers, SECONDS)
                runs[name].steady.append(run)
                runs[name].cpu_ms.append(cpu_ms)
            loop.append(requests_threads(direct, callers, SECONDS, upstream.trusted_env()))
        rates = {name: rate(of.steady) for name, of in runs.items()}
        case = f"{callers} caller{'s' * (callers > 1)}, {scheme} upstream takes {UPSTREAM_MS} ms"
        for name, found in rates.items():
            yield Figure(f"Mints/s, {case}", name, found, "/s", rate(loop), _goal(name, callers, rates))
        for percent in (50, 99):
            for name, of in runs.items():
                yield Figure(f"p{percent}, {case}", name, at(of.steady, percent), "ms", at(loop, percent))
        loop_cpu = median(1000 * run.cpu_seconds / run.sent for run in loop)
        for name, of in runs.items():
            yield Figure(f"CPU per mint, {case}", name, median(of.cpu_ms), "ms", loop_cpu)
    yield from _calls_per_mint(scheme, upstream, endpoints)


def _goal(name: str, callers: int, rates: dict[str, float]) -> Goal | None:
    """Return what is to be beaten at the most callers: every Python peer. Node's figures are for orientation."""
    if name != OURS or callers != max(LEVELS):
        return None
    needed = [found for peer, found in rates.items() if peer != OURS and "Node" not in peer]
    return Goal(max(needed), at_least=True) if needed else None


def _calls_per_mint(
    scheme: str, upstream: Upstream, endpoints: dict[str, tuple[Process, Target]]
) -> Iterator[Figure]:
    """Count what each mint costs upstream once an endpoint is warm."""
    upstream.set(record=True)
    identity = []
    for name, (_, target) in endpoints.items():
        steady(target, 8, 0.3)
        upstream.forget()
        steady(target, 8, 0.7)
        mints = upstream.recorded(MINT_PATH)
        connections = {one["connection"] for one in mints}
        # Connections used, whenever opened: eight callers who keep theirs use eight.
        yield Figure(f"Upstream connections per mint, 8 callers, {scheme}", name, len(connections) / len(mints))
        calls = len(upstream.recorded(IDENTITY_PATH))
        identity.append(Figure(f"Identity calls per mint, 8 callers, {scheme}", name, calls / len(mints)))
    yield from identity
    upstream.set(record=False)
