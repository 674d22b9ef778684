"""How many mints a second an app can do, on how many instances, and what that costs: `python -m benchmarks.model`.

A mint is some CPU time of one Python process, which serves one mint at a time, and a wait for Azure, which all
have at once; the model knows nothing else. `--check` holds it against the app on this machine. Prices are what you
put in: there is none in here.
"""

import argparse
import math
import sys
from dataclasses import dataclass

SECONDS_A_MONTH = 730 * 3600
HEADROOM = 0.7
"""How much of what an instance can do it is given: beyond it, waiting grows without bound."""


def closed(customers: int, wait_ms: float, service_ms: float) -> float:
    """Return a closed network's cycles a second: everybody waits, is served one at a time, and begins again.

    Exact mean value analysis (Reiser and Lavenberg, 1980): who comes finds the queue of a network that is one
    customer smaller. The wait may be of any distribution; the server is shared, as the interpreter's lock is.
    """
    queue = per_ms = 0.0
    for present in range(1, customers + 1):
        served_ms = service_ms * (1 + queue)
        per_ms = present / (wait_ms + served_ms)
        queue = per_ms * served_ms
    return 1000 * per_ms


@dataclass(frozen=True)
class Instance:
    """One instance: what it may have under way, and what a mint costs it."""

    cpu_ms: float
    """CPU time of a mint in the Python process."""
    cores: float = 1.0
    """Of CPU that the processes may use; a Python process uses one at most."""
    processes: int = 1
    """FUNCTIONS_WORKER_PROCESS_COUNT."""
    places: int = 64
    """MAX_CONCURRENT_MINTS, of each process."""
    concurrency: int = 64
    """perInstanceConcurrency of the HTTP trigger: requests that the platform hands an instance at once."""
    other_ms: float = 0.0
    """What a mint takes besides, in the host and on the way, and several take at once."""

    def in_flight(self) -> int:
        """Return the most mints under way."""
        return min(self.concurrency, self.places * self.processes)

    def per_second(self, latency_ms: float, headroom: float = 1.0) -> float:
        """Return mints a second over an upstream of this latency, with all places taken all the time.

        Mints are spread evenly over the processes, and so are the cores.
        """
        core = min(1.0, self.cores / self.processes)
        each = max(1, self.in_flight() // self.processes)
        by_all = self.processes * closed(each, latency_ms + self.other_ms, self.cpu_ms / core)
        by_cpu = self.processes * core / (self.cpu_ms / 1000)
        return min(by_all, headroom * by_cpu)


@dataclass(frozen=True)
class Load:
    """What is asked for."""

    per_second: float
    latency_ms: float
    resource_per_second: float = math.inf
    """What one Azure OpenAI resource lets you mint."""


@dataclass(frozen=True)
class Prices:
    """In your currency, from Microsoft's page for your region and contract."""

    gb_second: float
    million_executions: float
    always_ready_gb_second: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What a load takes."""

    instances: int
    resources: int
    gb_seconds_a_month: float
    executions_a_month: float

    def cost(self, prices: Prices, always_ready_gb: float = 0.0) -> float:
        """Return the month's price."""
        return (
            self.gb_seconds_a_month * prices.gb_second
            + self.executions_a_month / 1e6 * prices.million_executions
            + always_ready_gb * SECONDS_A_MONTH * prices.always_ready_gb_second
        )


def needs(load: Load, instance: Instance, memory_gb: float) -> Needs:
    """Return what carries the load for a month, every second of it, with headroom for its unevenness.

    Flex Consumption bills an instance while it executes something: under steady load, all of the time.
    """
    instances = max(1, math.ceil(load.per_second / instance.per_second(load.latency_ms, HEADROOM)))
    resources = max(1, math.ceil(load.per_second / load.resource_per_second))
    seconds = load.per_second * SECONDS_A_MONTH
    return Needs(instances, resources, instances * memory_gb * SECONDS_A_MONTH, seconds)


def table(instance: Instance, memory_gb: float, prices: Prices | None) -> str:
    """Return a table of loads up to that of a service for the whole world."""
    from benchmarks.figures import aligned, number  # noqa: PLC0415 - the model itself needs nothing

    rows = [["mints/s", "Azure's latency", "an instance's mints/s", "instances", "a month"]]
    for per_second in (1, 10, 100, 1000, 10_000, 100_000):
        for latency in (200, 1000):
            need = needs(Load(per_second, latency), instance, memory_gb)
            cost = number(need.cost(prices)) if prices else "-"
            can = number(instance.per_second(latency, HEADROOM))
            rows.append([number(per_second), f"{latency} ms", can, number(need.instances), cost])
    return aligned(rows)


CALLERS = 64
CASES = ((20, 8), (20, 64), (50, 32), (100, 8), (100, 64), (200, 32), (200, 64), (1000, 64))
"""Azure's latency and callers at once: where they mostly wait, where they mostly compute, and between."""
AGREED = 4 / 3


def check() -> int:
    """Measure the app in several cases beside the model; 0: they agree within a third in all of them.

    The model's two numbers are measured first, and once more at the end, over an upstream that answers at once: a
    mint at a time is all of its time, and CALLERS at a time leave only what they cannot do at once. That is its
    CPU time, with whatever else keeps the process from its core on this machine.
    """
    from benchmarks.figures import aligned, number  # noqa: PLC0415 - as above
    from benchmarks.targets import App, Upstream, call  # noqa: PLC0415
    from benchmarks.workers import steady  # noqa: PLC0415

    with Upstream("model-upstream") as upstream, App(upstream, "model-app") as app:
        call(app.mint)

        def measured(latency_ms: int, callers: int) -> float:
            upstream.set(latency_ms=latency_ms, record=False)
            return steady(app.mint, callers, max(2.0, 3 * latency_ms / 1000)).per_second

        alone, crowded = [measured(0, 1)], [measured(0, CALLERS)]
        found = [measured(*case) for case in CASES]
        alone.append(measured(0, 1))
        crowded.append(measured(0, CALLERS))
    cpu_ms = 1000 * len(crowded) / sum(crowded)
    other_ms = max(0.0, 1000 * len(alone) / sum(alone) - cpu_ms)
    rows = [["Azure's latency", "callers", "measured, mints/s", "model, mints/s", "measured/model"]]
    worst = 1.0
    for (latency_ms, callers), per_second in zip(CASES, found, strict=True):
        predicted = Instance(cpu_ms, concurrency=callers, other_ms=other_ms).per_second(latency_ms)
        ratio = per_second / predicted
        worst = max(worst, ratio, 1 / ratio)
        rows.append([f"{latency_ms} ms", str(callers), number(per_second), number(predicted), f"{ratio:.2f}"])
    print(aligned(rows))
    print(f"\nOf a mint at 0 ms: one at a time {cpu_ms:.2f} ms, several at once {other_ms:.2f} ms more")
    print(f"mints/s at 0 ms, before and after: {', '.join(map(number, alone))} of 1 caller, "
          f"{', '.join(map(number, crowded))} of {CALLERS}")  # fmt: skip
    return int(worst > AGREED)


def main() -> int:
    """Print the table, or the check."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="measure the app here beside the model")
    parser.add_argument("--cpu-ms", type=float, default=2.0, help="CPU time of a mint (default %(default)s)")
    parser.add_argument("--cores", type=float, default=1.0, help="of an instance (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, help="perInstanceConcurrency (default %(default)s)")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="of an instance (default %(default)s)")
    parser.add_argument("--gb-second", type=float, help="price of a GB-second: adds the column of costs")
    parser.add_argument("--million-executions", type=float, default=0.0, help="price of a million executions")
    asked = parser.parse_args()
    if asked.check:
        return check()
    prices = None if asked.gb_second is None else Prices(asked.gb_second, asked.million_executions)
    print(table(Instance(asked.cpu_ms, asked.cores, concurrency=asked.concurrency), asked.memory_gb, prices))
    return 0


if __name__ == "__main__":
    sys.exit(main())
