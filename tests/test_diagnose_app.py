"""`python -m diagnose --app`: every step against the app on a local host, and again with its fault planted.

What the platform in front of an app may do wrong is done by a proxy that changes requests or replies on their way.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from diagnose.__main__ import main
from diagnose.app import Target
from diagnose.runbook import RUNBOOK
from mint.errors import CODES
from tests.conftest import Endpoint, secrets_in
from tests.issuing import Issuer
from tests.simulated import SimulatedAzure

KEY, ORIGIN = "a-function-key-0123456789", "https://web.example"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    status: int
    lines: list[str]

    def step(self, name: str) -> str:
        """Return the line of one step."""
        return next(line for line in self.lines if line[2:].startswith(f"{name}: "))

    def failed(self) -> list[str]:
        """Return the names of the steps that failed."""
        return [line[2:].partition(": ")[0] for line in self.lines if line.startswith("✗")]

    def said(self, text: str) -> bool:
        """Tell whether the text is anywhere in the output."""
        return any(text in line for line in self.lines)


Prove = Callable[..., Run]


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prove:
    """`prove(url, *arguments)`: a run, whose output holds neither the key nor a client secret."""

    def run(url: str, *arguments: str, key: str | None = KEY, bearer: str | None = None) -> Run:
        for name, value in (("APP_FUNCTION_KEY", key), ("APP_BEARER_TOKEN", bearer)):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(["--app", url, "--timeout", "5", *arguments])
        said = capsys.readouterr()
        assert said.err == ""
        assert not secrets_in(said.out)
        assert KEY not in said.out
        return Run(status, said.out.splitlines())

    return run


@pytest.fixture(scope="module")
def keyed(required: dict[str, str]) -> Iterator[Endpoint]:
    """An app that asks for a function key and lets one origin in."""
    from tests.hosting import Host  # noqa: PLC0415 - the class, where the fixture of the same plugin is per test

    with Host(required, "--keys", KEY, "--cors", ORIGIN) as host:
        yield Endpoint(host)


Changes = Callable[["Passing"], None]


@dataclass
class Passing:
    """One request and its reply on the way through the proxy; a fault changes them."""

    method: str
    path: str
    sent: dict[str, str]
    reply: requests.Response | None = None
    status: int = 0
    headers: dict[str, str] | None = None
    body: bytes = b""


class Proxy:
    """Passes requests to an app. `before` may change a request, `after` a reply."""

    def __init__(self, upstream: str) -> None:
        self.before: Changes = lambda _: None
        self.after: Changes = lambda _: None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                passing = Passing(self.command, self.path, dict(self.headers.items()))
                proxy.before(passing)
                passing.sent.pop("Host", None)
                reply = requests.request(
                    passing.method, f"{upstream}{passing.path}", headers=passing.sent, data=body, timeout=10
                )
                passing.status, passing.body = reply.status_code, reply.content
                passing.headers = {k: v for k, v in reply.headers.items() if k.lower() != "content-length"}
                proxy.after(passing)
                self.send_response(passing.status)
                for name, value in passing.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(passing.body)))
                self.end_headers()
                self.wfile.write(passing.body)

            do_GET = do_POST = do_OPTIONS = answer  # noqa: N815 - the server's names

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def proxy(keyed: Endpoint, azure: SimulatedAzure) -> Iterator[Proxy]:
    """A proxy in front of the app, which changes nothing yet."""
    assert azure.url
    proxy = Proxy(keyed.host.url)
    yield proxy
    proxy.stop()


def test_a_good_app_passes_every_step(keyed: Endpoint, azure: SimulatedAzure, prove: Prove) -> None:
    """Health, mint, headers, session, three refusals and CORS: exit 0."""
    assert azure.url

    run = prove(keyed.host.url, "--origin", ORIGIN)

    assert run.status == 0, run.lines
    assert run.failed() == []
    assert "transcription is acknowledged" in run.step("session")
    for refused in ("without credentials", "with forged sign-in headers", "with a wrong credential"):
        assert "is refused (401)" in run.step(f"a mint {refused}")
    assert "is let in" in run.step(f"CORS for {ORIGIN}")
    assert "is not let in" in run.step("CORS for any other origin")


def test_one_mint_is_all_it_costs(keyed: Endpoint, azure: SimulatedAzure, prove: Prove) -> None:
    """The refusals reach no upstream: one client secret is minted in a whole run."""
    prove(keyed.host.url)

    assert len(azure.mints()) == 1


def test_a_token_proves_an_app_with_jwt(
    start_endpoint: Callable[..., Endpoint], issuer: Issuer, prove: Prove
) -> None:
    """With CALLER_AUTH=jwt the bearer token mints, and the same token with one character changed does not."""
    endpoint = start_endpoint(**issuer.settings)

    run = prove(endpoint.host.url, key=None, bearer=issuer.token())

    assert run.status == 0, run.lines
    assert "is refused (401)" in run.step("a mint with a wrong credential")


def test_mint_time_is_seen_in_the_session(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure, prove: Prove
) -> None:
    """Where nothing is left to send, the session that Azure opens is looked at."""
    azure.set(defect="fixed")
    endpoint = start_endpoint("--keys", KEY, TRANSCRIPTION_MODE="mint_time")

    run = prove(endpoint.host.url)

    assert run.status == 0, run.lines
    assert "transcription is on" in run.step("session")


def test_an_app_without_transcription_passes(start_endpoint: Callable[..., Endpoint], prove: Prove) -> None:
    """Transcription that is off by the settings is no fault."""
    endpoint = start_endpoint("--keys", KEY, AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT="")

    run = prove(endpoint.host.url)

    assert run.status == 0, run.lines
    assert run.step("session").endswith("opened")


def test_an_app_that_anyone_can_mint_at(start_endpoint: Callable[..., Endpoint], prove: Prove) -> None:
    """The fault that matters most: exit 1, each way in is named, and the command that closes them."""
    endpoint = start_endpoint(CALLER_AUTH="anonymous")

    run = prove(endpoint.host.url)

    assert run.status == 1
    assert "a mint without credentials" in run.failed()
    assert "a mint with forged sign-in headers" in run.failed()
    assert "a mint with a wrong credential" in run.failed()
    assert run.said("--settings CALLER_AUTH=function_key")


def test_an_app_that_believes_forged_sign_in_headers(proxy: Proxy, prove: Prove) -> None:
    """Easy Auth that is off while its headers are believed is found."""

    def believe(passing: Passing) -> None:
        if "X-MS-CLIENT-PRINCIPAL" in passing.sent:
            passing.sent["x-functions-key"] = KEY

    proxy.before = believe

    run = prove(proxy.url)

    assert run.failed() == ["a mint with forged sign-in headers"]
    assert run.status == 1


def test_a_wrong_key(keyed: Endpoint, azure: SimulatedAzure, prove: Prove) -> None:
    """The platform's bare 401 is told from a refusal by the app, with the command that shows the keys."""
    assert azure.url

    run = prove(keyed.host.url, key="another-key-0123456789")

    assert run.status == 1
    assert "answered 401" in run.step("mint")
    assert run.said("az functionapp keys list")


