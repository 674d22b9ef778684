"""The simulated resource: minting, its defects, every fault by name, and the identity endpoint.

These say what the simulator does, which is what public sources tell of Azure; they prove nothing about Azure.
"""

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.identity import ManagedIdentityCredential

from local.faults import CATALOGUE
from tests.simulated import IDENTITY, MINT, SimulatedAzure, until

KEY = "simulated-api-key"
BLOCK = {"model": "gpt-4o-transcribe", "language": "en"}
PLAIN = {"type": "realtime", "model": "gpt-realtime"}
NESTED = {**PLAIN, "audio": {"input": {"transcription": BLOCK}}}
FLAT = {**PLAIN, "input_audio_transcription": BLOCK}


class Caller:
    """A client of the resource that has its key."""

    def __init__(self, azure: SimulatedAzure) -> None:
        self.url = azure.url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["api-key"] = KEY

    def mint(self, session: object = None, **options: Any) -> requests.Response:
        body = {"session": PLAIN if session is None else session}
        return self.http.post(
            f"{self.url}{MINT}", **{"json": body, "timeout": 10, "allow_redirects": False} | options
        )

    def token(self, **params: str) -> requests.Response:
        query = {"resource": "https://cognitiveservices.azure.com", "api-version": "2019-08-01"} | params
        headers = {"X-IDENTITY-HEADER": "simulated-identity-header"}
        return self.http.get(f"{self.url}{IDENTITY}", params=query, headers=headers, timeout=10)


@pytest.fixture
def caller(azure: SimulatedAzure) -> Iterator[Caller]:
    made = Caller(azure)
    yield made
    made.http.close()


def code_of(response: requests.Response) -> object:
    return response.json()["error"]["code"]


def test_a_mint_gives_a_secret_and_the_whole_session(caller: Caller) -> None:
    """The answer has an opaque secret, when it expires, and an echo filled up with the defaults."""
    response = caller.mint({**NESTED, "instructions": "Be brief."})

    assert response.status_code == 200
    assert response.headers["apim-request-id"]
    assert response.headers["x-request-id"]
    assert response.headers["x-ms-region"] == "Sweden Central"
    answer = response.json()
    assert answer["value"].startswith("ek_")
    assert len(answer["value"]) == 35
    assert 590 <= answer["expires_at"] - time.time() <= 601
    session = answer["session"]
    assert session["object"] == "realtime.session"
    assert session["id"].startswith("sess_")
    assert session["instructions"] == "Be brief."
    assert session["tools"] == []
    assert session["audio"]["input"]["transcription"] == BLOCK
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["audio"]["output"]["voice"] == "alloy"


def test_a_transcription_session_has_its_own_shape(caller: Caller) -> None:
    """A session of type transcription needs no model and has no output."""
    session = caller.mint({"type": "transcription", "audio": {"input": {"transcription": BLOCK}}}).json()[
        "session"
    ]

    assert session["object"] == "realtime.transcription_session"
    assert "output" not in session["audio"]
    assert "model" not in session


@pytest.mark.parametrize(
    ("session", "status", "code"),
    [
        ({"model": "gpt-realtime"}, 400, "InvalidSessionType"),
        ({**PLAIN, "type": "translation"}, 400, "InvalidSessionType"),
        ({"type": "realtime"}, 404, "DeploymentNotFound"),
        ({**PLAIN, "model": "GPT-Realtime"}, 404, "DeploymentNotFound"),
        ({**PLAIN, "model": "gpt-4o"}, 400, "OpperationNotSupported"),
        ({**PLAIN, "model": "gpt-4o-transcribe"}, 400, "OpperationNotSupported"),
        ({**PLAIN, "audio": "loud"}, 400, "invalid_type"),
    ],
)
def test_what_azure_refuses_is_refused_by_its_codes(
    caller: Caller, session: dict[str, Any], status: int, code: str
) -> None:
    """A wrong session type or deployment is refused with the status and code that were seen on Azure."""
    response = caller.mint(session)

    assert (response.status_code, code_of(response)) == (status, code)


