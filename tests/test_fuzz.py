"""Anything at all as a request, a setting, a profile or Azure's reply: always an answer from the table.

In process, through the route's own function, so that thousands of examples take seconds. What hypothesis has found
stays as `@example`.
"""

import asyncio
import base64
import json
import logging
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

import function_app
from mint.errors import CODES, MintError
from mint.outcome import Minted
from mint.profiles import DIRECTORY, SCHEMA_FILE, Profiles
from mint.replies import Reply, read
from mint.service import Service
from mint.session import Session, compose
from mint.settings import MisconfiguredError, Settings, app_settings
from mint.trip import Trip
from tests.conftest import INSTRUCTIONS, secrets_in
from tests.test_callers import EASY_AUTH
from tests.test_settings import GOOD_AND_BAD, REQUIRED

SECRET = "ek_0123456789abcdef"  # noqa: S105 - made up
TOKEN = "eyJhbGciOiJub25l.eyJhdWQiOiJ4"  # noqa: S105 - made up
ENDPOINT_KEYS = {
    "value",
    "expires_at",
    "session",
    "webrtc_url",
    "websocket_url",
    "transcription",
    "session_update",
}
ERROR_KEYS = {"message", "type", "code", "param", "upstream_request_id"}
FUZZ = settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "session",
        "expires_after",
        "type",
        "model",
        "audio",
        "output",
        "input",
        "voice",
        "speed",
        "tools",
        "seconds",
        "anchor",
        "instructions",
        "transcription",
        "turn_detection",
        "output_modalities",
        "prompt",
        "a.b",
        "",
        "value",
        "session.audio",
        "max_output_tokens",
        "tool_choice",
        "format",
        "rate",
        "eagerness",
        "client_secret",
        "id",
    ]
)
NEAR = st.recursive(
    st.none()
    | st.integers(-1, 7300)
    | st.floats()
    | st.sampled_from(["realtime", "created_at", "alloy", SECRET, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=15,
)
"""JSON of words that the endpoint knows, so that it gets further than the first refusal."""
BODIES = (
    st.binary(max_size=64)
    | JSON.map(lambda value: json.dumps(value).encode())
    | NEAR.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda depth, unit: unit * depth, st.integers(1, 5000), st.sampled_from([b"[", b'{"a":', b"9"]))
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "content-type",
            "x-forwarded-for",
            "authorization",
            "x-functions-key",
            "x-ms-client-principal",
            "x-ms-client-principal-id",
            "x-ms-client-principal-idp",
            "x-request-id",
            "accept",
            "content-length",
        ]
    ),
    st.text(st.characters(max_codepoint=255), max_size=40)
    | st.sampled_from(
        ["application/json", "application/json; charset=utf-8", f"Bearer {TOKEN}", "[::1]:7", ",,", "null"]
    )
    | JSON.map(lambda value: base64.b64encode(json.dumps(value).encode()).decode()),
    max_size=5,
)
UPSTREAM_HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after-ms", "apim-request-id", "x-ms-region", "Content-Type"]),
    st.text(st.characters(max_codepoint=255), max_size=40)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(
        ["Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400, "1e400", "Thu, 01 Jan 1970 00:00:00 -0000", "²"]
    ),
).map(CaseInsensitiveDict)
STATUSES = st.sampled_from(
    [200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 599, 999]
)
MINTS = st.fixed_dictionaries(
    {"value": st.text(max_size=9) | JSON, "expires_at": st.integers() | st.floats() | st.text(max_size=9)},
    optional={"session": st.dictionaries(FIELDS, JSON, max_size=4), "client_secret": JSON, "id": JSON},
)
ERRORS = st.fixed_dictionaries(
    {
        "error": st.fixed_dictionaries(
            {}, optional={"code": JSON, "message": JSON, "param": JSON, "statusCode": JSON}
        )
        | JSON
    }
)
REPLIES = st.builds(
    Reply,
    STATUSES,
    UPSTREAM_HEADERS,
    BODIES | MINTS.map(lambda m: json.dumps(m).encode()) | ERRORS.map(lambda e: json.dumps(e).encode()),
)