def test_no_credential(keyed: Endpoint, azure: SimulatedAzure, prove: Prove) -> None:
    """Without anything to mint with, an app is not proved: exit 1, while the refusals are still tried."""
    assert azure.url

    run = prove(keyed.host.url, key=None)

    assert run.status == 1
    assert run.failed() == ["mint"]
    assert "is refused (401)" in run.step("a mint without credentials")


def test_misconfigured(start_endpoint: Callable[..., Endpoint], prove: Prove) -> None:
    """Every problem that health names is a line, and the mint's failure has the runbook's words."""
    endpoint = start_endpoint("--keys", KEY, TRANSCRIPTION_MODE="sometimes", MAX_CONCURRENT_MINTS="none")

    run = prove(endpoint.host.url)

    assert run.status == 1
    assert run.said("TRANSCRIPTION_MODE is not valid")
    assert run.said("MAX_CONCURRENT_MINTS is not valid")
    assert run.said(RUNBOOK["misconfigured"].fix)


def test_the_defect_with_mint_time(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure, prove: Prove
) -> None:
    """A mint that Azure refuses for its block names the setting to change."""
    azure.set(defect="all-fails")
    endpoint = start_endpoint("--keys", KEY, TRANSCRIPTION_MODE="mint_time")

    run = prove(endpoint.host.url)

    assert run.status == 1
    assert "502 transcription_rejected" in run.step("mint")
    assert run.said("Set TRANSCRIPTION_MODE to post_connect, or to auto.")


def test_no_routes(proxy: Proxy, prove: Prove) -> None:
    """An app that could not be indexed answers 404 everywhere: where to find the reason is said."""

    def lose(passing: Passing) -> None:
        passing.status, passing.body = 404, b""

    proxy.after = lose

    run = prove(proxy.url)

    assert run.status == 1
    assert "answered 404" in run.step("health")
    assert run.said("could not be indexed")


def test_a_sign_in_page(proxy: Proxy, prove: Prove) -> None:
    """Easy Auth that redirects is a refusal, and a fault for a program with a token."""

    def redirect(passing: Passing) -> None:
        if passing.path.startswith("/api/realtime"):
            passing.status, passing.headers, passing.body = 302, {"Location": "/.auth/login/aad"}, b""

    proxy.after = redirect

    run = prove(proxy.url)

    assert "mint" in run.failed()
    assert run.said("Set its action for unauthenticated requests to 401")
    assert "a sign-in page" in run.step("a mint without credentials")


