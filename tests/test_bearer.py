"""A token's way from the header to its subject, with the issuer's keys at hand: what is believed of it."""

import base64
import json
import time
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from mint.bearer import BearerTokens
from mint.errors import RefusedCallerError
from mint.settings import Settings
from mint.signing_keys import SigningKeys
from tests.test_settings import REQUIRED

ISSUER, AUDIENCE = "https://login.example/t", "api://x"
CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
TIMES = {"exp", "nbf", "iat"}
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *CURVES, "EdDSA"]


@cache
def key_pair(alg: str, bits: int = 2048) -> tuple[Any, jwt.PyJWK]:
    """Return a private key, and the public one as the issuer publishes it."""
    if alg in CURVES:
        private: Any = ec.generate_private_key(CURVES[alg])
        jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif alg == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = rsa_key(bits)
        jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return private, jwt.PyJWK(jwk | {"alg": alg})


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def signed(alg: str = "ES256", kid: object = "k", bits: int = 2048, **claims: object) -> str:
    """Return a token that is good but for `claims`: times are seconds from now, and what is None is left out."""
    good: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": 600}
    said = {name: value for name, value in (good | claims).items() if value is not None}
    content = json.dumps(said | {name: int(time.time()) + said[name] for name in TIMES & set(said)})
    headers = {"kid": kid} if kid is not None else {}
    return jwt.PyJWS().encode(content.encode(), key_pair(alg, bits)[0], alg, headers=headers)


def subject(authorization: str, alg: str = "ES256", bits: int = 2048, **settings: str) -> tuple[str, str]:
    """Return what a request with this Authorization header proves, to an app that has the key `k`."""
    known = Settings.read(REQUIRED | {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE} | settings)
    tokens = BearerTokens(known)
    tokens._keys = SigningKeys(known, fetch=lambda *_: {"k": key_pair(alg, bits)[1]})
    return tokens.subject({"authorization": authorization} if authorization else {}, 5)


def refused(authorization: str, **options: Any) -> RefusedCallerError:
    with pytest.raises(RefusedCallerError) as caught:
        subject(authorization, **options)
    return caught.value


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_asymmetric_signature_is_accepted(alg: str) -> None:
    """RSA, EC and Ed25519, which are what issuers use."""
    assert subject(f"Bearer {signed(alg)}", alg) == (ISSUER, "ann")


