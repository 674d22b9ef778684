"""The error table, row by row: the simulated resource does exactly that, and the caller gets exactly this."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import function_app
from mint.errors import CODES
from mint.outcome import UpstreamError
from mint.replies import Reply, read
from tests.conftest import INSTRUCTIONS, Endpoint, secrets_in
from tests.hosting import Host, copy_app
from tests.simulated import SimulatedAzure


class Row(NamedTuple):
    """What the upstream does; what the caller gets; how many upstream calls that took."""

    fault: str
    status: int
    code: str
    says: str
    calls: int


ROWS = [
    Row("401-permission-denied", 502, "upstream_denied", "Cognitive Services OpenAI User", 1),
    Row("403-public-access", 502, "upstream_denied", "network", 1),
    Row("403-firewall", 502, "upstream_denied", "network", 1),
    Row("403-blocked", 502, "upstream_denied", "blocked", 1),
    Row("404-deployment", 502, "deployment_not_found", "AZURE_OPENAI_REALTIME_DEPLOYMENT", 1),
    Row("400-deployment", 502, "deployment_not_found", "AZURE_OPENAI_REALTIME_DEPLOYMENT", 1),
    Row("404-resource", 502, "upstream_rejected", "AZURE_OPENAI_ENDPOINT", 1),
    Row("302-redirect", 502, "upstream_rejected", "AZURE_OPENAI_ENDPOINT", 1),
    Row("400-opperation", 502, "deployment_not_realtime", "AZURE_OPENAI_REALTIME_DEPLOYMENT", 1),
    Row("400-operation", 502, "deployment_not_realtime", "AZURE_OPENAI_REALTIME_DEPLOYMENT", 1),
    Row("400-session-type", 502, "upstream_rejected", "session.type is realtime", 1),
    Row("400-unknown-parameter", 502, "upstream_rejected", "session.audio.output.speed in the profile", 1),
    Row("400-string-error", 502, "upstream_rejected", "the profile's fields", 1),
    Row("429-retry-after", 503, "upstream_throttled", "7 s", 1),
    Row("429-retry-after-ms", 503, "upstream_throttled", "2 s", 1),
    Row("429-bare", 503, "upstream_throttled", "5 s", 1),
    Row("500", 502, "upstream_unavailable", "500", 2),
    Row("500-bare", 502, "upstream_unavailable", "500", 2),
    Row("502-html", 502, "upstream_unavailable", "502", 2),
    Row("503", 502, "upstream_unavailable", "503", 2),
    Row("504", 502, "upstream_unavailable", "504", 2),
    Row("200-not-json", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-empty", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-array", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-no-value", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-null-value", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-bad-expires", 502, "upstream_unavailable", "without a readable client secret", 1),
    Row("200-huge", 502, "upstream_unavailable", "too large", 1),
    Row("200-huge-chunked", 502, "upstream_unavailable", "too large", 1),
    Row("200-truncated", 502, "upstream_unavailable", "broke off", 2),
    Row("reset", 502, "upstream_unavailable", "cannot be reached", 2),
    Row("reset-mid-body", 502, "upstream_unavailable", "broke off", 2),
    Row("close", 502, "upstream_unavailable", "broke off", 2),
    Row("bad-status-line", 502, "upstream_unavailable", "broke off", 2),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_every_upstream_failure_is_answered_with_what_to_do(
    row: Row, endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A failing upstream becomes our own error: its code, what to do, Azure's request id, none of its text."""
    azure.set(fault=row.fault)

    response = endpoint.mint()

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (row.status, row.code)
    assert row.says in error["message"]
    assert len(azure.mints()) == row.calls
    assert ("x-should-retry" in response.headers) != CODES[row.code].retry
    assert response.headers["Cache-Control"] == "no-store"
    assert not secrets_in(response.text)
    assert "principal" not in response.text
    line = endpoint.log_line(response)
    assert (line["event"], line["code"], line["attempts"]) == ("mint_failed", row.code, row.calls)
    assert (line["status"], line["profile"]) == (row.status, "default")
    assert error["upstream_request_id"] == line["apim_request_id"]


