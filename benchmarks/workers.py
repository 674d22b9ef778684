"""Starts the processes that call: an order goes in as JSON, and what was measured comes out.

Callers are never in the process that reports, so that neither waits for the other's interpreter lock.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import ROOT, CannotRunError, environment
from benchmarks.targets import Target

SPARE_SECONDS = 60


def work(client: str, seconds: float, env: Mapping[str, str], /, **order: Any) -> Any:  # noqa: ANN401 - JSON values
    """Run the worker `benchmarks.work_CLIENT`, which should take about `seconds`, and return its result."""
    try:
        done = subprocess.run(  # noqa: S603 - this package's own module
            [sys.executable, "-m", f"benchmarks.work_{client}"],
            cwd=ROOT,
            env=environment(env),
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=seconds + SPARE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"Callers were not done within {error.timeout:.0f} s.") from error
    except subprocess.CalledProcessError as error:
        raise CannotRunError(f"Callers failed:\n{error.stderr[-2000:]}") from error
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Steady:
    """Callers that each asked again at once for a while."""

    per_second: float
    calls: list[tuple[float, float]]
    """When each call that was answered within the window began and ended, in seconds from its beginning."""
    at: float
    """When that was, by the clock on the wall."""
    statuses: Counter[str]
    cpu_seconds: float
    """Of the process that called."""

    @property
    def sent(self) -> int:
        """How many requests were answered, those before the window began among them."""
        return self.statuses.total()

    @property
    def latencies(self) -> list[float]:
        """Return what each of the calls took."""
        return [ended - began for began, ended in self.calls]


def steady(target: Target, callers: int, seconds: float) -> Steady:
    """Call with an efficient client that keeps its connections."""
    order = {"target": target.as_json(), "callers": callers, "seconds": seconds}
    return _steady(work("asyncio", seconds, {}, kind="steady", **order))


def requests_threads(target: Target, callers: int, seconds: float, env: Mapping[str, str]) -> Steady:
    """Call with the bare loop: in each thread a `requests.Session`."""
    order = {"target": target.as_json(), "callers": callers, "seconds": seconds}
    return _steady(work("requests", seconds, env, kind="threads", **order))


def times(target: Target, callers: int, number: int) -> None:
    """Call so many times in all."""
    result = work(
        "asyncio", number / 20, {}, kind="times", target=target.as_json(), callers=callers, number=number
    )
    _all_answered(Counter(result["statuses"]))


def _steady(result: dict[str, Any]) -> Steady:
    run = Steady(**{**result, "statuses": Counter(result["statuses"])})
    _all_answered(run.statuses)
    if not run.calls:
        raise CannotRunError("No call was answered within the time.")
    return run


def _all_answered(statuses: Counter[str]) -> None:
    if set(statuses) != {"200"}:
        listed = ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
        raise CannotRunError(f"Not every request was answered 200: {listed}")


def alternate(targets: Mapping[str, Target], batch: int, batches: int) -> dict[str, list[list[float]]]:
    """Call each target in turn, `batch` times, from one `requests` caller; return its latencies by batch."""
    order = {name: target.as_json() for name, target in targets.items()}
    result: dict[str, list[list[float]]] = work(
        "requests", batch * batches * 0.1, {}, kind="alternate", targets=order, batch=batch, batches=batches
    )
    return result


@dataclass(frozen=True)
class Burst:
    """Callers that asked all at once: seconds until the last was answered, and the answers."""

    seconds: float
    statuses: Counter[str]


def bursts(target: Target, callers: int, rounds: int, *, warm_up: int) -> list[Burst]:
    """Have all callers ask at the same moment, `rounds` times, after `warm_up` rounds that do not count.

    Callers keep their connections between rounds; in a round without a warm-up before it they connect first.
    """
    order = {"target": target.as_json(), "callers": callers, "rounds": rounds, "warm_up": warm_up}
    result: Iterable[dict[str, Any]] = work("asyncio", 2 * (rounds + warm_up), {}, kind="bursts", **order)
    return [Burst(one["seconds"], Counter(one["statuses"])) for one in result]