@pytest.mark.parametrize(
    ("session", "path"),
    [
        ({**PLAIN, "voice": "alloy"}, "session.voice"),
        ({**PLAIN, "temperature": 0.8}, "session.temperature"),
        ({**PLAIN, "turn_detection": None}, "session.turn_detection"),
        ({**PLAIN, "audio": {"output": {"transcription": BLOCK}}}, "session.audio.output.transcription"),
        (
            {**PLAIN, "audio": {"input": {"transcription": {"temperature": 0}}}},
            "session.audio.input.transcription.temperature",
        ),
        ({"type": "transcription", "model": "gpt-realtime"}, "session.model"),
    ],
)
def test_an_unknown_field_is_a_500_or_names_itself(
    azure: SimulatedAzure, caller: Caller, session: dict[str, Any], path: str
) -> None:
    """A field outside the GA schema is a 500 by default, and a 400 that names it where the switch says so."""
    opaque = caller.mint(session)
    azure.set(unknown_fields="400")
    spoken = caller.mint(session)

    assert opaque.status_code == 500
    assert opaque.headers["apim-request-id"]
    assert spoken.status_code == 400
    assert spoken.json()["error"]["code"] == "unknown_parameter"
    assert spoken.json()["error"]["param"] == path


@pytest.mark.parametrize(
    ("defect", "plain", "nested", "flat"),
    [
        ("flat-fails", 200, 200, 500),
        ("all-fails", 200, 500, 500),
        ("fixed", 200, 200, 200),
        ("silent-drop", 200, 200, 200),
        ("flat-400", 200, 200, 400),
        ("all-400", 200, 400, 400),
    ],
)
def test_each_defect_hits_what_it_names(
    azure: SimulatedAzure, caller: Caller, defect: str, plain: int, nested: int, flat: int
) -> None:
    """A defect decides about the two places of the block and leaves a session without one alone."""
    azure.set(defect=defect)

    assert [caller.mint(session).status_code for session in (PLAIN, NESTED, FLAT)] == [plain, nested, flat]


def test_a_null_block_does_not_set_off_the_defect(azure: SimulatedAzure, caller: Caller) -> None:
    """An explicit null in the GA place is no transcription."""
    azure.set(defect="all-fails")

    assert caller.mint({**PLAIN, "audio": {"input": {"transcription": None}}}).status_code == 200


def test_fixed_echoes_the_block_where_it_was_put(azure: SimulatedAzure, caller: Caller) -> None:
    """Once mended, the echo has the block in the place in which it came, and only there."""
    azure.set(defect="fixed")
    nested, flat = (caller.mint(session).json()["session"] for session in (NESTED, FLAT))

    assert nested["audio"]["input"]["transcription"] == BLOCK
    assert "input_audio_transcription" not in nested
    assert flat["input_audio_transcription"] == BLOCK
    assert flat["audio"]["input"]["transcription"] is None


def test_silent_drop_echoes_no_block(azure: SimulatedAzure, caller: Caller) -> None:
    """A 200 whose echo lacks the block did not configure it."""
    azure.set(defect="silent-drop")
    nested, flat = (caller.mint(session).json()["session"] for session in (NESTED, FLAT))

    assert nested["audio"]["input"]["transcription"] is None
    assert flat["audio"]["input"]["transcription"] is None
    assert "input_audio_transcription" not in flat


def test_the_400_defects_name_the_place(azure: SimulatedAzure, caller: Caller) -> None:
    """The 400 says where the block was that it did not like."""
    azure.set(defect="all-400")
    params = [caller.mint(session).json()["error"]["param"] for session in (NESTED, FLAT)]

    assert params == ["session.audio.input.transcription", "session.input_audio_transcription"]


def test_random_is_about_half_and_repeatable(azure: SimulatedAzure, caller: Caller) -> None:
    """The intermittent defect fails about every other mint with a block, in the same order for the same seed."""
    runs = []
    for _ in range(2):
        azure.set(defect="random", seed=7)
        runs.append([caller.mint(NESTED).status_code for _ in range(60)])

    assert runs[0] == runs[1]
    assert 15 <= runs[0].count(500) <= 45
    assert set(runs[0]) == {200, 500}
    assert {caller.mint().status_code for _ in range(20)} == {200}


