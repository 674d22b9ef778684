"""The command line: `python -m benchmarks [PART]`. Prints a table for each part, and writes build/benchmarks.json.

The exit code tells whether everything could be run, not whether a goal was met.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from benchmarks import (
    admission,
    bursts,
    cold,
    memory,
    one_caller,
    overload,
    peers,
    pieces,
    renewal,
    targets,
    throughput,
)
from benchmarks.figures import Figure, table
from benchmarks.peers import install
from benchmarks.peers.matrix import Cell, tables
from benchmarks.processes import BUILD, ROOT, CannotRunError

RESULTS = BUILD / "benchmarks.json"
STOPPED = "Stopped."
PARTS = {
    "endpoint": "the endpoint beside a bare loop of requests, as many callers at the upstream itself (2 minutes)",
    "pieces": "the CPU time of a mint, layer by layer (10 seconds)",
    "cold": "importing the app, and its first mint (half a minute)",
    "renewal": "mints while the token is renewed (half a minute)",
    "overload": "more callers than places (1.5 minutes)",
    "peers": "other people's endpoints, installed under build/ first, and docs/performance.svg (6 minutes)",
    "memory": "what the process holds while it mints (3 minutes)",
}


def endpoint(effort: float) -> Iterable[Figure]:
    """Measure the endpoint beside the bare loop."""
    yield from admission.measure(effort)
    with ExitStack() as running:
        upstream = running.enter_context(targets.Upstream())
        app = running.enter_context(targets.App(upstream))
        bare = targets.bare(upstream, app)
        yield from one_caller.measure(upstream, app, bare, effort)
        yield from bursts.connections(upstream, app)
        yield from bursts.measure(upstream, app, bare, effort)
        yield from throughput.measure(upstream, app, bare, effort)


def main() -> int:
    """Measure what was asked for; the result is the exit code."""
    listed = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "part",
        nargs="?",
        choices=["full", "quick", *PARTS],
        default="full",
        help=f"full: all of them in turn (default); quick: endpoint, shorter and noisier; {listed}",
    )
    parser.add_argument("--mints", type=int, default=100_000, help="of memory (default %(default)s)")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    measures: dict[str, Callable[[], Iterable[Figure | Cell]]] = {
        "quick": lambda: endpoint(0.3),
        "endpoint": lambda: endpoint(1.0),
        "pieces": pieces.measure,
        "cold": cold.measure,
        "renewal": renewal.measure,
        "overload": overload.measure,
        "peers": peers.measure,
        "memory": lambda: memory.measure(asked.mints),
    }
    parts: dict[str, dict[str, Any]] = {}
    for name in PARTS if asked.part == "full" else [asked.part]:
        print(f"\n== {name}: {PARTS[name if name in PARTS else 'endpoint']}", flush=True)
        parts[name] = part(measures[name])
        # After each part, so that what was measured is not lost with a later one.
        BUILD.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": machine(), "parts": parts}, indent=1) + "\n", "utf-8")
        if parts[name].get("matrix"):
            plot()
        if parts[name]["failure"] == STOPPED:
            break
    print(f"\n{sum(one['seconds'] for one in parts.values()):.0f} s; build/benchmarks.json has it all.")
    return int(any(one["failure"] for one in parts.values()))


def part(measure: Callable[[], Iterable[Figure | Cell]]) -> dict[str, Any]:
    """Measure one part, print it, and return it for build/benchmarks.json."""
    started, at, failure = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds"), ""
    figures: list[Figure] = []
    cells: list[Cell] = []
    try:
        for one in measure():
            if isinstance(one, Cell):
                cells.append(one)
            else:
                figures.append(one)
            print(".", end="", file=sys.stderr, flush=True)
    except (CannotRunError, requests.RequestException) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = STOPPED
    print(file=sys.stderr)
    if cells:
        print(f"{tables(cells)}\n")
    if figures:
        print(table(figures))
    seconds, load = time.monotonic() - started, os.getloadavg()[0]
    print(f"\n{seconds:.0f} s, load {load:.1f}", flush=True)
    if failure:
        print(failure, file=sys.stderr, flush=True)
    return {
        "at": at,
        "seconds": round(seconds, 1),
        "load": load,
        "figures": [one.as_json() for one in figures],
        "matrix": [one.as_json() for one in cells],
        "failure": failure,
    }


def plot() -> None:
    """Draw docs/performance.svg from build/benchmarks.json; without matplotlib, say so."""
    script, target = Path(peers.__file__).with_name("plot.py"), ROOT / "docs" / "performance.svg"
    try:
        command = [str(install.python()), str(script), str(RESULTS), str(target)]
        subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this package's own script
        print(f"{target.relative_to(ROOT)} is drawn.")
    except CannotRunError as error:
        print(f"{target.relative_to(ROOT)} is left as it is: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"{target.relative_to(ROOT)} is left as it is:\n{error.stderr[-2000:]}", file=sys.stderr)


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


if __name__ == "__main__":
    sys.exit(main())
