"""The flag that finds out by itself, over HTTP: real requests, real threads, a service that changes its mind."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure

pytestmark = pytest.mark.workaround


def mint_until(endpoint: Endpoint, configured: str) -> dict[str, Any]:
    """Mint until the answer is `configured` as said; probes follow mints, so asking is what moves things."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        response = endpoint.mint()
        assert response.status_code == 200, response.text
        if response.json()["transcription"]["configured"] == configured:
            return dict(response.json())
    raise AssertionError(f"never {configured}; health: {endpoint.health().text}")


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two looks, not instead of one


@contextmanager
def callers(endpoint: Endpoint, number: int) -> Iterator[list[dict[str, Any]]]:
    """Let so many callers mint, over and over, until the block ends; yields their answers."""
    answers: list[dict[str, Any]] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.wait(0.03):
            response = endpoint.mint()
            answers.append({"status": response.status_code, **response.json()})

    with ThreadPoolExecutor(number) as pool:
        running = [pool.submit(call) for _ in range(number)]
        try:
            yield answers
        finally:
            stop.set()
    for one in running:
        one.result()


def test_auto_adopts_what_works(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """The first mint is deferred, a probe follows it with the shortest lifetime, and then the block is minted."""
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="300")

    first = endpoint.mint().json()
    later = mint_until(endpoint, "mint_time")

    probes = [one["body"] for one in azure.mints() if "expires_after" in one["body"]]
    health = endpoint.health().json()["transcription"]
    assert first["transcription"]["configured"] == "post_connect"
    assert later["session_update"] is None
    assert [probe["expires_after"]["seconds"] for probe in probes] == [10]
    assert (health["mode"], health["configured"], health["mint_time_works"]) == ("auto", "mint_time", True)
    assert health["checked_at"].endswith("+00:00")


def test_callers_never_notice_a_service_that_breaks_and_mends(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Broken, fixed, broken, fixed, at random, dropping, rejecting, under 32 callers: not one of them fails."""
    azure.set(defect="all-fails")
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="1")

    with callers(endpoint, 32) as answers:
        for defect, configured in [
            ("fixed", "mint_time"),
            ("all-fails", "post_connect"),
            ("fixed", "mint_time"),
            ("silent-drop", "post_connect"),
            ("random", None),
            ("all-400", "post_connect"),
            ("flat-fails", "mint_time"),
        ]:
            azure.set(defect=defect)
            if configured:
                mint_until(endpoint, configured)
            else:
                enough = len(answers) + 100
                wait_until(lambda: len(answers) > enough)  # noqa: B023 - called before the loop goes on

    lines = [json.loads(line[line.index("{") :]) for line in endpoint.host.log.splitlines() if '"minted"' in line]
    assert len(answers) > 100
    assert {answer["status"] for answer in answers} == {200}
    assert all(
        (answer["session_update"] is None) == (answer["transcription"]["configured"] == "mint_time")
        for answer in answers
    )
    assert max(line["attempts"] for line in lines) <= 2
    assert endpoint.host.log.count('"transcription_evidence"') >= 5


def test_an_outage_in_auto_changes_nothing(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """Down whole, callers get what any mode would give them, in three calls at most; then it goes on as before."""
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="300")
    mint_until(endpoint, "mint_time")
    azure.clear()
    azure.set(fault="500")

    response = endpoint.mint()
    calls = azure.mints()
    azure.set(fault=None)

    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert ["transcription" in one["body"]["session"]["audio"]["input"] for one in calls] == [True, False, False]
    assert endpoint.mint().json()["transcription"]["configured"] == "mint_time"


def test_three_calls_are_the_most_in_auto_too(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """A refused token with the block, a fault and a refused token without it, and then it ends."""
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="300")
    mint_until(endpoint, "mint_time")
    azure.clear()
    azure.set(faults=["401-audience", "503", "401-audience", "ok"])

    response = endpoint.mint()

    assert response.status_code == 502
    assert len(azure.mints()) == 3


def test_no_caller_waits_for_a_probe(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """A probe that hangs is nobody's business but its own."""
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="1")
    azure.set(fault="hang", fault_when="with-transcription")

    answers = [endpoint.mint() for _ in range(20)]

    assert {answer.status_code for answer in answers} == {200}
    assert max(endpoint.log_line(answer)["total_ms"] for answer in answers) < 1000
    assert len([one for one in azure.mints() if "transcription" in one["body"]["session"]["audio"]["input"]]) == 1


def test_post_connect_tells_that_the_fix_has_landed(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """It goes on deferring, and says in health and in the log that mint_time works now and what to set.

    The line needs no further mint: whoever looks at health next brings it out.
    """
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_PROBE_SECONDS="300")
    endpoint.mint()
    endpoint.host.wait_for("")
    wait_until(lambda: endpoint.health().json()["transcription"]["mint_time_works"] is not None)

    endpoint.health()
    endpoint.host.wait_for("Set TRANSCRIPTION_MODE to mint_time")
    response = endpoint.mint()

    assert response.json()["transcription"]["configured"] == "post_connect"
    assert endpoint.health().json()["transcription"]["mint_time_works"] is True


def test_a_probes_secret_goes_nowhere(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """It is dropped: not in a reply and not in a log (the fixture looks for secrets in that)."""
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_MODE="auto", TRANSCRIPTION_PROBE_SECONDS="300")
    first = endpoint.mint().json()
    second = mint_until(endpoint, "mint_time")

    assert first["value"] != second["value"]
    assert len(azure.mints()) >= 3