def test_the_lifetime_is_honoured_in_its_range(azure: SimulatedAzure, caller: Caller) -> None:
    """expires_after counts from 10 to 7200 seconds; beyond that, or where it is not known, it is a 400."""

    def mint(seconds: object, **anchor: object) -> requests.Response:
        return caller.mint(json={"session": PLAIN, "expires_after": {"seconds": seconds, **anchor}})

    shortest = mint(10, anchor="created_at")
    refused = [mint(9), mint(7201), mint("60"), mint(60, anchor="now")]
    azure.set(expires_after="refused")
    refused.append(mint(60))

    assert 8 <= shortest.json()["expires_at"] - time.time() <= 10
    assert [response.status_code for response in refused] == [400] * 5
    assert code_of(refused[-1]) == "unknown_parameter"


def test_a_body_that_is_no_object_is_a_400(caller: Caller) -> None:
    """An empty body, text and a list are all refused."""
    statuses = [caller.mint(json=None, data=data).status_code for data in (b"", b"hello", b"[]")]

    assert statuses == [400] * 3


def test_unknown_paths_and_methods_are_azures_404(caller: Caller) -> None:
    """What is not served answers with Azure's body, a wrong method included."""
    responses = [
        caller.http.get(f"{caller.url}{MINT}", timeout=10),
        caller.http.post(f"{caller.url}/openai/realtime/sessions", timeout=10),
    ]

    for response in responses:
        assert response.status_code == 404
        assert response.json() == {"error": {"code": "404", "message": "Resource not found"}}


def test_a_key_counts_unless_disabled(azure: SimulatedAzure, caller: Caller) -> None:
    """The key is taken as api-key and as Bearer, a wrong one is a 401, and a disabled one a 403."""
    as_bearer = caller.mint(headers={"api-key": None, "Authorization": f"Bearer {KEY}"})
    wrong = caller.mint(headers={"api-key": "another"})
    azure.set(keys_disabled=True)
    disabled = caller.mint()

    assert as_bearer.status_code == 200
    assert wrong.status_code == 401
    assert (disabled.status_code, code_of(disabled)) == (403, "AuthenticationTypeDisabled")


def test_the_real_credential_gets_a_token_that_mints(
    azure: SimulatedAzure, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-identity takes the endpoint for App Service's own, and its token is accepted until it is revoked."""
    for name, value in azure.identity_env.items():
        monkeypatch.setenv(name, value)
    with ManagedIdentityCredential() as credential:
        token = credential.get_token("https://cognitiveservices.azure.com/.default")
    headers = {"api-key": None, "Authorization": f"Bearer {token.token}"}
    before = caller.mint(headers=headers)
    azure.set(revoke_tokens=True)
    after = caller.mint(headers=headers)

    assert abs(token.expires_on - time.time() - 86400) < 60
    assert before.status_code == 200
    assert after.status_code == 401
    assert "audience is incorrect" in after.json()["message"]
    assert "error" not in after.json()
    assert [call["query"]["resource"] for call in azure.identity_calls()] == [
        "https://cognitiveservices.azure.com"
    ]


def test_a_token_parses_as_a_jwt(caller: Caller) -> None:
    """The token has three parts, and claims for whom it is and until when."""
    answer = caller.token(client_id="my-client").json()
    header, payload, signature = answer["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert header
    assert signature
    assert claims["aud"] == "https://cognitiveservices.azure.com"
    assert claims["exp"] == int(answer["expires_on"])
    assert claims["appid"] == answer["client_id"] == "my-client"
    assert {"iss", "tid", "oid", "iat", "nbf"} <= claims.keys()
    assert caller.token().json()["access_token"] != answer["access_token"]


def test_a_token_is_for_one_audience_and_a_time(azure: SimulatedAzure, caller: Caller) -> None:
    """A token for another audience is refused, one for ai.azure.com unless it is accepted, an expired one too."""

    def status(token: str) -> int:
        return caller.mint(headers={"api-key": None, "Authorization": f"Bearer {token}"}).status_code

    other = caller.token(resource="https://ai.azure.com").json()["access_token"]
    refused = status(other)
    azure.set(accept_ai_audience=True)
    accepted = status(other)
    azure.set(token_lifetime_s=1)
    short = caller.token().json()
    until(lambda: status(short["access_token"]) == 401)

    assert (refused, accepted) == (401, 200)
    assert time.time() >= int(short["expires_on"])


def test_the_identity_endpoint_asks_for_its_header(azure: SimulatedAzure, caller: Caller) -> None:
    """No token without the right header, a resource and the api-version."""
    bare = requests.get(f"{azure.url}{IDENTITY}", timeout=10)

    assert bare.status_code == 401
    assert caller.token(resource="").status_code == 400
    assert caller.token(**{"api-version": "2017-09-01"}).status_code == 400


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("400-not-found", 400), ("403", 403)])
def test_identity_faults_by_status(azure: SimulatedAzure, caller: Caller, fault: str, status: int) -> None:
    """The identity endpoint fails on its own, with a message of its own."""
    azure.set(identity_fault=fault)
    response = caller.token()

    assert response.status_code == status
    assert response.json()["message"]
    assert caller.mint().status_code == 200


