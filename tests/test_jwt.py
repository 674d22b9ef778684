"""CALLER_AUTH=jwt: whose token mints, which forgeries do not, and what happens when the issuer fails."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from mint.bearer import MAX_LENGTH, BearerTokens
from mint.errors import RefusedCallerError
from mint.issuer import IssuerError, fetch_keys
from mint.settings import Settings
from tests.conftest import Endpoint, secrets_in
from tests.hosting import Host
from tests.issuing import AUDIENCE, DISCOVERY, KEYS, Issuer, bearer
from tests.simulated import SimulatedAzure, until
from tests.test_run import printed, started
from tests.test_settings import REQUIRED

HOUR = 3600
MALLORY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MALLORYS_CURVE = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def shared_jwt_endpoint(required: dict[str, str], issuer_process: Issuer) -> Iterator[Endpoint]:
    """One app that trusts the issuer, for all tests that need no other; its keys are cached."""
    with Host(required | issuer_process.settings) as host:
        endpoint = Endpoint(host)
        assert endpoint.mint(headers=bearer(issuer_process.token())).status_code == 200
        yield endpoint
        endpoint.http.close()
    assert not secrets_in(host.log)


@pytest.fixture
def endpoint(shared_jwt_endpoint: Endpoint, azure: SimulatedAzure, issuer: Issuer) -> Endpoint:
    """The app, over a simulated resource and an issuer with their switches at their defaults."""
    assert azure.url
    assert issuer.url
    return shared_jwt_endpoint


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def header_of(token: str) -> dict[str, Any]:
    return dict(jwt.get_unverified_header(token))


def claims_of(issuer: Issuer, **asked: Any) -> dict[str, Any]:
    return dict(jwt.decode(issuer.token(**asked), options={"verify_signature": False}))


def forged(issuer: Issuer, key: Any = MALLORY, alg: str = "RS256", **header: Any) -> str:
    """Return a token with the claims of a good one, signed by someone else."""
    header = {"kid": header_of(issuer.token())["kid"]} | header
    return jwt.encode(claims_of(issuer), key, alg, headers=header)


def unsigned(issuer: Issuer, alg: str, signature: str = "") -> str:
    good = issuer.token()
    return f"{part(header_of(good) | {'alg': alg})}.{part(claims_of(issuer))}.{signature}"


def hmac_with_public_key(issuer: Issuer, encoding: Encoding) -> str:
    """Return a token whose HMAC key is the issuer's public key, which everybody knows."""
    jwk = next(key for key in issuer.public_keys() if key["kty"] == "RSA")
    secret = jwt.PyJWK(jwk).key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{part(header_of(issuer.token()) | {'alg': 'HS256'})}.{part(claims_of(issuer))}"
    signature = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def with_payload_of_another(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{part(claims_of(issuer, sub='the-admin'))}.{signature}"


PUBLIC_JWK = RSAAlgorithm.to_jwk(MALLORY.public_key(), as_dict=True)
FORGERIES: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda issuer: unsigned(issuer, "none"),
    "alg none, with something for a signature": lambda issuer: unsigned(issuer, "none", "AAAA"),
    "alg None": lambda issuer: unsigned(issuer, "None", "AAAA"),
    "alg empty": lambda issuer: unsigned(issuer, "", "AAAA"),
    "HS256 with the public key, PEM": lambda issuer: hmac_with_public_key(issuer, Encoding.PEM),
    "HS256 with the public key, DER": lambda issuer: hmac_with_public_key(issuer, Encoding.DER),
    "another key under the right kid": forged,
    "another key under its own kid": lambda issuer: forged(issuer, kid="mallory"),
    "the right key under another kid": lambda issuer: issuer.token(header={"kid": "nobody"}),
    "a kid that is a path": lambda issuer: forged(issuer, kid="../../../../dev/null"),
    "a kid that is SQL": lambda issuer: forged(issuer, kid="x' UNION SELECT 'k"),
    "no kid": lambda issuer: jwt.encode(claims_of(issuer), MALLORY, "RS256"),
    "jku": lambda issuer: forged(issuer, jku=f"{issuer.url}{KEYS}"),
    "x5u": lambda issuer: forged(issuer, x5u=f"{issuer.url}{KEYS}"),
    "jwk": lambda issuer: forged(issuer, jwk=PUBLIC_JWK),
    "jwk under its own kid": lambda issuer: forged(issuer, jwk=PUBLIC_JWK | {"kid": "m"}, kid="m"),
    "x5c": lambda issuer: forged(issuer, x5c=["MIIB"]),
    "crit": lambda issuer: issuer.token(header={"crit": ["exp"], "exp": 1}),
    "b64 false": lambda issuer: issuer.token(header={"crit": ["b64"], "b64": True}),
    "ES256 under the RSA key's kid": lambda issuer: forged(issuer, MALLORYS_CURVE, "ES256"),
    "RS256 under the EC key's kid": lambda issuer: forged(issuer, kid=header_of(issuer.token(alg="ES256"))["kid"]),
    "the right RSA key with PS256": lambda issuer: issuer.token(alg="PS256"),
    "another's payload": with_payload_of_another,
    "truncated": lambda issuer: issuer.token()[:-20],
    "cut in the payload": lambda issuer: issuer.token().rsplit(".", 1)[0][:-3],
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "two parts": lambda issuer: issuer.token().rpartition(".")[0],
    "five parts": lambda issuer: f"{issuer.token()}.AAAA.AAAA",
    "standard base64": lambda issuer: issuer.token() + "+/",
    "padded": lambda issuer: issuer.token() + "==",
    "a header that is not base64": lambda issuer: "A." + issuer.token().partition(".")[2],
    "a header that is not JSON": lambda issuer: "AAAA." + issuer.token().partition(".")[2],
    "a header that is a list": lambda issuer: f"{part(['RS256'])}." + issuer.token().partition(".")[2],
    "a header nested deeply": lambda _: base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=") + ".AAAA.AAAA",
    "a kid that is a list": lambda _: f"{part({'alg': 'RS256', 'kid': ['a']})}.AAAA.AAAA",
    "not a token": lambda _: "opaque",
    "a function key": lambda _: "a-function-key",
    "expired": lambda issuer: issuer.token(lifetime_s=-61),
    "expired by text": lambda issuer: issuer.token(claims={"exp": "never"}),
    "no exp": lambda issuer: issuer.token(claims={"exp": None}),
    "not yet valid": lambda issuer: issuer.token(claims={"nbf": int(time.time()) + HOUR}),
    "issued tomorrow": lambda issuer: issuer.token(claims={"iat": int(time.time()) + 24 * HOUR}),
    "another audience": lambda issuer: issuer.token(aud="api://another"),
    "a longer audience": lambda issuer: issuer.token(aud=f"{AUDIENCE}.evil.example"),
    "many other audiences": lambda issuer: issuer.token(aud=["api://another", AUDIENCE.upper()]),
    "no audience": lambda issuer: issuer.token(claims={"aud": None}),
    "an audience that is an object": lambda issuer: issuer.token(claims={"aud": {AUDIENCE: 1}}),
    "another issuer": lambda issuer: issuer.token(claims={"iss": "https://evil.example"}),
    "a slash more": lambda issuer: issuer.token(claims={"iss": f"{issuer.url}/"}),
    "a longer host": lambda issuer: issuer.token(claims={"iss": f"{issuer.url}.evil.example"}),
    "the issuer as a user": lambda issuer: issuer.token(claims={"iss": f"{issuer.url}@evil.example"}),
    "the issuer in capitals": lambda issuer: issuer.token(claims={"iss": issuer.url.upper()}),
    "the issuer with an unseen character": lambda issuer: issuer.token(claims={"iss": f"{issuer.url}\u200b"}),
    "a list of issuers": lambda issuer: issuer.token(claims={"iss": [issuer.url]}),
    "no issuer": lambda issuer: issuer.token(claims={"iss": None}),
    "no subject": lambda issuer: issuer.token(claims={"sub": None}),
    "a subject that is a number": lambda issuer: issuer.token(claims={"sub": 1}),
    "an empty subject": lambda issuer: issuer.token(claims={"sub": ""}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_does_not_mint(
    name: str, endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure
) -> None:
    """It is 401 with a challenge, costs nothing upstream, and nothing of it comes back or is fetched."""
    token = FORGERIES[name](issuer)

    response = endpoint.mint(headers=bearer(token))

    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert response.headers["x-should-retry"] == "false"
    assert azure.requests() == []
    assert not any(piece in response.text for piece in token.split(".") if piece)
    assert "evil" not in response.text
    assert "another" not in response.text.replace("for another audience", "").replace("has another issuer", "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("expired", "expired"),
        ("not yet valid", "not valid yet"),
        ("another audience", "JWT_AUDIENCE"),
        ("no audience", "no aud"),
        ("another issuer", "JWT_ISSUER"),
        ("no subject", "no sub"),
        ("no kid", "no kid"),
        ("alg None", "alg"),
        ("another key under the right kid", "signature"),
        ("another key under its own kid", "does not publish"),
    ],
)
def test_the_message_says_what_is_wrong(name: str, says: str, endpoint: Endpoint, issuer: Issuer) -> None:
    """Whoever sets up an issuer sees which claim or setting to look at."""
    response = endpoint.mint(headers=bearer(FORGERIES[name](issuer)))

    assert says in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "{token}",
        "Token {token}",
        "Bearer {token}, Bearer {token}",
        "Bearer {token},{token}",
        "Bearer {token} {token}",
        "Bearer {token};",
        'Bearer "{token}"',
        "Bearer Bearer {token}",
        "Bearer\u00a0{token}",
        "\u0412earer {token}",  # a Cyrillic letter
        "Bearer {token}\u0430",
        "Bearer \uff45yJ{token}",
    ],
)
def test_only_one_bearer_token_is_one(
    authorization: str, endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure
) -> None:
    """Anything but `Bearer TOKEN` is 401, good as the token may be."""
    header = authorization.format(token=issuer.token()).encode()

    response = endpoint.mint(headers={"Authorization": header})

    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert azure.requests() == []