@dataclass
class Azure:
    """Stands where the resources do, and answers with one reply."""

    reply: Reply

    def mint(self, _session: Session, trip: Trip) -> Minted:
        trip.attempts += 1
        return read(self.reply)

    def health(self, _session: Session) -> dict[str, Any]:
        return {}

    def take_notices(self) -> list[dict[str, Any]]:
        return []


GOOD = Reply(200, {}, json.dumps({"value": SECRET, "expires_at": 1, "session": {"id": "sess_1"}}).encode())


@dataclass
class App:
    """The app in this process; `answer` calls the route as the platform's runtime does."""

    caplog: pytest.LogCaptureFixture

    def answer(self, request: func.HttpRequest) -> tuple[int, dict[str, Any]]:
        """Return what a caller gets, after what holds for every answer whatsoever has been checked."""
        self.caplog.clear()
        route = function_app.client_secrets.build(function_app.app.auth_level).get_user_function()
        response = asyncio.run(route(request))
        status, document = response.status_code, json.loads(response.get_body().decode("utf-8"))
        for name, value in response.headers.items():
            assert re.fullmatch(r"[\x20-\x7e]*", f"{name}: {value}")
        assert response.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])
        if status == 200:
            assert set(document) == ENDPOINT_KEYS
        else:
            assert set(document["error"]) == ERROR_KEYS
            code = document["error"]["code"]
            assert status == CODES[code].status
            assert code != "internal_error", self.caplog.text
            assert not secrets_in(json.dumps(document))
            assert ("x-should-retry" in response.headers) != CODES[code].retry
            assert int(response.headers.get("Retry-After", 1)) >= 1
        (record,) = [one for one in self.caplog.records if one.name == "mint"]
        line = record.getMessage()
        assert json.loads(line)["status"] == status
        assert "\n" not in line
        assert not secrets_in(line)
        return status, document


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[App]:
    """The app with the fewest settings, and no quota to run into."""
    yield from _app(monkeypatch, caplog, {})


def _app(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, more: dict[str, str]) -> Iterator[App]:
    environ = {
        **REQUIRED,
        "MINT_QUOTA": "off",
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "gpt-4o-transcribe",
        **more,
    }
    running = Service(Settings.read(environ))
    monkeypatch.setattr(function_app, "service", lambda: running)  # made from the process's environment otherwise
    caplog.set_level(logging.INFO)
    yield App(caplog)
    running.threads.shutdown()


def asked(body: bytes, headers: dict[str, str], params: dict[str, str]) -> func.HttpRequest:
    return func.HttpRequest(
        method="POST", url="/api/realtime/client_secrets", headers=headers, params=params, body=body
    )


def with_reply(reply: Reply) -> None:
    """Let every mint be answered so."""
    function_app.service().upstream = Azure(reply)  # type: ignore[assignment]  # it has the methods that are called


@FUZZ
@given(
    BODIES,
    HEADERS,
    st.dictionaries(
        st.sampled_from(["profile", "code"]), st.text(max_size=12) | st.sampled_from(["default", "voice-agent"])
    ),
)
def test_any_request_gets_an_answer_from_the_table(
    app: App, body: bytes, headers: dict[str, str], params: dict[str, str]
) -> None:
    """Whatever a caller sends costs them a 4xx at most, and never us an exception."""
    with_reply(GOOD)

    status, _ = app.answer(asked(body, headers, params))

    assert status == 200 or 400 <= status < 500