@pytest.mark.parametrize(
    ("header", "value", "step"),
    [
        ("Cache-Control", "public, max-age=60", "no-store"),
        ("x-request-id", None, "x-request-id"),
        ("x-request-id", "diagnose", "x-request-id"),
    ],
)
def test_headers_that_a_gateway_changed(
    proxy: Proxy, prove: Prove, header: str, value: str | None, step: str
) -> None:
    """A reply that may be cached, has no request id, or the caller's own, fails the step of that header alone."""

    def change(passing: Passing) -> None:
        assert passing.headers is not None
        passing.headers = {k: v for k, v in passing.headers.items() if k.lower() != header.lower()}
        passing.headers |= {header: value} if value else {}

    proxy.after = change

    run = prove(proxy.url)

    assert run.failed() == [step]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(200, b"<html>", "200 without value"), (502, b"<html>", "answered 502"), (200, b"[]", "200 without value")],
)
def test_something_else_answers(proxy: Proxy, prove: Prove, status: int, body: bytes, says: str) -> None:
    """A gateway's own page in place of the reply is a failed mint, and nothing of it is shown."""

    def replace(passing: Passing) -> None:
        if passing.path.startswith("/api/realtime") and "x-functions-key" in passing.sent:
            passing.status, passing.body = status, body

    proxy.after = replace

    run = prove(proxy.url)

    assert says in run.step("mint")
    assert not run.said("<html>")


def test_a_refusal_that_is_none(proxy: Proxy, prove: Prove) -> None:
    """A 500 without credentials does not show that the app refuses anyone."""

    def fail(passing: Passing) -> None:
        if "x-functions-key" not in passing.sent and passing.method == "POST":
            passing.status, passing.body = 500, b""

    proxy.after = fail

    run = prove(proxy.url)

    assert run.failed() == ["a mint without credentials", "a mint with forged sign-in headers"]
    assert "does not show that it is refused" in run.step("a mint without credentials")


def test_an_origin_that_is_not_listed(keyed: Endpoint, azure: SimulatedAzure, prove: Prove) -> None:
    """An origin that should be let in and is not comes with the command that adds it."""
    assert azure.url

    run = prove(keyed.host.url, "--origin", "https://other.example")

    assert run.failed() == ["CORS for https://other.example"]
    assert run.said("az functionapp cors add --name APP --resource-group GROUP --allowed-origins https://other.ex")


def test_cors_for_everyone(start_endpoint: Callable[..., Endpoint], prove: Prove) -> None:
    """`*` lets every website in: a fault, even though the listed origin works."""
    endpoint = start_endpoint("--keys", KEY, "--cors", "*")

    run = prove(endpoint.host.url, "--origin", ORIGIN)

    assert run.failed() == ["CORS for any other origin"]
    assert run.said("az functionapp cors remove")


def test_a_session_that_refuses_the_update(start_endpoint: Callable[..., Endpoint], prove: Prove) -> None:
    """A secret that connects to a session that does not transcribe is a fault; what to measure is said."""
    endpoint = start_endpoint("--keys", KEY, TRANSCRIPTION_FIELD="input_audio_transcription")

    run = prove(endpoint.host.url)

    assert run.failed() == ["session"]
    assert run.said("python -m diagnose --settings app-settings.json")


def test_no_websocket(proxy: Proxy, prove: Prove) -> None:
    """A secret that opens no WebSocket is not called a fault: Azure documents WebRTC for it."""

    def elsewhere(passing: Passing) -> None:
        passing.body = re.sub(rb"ws://[^?]+", proxy.url.replace("http", "ws").encode() + b"/nothing", passing.body)

    proxy.after = elsewhere

    run = prove(proxy.url)

    assert run.status == 0, run.lines
    assert "not opened over WebSocket (404)" in run.step("session")


def test_a_secret_is_not_sent_to_an_insecure_address(proxy: Proxy, prove: Prove) -> None:
    """A reply whose websocket_url is neither secure nor on this machine is not followed."""

    def elsewhere(passing: Passing) -> None:
        passing.body = re.sub(rb"ws://[^?]+", b"ws://elsewhere.example/realtime", passing.body)

    proxy.after = elsewhere

    run = prove(proxy.url)

    assert run.failed() == ["session"]
    assert "no secure address" in run.step("session")


def test_words_of_a_server_are_one_printable_line(proxy: Proxy, prove: Prove) -> None:
    """Control characters of another server's reply do not reach the terminal."""

    def shout(passing: Passing) -> None:
        if passing.path.startswith("/api/health"):
            passing.status, passing.body = 503, json.dumps({"problems": ["\x1b[2Jgone\nand more"]}).encode()

    proxy.after = shout

    run = prove(proxy.url)

    assert run.step("health").endswith("[2Jgoneand more")


def test_nothing_there(prove: Prove) -> None:
    """No answer at the address: exit 2."""
    run = prove("http://127.0.0.1:9")

    assert run.status == 2
    assert run.said("Nothing answers there")


@pytest.mark.parametrize("arguments", [["--app", "http://app.example"], ["--app", "https://app.example/api"]])
def test_not_an_address(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A key is sent over https alone, and to the app's root: exit 2 before anything is sent."""
    assert main(arguments) == 2
    assert "https://APP.azurewebsites.net" in capsys.readouterr().out


def test_credentials_are_not_printed() -> None:
    """Neither a key nor a token is in the target's repr."""
    assert "secret" not in repr(Target("https://app.example", key="secret-key", bearer="secret-token"))


def test_every_code_has_an_entry_in_the_runbook() -> None:
    """A new error code cannot be without cause, check and fix."""
    assert set(RUNBOOK) == set(CODES)
    assert all(entry.cause and entry.check and entry.fix for entry in RUNBOOK.values())
