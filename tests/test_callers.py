"""Who is asking, by each way of CALLER_AUTH but jwt: what tells callers apart, and which headers are believed."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from mint.callers import Caller, Callers
from mint.errors import RefusedCallerError
from mint.settings import Settings
from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure
from tests.test_settings import REQUIRED

AZURE = {"WEBSITE_SITE_NAME": "app"}
EASY_AUTH = {"CALLER_AUTH": "easy_auth", "WEBSITE_AUTH_ENABLED": "True"}
JWT = {"CALLER_AUTH": "jwt", "JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "api://x"}
NAME_ID = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
OBJECT_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"


def caller(headers: dict[str, str], **settings: str) -> Caller:
    return Callers(Settings.read(REQUIRED | settings)).authenticate(headers, 1)


def principal(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def signed_in(name: str = "u1", provider: str = "aad") -> dict[str, str]:
    """Return the headers that App Service authentication adds for a user."""
    return {
        "x-ms-client-principal": principal({"auth_typ": provider, "claims": []}),
        "x-ms-client-principal-id": name,
        "x-ms-client-principal-idp": provider,
    }


@pytest.mark.parametrize(
    "forwarded",
    [
        "203.0.113.7",
        "203.0.113.7:50123",
        "198.51.100.1, 203.0.113.7:50124",
        "203.0.113.9,203.0.113.7",
        ",203.0.113.7",
    ],
)
def test_on_azure_the_last_hop_is_the_address(forwarded: str) -> None:
    """The platform appended it; what stands before it, and the port, the client chose."""
    found = caller({"x-forwarded-for": forwarded}, **AZURE)

    assert found.key == caller({"x-forwarded-for": "203.0.113.7:1"}, **AZURE).key
    assert found.key != caller({"x-forwarded-for": "203.0.113.8:1"}, **AZURE).key


@pytest.mark.parametrize("forwarded", ["[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"])
def test_an_ipv6_address_keeps_its_colons(forwarded: str) -> None:
    """With brackets and a port, or without both."""
    assert json.loads(caller({"x-forwarded-for": forwarded}, **AZURE).key) == ["address", "2001:db8::1"]


def test_elsewhere_nobody_is_believed() -> None:
    """Off Azure there is no platform that appends the header, so that all callers are one."""
    assert caller({"x-forwarded-for": "203.0.113.7"}).key == caller({}).key


def test_easy_auth_tells_users_apart_by_provider_and_id() -> None:
    """The same id at two providers is two people."""
    keys = {caller(signed_in(*who), **EASY_AUTH).key for who in [("u1", "aad"), ("u1", "google"), ("u2", "aad")]}

    assert len(keys) == 3
    assert caller(signed_in(), **EASY_AUTH).key in keys


@pytest.mark.parametrize("claim", [OBJECT_ID, NAME_ID, "sub"])
def test_the_id_may_stand_in_the_claims_alone(claim: str) -> None:
    """Some providers' principals come without the header for it; each has its own name for the claim."""
    content = {"auth_typ": "aad", "claims": [{"typ": "name", "val": "N"}, {"typ": claim, "val": "u1"}]}

    found = caller({"x-ms-client-principal": principal(content)}, **EASY_AUTH)

    assert found.key == caller(signed_in("u1", "aad"), **EASY_AUTH).key


def test_the_object_id_counts_before_other_ids() -> None:
    """Entra's `sub` is another for each app, and a person would have two quotas."""
    claims = [{"typ": name, "val": f"of {name}"} for name in ("sub", NAME_ID, OBJECT_ID)]
    content = {"auth_typ": "aad", "claims": claims}

    found = caller({"x-ms-client-principal": principal(content)}, **EASY_AUTH)

    assert found.key == caller(signed_in(f"of {OBJECT_ID}"), **EASY_AUTH).key


def test_the_provider_may_stand_in_the_header_alone() -> None:
    """It is the platform's word as the principal is."""
    headers = signed_in() | {"x-ms-client-principal": principal({"claims": []})}

    assert caller(headers, **EASY_AUTH).key == caller(signed_in(), **EASY_AUTH).key


def test_with_jwt_nobody_is_let_in_without_a_token() -> None:
    """Whatever the platform says of them: tests/test_bearer.py has what a token must be."""
    with pytest.raises(RefusedCallerError, match="There is no token"):
        caller(signed_in(), **JWT)


def test_with_jwt_issuer_and_subject_are_the_caller() -> None:
    """The same subject of another issuer would be another caller."""
    callers = Callers(Settings.read(REQUIRED | JWT))
    assert callers._tokens
    callers._tokens.subject = lambda *_: ("https://login.example", "ann")  # type: ignore[method-assign]  # verified

    key = callers.authenticate({}, 1).key

    assert json.loads(key)[-2:] == ["https://login.example", "ann"]