@pytest.fixture
def easy_auth_app(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[App]:
    """The app behind App Service authentication, on Azure, with a quota."""
    settings = {**EASY_AUTH, "WEBSITE_SITE_NAME": "app", "MINT_QUOTA": "100000/day", "SAFETY_IDENTIFIER": "on"}
    yield from _app(monkeypatch, caplog, settings | {"CALLER_HASH_KEY": "k"})


@FUZZ
@given(JSON | st.fixed_dictionaries({"auth_typ": JSON, "claims": JSON}), HEADERS)
def test_any_principal_is_a_caller_or_none(easy_auth_app: App, principal: object, headers: dict[str, str]) -> None:
    """What App Service authentication passes on is read, or the caller is 401."""
    with_reply(GOOD)
    encoded = base64.b64encode(json.dumps(principal).encode()).decode()

    status, _ = easy_auth_app.answer(asked(b"", {"x-ms-client-principal": encoded} | headers, {}))

    assert status in {200, 400, 401, 413, 415}


@pytest.fixture
def jwt_app(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[App]:
    """The app that checks tokens itself, of an issuer that nobody can reach."""
    settings = {"CALLER_AUTH": "jwt", "JWT_ISSUER": "http://127.0.0.1:1", "JWT_AUDIENCE": "api://x"}
    yield from _app(monkeypatch, caplog, settings)


PARTS = JSON.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode())


@FUZZ
@given(
    st.lists(PARTS | st.text(st.characters(max_codepoint=255), max_size=8), max_size=5).map(".".join)
    | st.fixed_dictionaries({"alg": JSON | st.just("RS256"), "kid": JSON}).map(
        lambda head: f"{base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b'=').decode()}.e30.x"
    )
)
def test_any_token_is_refused(jwt_app: App, token: str) -> None:
    """What is no token of the issuer's is 401; one that could be is 503 while its keys cannot be had."""
    with_reply(GOOD)

    status, _ = jwt_app.answer(asked(b"", {"authorization": f"Bearer {token}"}, {}))

    assert status in {401, 503}


DEEP = Reply(400, {}, b'{"error": {"message": ' + b"[" * 900 + b"]" * 900 + b"}}")


@FUZZ
@given(REPLIES)
@example(Reply(200, {}, b'{"value": "ek_x", "expires_at": ' + b"9" * 400 + b"}"))  # no float holds it
@example(Reply(200, {}, b'{"value": "ek_x", "expires_at": "' + b"9" * 5000 + b'"}'))  # int() refuses it
@example(Reply(200, {}, b'{"value": "\\ud800", "expires_at": 1}'))  # half of a surrogate pair cannot be sent on
@example(Reply(200, {}, b'{"value": "ek_x", "expires_at": 1, "session": {"id": "\\udfff"}}'))
@example(DEEP)
def test_any_reply_of_azures_gets_an_answer_from_the_table(app: App, reply: Reply) -> None:
    """Azure may say what it likes: a secret that can be passed on, or an error of ours."""
    with_reply(reply)

    status, document = app.answer(asked(b"", {}, {}))

    assert status == 200 or status >= 500
    if status == 200:
        assert document["value"]
        assert 0 <= document["expires_at"] < 10**12


class Raw(socketserver.BaseRequestHandler):
    """Writes the server's bytes to whoever has sent something, and hangs up."""

    def handle(self) -> None:
        self.request.settimeout(5)
        self.request.recv(65536)
        self.request.sendall(self.server.bytes)  # type: ignore[attr-defined]  # set by the test


class RawServer(socketserver.ThreadingTCPServer):
    """An upstream of bytes."""

    daemon_threads = True
    bytes = b""

    def handle_error(self, *_: object) -> None:
        """The app may hang up first."""


HEADS = st.sampled_from(
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 503 \xff\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n",
        b"HTTP/9.9 200 OK\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: \xb2\r\n",
    ]
)
LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"apim-request-id: a\r\n b\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
            b"Content-Encoding: deflate, br\r\n",
            b": \r\n",
            b"no colon\r\n",
            b"X: " + b"x" * 70000 + b"\r\n",
            b"A: b\r\n" * 200,
            b"Location: http://[\r\n",
        ]
    ),
    max_size=3,
).map(b"".join)
RAW = st.binary(max_size=40) | st.builds(
    lambda *parts: b"".join(parts), HEADS, LINES, st.just(b"\r\n"), BODIES | st.just(b"5\r\n{}\r\nffff\r\n")
)


class Token:
    """An identity that has a token."""

    def token(self, _wait_seconds: float) -> str:
        return TOKEN

    def discard(self, _refused: str) -> None:
        return