def test_identity_faults_of_the_connection(azure: SimulatedAzure, caller: Caller) -> None:
    """The identity endpoint can answer nonsense, reset the connection, or not answer."""
    azure.set(identity_fault="not-json")
    nonsense = caller.token()
    azure.set(identity_fault="reset")
    with pytest.raises(requests.ConnectionError):
        caller.token()
    azure.set(identity_fault="hang")
    with pytest.raises(requests.ReadTimeout):
        caller.http.get(f"{azure.url}{IDENTITY}", timeout=0.2)

    assert nonsense.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        nonsense.json()


ANSWERED = {
    "401-permission-denied": (401, "PermissionDenied"),
    "403-public-access": (403, "AccessDenied"),
    "403-firewall": (403, "AccessDenied"),
    "403-key-disabled": (403, "AuthenticationTypeDisabled"),
    "403-blocked": (403, "Forbidden"),
    "404-deployment": (404, "DeploymentNotFound"),
    "400-deployment": (400, "DeploymentNotFound"),
    "404-resource": (404, "404"),
    "400-opperation": (400, "OpperationNotSupported"),
    "400-operation": (400, "OperationNotSupported"),
    "400-session-type": (400, "InvalidSessionType"),
    "400-unknown-parameter": (400, "unknown_parameter"),
    "400-transcription": (400, "unknown_parameter"),
    "429-retry-after": (429, "429"),
    "429-retry-after-ms": (429, "429"),
    "429-bare": (429, "429"),
    "429-date": (429, "429"),
    "500": (500, "InternalServerError"),
    "503": (503, "ServiceUnavailable"),
    "504": (504, "Timeout"),
}
SHAPED = {
    "200-no-value": lambda answer: "value" not in answer and answer["expires_at"],
    "200-null-value": lambda answer: answer["value"] is None,
    "200-expires-string": lambda answer: answer["value"] and int(answer["expires_at"]) and answer["session"],
    "200-preview-shape": lambda answer: answer["client_secret"]["value"] and answer["id"],
    "200-array": lambda answer: answer == [],
    "200-bad-expires": lambda answer: answer["value"] and not answer["expires_at"].isdigit(),
    "200-huge": lambda answer: len(json.dumps(answer)) > 1024 * 1024,
    "200-huge-chunked": lambda answer: len(json.dumps(answer)) > 1024 * 1024,
}
OTHER_STATUS = {
    "401-audience": 401,
    "400-string-error": 400,
    "500-bare": 500,
    "502-html": 502,
    "302-redirect": 302,
}
UNREADABLE = {"200-not-json", "200-empty"}
BROKEN = {"200-truncated", "reset", "reset-mid-body", "close", "bad-status-line"}
ENDLESS = {"hang", "slow-headers", "slow-body"}


def test_every_fault_is_tested_here() -> None:
    """No fault joins the catalogue without a test of what it does."""
    tested = {*ANSWERED, *SHAPED, *OTHER_STATUS, *UNREADABLE, *BROKEN, *ENDLESS}

    assert tested == set(CATALOGUE)


@pytest.mark.parametrize("fault", ANSWERED)
def test_faults_with_azures_error_body(azure: SimulatedAzure, caller: Caller, fault: str) -> None:
    """The fault answers with its status, its code and an id to quote to support."""
    azure.set(fault=fault)
    response = caller.mint()

    assert (response.status_code, code_of(response)) == ANSWERED[fault]
    assert response.json()["error"]["message"]
    assert response.headers["apim-request-id"]


