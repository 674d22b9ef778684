"""What must not get a secret: each request is refused by name, costs no upstream call and gets nothing back."""

import gzip
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import Endpoint, secrets_in
from tests.hosting import Host
from tests.simulated import SimulatedAzure
from tests.test_callers import principal

PATH = "/api/realtime/client_secrets"
MARK = "PWNED"
KEY = ("x-functions-key", "a-function-key")
JSON = ("Content-Type", "application/json")
USER = principal({"auth_typ": MARK, "claims": [{"typ": "sub", "val": MARK}]})


@dataclass(frozen=True)
class Sent:
    """One request, byte for byte, and how it must be refused; the platform's own refusals have no code."""

    status: int
    code: str | None
    method: str = "POST"
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=lambda: [KEY, JSON])
    body: bytes = b""
    param: str | None = None


def with_body(status: int, code: str, body: bytes, *headers: tuple[str, str], param: str | None = None) -> Sent:
    return Sent(status, code, headers=[KEY, *(headers or [JSON])], body=body, param=param)


def with_profile(name: str) -> Sent:
    return Sent(400, "unknown_profile", query=f"?profile={name}", param="profile")


def nested(levels: int) -> bytes:
    return b'{"session":' + b"[" * levels + b"]" * levels + b"}"


REFUSALS = {
    # Who asks.
    "no key": Sent(401, None, headers=[JSON]),
    "an empty key": Sent(401, None, headers=[(KEY[0], "")]),
    "an empty key in the query": Sent(401, None, query="?code=", headers=[]),
    "an empty header beside the right query": Sent(401, None, query=f"?code={KEY[1]}", headers=[(KEY[0], "")]),
    "another key": Sent(401, None, headers=[(KEY[0], MARK)]),
    "two keys": Sent(401, None, headers=[(KEY[0], MARK), KEY]),
    "the key in capitals": Sent(401, None, headers=[(KEY[0], KEY[1].upper())]),
    "the key as a bearer token": Sent(401, None, headers=[("Authorization", f"Bearer {KEY[1]}")]),
    "the key in a cookie": Sent(401, None, headers=[("Cookie", f"x-functions-key={KEY[1]}; code={KEY[1]}")]),
    "the key in the body": Sent(401, None, headers=[JSON], body=json.dumps({"code": KEY[1]}).encode()),
    "a made-up principal": Sent(
        401,
        None,
        headers=[
            ("X-MS-CLIENT-PRINCIPAL", USER),
            ("X-MS-CLIENT-PRINCIPAL-ID", MARK),
            ("X-MS-CLIENT-PRINCIPAL-IDP", "aad"),
        ],
    ),
    "a made-up admin level": Sent(401, None, headers=[("X-MS-Auth-Level", "Admin"), ("X-Auth-Level", "admin")]),
    "a forwarded loopback": Sent(401, None, headers=[("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "::1")]),
    "another host": Sent(
        401, None, headers=[("X-Forwarded-Host", "localhost"), ("X-Original-URL", "/api/health")]
    ),
    # What for.
    "GET": Sent(404, None, method="GET"),
    "HEAD": Sent(404, None, method="HEAD"),
    "PUT": Sent(404, None, method="PUT", body=b"{}"),
    "an override by header": Sent(404, None, method="GET", headers=[KEY, ("X-HTTP-Method-Override", "POST")]),
    "another override by header": Sent(404, None, method="GET", headers=[KEY, ("X-Method-Override", "POST")]),
    "an override by query": Sent(404, None, method="GET", query="?_method=POST"),
    "a body in the query of GET": Sent(404, None, method="GET", query=f'?body={{"session":"{MARK}"}}'),
    # In which words.
    "1 MB": with_body(413, "body_too_large", b'{"x":"' + MARK.encode() * 200_000 + b'"}'),
    "one byte too many": with_body(413, "body_too_large", b" " * 16385),
    "10,000 levels": with_body(413, "body_too_large", nested(10_000)),
    "10,000 levels, never closed": with_body(400, "invalid_json", b"[" * 10_000),
    "8,000 levels": with_body(400, "invalid_value", nested(8_000), param="session"),
    "8,000 levels of objects, never closed": with_body(400, "invalid_json", b'{"":' * 4_000),
    "NaN": with_body(400, "invalid_json", b'{"expires_after":{"seconds":NaN}}'),
    "Infinity": with_body(400, "invalid_json", b'{"expires_after":{"seconds":-Infinity}}'),
    "a number beyond a double": with_body(400, "invalid_json", b'{"expires_after":{"seconds":1e999}}'),
    "an integer of 5,000 digits": with_body(
        400, "invalid_json", b'{"expires_after":{"seconds":' + b"9" * 5_000 + b"}}"
    ),
    "duplicate keys": with_body(400, "invalid_json", b'{"session":{},"session":{"instructions":"PWNED"}}'),
    "duplicate keys, one escaped": with_body(400, "invalid_json", b'{"session":{},"sess\\u0069on":{}}'),
    "a lone surrogate": with_body(400, "invalid_json", b'{"session":{"type":"\\ud800PWNED"}}'),
    "a lone surrogate for a key": with_body(400, "invalid_json", b'{"\\udfff":1}'),
    "not UTF-8": with_body(400, "invalid_json", b'{"session":"\xff\xfePWNED"}'),
    "UTF-16": with_body(400, "invalid_json", '{"session":{}}'.encode("utf-16")),
    "a byte order mark": with_body(400, "invalid_json", b"\xef\xbb\xbf{}"),
    "compressed": with_body(400, "invalid_json", gzip.compress(b"{}"), JSON, ("Content-Encoding", "gzip")),
    "two documents": with_body(400, "invalid_json", b"{}{}"),
    "a comment": with_body(400, "invalid_json", b"{} // PWNED"),
    "a list": with_body(400, "invalid_json", b'[{"session":{}}]'),
    "null": with_body(400, "invalid_json", b"null"),
    "a text": with_body(400, "invalid_json", b'"PWNED"'),
    "plain text": with_body(415, "unsupported_media_type", b"{}", ("Content-Type", "text/plain")),
    "a form": with_body(
        415, "unsupported_media_type", b"session=PWNED", ("Content-Type", "application/x-www-form-urlencoded")
    ),
    "multipart": with_body(
        415,
        "unsupported_media_type",
        b"--x\r\n\r\n{}\r\n--x--",
        ("Content-Type", "multipart/form-data; boundary=x"),
    ),
    "another kind of JSON": with_body(415, "unsupported_media_type", b"{}", ("Content-Type", "application/jsonp")),
    "two Content-Types, as the platform joins them": with_body(
        415, "unsupported_media_type", b"{}", ("Content-Type", "application/json,text/plain")
    ),
    # For what.
    "__proto__": with_body(400, "unknown_field", b'{"__proto__":{"instructions":"PWNED"}}', param="__proto__"),
    "__proto__ in the session": with_body(
        400, "unknown_field", b'{"session":{"__proto__":{"instructions":"PWNED"}}}', param="session.__proto__"
    ),
    "constructor": with_body(400, "unknown_field", b'{"constructor":{"prototype":{}}}', param="constructor"),
    "a dotted path": with_body(
        400, "unknown_field", b'{"session.audio.output.voice":"PWNED"}', param="session.audio.output.voice"
    ),
    "instructions": with_body(
        400, "field_not_allowed", b'{"session":{"instructions":"PWNED"}}', param="session.instructions"
    ),
    "tools": with_body(400, "field_not_allowed", b'{"session":{"tools":[]}}', param="session.tools"),
    "another model": with_body(400, "invalid_value", b'{"session":{"model":"PWNED"}}', param="session.model"),
    "a secret for ever": with_body(
        400, "invalid_value", b'{"expires_after":{"seconds":7201}}', param="expires_after.seconds"
    ),
    "a secret for true seconds": with_body(
        400, "invalid_value", b'{"expires_after":{"seconds":true}}', param="expires_after.seconds"
    ),
    **{
        f"the profile {name}": with_profile(name)
        for name in (
            "../default",
            "..%2fdefault",
            "..%5cdefault",
            "%2e%2e/sessions/default",
            "./default",
            "default.json",
            "default%00",
            "default%00.json",
            "default%0a",
            "/etc/passwd",
            "file:///etc/passwd",
            "%252e%252e%252fdefault",
            "profile.schema",
            "__proto__",
            "*",
            "default%20",
            "%EF%BC%8E%EF%BC%8E/default",  # full-width dots
            "x" * 4_000,
            "default&profile=default",
        )
    },
}


@pytest.fixture(scope="module")
def shared_keyed_endpoint(required: dict[str, str]) -> Iterator[Endpoint]:
    """One app behind a function key."""
    with Host(required, "--keys", KEY[1]) as host:
        endpoint = Endpoint(host)
        yield endpoint
        endpoint.http.close()
    assert not secrets_in(host.log)
    assert MARK not in host.log


@pytest.fixture
def keyed_endpoint(shared_keyed_endpoint: Endpoint, azure: SimulatedAzure) -> Endpoint:
    """The app behind a function key, over a simulated resource that has recorded nothing."""
    assert azure.url
    return shared_keyed_endpoint


def answer(endpoint: Endpoint, sent: Sent) -> tuple[http.client.HTTPResponse, str]:
    """Send the request as it is, and return the reply and all of its text."""
    connection = http.client.HTTPConnection(endpoint.host.url.removeprefix("http://"), timeout=20)
    connection.putrequest(sent.method, PATH + sent.query, skip_accept_encoding=True)
    for name, value in sent.headers:
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(sent.body)))
    connection.endheaders(sent.body)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


@pytest.mark.parametrize("name", REFUSALS)
def test_it_gets_no_secret(name: str, keyed_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """The status and code of the contract, no upstream call, and no value of the caller's in the reply."""
    sent = REFUSALS[name]

    response, text = answer(keyed_endpoint, sent)

    error = json.loads(text)["error"] if text else {"code": None, "param": None}
    assert (response.status, error["code"], error["param"]) == (sent.status, sent.code, sent.param)
    assert azure.requests() == []
    assert "ek_" not in text
    assert MARK not in text + str(response.headers)
    assert KEY[1] not in text + str(response.headers)
    assert "passwd" not in text
    assert response.headers["Cache-Control"] == "no-store"
    if sent.code:
        assert response.headers["x-should-retry"] == "false"
        assert response.headers["x-request-id"]


def test_the_table_would_mint_without_its_faults(keyed_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """The same request with a key and nothing wrong gets a secret, so that the refusals above mean something."""
    response, text = answer(keyed_endpoint, Sent(200, None, body=b"{}"))

    assert response.status == 200
    assert "ek_" in text
    assert len(azure.mints()) == 1


def test_a_body_in_the_query_changes_nothing(keyed_endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """Query keys other than profile and code mean nothing, however much they look like fields."""
    query = f'?session={{"instructions":"{MARK}"}}&session.instructions={MARK}&expires_after.seconds=7200'

    response, text = answer(keyed_endpoint, Sent(200, None, query=query.replace('"', "%22")))

    assert response.status == 200
    assert MARK not in text
    assert MARK not in json.dumps(azure.mints()[0]["body"])
    assert "expires_after" not in azure.mints()[0]["body"]
