"""A worker: the bare `requests.Session` loop, alone or in threads. Reads an order on stdin, writes to stdout.

It is the yardstick: what calling costs with the library that most Python code calls with, and nothing around it.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests

from benchmarks.window import Window

WARM_CALLS = 10


def caller(target: dict[str, Any]) -> Callable[[], str]:
    """Return a function that makes the request over a session of its own and returns the status."""
    session = requests.Session()
    body = target["body"].encode() or None

    def call() -> str:
        answer = session.request(target["method"], target["url"], data=body, headers=target["headers"], timeout=30)
        return str(answer.status_code)

    return call


def alternate(targets: dict[str, Any], batch: int, batches: int) -> dict[str, list[list[float]]]:
    """Call the targets in turn, a batch at a time, so that a noisy moment of the machine meets all of them."""
    calls = {name: caller(target) for name, target in targets.items()}
    latencies: dict[str, list[list[float]]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM_CALLS):
            call()
    for _ in range(batches):
        for name, call in calls.items():
            latencies[name].append([_timed(call) for _ in range(batch)])
    return latencies


def _timed(call: Callable[[], str]) -> float:
    started = time.perf_counter()
    status = call()
    seconds = time.perf_counter() - started
    if status != "200":
        raise SystemExit(f"answered {status}")
    return seconds


def threads(target: dict[str, Any], callers: int, seconds: float) -> dict[str, Any]:
    """Call in as many threads as there are callers, each again as soon as it is answered."""
    window = Window(callers, seconds)
    seen: list[str] = []  # appending is atomic, counting is not
    cpu_before = time.process_time()

    def keep_asking() -> None:
        call = caller(target)
        status, answered = "200", False
        while status == "200" and not window.over():
            began = time.perf_counter()
            try:
                status = call()
            except requests.RequestException as error:
                status = type(error).__name__
            seen.append(status)
            window.note(began)
            if not answered:
                window.warm()
                answered = True

    everybody = [threading.Thread(target=keep_asking) for _ in range(callers)]
    for one in everybody:
        one.start()
    for one in everybody:
        one.join()
    cpu = time.process_time() - cpu_before
    return {**window.result(), "statuses": Counter(seen), "cpu_seconds": cpu}


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    kinds: dict[str, Callable[..., Any]] = {"alternate": alternate, "threads": threads}
    json.dump(kinds[order.pop("kind")](**order), sys.stdout)


if __name__ == "__main__":
    main()
