"""The command line: `python -m benchmarks [full|quick|peers]`. Prints a table, and writes build/benchmarks.json.

The exit code tells whether everything could be run, not whether a goal was met.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime

import requests

from benchmarks import admission, bursts, one_caller, peers, targets, throughput
from benchmarks.figures import Figure, table
from benchmarks.processes import BUILD, CannotRunError

EFFORT = {"full": 1.0, "quick": 0.3}


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "what",
        nargs="?",
        choices=["full", "quick", "peers"],
        default="full",
        help="full: the endpoint beside a bare requests loop, 1 to 2 minutes (default); quick: the same, shorter "
        "and noisier; peers: the endpoint beside other people's, which are installed under build/ first",
    )
    what = parser.parse_args().what
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    started, figures, failure = time.monotonic(), [], ""
    try:
        for figure in peers.measure() if what == "peers" else endpoint(EFFORT[what]):
            figures.append(figure)
            print(".", end="", file=sys.stderr, flush=True)
    except (CannotRunError, requests.RequestException) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "Stopped."
    print(file=sys.stderr)
    if figures:
        print(table(figures))
        print("\nbare: a requests loop (for callers at once, the same callers) that asks the upstream itself.")
    report(what, figures, time.monotonic() - started)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


def report(what: str, figures: list[Figure], seconds: float) -> None:
    """Write build/benchmarks.json."""
    document = {
        "what": what,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "figures": [figure.as_json() for figure in figures],
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "benchmarks.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"\n{seconds:.0f} s, {load}; build/benchmarks.json has it all.")


if __name__ == "__main__":
    sys.exit(main())