@pytest.mark.parametrize("fault", SHAPED)
def test_faults_that_are_a_200_of_another_shape(azure: SimulatedAzure, caller: Caller, fault: str) -> None:
    """The fault answers 200 with JSON that is not what was promised."""
    azure.set(fault=fault)
    response = caller.mint(NESTED)

    assert response.status_code == 200
    assert SHAPED[fault](response.json())


@pytest.mark.parametrize("fault", OTHER_STATUS)
def test_faults_with_another_body(azure: SimulatedAzure, caller: Caller, fault: str) -> None:
    """The fault answers with its status, whatever its body."""
    azure.set(fault=fault)

    assert caller.mint().status_code == OTHER_STATUS[fault]


@pytest.mark.parametrize("fault", sorted(UNREADABLE))
def test_faults_that_cannot_be_read(azure: SimulatedAzure, caller: Caller, fault: str) -> None:
    """The fault is a 200 that is no JSON."""
    azure.set(fault=fault)

    with pytest.raises(requests.JSONDecodeError):
        caller.mint().json()


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_faults_that_break_the_connection(azure: SimulatedAzure, caller: Caller, fault: str) -> None:
    """The fault leaves no whole answer, and the record says that none was given."""
    azure.set(fault=fault)

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        caller.mint()
    assert [mint["status"] for mint in azure.mints()] == [None]


def test_a_hanging_mint_ends_when_a_switch_is_set(azure: SimulatedAzure, caller: Caller) -> None:
    """The fault never answers; setting a switch closes what hangs."""
    azure.set(fault="hang")
    with pytest.raises(requests.ReadTimeout):
        caller.mint(timeout=0.2)
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(caller.mint, timeout=20)
        until(lambda: len(azure.mints()) == 2)
        azure.set(fault=None)

        with pytest.raises(requests.ConnectionError):
            hanging.result(timeout=10)


