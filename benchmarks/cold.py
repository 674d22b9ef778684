"""Cold start: what importing and indexing the app costs, what its first mint takes, and when each step is done.

The import is compared with `import azure.functions`, which no app can do without, and the first mint with what it
cannot do without: an identity call and a mint.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from statistics import median

from benchmarks.figures import Figure, Goal
from benchmarks.processes import ROOT, CannotRunError, environment
from benchmarks.targets import DEPLOYMENT, IDENTITY_PATH, MINT_PATH, App, Target, Upstream, call

IMPORT_RATIO = 1.5
FIRST_RATIO = 1.2
PROCESSES = 9
STARTS = 3
UPSTREAM_MS = 200
IDENTITY_MS = 100
ON_AZURE = {"WEBSITE_SITE_NAME": "app"}
"""Has the app get ready before the first request. The local host takes the platform's other variables away."""


def measure() -> Iterator[Figure]:
    """Measure the import, then the first mint on the local host, then the steps without a host."""
    yield from _import()
    with Upstream("cold-upstream") as upstream:
        upstream.set(latency_ms=UPSTREAM_MS, identity_latency_ms=IDENTITY_MS, record=True)
        yield from _first_mint(upstream)
        yield from _steps(upstream)


def _import() -> Iterator[Figure]:
    platform, app = [], []
    for process in range(PROCESSES + 1):
        alone, indexed = _process("platform", {}), _process("indexed", {})
        if process:  # before the first, bytecode may have to be compiled
            platform.append(1000 * (alone["platform"] - alone["asked"]))
            app.append(1000 * (indexed["indexed"] - indexed["asked"]))
    section = f"Import in a fresh process, median of {PROCESSES}, beside `import azure.functions` alone"
    goal = Goal(IMPORT_RATIO, of_ratio=True)
    yield Figure(section, "import function_app; app.get_functions()", median(app), "ms", median(platform), goal)


def _first_mint(upstream: Upstream) -> Iterator[Figure]:
    header = {"X-IDENTITY-HEADER": upstream.identity_env()["IDENTITY_HEADER"]}
    query = "api-version=2019-08-01&resource=https://cognitiveservices.azure.com"
    identity_call = Target("GET", f"{upstream.url}{IDENTITY_PATH}?{query}", header, "")
    cases = {
        "nothing made ready before": ({}, False),
        "asked while the app makes itself ready": (ON_AZURE, False),
        "asked once it is ready": (ON_AZURE, True),
    }
    first: dict[str, list[float]] = {name: [] for name in cases}
    needed = []
    for _ in range(STARTS):
        for name, (more, wait) in cases.items():
            upstream.forget()
            with App(upstream, "cold-app", more) as app:
                if wait:
                    _until_ready(upstream)
                first[name].append(_ms(app.mint))
                needed.append(_ms(app.mint) + _ms(identity_call))
    section = (
        f"First mint after the start, median of {STARTS}, beside a warm mint ({UPSTREAM_MS} ms upstream) and "
        f"an identity call ({IDENTITY_MS} ms)"
    )
    for name, (more, _) in cases.items():
        goal = Goal(FIRST_RATIO, of_ratio=True) if more else None  # on Azure it always makes itself ready
        yield Figure(section, name, median(first[name]), "ms", median(needed), goal)


def _steps(upstream: Upstream) -> Iterator[Figure]:
    for title, more in (("as on Azure", ON_AZURE), ("nothing made ready", {})):
        runs = [_timeline(upstream, more) for _ in range(STARTS)]
        section = f"Steps from the start of a process without a host, asked at once, {title}, median of {STARTS}"
        for step in runs[0]:
            yield Figure(section, step, median(run[step] for run in runs), "ms")


def _timeline(upstream: Upstream, more: dict[str, str]) -> dict[str, float]:
    upstream.forget()
    settings = {"AZURE_OPENAI_ENDPOINT": upstream.url, "AZURE_OPENAI_REALTIME_DEPLOYMENT": DEPLOYMENT}
    started = time.time()
    seen = _process("answered", {**settings, **upstream.identity_env(), **more})
    identity, *_ = upstream.recorded(IDENTITY_PATH)
    requests = upstream.recorded(MINT_PATH)  # with warming, the first is a GET that only opens the connection
    at = {
        "azure.functions imported": seen["platform"],
        "indexed": seen["indexed"],
        "token there": _arrived(identity) + IDENTITY_MS / 1000,
        "connection open": _arrived(requests[0]),
        "first mint answered": seen["answered"],
    }
    return {step: 1000 * (moment - started) for step, moment in at.items()}


def _process(last: str, env: dict[str, str]) -> dict[str, float]:
    """Run benchmarks/cold_process.py and return when it did what."""
    command = [sys.executable, "-m", "benchmarks.cold_process", last]
    try:
        done = subprocess.run(  # noqa: S603 - this package's own module
            command, cwd=ROOT, env=environment(env), capture_output=True, text=True, timeout=60, check=True
        )
    except subprocess.CalledProcessError as error:
        raise CannotRunError(f"The app did not start:\n{error.stderr[-2000:]}") from error
    seen: dict[str, float] = json.loads(done.stdout)
    return seen


def _until_ready(upstream: Upstream) -> None:
    give_up = time.monotonic() + 10
    while not any(one["status"] for one in upstream.recorded(MINT_PATH)):
        if time.monotonic() > give_up:
            raise CannotRunError("The app did not make itself ready.")
        time.sleep(0.02)


def _ms(target: Target) -> float:
    started = time.perf_counter()
    call(target)
    return 1000 * (time.perf_counter() - started)


def _arrived(request: dict[str, str]) -> float:
    return datetime.fromisoformat(request["time"]).timestamp()