@pytest.mark.parametrize("fault", ["401-permission-denied", "404-deployment", "429-bare", "500"])
def test_azures_request_id_reaches_the_caller(fault: str, endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """Microsoft's support asks for the apim-request-id of a failing call, so the caller is told it."""
    azure.set(fault=fault)

    response = endpoint.mint()

    assert response.json()["error"]["upstream_request_id"] == azure.mints()[-1]["apim_request_id"]


@pytest.mark.parametrize(
    ("fault", "seconds"), [("429-retry-after", "7"), ("429-retry-after-ms", "2"), ("429-bare", "5")]
)
def test_throttling_is_passed_on_with_its_wait(
    fault: str, seconds: str, endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """Azure's wait reaches the caller in whole seconds, rounded up, from whichever header it came in."""
    azure.set(fault=fault)

    response = endpoint.mint()

    assert response.headers["Retry-After"] == seconds


def test_a_retry_after_date_is_a_wait_in_seconds(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """HTTP allows a date; the caller always gets seconds."""
    azure.set(fault="429-date")

    response = endpoint.mint()

    assert 5 <= int(response.headers["Retry-After"]) <= 10


@pytest.mark.parametrize("fault", ["200-expires-string", "200-preview-shape"])
def test_other_shapes_of_success_are_read(fault: str, endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """A string for expires_at, and the preview's nesting, both still give a secret in the contract's shape."""
    azure.set(fault=fault)

    response = endpoint.mint()

    assert response.status_code == 200
    assert isinstance(response.json()["expires_at"], int)
    assert response.json()["value"]
    assert response.json()["session"]["id"]


@pytest.mark.parametrize("fault", ["500", "503", "reset", "200-truncated"])
def test_a_passing_fault_is_not_seen_by_the_caller(fault: str, endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """What may pass is tried once more within the same request."""
    azure.set(fault=fault, fault_times=1)

    response = endpoint.mint()

    assert response.status_code == 200
    assert len(azure.mints()) == 2
    assert endpoint.log_line(response)["attempts"] == 2


def test_a_token_that_is_refused_twice_is_answered(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """One fresh token, and then what to check; the next mint does not fetch another for the same refusal."""
    endpoint = start_endpoint()
    azure.set(fault="401-audience")

    first, second = endpoint.mint(), endpoint.mint()

    assert (first.status_code, first.json()["error"]["code"]) == (502, "upstream_denied")
    assert "AZURE_OPENAI_SCOPE" in first.json()["error"]["message"]
    assert first.headers["x-should-retry"] == "false"
    assert second.json()["error"]["code"] == "upstream_denied"
    assert len(azure.mints()) == 3
    assert len(azure.identity_calls()) == 2


def test_never_more_than_three_upstream_calls(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """A fresh token, then a second try after a fault, and then it ends."""
    endpoint = start_endpoint()
    azure.set(faults=["401-audience", "503", "401-audience", "ok"])

    response = endpoint.mint()

    assert response.json()["error"]["code"] == "upstream_denied"
    assert len(azure.mints()) == 3


def test_a_revoked_token_is_replaced_once(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """Azure refuses our cached token: a new one is fetched and the caller notices nothing."""
    endpoint = start_endpoint()
    assert endpoint.mint().status_code == 200
    azure.clear()
    azure.set(revoke_tokens=True)

    response = endpoint.mint()

    assert response.status_code == 200
    assert [one["status"] for one in azure.mints()] == [401, 200]
    assert len(azure.identity_calls()) == 1


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_nothing_that_the_upstream_quotes_is_logged(status: int) -> None:
    """A gateway in front of Azure may answer with the request in its error: only a short code is kept of it."""
    quoted = f"{INSTRUCTIONS} Bearer eyJhbGciOiJub25lIn0.e30.x"
    reply = Reply(status, {}, json.dumps({"error": {"code": quoted, "message": quoted}}).encode())

    with pytest.raises(UpstreamError) as caught:
        read(reply)

    assert not secrets_in(f"{caught.value.detail} {caught.value.body()} {caught.value}")


def test_a_missing_role_does_not_refresh_the_token(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """PermissionDenied is no fault of the token: fetching another would only load the identity endpoint."""
    endpoint.mint()
    azure.clear()
    azure.set(fault="401-permission-denied")

    endpoint.mint()

    assert azure.identity_calls() == []


@pytest.mark.parametrize("fault", ["hang", "slow-headers", "slow-body"])
def test_no_reply_ends_at_the_deadline(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Whatever dribbles or hangs upstream, the caller is answered at MINT_DEADLINE_SECONDS."""
    endpoint = start_endpoint(MINT_DEADLINE_SECONDS="1").warm()
    azure.clear()
    azure.set(fault=fault)

    response = endpoint.mint()

    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"
    assert 900 <= endpoint.log_line(response)["total_ms"] <= 1500  # 1100 on a machine with nothing else to do
    assert len(azure.mints()) == 1


@pytest.mark.parametrize("fault", ["hang", "slow-headers", "slow-body"])
def test_a_call_that_never_ends_frees_its_thread(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """At the deadline the connection is hung up, so that the place it took is free for the next caller."""
    endpoint = start_endpoint(MINT_DEADLINE_SECONDS="1", MAX_CONCURRENT_MINTS="1").warm()
    azure.set(fault=fault, fault_times=1)
    late = endpoint.mint()

    statuses = [endpoint.mint().status_code]
    while statuses[-1] == 503 and len(statuses) < 100:
        statuses.append(endpoint.mint().status_code)

    assert late.status_code == 504
    assert statuses[-1] == 200


def test_a_refused_connection_is_unavailable(start_endpoint: Callable[..., Endpoint]) -> None:
    """Nobody listens at the endpoint: 502 that says so, after a second try."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = start_endpoint(AZURE_OPENAI_ENDPOINT=f"http://127.0.0.1:{closed.getsockname()[1]}")

        response = endpoint.mint()

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert endpoint.log_line(response)["attempts"] == 2


@pytest.mark.parametrize("fault", ["500", "400-not-found", "reset", "not-json", "403", "hang"])
def test_an_identity_endpoint_that_fails_is_named(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """No token, no upstream call: the caller gets 502 identity_unavailable, within the deadline."""
    endpoint = start_endpoint(MINT_DEADLINE_SECONDS="1")
    azure.set(identity_fault=fault)

    response = endpoint.mint()

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "identity_unavailable"
    assert azure.mints() == []
    assert endpoint.log_line(response)["total_ms"] <= 1500  # 1100 on a machine with nothing else to do


def test_the_identity_endpoint_coming_back_is_noticed(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """A failed token is not remembered by us: the next caller asks again (msal itself waits 5 s after a 5xx)."""
    endpoint = start_endpoint()
    azure.set(identity_fault="reset")
    assert endpoint.mint().status_code == 502
    azure.set(identity_fault=None)

    response = endpoint.mint()

    assert response.status_code == 200


def test_past_the_limit_of_mints_in_flight_the_answer_is_immediate(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """One mint more than MAX_CONCURRENT_MINTS gets 503 at once, and the others are served."""
    endpoint = start_endpoint(MAX_CONCURRENT_MINTS="2").warm()
    azure.set(latency_ms=600)
    together = threading.Barrier(3)

    def mint(_: int) -> tuple[int, str | None, str | None, float]:
        together.wait()
        response = endpoint.mint()
        code = response.json().get("error", {}).get("code")
        return (
            response.status_code,
            code,
            response.headers.get("Retry-After"),
            endpoint.log_line(response)["total_ms"],
        )

    with ThreadPoolExecutor(3) as pool:
        answers = sorted(pool.map(mint, range(3)))

    assert [answer[:3] for answer in answers] == [
        (200, None, None),
        (200, None, None),
        (503, "overloaded", "1"),
    ]
    assert answers[2][3] < 100


def test_no_reply_of_ours_may_be_kept() -> None:
    """Also where host.json's customHeaders do not say so."""
    assert function_app.respond(200, {}, {}).headers["Cache-Control"] == "no-store"


def test_a_fault_of_our_own_is_an_honest_500(
    start_host: Callable[..., Host], required: dict[str, str], azure: SimulatedAzure, tmp_path: Path
) -> None:
    """An exception that nobody foresaw is 500 internal_error with an id, and its traceback is in the log."""
    copy_app(tmp_path)
    with (tmp_path / "mint" / "session.py").open("a", encoding="utf-8") as broken:
        broken.write("\n\ndef compose(*_):\n    return 1 / 0\n")
    endpoint = Endpoint(start_host(required, app=tmp_path))

    with endpoint.http:
        response = endpoint.mint()

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "ZeroDivisionError" not in response.text
    assert "ZeroDivisionError" in endpoint.log_line(response)["traceback"]
    assert azure.mints() == []
