"""How many mints a second an app can do, on how many instances, and what that costs: `python -m benchmarks.model`.

A mint is some CPU time of one Python process and a wait for Azure; the model knows nothing else. `--check` holds
it against the app on this machine. Prices are what you put in: there is none in here.
"""

import argparse
import math
import sys
from dataclasses import dataclass

SECONDS_A_MONTH = 730 * 3600
HEADROOM = 0.7
"""How much of what an instance can do it is given: beyond it, waiting grows without bound."""


@dataclass(frozen=True)
class Instance:
    """One instance: what it may have under way, and what a mint costs it."""

    cpu_ms: float
    """CPU time of a mint in the Python process."""
    cores: float = 1.0
    """Of CPU that the process may use; a Python process uses one at most."""
    processes: int = 1
    """FUNCTIONS_WORKER_PROCESS_COUNT."""
    places: int = 64
    """MAX_CONCURRENT_MINTS, of each process."""
    concurrency: int = 64
    """perInstanceConcurrency of the HTTP trigger: requests that the platform hands an instance at once."""

    def in_flight(self) -> int:
        """Return the most mints under way."""
        return min(self.concurrency, self.places * self.processes)

    def per_second(self, latency_ms: float, headroom: float = 1.0) -> float:
        """Return mints a second over an upstream of this latency: what waits or what computes, the less.

        By Little's law `in_flight` mints of `latency + cpu` each; by the clock one core's worth of `cpu` each.
        """
        by_waiting = self.in_flight() / ((latency_ms + self.cpu_ms) / 1000)
        by_cpu = min(self.cores, self.processes) / (self.cpu_ms / 1000)
        return min(by_waiting, headroom * by_cpu)


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


def check() -> int:
    """Measure the app at several latencies and sizes beside the model; 0: they agree within a third."""
    from benchmarks.figures import aligned, number  # noqa: PLC0415 - as above
    from benchmarks.targets import App, Upstream, call  # noqa: PLC0415
    from benchmarks.throughput import with_cpu  # noqa: PLC0415

    rows = [["Azure's latency", "places", "callers", "measured, mints/s", "model, mints/s", "measured/model"]]
    worst = 1.0
    with Upstream("model-upstream") as upstream:
        cpu_ms = 0.0
        for places, latency, callers in ((64, 0, 32), (8, 100, 8), (32, 200, 32), (64, 200, 64), (64, 1000, 64)):
            with App(upstream, "model-app", {"MAX_CONCURRENT_MINTS": str(places)}) as app:
                upstream.set(latency_ms=latency, record=False)
                call(app.mint)
                run, cpu = with_cpu(app, app.mint, callers, max(3.0, 4 * latency / 1000))
            if not cpu_ms:  # the first one keeps the process busy: that is what a mint costs
                cpu_ms = cpu
                rows.append([f"{latency} ms", str(places), str(callers), number(run.per_second), "", ""])
                continue
            predicted = Instance(cpu_ms, places=places, concurrency=callers).per_second(latency)
            ratio = run.per_second / predicted
            worst = max(worst, ratio, 1 / ratio)
            rows.append([f"{latency} ms", str(places), str(callers), number(run.per_second), number(predicted),
                         f"{ratio:.2f}"])  # fmt: skip
    print(aligned(rows))
    print(f"\nCPU of a mint, from the first line: {cpu_ms:.2f} ms of the host's process")
    return int(worst > 4 / 3)


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