@pytest.mark.parametrize("fault", ["slow-headers", "slow-body"])
def test_a_dripping_mint_never_ends(azure: SimulatedAzure, fault: str) -> None:
    """The fault sends a byte now and then, so that a timeout between two reads never strikes."""
    azure.set(fault=fault)
    host, port = azure.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(f"POST {MINT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        start = time.monotonic()
        pieces = [client.recv(65536) for _ in range(6)]
        took = time.monotonic() - start

    assert all(pieces)
    assert 0.3 <= took <= 5


def test_throttling_says_when_to_come_back(azure: SimulatedAzure, caller: Caller) -> None:
    """The four kinds of 429 differ in the header that says when."""
    headers = {}
    for fault in ("429-retry-after", "429-retry-after-ms", "429-bare", "429-date"):
        azure.set(fault=fault)
        headers[fault] = caller.mint().headers

    assert headers["429-retry-after"]["Retry-After"] == "7"
    assert headers["429-retry-after-ms"]["retry-after-ms"] == "1500"
    assert not {"Retry-After", "retry-after-ms"} & set(headers["429-bare"])
    ahead = parsedate_to_datetime(headers["429-date"]["Retry-After"]).timestamp() - time.time()
    assert 5 <= ahead <= 10


def test_a_fault_can_be_counted_and_aimed(azure: SimulatedAzure, caller: Caller) -> None:
    """A fault strikes as often as asked, and only mints with or without a block where that is asked."""
    azure.set(fault="503", fault_times=2, fault_when="with-transcription")
    statuses = [caller.mint(session).status_code for session in (PLAIN, NESTED, PLAIN, NESTED, NESTED)]
    azure.set(fault="503", fault_when="without-transcription")
    inverse = [caller.mint(session).status_code for session in (PLAIN, NESTED)]

    assert statuses == [200, 503, 200, 503, 200]
    assert inverse == [503, 200]


def test_faults_can_be_a_script(azure: SimulatedAzure, caller: Caller) -> None:
    """A list of faults is used up one mint at a time."""
    azure.set(faults=["429-bare", "ok", "500"])

    assert [caller.mint().status_code for _ in range(4)] == [429, 200, 500, 200]
    assert azure.switches()["faults"] == []


@pytest.mark.parametrize(
    ("switch", "named"),
    [
        ({"colour": "red"}, "defect"),
        ({"defect": "broken"}, "flat-fails"),
        ({"fault": "501"}, "429-retry-after"),
        ({"faults": ["ok", "nope"]}, "reset-mid-body"),
        ({"identity_fault": "429"}, "400-not-found"),
        ({"deployments": {"x": "tts"}}, "transcription"),
        ({"latency_ms": -1}, "a number"),
        ({"record": "yes"}, "true or false"),
        ({"fault_times": 0}, "an integer from 1"),
    ],
)
def test_a_wrong_switch_is_refused_with_the_choices(
    azure: SimulatedAzure, switch: dict[str, Any], named: str
) -> None:
    """A patch with an unknown switch or value names the choices and changes nothing."""
    before = azure.switches()
    with pytest.raises(ValueError, match=named):
        azure.set(latency_ms=5, **switch) if "latency_ms" not in switch else azure.set(**switch)

    assert azure.switches() == before


def test_requests_are_recorded_as_they_came(azure: SimulatedAzure, caller: Caller) -> None:
    """A record has all that a test may ask for, down to the connection that a request came on."""
    first = caller.mint(NESTED, params={"api-version": "v1"}, headers={"X-Test": "yes"})
    caller.mint()
    caller.http.close()
    caller.mint(json=None, data=b"hello")
    mints = azure.mints()

    assert [mint["status"] for mint in mints] == [200, 200, 400]
    assert [mint["connection"] == mints[0]["connection"] for mint in mints] == [True, True, False]
    assert mints[0]["apim_request_id"] == first.headers["apim-request-id"]
    assert mints[0]["query"] == {"api-version": "v1"}
    assert mints[0]["headers"]["x-test"] == "yes"
    assert mints[0]["body"] == {"session": NESTED}
    assert mints[0]["time"].endswith("+00:00")
    assert mints[2]["body"] == "hello"


def test_recording_can_be_cleared_and_turned_off(azure: SimulatedAzure, caller: Caller) -> None:
    """What was recorded can be forgotten, and a benchmark need not be recorded at all."""
    caller.mint()
    azure.clear()
    cleared = azure.requests()
    azure.set(record=False)
    caller.mint()

    assert cleared == azure.requests() == []


def test_reset_brings_the_defaults_back(azure: SimulatedAzure, caller: Caller) -> None:
    """A reset undoes every switch and forgets what was recorded."""
    before = azure.switches()
    azure.set(defect="all-fails", fault="500", deployments={}, latency_ms=1)
    caller.mint()
    azure.reset()

    assert azure.switches() == before
    assert azure.requests() == []


def test_latency_is_waited_for_in_parallel(azure: SimulatedAzure) -> None:
    """64 mints at 200 ms each take together hardly longer than one."""
    azure.set(latency_ms=200)
    callers = [Caller(azure) for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        start = time.monotonic()
        statuses = list(pool.map(lambda one: one.mint().status_code, callers))
        took = time.monotonic() - start
    for one in callers:
        one.http.close()

    assert statuses == [200] * 64
    assert 0.2 <= took < 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.azure", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_busy_port_is_one_clear_sentence(azure: SimulatedAzure) -> None:
    """A port in use ends the start with exit code 1 and one line that says what to do."""
    ended = run("--port", azure.url.rpartition(":")[2])

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "--port" in ended.stderr


def test_sigterm_ends_it_with_0_even_while_a_mint_hangs() -> None:
    """The process ends cleanly and says nothing more, whatever is under way."""
    own = SimulatedAzure("--defect", "fixed", "--latency-ms", "1")
    caller = Caller(own)
    switches = own.switches()
    own.set(fault="hang")
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(caller.mint, timeout=20)
        until(own.mints)
        code = own.stop()

        with pytest.raises(requests.ConnectionError):
            hanging.result(timeout=10)
    caller.http.close()

    assert (switches["defect"], switches["latency_ms"]) == ("fixed", 1)
    assert (code, own.errors()) == (0, "")


def test_it_serves_tls(tmp_path: Path) -> None:
    """With a certificate, the same resource is served over https."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*request.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    own = SimulatedAzure("--tls-cert", str(cert), "--tls-key", str(key), verify=str(cert))
    caller = Caller(own)
    answer = caller.mint(verify=str(cert))
    caller.http.close()

    assert own.url.startswith("https://127.0.0.1:")
    assert answer.status_code == 200
    assert own.stop() == 0
