"""The endpoint as a client sees it: on the platform's own runtime, with azure-identity and an upstream."""

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mint import __version__
from mint.outcome import UpstreamError
from mint.replies import Reply, read
from tests.conftest import INSTRUCTIONS, Endpoint
from tests.hosting import ROOT, Host, copy_app
from tests.simulated import MINT, SimulatedAzure, until

REQUIRED = ["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_REALTIME_DEPLOYMENT"]


@pytest.mark.workaround
def test_a_mint_in_post_connect_carries_the_update(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """The reply has everything to connect with, and the session.update that turns transcription on."""
    response = endpoint.mint()

    secret = response.json()
    block = {"model": "gpt-4o-transcribe", "language": "en"}
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])
    assert secret == {
        "value": secret["value"],
        "expires_at": secret["expires_at"],
        "session": {
            "type": "realtime",
            "object": "realtime.session",
            "id": secret["session"]["id"],
            "model": "gpt-realtime",
        },
        "webrtc_url": f"{azure.url}/openai/v1/realtime/calls",
        "websocket_url": f"ws{azure.url[4:]}/openai/v1/realtime?model=gpt-realtime",
        "transcription": {"configured": "post_connect", "config": block},
        "session_update": {
            "type": "session.update",
            "event_id": secret["session_update"]["event_id"],
            "session": {"type": "realtime", "audio": {"input": {"transcription": block}}},
        },
    }
    (mint,) = azure.mints()
    assert mint["body"]["session"]["model"] == "gpt-realtime"
    assert "transcription" not in mint["body"]["session"]["audio"]["input"]
    assert "expires_after" not in mint["body"]