@pytest.mark.parametrize("kid", ["k", "k1", "k12", "k123"])
def test_a_key_id_of_any_length_is_read(kid: str) -> None:
    """base64url comes without its padding."""
    error = refused(f"Bearer {signed(kid=f'{kid}?')}")

    assert "does not publish" in error.message


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": -60}, "has expired"),
        ({"exp": None}, "no exp"),
        ({"nbf": 600}, "not valid yet"),
        ({"iat": 600}, "not valid yet"),
        ({"aud": "api://y"}, "another audience"),
        ({"aud": None}, "no aud"),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"iss": None}, "no iss"),
        ({"sub": None}, "no sub"),
        ({"sub": ""}, "no sub"),
        ({"sub": 5}, "can be read"),
        ({"kid": "other"}, "does not publish"),
        ({"kid": None}, "no kid"),
    ],
)
def test_a_token_that_proves_nothing_is_refused_in_words(claims: dict[str, Any], says: str) -> None:
    """Each claim is checked, and the message says which one to look at."""
    error = refused(f"Bearer {signed(**claims)}")

    assert (error.status, error.code) == (401, "unauthenticated")
    assert error.headers()["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert says in error.message


@pytest.mark.parametrize("claims", [{"exp": -30}, {"nbf": 40}])
def test_clocks_may_differ_by_a_minute(claims: dict[str, Any]) -> None:
    """The issuer's may be ahead, or behind."""
    assert subject(f"Bearer {signed(**claims)}") == (ISSUER, "ann")


def test_a_signature_of_another_key_is_refused() -> None:
    """Everything else about such a token may be right."""
    good, other = signed(), signed(sub="bob")
    mixed = f"{good.rpartition('.')[0]}.{other.rpartition('.')[2]}"

    assert "signature does not fit" in refused(f"Bearer {mixed}").message


def test_a_signature_of_another_kind_than_the_keys_is_refused() -> None:
    """The key says which algorithm, not the token."""
    assert "alg does not fit" in refused(f"Bearer {signed('PS256')}", alg="RS256").message


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # the short key is meant to be short
def test_a_short_key_proves_nothing() -> None:
    """Even where an issuer has published it: RSA below 2048 bits can be broken."""
    assert refused(f"Bearer {signed('RS256', bits=1024)}", alg="RS256", bits=1024).status == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic {token}", "{token}"])
def test_without_a_token_the_challenge_says_nothing_more(authorization: str) -> None:
    """RFC 6750, section 3.1."""
    error = refused(authorization.format(token=signed()))

    assert error.code == "unauthenticated"
    assert error.headers()["WWW-Authenticate"] in {"Bearer", 'Bearer error="invalid_token"'}
    assert (error.headers()["WWW-Authenticate"] == "Bearer") == (authorization != "Bearer")


@pytest.mark.parametrize("authorization", ["bearer {token}", " BEARER   {token} "])
def test_the_scheme_may_be_written_in_any_case(authorization: str) -> None:
    """RFC 9110; spaces around are no mistake."""
    assert subject(authorization.format(token=signed())) == (ISSUER, "ann")


@pytest.mark.parametrize("rest", ["{token}, {token}", "{token} {token}", "{token}.AAAA", "{token}=", "opaque", ""])
def test_anything_but_one_signed_token_is_refused(rest: str) -> None:
    """Nobody could say which one counts."""
    assert "one signed JWT and nothing else" in refused(f"Bearer {rest.format(token=signed())}").message


def test_a_token_of_more_than_8_kib_is_not_looked_at() -> None:
    """Reading it would be the caller's work to give, and ours to do."""
    most = "A" * (8192 - 4) + ".A.A"

    assert "longer than 8192 characters" in refused(f"Bearer A{most}").message
    assert "not JSON in base64url" in refused(f"Bearer {most}").message


@pytest.mark.parametrize("header", [b"\xff", b"[" * 3000, b"{", b'["kid"]', b'{"kid": 5}'])
def test_a_header_that_cannot_be_read_is_refused(header: bytes) -> None:
    """Whatever it decodes to."""
    encoded = base64.urlsafe_b64encode(header).rstrip(b"=").decode()

    assert refused(f"Bearer {encoded}.AAAA.AAAA").challenge == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "claims",
    [
        {"scp": "other mint"},
        {"scope": "mint"},
        {"scope": ["other", "mint"]},
        {"roles": ["mint"]},
        {"scp": "other", "roles": ["mint"]},
        {"scp": [5, "mint"]},
    ],
)
def test_a_required_scope_or_role_may_stand_in_three_claims(claims: dict[str, Any]) -> None:
    """Entra, Auth0 and Cognito each have their own."""
    assert subject(f"Bearer {signed(**claims)}", JWT_REQUIRED_SCOPE="mint") == (ISSUER, "ann")


@pytest.mark.parametrize("claims", [{}, {"scp": "mint.not"}, {"scope": {"mint": 1}}, {"roles": [["mint"]]}])
def test_without_the_required_scope_a_good_token_is_403(claims: dict[str, Any]) -> None:
    """The whole name has to be there; without JWT_REQUIRED_SCOPE none is asked for."""
    token = signed(**claims)

    error = refused(f"Bearer {token}", JWT_REQUIRED_SCOPE="mint")

    assert (error.status, error.code) == (403, "forbidden")
    assert error.headers()["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
    assert subject(f"Bearer {token}") == (ISSUER, "ann")
