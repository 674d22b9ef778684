"""Asking an issuer for its keys: what is sent, what is believed of the answer, and what is too much of it."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mint.issuer import IssuerError, fetch_keys
from mint.settings import Settings
from tests.answering import Answer, Answering
from tests.test_settings import REQUIRED

DISCOVERY = "/tenant-x/.well-known/openid-configuration"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True) | {"kid": "k", "alg": "ES256", "use": "sig"}


@pytest.fixture
def server() -> Iterator[Answering]:
    """An issuer at `/tenant-x` with one key."""
    with Answering() as running:
        publish(running, KEY)
        running.answers[DISCOVERY] = [
            says({"issuer": f"{running.url}/tenant-x", "jwks_uri": f"{running.url}/keys"})
        ]
        yield running


def says(document: object) -> Answer:
    return Answer(json.dumps(document).encode())


def publish(server: Answering, *keys: object) -> None:
    server.answers["/keys"] = [says({"keys": keys})]


def fetched(server: Answering, seconds: float = 5, issuer: str = "/tenant-x", **settings: str) -> list[str]:
    """Return the ids of the keys that are found."""
    return sorted(
        fetch_keys(Settings.read(REQUIRED | {"JWT_ISSUER": f"{server.url}{issuer}"} | settings), seconds)
    )


def failure(server: Answering, **options: Any) -> str:
    with pytest.raises(IssuerError) as caught:
        fetched(server, **options)
    return str(caught.value)


@cache
def short_key() -> dict[str, Any]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    return RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)


def test_the_keys_are_found_by_discovery(server: Answering) -> None:
    """The issuer's own document names them; both are asked for as JSON."""
    assert fetched(server) == ["k"]
    assert [asked.path for asked in server.asked] == [DISCOVERY, "/keys"]
    assert {asked.headers["Accept"] for asked in server.asked} == {"application/json"}


def test_a_setting_spares_the_discovery(server: Answering) -> None:
    """JWT_JWKS_URL."""
    assert fetched(server, JWT_JWKS_URL=f"{server.url}/keys") == ["k"]
    assert [asked.path for asked in server.asked] == ["/keys"]


def test_an_issuer_that_ends_in_a_slash_has_its_document_at_the_same_place(server: Answering) -> None:
    """And states itself with the slash."""
    without = failure(server, issuer="/tenant-x/")
    server.answers[DISCOVERY] = [says({"issuer": f"{server.url}/tenant-x/", "jwks_uri": f"{server.url}/keys"})]

    assert "another issuer" in without
    assert fetched(server, issuer="/tenant-x/") == ["k"]


@pytest.mark.parametrize("keys_at", [None, 5, "", "http://keys.example/keys", "https://u@keys.example/"])
def test_keys_are_fetched_from_nowhere_unsafe(keys_at: object, server: Answering) -> None:
    """What is read there decides who may mint."""
    server.answers[DISCOVERY] = [says({"issuer": f"{server.url}/tenant-x", "jwks_uri": keys_at})]

    assert "no jwks_uri that is an https URL" in failure(server)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=503), "answered 503"),
        (Answer(status=302, headers={"Location": "/keys"}), "answered 302"),
        (Answer(b"<html>"), "is not JSON"),
        (Answer(b"[" * 100_000), "is not JSON"),
        (says([]), "is not a JSON object"),
        (says({}), "another issuer"),
    ],
)
def test_an_answer_that_is_no_document_is_refused(answer: Answer, reason: str, server: Answering) -> None:
    """No redirect is followed; the reason is for the log."""
    server.answers[DISCOVERY] = [answer]

    assert reason in failure(server)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # the short key is meant to be short
@pytest.mark.parametrize(
    "unfit",
    [
        KEY | {"use": "enc"},
        KEY | {"kid": 5},
        {name: value for name, value in KEY.items() if name != "kid"},
        {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256", "kid": "u"},
        ECAlgorithm.to_jwk(PRIVATE, as_dict=True) | {"kid": "u", "alg": "ES256"},
        {"kty": "nonsense", "kid": "u"},
        "nonsense",
        pytest.param(None, id="short"),
    ],
)
def test_a_key_that_is_unfit_is_left_out(unfit: object, server: Answering) -> None:
    """One for encryption, without a name, shared, private, short; alone it is as none."""
    unfit = unfit or short_key() | {"kid": "u"}
    publish(server, KEY, unfit)
    beside = fetched(server)
    publish(server, unfit)

    assert beside == ["k"]
    assert "no signing key" in failure(server) or "not a set of usable keys" in failure(server)


@pytest.mark.parametrize("left_out", ["use", "alg"])
def test_use_and_algorithm_need_not_be_stated(left_out: str, server: Answering) -> None:
    """Entra's keys have no alg, others no use."""
    publish(server, {name: value for name, value in KEY.items() if name != left_out})

    assert fetched(server) == ["k"]


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": []}, {"keys": "k"}, {"keys": None}])
def test_what_is_no_key_set_is_an_error(document: object, server: Answering) -> None:
    """It is told from an issuer that cannot be reached."""
    server.answers["/keys"] = [says(document)]

    assert f"{server.url}/keys " in failure(server)


def test_an_answer_is_read_to_256_kib(server: Answering) -> None:
    """And not a byte further, also where it was compressed to less."""
    padding = b" " * ((1 << 18) - len(server.answers["/keys"][0].body))
    whole = server.answers["/keys"][0].body + padding
    server.answers["/keys"] = [Answer(whole)]
    most = fetched(server)
    server.answers["/keys"] = [Answer(gzip.compress(whole + b" "), headers={"Content-Encoding": "gzip"})]

    assert most == ["k"]
    assert "larger than 262144 bytes" in failure(server)


def test_with_no_time_left_nothing_is_waited_for(server: Answering) -> None:
    """The caller's deadline has passed."""
    released = threading.Event()
    server.answers[DISCOVERY] = [Answer(before=lambda: released.wait(10))]
    started = time.monotonic()

    reason = failure(server, seconds=0)
    took = time.monotonic() - started
    released.set()

    assert "cannot be reached" in reason
    assert took < 1


def test_an_answer_that_comes_in_pieces_ends_in_time(server: Answering) -> None:
    """Each piece is in time for the socket; the clock is looked at besides."""
    times = iter([0.0, 0.0, 9.0])
    settings = Settings.read(REQUIRED | {"JWT_JWKS_URL": f"{server.url}/keys"})

    with pytest.raises(IssuerError, match="takes too long"):
        fetch_keys(settings, 5, clock=lambda: next(times))
