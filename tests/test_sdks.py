"""OpenAI's own packages as clients, unmodified but for `base_url`: Python's `openai`, and npm's in two versions.

Node starts anew for each test, so that several calls share one process where they can.
"""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from tests.browser import node_package
from tests.conftest import Endpoint
from tests.hosting import ROOT, Host, without
from tests.issuing import Issuer
from tests.simulated import SimulatedAzure

NPM = ("openai", "openai-6")
KEY = "a-function-key"
ONCE = "404-deployment"  # a 502 that says x-should-retry: false
THRICE = "200-no-value"  # a 502 that may pass; unlike others it costs one upstream call for each request
CHOICES: dict[str, Any] = {
    "session": {"type": "realtime", "model": "gpt-realtime", "audio": {"output": {"voice": "cedar"}}},
    "expires_after": {"anchor": "created_at", "seconds": 60},
}


def base_url(endpoint: Endpoint) -> str:
    """Return what an SDK is told instead of OpenAI's address."""
    return f"{endpoint.host.url}/api"


@pytest.fixture(scope="module")
def keyed_endpoint(required: dict[str, str]) -> Iterator[Endpoint]:
    """An app whose platform asks for a function key."""
    with Host(required, "--keys", KEY) as host:
        yield Endpoint(host)


@pytest.fixture(scope="module")
def jwt_endpoint(required: dict[str, str], issuer_process: Issuer) -> Iterator[Endpoint]:
    """An app that trusts the issuer's tokens."""
    with Host(required | issuer_process.settings) as host:
        yield Endpoint(host)


# Python


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[OpenAI]:
    """Python's client, which holds each reply to its types."""
    with OpenAI(base_url=base_url(endpoint), api_key="unused", _strict_response_validation=True) as client:
        yield client


@pytest.mark.workaround
def test_python_mints(client: OpenAI, endpoint: Endpoint) -> None:
    """The reply passes strict validation, and what OpenAI's has not is there too."""
    secret = client.realtime.client_secrets.create()

    assert secret.value.startswith("ek_")
    assert secret.session.type == "realtime"
    assert secret.webrtc_url.endswith("/openai/v1/realtime/calls")
    assert secret.session_update["type"] == "session.update"
    assert secret.transcription["configured"] == "post_connect"
    assert f'"request_id": "{secret._request_id}"' in log_with(endpoint, secret._request_id)


def log_with(endpoint: Endpoint, text: str) -> str:
    """Return the endpoint's log once the text is in it."""
    endpoint.host.wait_for(text)
    return endpoint.host.log


@pytest.mark.parametrize("asked", [{}, {"session": {"type": "realtime"}}, CHOICES])
def test_pythons_requests_are_understood(asked: dict[str, Any], client: OpenAI, azure: SimulatedAzure) -> None:
    """Nothing at all, a session of nothing but its type, and choices that the profile allows."""
    client.realtime.client_secrets.create(**asked)

    (mint,) = azure.mints()
    assert mint["body"].get("expires_after") == asked.get("expires_after")
    assert mint["body"]["session"]["audio"]["output"]["voice"] == ("cedar" if asked == CHOICES else "alloy")


def test_pythons_transcription_sessions_are_typed(endpoint: Endpoint) -> None:
    """A profile that only transcribes answers with the other kind of session, which passes validation too."""
    query = {"profile": "transcription"}
    with OpenAI(
        base_url=base_url(endpoint), api_key="unused", default_query=query, _strict_response_validation=True
    ) as client:
        secret = client.realtime.client_secrets.create(session={"type": "transcription"})

    assert (secret.session.type, secret.session.object) == ("transcription", "realtime.transcription_session")


def test_python_shows_the_whole_error(client: OpenAI, azure: SimulatedAzure) -> None:
    """Its exception has code, param, type, message and request id."""
    with pytest.raises(openai.BadRequestError, match="The server decides this field") as refused:
        client.realtime.client_secrets.create(session={"type": "realtime", "instructions": "Be brief."})

    error = refused.value
    assert (error.code, error.param, error.type) == (
        "field_not_allowed",
        "session.instructions",
        "invalid_request_error",
    )
    assert re.fullmatch(r"[0-9a-f]{32}", error.request_id or "")
    assert azure.mints() == []


@pytest.mark.parametrize(("fault", "times"), [(ONCE, 1), (THRICE, 3)])
def test_python_asks_again_only_where_it_helps(
    fault: str, times: int, client: OpenAI, azure: SimulatedAzure
) -> None:
    """A missing deployment is asked for once; what may pass, three times."""
    azure.set(fault=fault)

    with pytest.raises(openai.InternalServerError) as failed:
        client.realtime.client_secrets.create()

    assert failed.value.status_code == 502
    assert len(azure.mints()) == times


def test_python_waits_as_long_as_it_is_told(client: OpenAI, azure: SimulatedAzure) -> None:
    """Azure's throttling reaches the SDK as a Retry-After that it keeps to, and the second try mints."""
    azure.set(fault="429-retry-after-ms", fault_times=1)

    client.realtime.client_secrets.create()

    first, second = (datetime.fromisoformat(mint["time"]) for mint in azure.mints())
    assert (second - first).total_seconds() >= 2