def test_without_a_token_the_challenge_is_bare(endpoint: Endpoint) -> None:
    """RFC 6750: no error code where no token was sent; the message says how to send one."""
    response = endpoint.mint()

    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in response.json()["error"]["message"]


def test_two_authorization_headers_are_refused(endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure) -> None:
    """The platform joins them with a comma, and nobody can say which one counts."""
    connection = http.client.HTTPConnection(endpoint.host.url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/api/realtime/client_secrets")
    for token in (issuer.token(sub="a"), issuer.token(sub="b")):
        connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()

    assert status == 401
    assert azure.requests() == []


def test_a_huge_token_is_refused_before_it_is_read(issuer: Issuer) -> None:
    """100 KB cost the app less than a good token does."""
    tokens = BearerTokens(Settings.read(REQUIRED | issuer.settings))
    headers = {"authorization": f"Bearer {'eyJ' + 'A' * 100_000}.AAAA.AAAA"}

    started = time.perf_counter()
    with pytest.raises(RefusedCallerError, match=f"longer than {MAX_LENGTH}"):
        tokens.subject(headers, 1)
    took = time.perf_counter() - started

    assert took < 0.01
    assert issuer.asked(KEYS) == 0


def test_a_huge_token_does_not_mint_over_http(
    start_host: Callable[..., Host], required: dict[str, str], issuer: Issuer, azure: SimulatedAzure
) -> None:
    """The front may refuse it before the app does, as this one does."""
    endpoint = Endpoint(start_host(required | issuer.settings))

    with endpoint.http:
        response = endpoint.mint(headers=bearer(issuer.token(claims={"padding": "x" * 100_000})))

    assert response.status_code in {400, 401, 431}
    assert azure.requests() == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"alg": "ES256"},
        {"aud": ["api://another", AUDIENCE]},
        {"lifetime_s": -30},
        {"claims": {"nbf": 4102444800 - 4102444800}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"jku": "https://evil.example/keys"}},
    ],
)
def test_a_good_token_mints(asked: dict[str, Any], endpoint: Endpoint, issuer: Issuer) -> None:
    """RSA and EC, one audience among several, and clocks that differ by less than a minute."""
    assert endpoint.mint(headers=bearer(issuer.token(**asked))).status_code == 200