def test_a_mint_in_mint_time_carries_none(mint_time_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """The block is in the payload, Azure echoes it, and the client has nothing more to do."""
    azure.set(defect="fixed")

    secret = mint_time_endpoint.mint().json()

    assert secret["transcription"] == {
        "configured": "mint_time",
        "config": {"model": "gpt-4o-transcribe", "language": "en"},
    }
    assert secret["session_update"] is None
    assert azure.mints()[0]["body"]["session"]["audio"]["input"]["transcription"]["model"] == "gpt-4o-transcribe"


@pytest.mark.workaround
@pytest.mark.parametrize("mode", ["mint_time", "post_connect"])
def test_the_flat_field_is_used_in_both_places(
    mode: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """TRANSCRIPTION_FIELD moves the block, at mint and in the update alike, and never sends it twice."""
    azure.set(defect="fixed")
    endpoint = start_endpoint(TRANSCRIPTION_FIELD="input_audio_transcription", TRANSCRIPTION_MODE=mode)

    secret = endpoint.mint().json()

    placed = azure.mints()[0]["body"]["session"] if mode == "mint_time" else secret["session_update"]["session"]
    assert placed["input_audio_transcription"] == {"model": "gpt-4o-transcribe", "language": "en"}
    assert "transcription" not in placed.get("audio", {}).get("input", {})
    assert secret["transcription"]["configured"] == mode


@pytest.mark.workaround
@pytest.mark.parametrize("defect", ["all-fails", "all-400"])
def test_a_refused_block_in_mint_time_names_the_setting(
    defect: str, mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A 500, or a 400 that names the block, is 502 transcription_rejected, at once and after a single call."""
    azure.set(defect=defect)

    response = mint_time_endpoint.mint()

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "transcription_rejected")
    assert "TRANSCRIPTION_MODE" in error["message"]
    assert error["upstream_request_id"] == azure.mints()[0]["apim_request_id"]
    assert response.headers["x-should-retry"] == "false"
    assert len(azure.mints()) == 1


@pytest.mark.workaround
def test_other_failures_in_mint_time_are_not_blamed_on_the_block(
    mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A 400 that names another field, and a 503, are what they always are."""
    azure.set(defect="fixed", faults=["400-unknown-parameter", "503", "503"])

    codes = [mint_time_endpoint.mint().json()["error"]["code"] for _ in range(2)]

    assert codes == ["upstream_rejected", "upstream_unavailable"]
    assert len(azure.mints()) == 3


@pytest.mark.workaround
def test_a_block_that_is_dropped_silently_is_sent_again(
    mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A 200 whose echo lacks the block configured nothing: the client gets the update after all."""
    azure.set(defect="silent-drop")

    secret = mint_time_endpoint.mint().json()

    assert secret["transcription"]["configured"] == "post_connect"
    assert secret["session_update"]["session"]["audio"]["input"]["transcription"]["model"] == "gpt-4o-transcribe"


@pytest.mark.parametrize("mode", ["mint_time", "post_connect"])
def test_without_a_transcription_deployment_it_is_off(mode: str, start_endpoint: Callable[..., Endpoint]) -> None:
    """Nothing is sent, nothing is to be sent, and health says off."""
    endpoint = start_endpoint(AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT="", TRANSCRIPTION_MODE=mode)

    secret = endpoint.mint().json()

    assert secret["transcription"] == {"configured": "off", "config": None}
    assert secret["session_update"] is None
    assert endpoint.health().json()["transcription"] == {
        "mode": "off",
        "configured": "off",
        "mint_time_works": None,
        "checked_at": None,
    }


def test_a_clients_choice_reaches_azure(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """What the profile lets a client set is in the mint, the lifetime included."""
    response = endpoint.mint(
        {
            "session": {"type": "realtime", "audio": {"output": {"voice": "cedar"}}},
            "expires_after": {"seconds": 60},
        }
    )

    body = azure.mints()[0]["body"]
    assert response.status_code == 200
    assert body["session"]["audio"]["output"]["voice"] == "cedar"
    assert body["expires_after"] == {"anchor": "created_at", "seconds": 60}


@pytest.mark.parametrize(
    ("sent", "status", "code", "param"),
    [
        ({"data": b"{"}, 400, "invalid_json", None),
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type", None),
        ({"json": {"session": {"instructions": "PWNED"}}}, 400, "field_not_allowed", "session.instructions"),
        ({"json": {"session": {"PWNED": 1}}}, 400, "unknown_field", "session.PWNED"),
        ({"json": {"session": {"type": "PWNED"}}}, 400, "invalid_value", "session.type"),
        ({"params": {"profile": "../default"}}, 400, "unknown_profile", "profile"),
        ({"params": {"profile": "profile.schema"}}, 400, "unknown_profile", "profile"),
        ({"data": b" " * 16385}, 413, "body_too_large", None),
    ],
)
def test_a_bad_request_costs_no_upstream_call(
    sent: dict[str, object],
    status: int,
    code: str,
    param: str | None,
    endpoint: Endpoint,
    azure: SimulatedAzure,
) -> None:
    """It is refused by name before anything is spent, and no value of it comes back."""
    response = endpoint.mint(**sent)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert response.headers["x-should-retry"] == "false"
    assert "PWNED" not in error["message"]
    assert azure.mints() == []


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"data": b"{}"},
        {"headers": {"Content-Type": "application/json"}},
        {"params": {"profile": "default", "x": "1"}},
    ],
)
def test_asking_for_nothing_in_particular_mints(sent: dict[str, object], endpoint: Endpoint) -> None:
    """An empty body with and without a Content-Type, {}, and query keys that mean nothing here."""
    assert endpoint.mint(**sent).status_code == 200


@pytest.mark.parametrize("profile", ["default", "push-to-talk", "voice-agent"])
def test_every_shipped_profile_mints(profile: str, endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """?profile= picks a file of sessions/ by its name, and Azure takes what is in it."""
    response = endpoint.mint(params={"profile": profile})

    written = json.loads((ROOT / "sessions" / f"{profile}.json").read_text("utf-8"))["session"]
    assert response.status_code == 200
    assert azure.mints()[0]["body"]["session"]["instructions"] == written["instructions"]
    assert endpoint.log_line(response)["profile"] == profile


def test_a_profile_decides_what_its_clients_may_set(endpoint: Endpoint) -> None:
    """The same field, asked for under two profiles."""
    faster = {"session": {"audio": {"output": {"speed": 1.2}}}}

    allowed = endpoint.mint(faster, params={"profile": "voice-agent"})
    refused = endpoint.mint(faster, params={"profile": "default"})

    assert allowed.status_code == 200
    assert refused.json()["error"]["code"] == "field_not_allowed"


def test_a_session_that_only_transcribes(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """Unproven on Azure: its type goes into the mint, the reply, the update and the URL."""
    secret = endpoint.mint(params={"profile": "transcription"}).json()

    assert secret["session"] | {"id": ""} == {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": "",
        "model": "gpt-4o-transcribe",
    }
    assert secret["websocket_url"].endswith("/openai/v1/realtime?intent=transcription")
    assert azure.mints()[0]["body"]["session"]["type"] == "transcription"
    assert "model" not in azure.mints()[0]["body"]["session"]
    assert secret["transcription"]["config"] == {"model": "gpt-4o-transcribe", "language": "en"}


def test_a_request_id_is_always_our_own(endpoint: Endpoint) -> None:
    """A caller cannot choose the id under which its request is logged."""
    response = endpoint.mint(headers={"x-request-id": "chosen"})

    assert response.headers["x-request-id"] != "chosen"


def test_an_empty_environment_indexes_and_says_what_is_missing(start_host: Callable[..., Host]) -> None:
    """Both routes are there, health is 503 and the mint 500, and both list every missing setting."""
    endpoint = Endpoint(start_host({}))

    with endpoint.http:
        health, mint = endpoint.health(), endpoint.mint()

    assert (health.status_code, health.json()["status"]) == (503, "misconfigured")
    assert [problem.split()[0] for problem in health.json()["problems"]] == REQUIRED
    assert (mint.status_code, mint.json()["error"]["code"]) == (500, "misconfigured")
    assert all(name in mint.json()["error"]["message"] for name in REQUIRED)
    assert mint.headers["x-should-retry"] == "false"
    assert health.headers["x-request-id"] != mint.headers["x-request-id"]


def test_what_azure_quotes_of_the_session_is_not_logged() -> None:
    """A 400 may repeat the instructions: its text decides what it means, and goes nowhere."""
    body = {
        "error": {"code": "invalid_value", "message": f"Invalid value: '{INSTRUCTIONS}'", "param": "session.x"}
    }

    with pytest.raises(UpstreamError) as caught:
        read(Reply(400, {}, json.dumps(body).encode()))

    assert INSTRUCTIONS in caught.value.upstream_text
    assert INSTRUCTIONS not in f"{caught.value.detail} {caught.value.body()} {caught.value}"


def test_mistakes_in_settings_and_profiles_are_told_together(
    start_host: Callable[..., Host], required: dict[str, str], tmp_path: Path
) -> None:
    """Nobody mends the one to be told of the other."""
    copy_app(tmp_path)
    (tmp_path / "sessions" / "odd.json").write_text('{"session": {"speed": NaN}}', "utf-8")
    endpoint = Endpoint(start_host(required | {"MAX_CONCURRENT_MINTS": "0"}, app=tmp_path))

    with endpoint.http:
        problems = endpoint.health().json()["problems"]

    assert [problem.split()[0] for problem in problems] == ["MAX_CONCURRENT_MINTS", "sessions/odd.json"]


def test_healths_own_failure_has_an_id_and_a_body(start_endpoint: Callable[..., Endpoint]) -> None:
    """What nobody foresaw is an honest 500 there too, and its traceback is in the log."""
    endpoint = start_endpoint(http_proxy="http://")

    response = endpoint.health()

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "traceback" in endpoint.log_line(response)


@pytest.mark.workaround
def test_health_says_what_a_mint_would_do(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """It calls nothing upstream and names nothing of ours."""
    response = endpoint.health()

    assert response.json() == {
        "status": "ok",
        "version": __version__,
        "transcription": {
            "mode": "post_connect",
            "configured": "post_connect",
            "mint_time_works": None,
            "checked_at": None,
        },
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert azure.requests() == []


def test_health_tells_of_a_default_profile_that_cannot_be_minted(
    start_host: Callable[..., Host], required: dict[str, str], tmp_path: Path
) -> None:
    """A default that only transcribes, and no transcription deployment: 503 that names it, as for any setting."""
    copy_app(tmp_path)
    shutil.copy(tmp_path / "sessions" / "transcription.json", tmp_path / "sessions" / "default.json")
    endpoint = Endpoint(start_host(required | {"AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": ""}, app=tmp_path))

    with endpoint.http:
        health, mint = endpoint.health(), endpoint.mint()

    assert (health.status_code, health.json()["status"]) == (503, "misconfigured")
    assert "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT" in health.json()["problems"][0]
    assert mint.json()["error"]["code"] == "misconfigured"


def test_a_function_key_is_needed_for_minting_and_not_for_health(start_endpoint: Callable[..., Endpoint]) -> None:
    """The platform checks the key; its bare 401 is what a caller without one gets."""
    endpoint = start_endpoint("--keys", "a-function-key")

    without, wrong = endpoint.mint(), endpoint.mint(headers={"x-functions-key": "b"})
    header, query = (
        endpoint.mint(headers={"x-functions-key": "a-function-key"}),
        endpoint.mint(params={"code": "a-function-key"}),
    )

    assert [without.status_code, wrong.status_code] == [401, 401]
    assert [header.status_code, query.status_code] == [200, 200]
    assert endpoint.health().status_code == 200


def test_anonymous_asks_for_no_key(start_endpoint: Callable[..., Endpoint]) -> None:
    """CALLER_AUTH=anonymous is for a laptop: the platform is told to let everyone in."""
    endpoint = start_endpoint("--keys", "a-function-key", CALLER_AUTH="anonymous")

    assert endpoint.mint().status_code == 200


def test_anonymous_on_azure_is_refused(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """The route is open then, so that the app itself must refuse."""
    endpoint = start_endpoint(CALLER_AUTH="anonymous", WEBSITE_SITE_NAME="app")

    response = endpoint.mint()

    assert response.json()["error"]["code"] == "misconfigured"
    assert "CALLER_AUTH" in response.json()["error"]["message"]
    assert azure.requests() == []


def test_sixty_four_cold_callers_cost_one_identity_call(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Whoever comes while the first token is being fetched waits for that one."""
    endpoint = start_endpoint()
    azure.set(identity_latency_ms=300)

    with ThreadPoolExecutor(64) as pool:
        statuses = set(pool.map(lambda _: endpoint.mint().status_code, range(64)))

    assert statuses == {200}
    assert len(azure.identity_calls()) == 1


def test_a_warm_app_opens_no_new_upstream_connection(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Connections are kept and used again."""
    endpoint = start_endpoint()

    for _ in range(20):
        endpoint.mint()

    assert len({one["connection"] for one in azure.mints()}) == 1


def test_a_user_assigned_identity_is_asked_for_by_its_client_id(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """ManagedIdentityCredential does not read AZURE_CLIENT_ID by itself."""
    endpoint = start_endpoint(AZURE_CLIENT_ID="11111111-2222-3333-4444-555555555555")

    endpoint.mint()

    query = azure.identity_calls()[0]["query"]
    assert query["client_id"] == "11111111-2222-3333-4444-555555555555"
    assert query["resource"] == "https://cognitiveservices.azure.com"


def test_an_api_version_is_sent_where_one_is_set(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """The GA path needs none; a gateway in front may."""
    endpoint = start_endpoint(AZURE_OPENAI_API_VERSION="v1")

    assert endpoint.mint().status_code == 200
    assert azure.mints()[0]["query"] == {"api-version": "v1"}


@pytest.mark.workaround
def test_the_log_line_of_a_mint_tells_everything_but_secrets(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """One JSON object a mint, with the id that the caller has and the one that Azure has."""
    response = endpoint.mint()

    line = endpoint.log_line(response)
    assert line == {
        "event": "minted",
        "request_id": response.headers["x-request-id"],
        "caller": line["caller"],
        "profile": "default",
        "transcription": "post_connect",
        "upstream_status": 200,
        "attempts": 1,
        "upstream_ms": line["upstream_ms"],
        "total_ms": line["total_ms"],
        "apim_request_id": azure.mints()[0]["apim_request_id"],
        "region": "Sweden Central",
        "status": 200,
    }
    assert re.fullmatch(r"[0-9a-f]{32}", line["caller"])
    assert 0 < line["upstream_ms"] <= line["total_ms"]
    assert INSTRUCTIONS not in response.text


def test_on_azure_the_first_mint_finds_token_and_connection_ready(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """They are fetched while the platform is still starting, once the routes are there."""
    endpoint = start_endpoint(WEBSITE_SITE_NAME="app")
    until(lambda: len(azure.requests(MINT)) == 1)

    response = endpoint.mint()

    warming, mint = azure.requests(MINT)
    assert response.status_code == 200
    assert len(azure.identity_calls()) == 1
    assert (warming["method"], warming["connection"]) == ("GET", mint["connection"])


@pytest.mark.parametrize("fault", ["500", "hang"])
def test_what_cannot_be_made_ready_is_left_to_the_first_request(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Starting never fails for it and says nothing; health answers meanwhile, and the mint says what is wrong."""
    azure.set(identity_fault=fault)
    endpoint = start_endpoint(WEBSITE_SITE_NAME="app", MINT_DEADLINE_SECONDS="1")

    health, mint = endpoint.health(), endpoint.mint()

    assert health.status_code == 200
    assert mint.json()["error"]["code"] == "identity_unavailable"


def test_nothing_is_fetched_ahead_anywhere_else(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """On a laptop and in tests an import stays without effect."""
    endpoint = start_endpoint()

    assert endpoint.health().status_code == 200
    assert azure.requests() == []