# Each example makes a pool, whose sockets nobody closes before the garbage collector does.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@settings(FUZZ, max_examples=60)
@given(RAW)
def test_any_bytes_on_the_wire_get_an_answer_from_the_table(app: App, raw: bytes) -> None:
    """Through requests and urllib3 too: no exception of theirs is missed by the one place that sees them."""
    with RawServer(("127.0.0.1", 0), Raw) as server:
        server.bytes = raw
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        running = Service(Settings.read(REQUIRED | {"AZURE_OPENAI_ENDPOINT": url, "MINT_DEADLINE_SECONDS": "1"}))
        function_app.service().upstream = running.upstream
        for _, mints, _ in running.upstream._resources:
            mints._upstream._identity = Token()  # type: ignore[attr-defined]  # a token without a platform

        status, _ = app.answer(asked(b"", {}, {}))
        server.shutdown()
        thread.join()

    assert status == 200 or status >= 500


SETTING_TEXTS = st.text(max_size=30) | st.sampled_from(
    [text for good, bad in GOOD_AND_BAD.values() for text in good + bad]
    + [
        "https://*.openai.azure.com",
        "https://a b",
        "https://%",
        "https://[::1%25x]",
        "https://a..b",
        "https://\udc80",
        "9" * 5000,
    ]
)


@FUZZ
@given(st.dictionaries(st.sampled_from([one.metadata["name"] for one in app_settings()]), SETTING_TEXTS))
@example(
    {"AZURE_OPENAI_ENDPOINT": "https://*.openai.azure.com"}
)  # requests refused these, in the middle of a mint
@example({"AZURE_OPENAI_ENDPOINT": "https://a b"})
@example({"AZURE_OPENAI_ENDPOINT": "https://[::1%25x]"})
@example({"AZURE_OPENAI_FALLBACK_ENDPOINT": "https://\udc80"})
def test_settings_are_good_or_named(environ: dict[str, str]) -> None:
    """What is accepted makes a service that can compose a session; what is not is named, without its value."""
    environ, problems = REQUIRED | environ, None
    try:
        running = Service(Settings.read(environ))
    except MisconfiguredError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert all(problem.split(" ")[0] in environ for problem in problems if "is not valid" in problem)
        return
    session = compose({}, running.profiles.default, running.profiles.schema, running.settings)
    running.threads.shutdown()

    assert session.body["model"] == running.settings.deployment


PROFILE_TEXTS = (
    st.binary(max_size=40)
    | NEAR.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"session": NEAR}, optional={"expires_after_seconds": NEAR, "client_may_set": st.lists(FIELDS, max_size=2)}
    ).map(lambda value: json.dumps(value).encode())
    | st.just(b"[" * 9000)
)


@settings(FUZZ, max_examples=40)  # each reads and compiles the schema, as a process does once
@given(PROFILE_TEXTS, NEAR.filter(lambda value: isinstance(value, dict)))
def test_a_profile_is_good_or_named(tmp_path: Path, text: bytes, body: dict[str, Any]) -> None:
    """Any file that is taken for a profile composes sessions; any other is misconfigured, by its name."""
    (tmp_path / SCHEMA_FILE).write_bytes((DIRECTORY / SCHEMA_FILE).read_bytes())
    (tmp_path / "default.json").write_bytes(text)
    app_settings = Settings.read(REQUIRED)
    try:
        profiles = Profiles(app_settings.ttl_seconds, tmp_path)
        outcome = compose(body, profiles.default, profiles.schema, app_settings).type
    except MisconfiguredError as error:
        outcome = error.problems[0].partition(" ")[0]
    except MintError as error:
        outcome = error.code

    assert outcome in {
        *("realtime", "transcription", "sessions/default.json", "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT"),
        *("unknown_field", "field_not_allowed", "invalid_value"),
    }


def test_nothing_of_this_module_is_a_real_secret() -> None:
    """The eye for secrets does see those that are put in here."""
    assert secrets_in(SECRET)
    assert secrets_in(TOKEN)
    assert secrets_in(INSTRUCTIONS)