def test_pythons_other_clients_mint(endpoint: Endpoint) -> None:
    """The asynchronous one; and Azure's, whose api-version means nothing here."""

    async def mint() -> str:
        async with AsyncOpenAI(base_url=base_url(endpoint), api_key="unused") as client:
            return (await client.realtime.client_secrets.create()).value

    with AzureOpenAI(base_url=base_url(endpoint), api_key="unused", api_version="2025-08-28") as azures:
        values = [asyncio.run(mint()), azures.realtime.client_secrets.create().value]

    assert all(value.startswith("ek_") for value in values)


def test_a_function_key_travels_with_python(keyed_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """In a header or in the query; as api_key it is none to the platform, whose 401 is not tried again."""
    url = base_url(keyed_endpoint)
    ways: list[dict[str, Any]] = [
        {"default_headers": {"x-functions-key": KEY}},
        {"default_query": {"code": KEY}},
    ]
    for way in ways:
        with OpenAI(base_url=url, api_key="unused", **way) as client:
            client.realtime.client_secrets.create()

    with OpenAI(base_url=url, api_key=KEY) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.realtime.client_secrets.create()

    assert len(azure.mints()) == 2
    assert refused.value.code is None


def test_pythons_api_key_may_be_a_token(jwt_endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure) -> None:
    """With CALLER_AUTH=jwt the SDK's bearer is the caller's token; a bad one is refused by us, with a code."""
    url = base_url(jwt_endpoint)
    with OpenAI(base_url=url, api_key=issuer.token()) as client:
        client.realtime.client_secrets.create()

    with OpenAI(base_url=url, api_key="x") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.realtime.client_secrets.create()

    assert len(azure.mints()) == 1
    assert refused.value.code == "unauthenticated"


# npm


def npm(package: str, endpoint: Endpoint, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """Make calls with npm's package, and return what a program sees of each."""
    node_package(package)
    node = shutil.which("node") or without("needs Node: install Node 20 or later and npm, then run make test")
    for call in calls:
        call["options"] = {"baseURL": base_url(endpoint), "apiKey": "unused"} | call.get("options", {})
    done = subprocess.run(
        [node, ROOT / "tests" / "sdks" / "mint.mjs", json.dumps({"package": package, "calls": calls})],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.workaround
@pytest.mark.parametrize("package", NPM)
def test_npm_mints(package: str, endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """An empty body with a JSON type, a session of nothing but its type, and choices; ours is in the reply too."""
    asked = [{}, {"asked": {"session": {"type": "realtime"}}}, {"asked": CHOICES}]

    outcomes = npm(package, endpoint, *asked)

    for outcome in outcomes:
        assert outcome["secret"]["value"].startswith("ek_")
        assert outcome["secret"]["webrtc_url"].endswith("/openai/v1/realtime/calls")
        assert outcome["secret"]["session_update"]["type"] == "session.update"
        assert re.fullmatch(r"[0-9a-f]{32}", outcome["request_id"])
    voices = [mint["body"]["session"]["audio"]["output"]["voice"] for mint in azure.mints()]
    assert voices == ["alloy", "alloy", "cedar"]


@pytest.mark.parametrize("package", NPM)
def test_npm_shows_the_whole_error(package: str, endpoint: Endpoint) -> None:
    """Its error has code, param, type, message and request id."""
    asked = {"session": {"type": "realtime", "instructions": "Be brief."}}

    (refused,) = npm(package, endpoint, {"asked": asked})

    assert refused == {
        "error": "BadRequestError",
        "status": 400,
        "code": "field_not_allowed",
        "param": "session.instructions",
        "type": "invalid_request_error",
        "message": refused["message"],
        "request_id": refused["request_id"],
    }
    assert "The server decides this field" in refused["message"]
    assert re.fullmatch(r"[0-9a-f]{32}", refused["request_id"])


@pytest.mark.parametrize(("fault", "times"), [(ONCE, 1), (THRICE, 3)])
@pytest.mark.parametrize("package", NPM)
def test_npm_asks_again_only_where_it_helps(
    package: str, fault: str, times: int, endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A missing deployment is asked for once; what may pass, three times."""
    azure.set(fault=fault)

    (failed,) = npm(package, endpoint, {})

    assert (failed["error"], failed["status"]) == ("InternalServerError", 502)
    assert len(azure.mints()) == times


@pytest.mark.parametrize("package", NPM)
def test_a_function_key_travels_with_npm(package: str, keyed_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """In a header or in the query; as apiKey it is none to the platform."""
    header, query, neither = npm(
        package,
        keyed_endpoint,
        {"options": {"defaultHeaders": {"x-functions-key": KEY}}},
        {"options": {"defaultQuery": {"code": KEY}}},
        {"options": {"apiKey": KEY}},
    )

    assert header["secret"]["value"] != query["secret"]["value"]
    assert len(azure.mints()) == 2
    assert (neither["error"], neither["status"]) == ("AuthenticationError", 401)


@pytest.mark.parametrize("package", NPM)
def test_npms_api_key_may_be_a_token(
    package: str, jwt_endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure
) -> None:
    """With CALLER_AUTH=jwt the SDK's bearer is the caller's token; a bad one is refused by us, with a code."""
    token = issuer.token()

    minted, refused = npm(package, jwt_endpoint, {"options": {"apiKey": token}}, {"options": {"apiKey": "x"}})

    assert minted["secret"]["value"]
    assert len(azure.mints()) == 1
    assert (refused["status"], refused["code"]) == (401, "unauthenticated")
