"""Other people's token endpoints beside this one, each over the same simulated upstream.

They do less: none authenticates its callers, counts them or composes a session. What is compared is how they reach
the upstream; over TLS too, as plain HTTP hides what a new connection for every mint costs.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

import requests

from benchmarks.figures import Figure, Goal
from benchmarks.peers.certificates import make
from benchmarks.peers.matrix import LOOP, Case, Cell, Measured
from benchmarks.peers.servers import PYTHON, SERVERS
from benchmarks.processes import CannotRunError, Process
from benchmarks.targets import IDENTITY_PATH, MINT_PATH, App, Target, Upstream, bare, call
from benchmarks.throughput import at, rate, with_cpu
from benchmarks.workers import Steady, requests_threads, steady

OURS = "this endpoint"
# Latency of the upstream, numbers of callers, seconds of each run.
MATRIX: dict[str, dict[int, tuple[tuple[int, ...], float]]] = {
    "http": {0: ((1, 8, 32, 64, 128), 1.0), 20: ((1, 8, 32, 64, 128), 1.0), 200: ((1, 8, 32, 64, 128), 1.5)},
    "https": {20: ((1, 32, 128), 1.0)},
}
GOAL_AT = (20, 32)
"""Latency and callers at which every Python peer is to be beaten. Node's figures are for orientation."""
ROUNDS = 2
PLACES = 128
"""Mints at once that this endpoint is let do: with its default of 64 it would refuse half of the most callers."""

Endpoints = dict[str, tuple[Process, Target]]
Run = tuple[Steady, float]
"""A run, and the milliseconds of CPU time that each mint took."""


def measure() -> Iterator[Figure | Cell]:
    """Measure over plain HTTP, then over TLS."""
    servers = dict(SERVERS)
    for scheme, latencies in MATRIX.items():
        with ExitStack() as running:
            ca, certificate = make() if scheme == "https" else (None, None)
            upstream = running.enter_context(
                Upstream(f"upstream-{scheme}", certificate=certificate, ca=ca),
            )
            app = running.enter_context(App(upstream, f"app-{scheme}", {"MAX_CONCURRENT_MINTS": str(PLACES)}))
            endpoints: Endpoints = {OURS: (app, app.mint)}
            for name, start in SERVERS.items():
                if name in servers and (started := _start(name, start, upstream, running)):
                    endpoints[name] = started
                else:
                    servers.pop(name, None)  # what cannot be installed is not tried again
            for latency, (levels, seconds) in latencies.items():
                upstream.set(latency_ms=latency, record=False)
                for callers in levels:
                    direct = bare(upstream, app)  # with a token that the naive sample's have not pushed out
                    cells = _compare(Case(scheme, latency, callers), seconds, upstream, endpoints, direct)
                    yield from cells
                    if (latency, callers) == GOAL_AT:
                        yield from _goal(cells)
            yield from _calls_per_mint(scheme, upstream, endpoints)


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


def _compare(case: Case, seconds: float, upstream: Upstream, endpoints: Endpoints, direct: Target) -> list[Cell]:
    """Measure everybody in turn, round after round, and the bare loop among them."""

    def loop() -> Run:
        run = requests_threads(direct, case.callers, seconds, upstream.trusted_env())
        return run, 1000 * run.cpu_seconds / run.sent

    ways: dict[str, Callable[[], Run]] = {
        name: partial(with_cpu, process, target, case.callers, seconds)
        for name, (process, target) in endpoints.items()
    }
    ways[LOOP] = loop
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    failures: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            try:
                if name not in failures:
                    runs[name].append(run())
            except CannotRunError as error:
                failures[name] = str(error)
    measured = {name: _measured(of) for name, of in runs.items() if name not in failures}
    return [Cell(case, name, measured.get(name), measured.get(LOOP), failures.get(name, "")) for name in ways]


def _measured(runs: list[Run]) -> Measured:
    steadies = [run for run, _ in runs]
    return Measured(rate(steadies), at(steadies, 50), at(steadies, 99), median(cpu_ms for _, cpu_ms in runs))


def _goal(cells: list[Cell]) -> Iterator[Figure]:
    """Compare with the fastest of the Python peers."""
    rates = {cell.endpoint: cell.measured.per_second for cell in cells if cell.measured}
    peers = [found for name, found in rates.items() if name in PYTHON]
    if peers and OURS in rates:
        case = cells[0].case
        section = f"Mints/s, {case.callers} callers, {case.upstream}"
        goal = Goal(1.0, at_least=True, of_ratio=True)
        yield Figure(section, f"{OURS}, beside the fastest Python peer", rates[OURS], "/s", max(peers), goal)


def _calls_per_mint(scheme: str, upstream: Upstream, endpoints: Endpoints) -> Iterator[Figure]:
    """Count what each mint costs upstream once an endpoint is warm."""
    upstream.set(latency_ms=20, record=True)
    identity = []
    for name, (_, target) in endpoints.items():
        try:
            steady(target, 8, 0.3)
            upstream.forget()
            steady(target, 8, 0.7)
        except CannotRunError as error:
            print(f"\n{name} is not counted: {error}", file=sys.stderr)
            continue
        mints = upstream.recorded(MINT_PATH)
        connections = {one["connection"] for one in mints}
        # Connections used, whenever opened: eight callers who keep theirs use eight.
        yield Figure(f"Upstream connections per mint, 8 callers, {scheme}", name, len(connections) / len(mints))
        calls = len(upstream.recorded(IDENTITY_PATH))
        identity.append(Figure(f"Identity calls per mint, 8 callers, {scheme}", name, calls / len(mints)))
    yield from identity
    upstream.set(record=False)