@pytest.mark.parametrize(("mode", "events"), [("anonymous", ["anyone_may_mint"]), ("function_key", [])])
def test_only_anonymous_has_something_to_say_and_once(mode: str, events: list[str]) -> None:
    """A warning at each look would drown."""
    callers = Callers(Settings.read(REQUIRED | {"CALLER_AUTH": mode}))

    notices = callers.take_notices()

    assert [notice["event"] for notice in notices] == events
    assert all("CALLER_AUTH" in notice["advice"] for notice in notices)
    assert callers.take_notices() == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ms-client-principal": ""},
        {"x-ms-client-principal-id": "u1", "x-ms-client-principal-idp": "aad"},
        signed_in() | {"x-ms-client-principal": "not base64"},
        signed_in() | {"x-ms-client-principal": "bm90IEpTT04="},
        signed_in() | {"x-ms-client-principal": principal(["a", "list"])},
        signed_in() | {"x-ms-client-principal": f"{principal({})},{principal({})}"},
        signed_in() | {"x-ms-client-principal": base64.b64encode(b"[" * 100_000).decode()},
        signed_in() | {"x-ms-client-principal-id": ""},
        {"x-ms-client-principal": principal({"auth_typ": "aad", "claims": [{"typ": OBJECT_ID, "val": ["u1"]}]})},
        {"x-ms-client-principal": principal({"auth_typ": ["aad"], "claims": [{"typ": "sub", "val": "u1"}]})},
        {"x-ms-client-principal": principal({"claims": [{"typ": "sub", "val": "u1"}]})},
    ],
)
def test_a_principal_that_is_missing_or_unreadable_is_401(headers: dict[str, str]) -> None:
    """Whoever is not signed in gets no secret, also where App Service lets them through."""
    with pytest.raises(RefusedCallerError) as caught:
        caller(headers, **EASY_AUTH)

    nobody = not headers.get("x-ms-client-principal")
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
    assert caught.value.headers()["WWW-Authenticate"] == ("Bearer" if nobody else 'Bearer error="invalid_token"')


def test_the_hash_hides_the_caller_and_depends_on_the_key() -> None:
    """Without CALLER_HASH_KEY nothing can be made of it; with it, instances agree."""
    headers = signed_in("ann@example.com")
    keyed = [caller(headers, **EASY_AUTH, CALLER_HASH_KEY="k").hash for _ in range(2)]

    random = [caller(headers, **EASY_AUTH).hash for _ in range(2)]

    assert keyed[0] == keyed[1]
    assert len({*random, *keyed}) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in keyed + random)
    assert "ann" not in repr(caller(headers, **EASY_AUTH))


@pytest.mark.parametrize("mode", ["easy_auth", "jwt"])
def test_the_platform_asks_for_no_key_where_the_app_authenticates(
    mode: str, start_endpoint: Callable[..., Endpoint]
) -> None:
    """With easy_auth and jwt the auth level is ANONYMOUS, so that the 401 is the app's own."""
    settings = {"WEBSITE_AUTH_ENABLED": "true", "JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "a"}
    endpoint = start_endpoint("--keys", "a-function-key", CALLER_AUTH=mode, **settings)

    response = endpoint.mint()

    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")


def test_easy_auth_mints_for_who_is_signed_in(start_endpoint: Callable[..., Endpoint]) -> None:
    """The headers that App Service authentication adds are believed while it is on."""
    endpoint = start_endpoint(**EASY_AUTH)

    assert endpoint.mint(headers=signed_in()).status_code == 200


@pytest.mark.parametrize("enabled", ["", "false", "0", "1", "yes"])
def test_easy_auth_headers_are_not_believed_while_it_is_off(
    enabled: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Anyone could send them: the app answers 500, names the setting, and mints for nobody."""
    endpoint = start_endpoint(CALLER_AUTH="easy_auth", WEBSITE_AUTH_ENABLED=enabled)

    response = endpoint.mint(headers=signed_in())

    assert (response.status_code, response.json()["error"]["code"]) == (500, "misconfigured")
    assert "WEBSITE_AUTH_ENABLED" in response.json()["error"]["message"]
    assert azure.requests() == []


def test_jwt_without_its_settings_mints_for_nobody(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """The platform lets everyone in by then, so that the app must not; both names are said at once."""
    endpoint = start_endpoint(CALLER_AUTH="jwt")

    message = endpoint.mint().json()["error"]["message"]

    assert "JWT_ISSUER" in message
    assert "JWT_AUDIENCE" in message
    assert azure.requests() == []


def test_anonymous_says_loudly_that_anyone_may_mint(start_endpoint: Callable[..., Endpoint]) -> None:
    """Once a process, as a warning."""
    endpoint = start_endpoint(CALLER_AUTH="anonymous")

    statuses = [endpoint.mint().status_code for _ in range(2)]

    assert statuses == [200, 200]
    assert endpoint.host.log.count("anyone_may_mint") == 1
    assert "WARNING mint" in next(line for line in endpoint.host.log.splitlines() if "anyone_may_mint" in line)


def safety_identifiers(azure: SimulatedAzure) -> list[Any]:
    return [mint["headers"].get("openai-safety-identifier") for mint in azure.mints()]


def test_the_callers_hash_is_sent_upstream_where_asked_for(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """SAFETY_IDENTIFIER=on sends what the log shows, and nothing that names the caller."""
    endpoint = start_endpoint(**EASY_AUTH, SAFETY_IDENTIFIER="on", CALLER_HASH_KEY="a-hash-key")

    lines = [endpoint.log_line(endpoint.mint(headers=signed_in(name))) for name in ("ann", "bob")]

    assert safety_identifiers(azure) == [line["caller"] for line in lines]
    assert lines[0]["caller"] != lines[1]["caller"]


def test_by_default_nothing_about_the_caller_is_sent_upstream(endpoint: Endpoint, azure: SimulatedAzure) -> None:
    """Off by default: whether Azure reads the header is not known."""
    endpoint.mint()

    assert safety_identifiers(azure) == [None]