def test_the_scheme_may_be_written_in_any_case(endpoint: Endpoint, issuer: Issuer) -> None:
    """RFC 9110: `bearer` is Bearer."""
    assert endpoint.mint(headers={"Authorization": f"bearer  {issuer.token()} "}).status_code == 200


def test_the_same_subject_is_the_same_caller(endpoint: Endpoint, issuer: Issuer) -> None:
    """Two tokens of one subject share a hash in the log, another subject has another."""
    tokens = [issuer.token(sub=sub, scope=scope) for sub, scope in [("ann", "a"), ("ann", "b"), ("bob", "a")]]

    ann, again, bob = (endpoint.log_line(endpoint.mint(headers=bearer(token)))["caller"] for token in tokens)

    assert ann == again
    assert ann != bob


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scp": "other realtime.mint"}, 200),
        ({"scope": "realtime.mint"}, 200),
        ({"scope": ["other", "realtime.mint"]}, 200),
        ({"roles": ["realtime.mint"]}, 200),
        ({"scp": "other", "roles": ["realtime.mint"]}, 200),
        ({}, 403),
        ({"scope": "realtime.mint.not"}, 403),
        ({"scp": "realtime"}, 403),
        ({"roles": [["realtime.mint"]]}, 403),
        ({"scope": {"realtime.mint": True}}, 403),
        ({"groups": ["realtime.mint"]}, 403),
    ],
)
def test_a_required_scope_is_looked_for_in_three_claims(
    claims: dict[str, Any], status: int, scoped_endpoint: Endpoint, issuer: Issuer, azure: SimulatedAzure
) -> None:
    """Entra, Auth0 and Cognito each have their own claim; the whole name has to be there."""
    response = scoped_endpoint.mint(headers=bearer(issuer.token(claims=claims)))

    assert response.status_code == status
    assert len(azure.mints()) == (status == 200)
    if status == 403:
        assert response.json()["error"]["code"] == "forbidden"
        assert "JWT_REQUIRED_SCOPE" in response.json()["error"]["message"]
        assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'


@pytest.fixture(scope="module")
def shared_scoped_endpoint(required: dict[str, str], issuer_process: Issuer) -> Iterator[Endpoint]:
    """One app that asks for a scope."""
    with Host(required | issuer_process.settings | {"JWT_REQUIRED_SCOPE": "realtime.mint"}) as host:
        endpoint = Endpoint(host)
        yield endpoint
        endpoint.http.close()


@pytest.fixture
def scoped_endpoint(shared_scoped_endpoint: Endpoint, azure: SimulatedAzure, issuer: Issuer) -> Endpoint:
    """The app that asks for a scope."""
    assert azure.url
    assert issuer.url
    return shared_scoped_endpoint


def test_a_rotation_is_picked_up_without_a_restart(
    start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """A token of the new key mints, and one of a withdrawn key no longer does."""
    endpoint = start_jwt_endpoint()
    old = issuer.token()
    before = endpoint.mint(headers=bearer(old)).status_code
    issuer.rotate()

    after = endpoint.mint(headers=bearer(issuer.token())).status_code

    assert (before, after) == (200, 200)
    assert endpoint.mint(headers=bearer(old)).status_code == 401


def test_unknown_keys_do_not_hammer_the_issuer(
    start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """Hundred tokens of hundred made-up keys cost one fetch more than the first."""
    endpoint = start_jwt_endpoint()
    endpoint.mint(headers=bearer(issuer.token()))
    tokens = [issuer.token(header={"kid": f"made-up-{number}"}) for number in range(100)]

    with ThreadPoolExecutor(20) as pool:
        statuses = set(pool.map(lambda token: endpoint.mint(headers=bearer(token)).status_code, tokens))

    assert statuses == {401}
    assert (issuer.asked(DISCOVERY), issuer.asked(KEYS)) == (2, 2)


def test_cold_callers_share_one_fetch(start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer) -> None:
    """Whoever comes while the first keys are on their way waits for those."""
    endpoint = start_jwt_endpoint()
    issuer.set(slow_ms=200)
    token = issuer.token()

    with ThreadPoolExecutor(32) as pool:
        statuses = set(pool.map(lambda _: endpoint.mint(headers=bearer(token)).status_code, range(32)))

    assert statuses == {200}
    assert issuer.asked(KEYS) == 1


@pytest.mark.parametrize("fault", ["down", "hang", "drip"])
def test_an_issuer_that_is_down_fails_nobody_whose_key_is_here(
    fault: str, start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """Cached keys go on working at once, also while a made-up key has its fetch under way."""
    endpoint = start_jwt_endpoint()
    token = issuer.token()
    endpoint.mint(headers=bearer(token))
    made_up = issuer.token(header={"kid": "made-up"})
    issuer.set(fault=fault)

    with ThreadPoolExecutor(1) as pool:
        unknown = pool.submit(endpoint.mint, headers=bearer(made_up))
        until(lambda: issuer.asked(DISCOVERY) > 1)
        known = endpoint.mint(headers=bearer(token))

    assert (known.status_code, unknown.result().status_code) == (200, 401)
    assert known.elapsed.total_seconds() < 0.5
    assert unknown.result().elapsed.total_seconds() < 3


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("down", "answered 503"),
        ("hang", "TimeoutError"),
        ("drip", "TimeoutError"),
        ("drip-headers", "TimeoutError"),
        ("huge", "larger than 262144 bytes"),
        ("garbage", "is not JSON"),
        ("empty", "another issuer"),
        ("redirect", "answered 302"),
        ("other-issuer", "another issuer"),
        ("plain-http", "no jwks_uri that is an https URL"),
    ],
)
def test_without_any_key_the_answer_is_503_in_time(
    fault: str,
    detail: str,
    start_jwt_endpoint: Callable[..., Endpoint],
    issuer: Issuer,
    azure: SimulatedAzure,
) -> None:
    """The caller is told to come back, within the deadline, whatever the issuer does; the log says why."""
    endpoint = start_jwt_endpoint(MINT_DEADLINE_SECONDS="1")
    endpoint.health()  # imports what checks a token, which may outlast such a deadline on a busy machine
    token = issuer.token()
    issuer.set(fault=fault)

    response = endpoint.mint(headers=bearer(token))

    assert (response.status_code, response.json()["error"]["code"]) == (503, "keys_unavailable")
    assert 1 <= int(response.headers["Retry-After"]) <= 5
    assert "x-should-retry" not in response.headers
    assert response.elapsed.total_seconds() < 1.25
    assert detail in endpoint.log_line(response)["detail"]
    assert azure.requests() == []


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_fetch_ends_in_time(fault: str, issuer: Issuer) -> None:
    """Also where the issuer goes on sending a byte now and then."""
    issuer.set(fault=fault)
    started_at = time.monotonic()

    with pytest.raises(IssuerError):
        fetch_keys(Settings.read(REQUIRED | issuer.settings), 0.5)

    assert time.monotonic() - started_at < 1


def test_an_app_that_started_without_keys_recovers(
    start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """As soon as the issuer answers again, and without a restart."""
    endpoint = start_jwt_endpoint()
    token = issuer.token()
    issuer.set(fault="down")
    before = endpoint.mint(headers=bearer(token)).status_code
    issuer.set(fault=None)

    until(lambda: endpoint.mint(headers=bearer(token)).status_code == 200, timeout_s=15)

    assert before == 503


SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
UNFIT: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a shared secret": ({"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256"}, b"secret" * 8, "HS256"),
    "a short RSA key": (RSAAlgorithm.to_jwk(SMALL.public_key(), as_dict=True), SMALL, "RS256"),
    "a key for encryption": (PUBLIC_JWK | {"use": "enc"}, MALLORY, "RS256"),
    "a private key": (RSAAlgorithm.to_jwk(MALLORY, as_dict=True), MALLORY, "RS256"),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # the short key is meant to be short
@pytest.mark.parametrize("name", UNFIT)
def test_a_published_key_that_is_unfit_is_not_used(
    name: str, start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """It is left out, and the others go on working."""
    jwk, key, alg = UNFIT[name]
    issuer.set(also_publish=[jwk | {"kid": "unfit"}, {"kty": "nonsense"}, "nonsense"])
    endpoint = start_jwt_endpoint()
    tokens = [jwt.encode(claims_of(issuer), key, alg, headers={"kid": "unfit"}), issuer.token()]

    statuses = [endpoint.mint(headers=bearer(token)).status_code for token in tokens]

    assert statuses == [401, 200]


def test_the_keys_may_be_named_by_a_setting(start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer) -> None:
    """JWT_JWKS_URL spares the discovery."""
    endpoint = start_jwt_endpoint(JWT_JWKS_URL=f"{issuer.url}{KEYS}")

    status = endpoint.mint(headers=bearer(issuer.token())).status_code

    assert status == 200
    assert (issuer.asked(DISCOVERY), issuer.asked(KEYS)) == (0, 1)


def test_an_issuer_may_have_a_path_that_ends_in_a_slash(
    start_jwt_endpoint: Callable[..., Endpoint], issuer: Issuer
) -> None:
    """Auth0's has one, Entra's v2.0 has none; both are compared to the last character."""
    issuer.set(path="/tenant/")
    endpoint = start_jwt_endpoint(JWT_ISSUER=f"{issuer.url}/tenant/")
    tokens = [issuer.token(), issuer.token(claims={"iss": f"{issuer.url}/tenant"})]

    statuses = [endpoint.mint(headers=bearer(token)).status_code for token in tokens]

    assert statuses == [200, 401]


def test_make_run_shows_it_with_an_issuer_of_its_own() -> None:
    """The line that is printed mints, and without its token it gets a 401 that says what is missing."""
    with started("--port", "0", "--azure-port", "0", "--auth", "jwt") as process:
        output = printed(process)
        (line,) = re.findall(r"mint again +(curl .+)", output)
        (another,) = re.findall(r"another token +curl (\S+) ", output)
        with_token = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout
        without = subprocess.run(
            shlex.split(line.partition(" -H ")[0]), capture_output=True, text=True, check=True
        ).stdout
        token = requests.post(another, data={"sub": "SOMEONE", "aud": AUDIENCE}, timeout=10).json()["access_token"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert '"value": "ek_' in with_token
    assert json.loads(without)["error"]["code"] == "unauthenticated"
    assert "There is no token" in json.loads(without)["error"]["message"]
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == "SOMEONE"
