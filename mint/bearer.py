"""Turns the token of an OIDC issuer into what it proves: whose it is, and what they may do.

Everything is untrusted until PyJWT has verified the signature; the key id alone is read before, to find the key.
PyJWT reads the wall clock itself.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from jwt import exceptions as wrong

from mint.errors import RefusedCallerError
from mint.issuer import ALGORITHMS
from mint.settings import Settings
from mint.signing_keys import SigningKeys

LEEWAY = 60
"""Seconds by which the issuer's clock may differ from ours."""
MAX_LENGTH = 8192
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_SENTENCES: list[tuple[type[Exception], str]] = [
    (wrong.ExpiredSignatureError, "The token has expired. Get a new one."),
    (wrong.ImmatureSignatureError, "The token is not valid yet: its nbf or iat lies in the future."),
    (wrong.InvalidAudienceError, "The token is for another audience: its aud must be JWT_AUDIENCE's."),
    (wrong.InvalidIssuerError, "The token has another issuer: its iss must be JWT_ISSUER's, to the last slash."),
    (wrong.InvalidAlgorithmError, "The token's alg does not fit its key, or is not one of those accepted."),
    (wrong.InvalidSignatureError, "The token's signature does not fit its key."),
]


class BearerTokens:
    """Verifies the tokens of JWT_ISSUER that are for JWT_AUDIENCE."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._keys = SigningKeys(settings, clock)

    def subject(self, headers: Mapping[str, str], wait_seconds: float) -> tuple[str, str]:
        """Return issuer and subject of the request's token, waiting at most `wait_seconds` for the issuer's keys.

        Raises `RefusedCallerError`, or `MintError` `keys_unavailable`.
        """
        unverified_token = _token(headers)
        key = self._keys.find(_key_id(unverified_token), wait_seconds)
        try:
            claims = jwt.decode(
                unverified_token,
                key,
                algorithms=ALGORITHMS,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY,
                options={
                    "require": ["iss", "aud", "exp", "sub"],
                    "verify_signature": True,
                    "verify_exp": True,
                    "verify_nbf": True,
                    "verify_iat": True,
                    "verify_aud": True,
                    "verify_iss": True,
                    "verify_sub": True,
                    "enforce_minimum_key_length": True,
                },
            )
        except wrong.MissingRequiredClaimError as error:
            raise _invalid(f"The token has no {error.claim}.") from error  # one of the four above
        except wrong.PyJWTError as error:
            raise _invalid(_sentence(error)) from error
        if not claims["sub"]:
            raise _invalid("The token has no sub.")
        self._check_scope(claims)
        return claims["iss"], claims["sub"]

    def _check_scope(self, claims: Mapping[str, Any]) -> None:
        required = self._settings.jwt_required_scope
        if required and required not in _granted(claims):
            raise RefusedCallerError(
                "forbidden",
                "The token lacks the scope or role that JWT_REQUIRED_SCOPE names: it is looked for in scp, scope "
                "and roles.",
                challenge='Bearer error="insufficient_scope"',
            )


def _token(headers: Mapping[str, str]) -> str:
    """Return the one token of the Authorization header; the platform joins repeated headers with commas."""
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise RefusedCallerError(
            "unauthenticated",
            "There is no token: send the header Authorization: Bearer TOKEN, with a token of the issuer that this "
            "app trusts.",
        )
    token = rest.strip()
    if len(token) > MAX_LENGTH:
        raise _invalid(f"The token is longer than {MAX_LENGTH} characters.")
    if not _COMPACT.fullmatch(token):
        raise _invalid("The Authorization header does not hold one signed JWT and nothing else.")
    return token


def _key_id(unverified_token: str) -> str:
    """Return the key id that the token names. PyJWT's own reader would decode all of the token a second time."""
    encoded = unverified_token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError) as error:
        raise _invalid("The token's header is not JSON in base64url.") from error
    key_id = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(key_id, str):
        raise _invalid("The token's header has no kid, the name of the key that signed it.")
    return key_id


def _granted(claims: Mapping[str, Any]) -> set[str]:
    """Return scopes and roles: Entra has `scp` or `roles`, Auth0 and Cognito `scope`; a text or a list."""
    granted: set[str] = set()
    for name in ("scp", "scope", "roles"):
        value = claims.get(name)
        parts = value.split() if isinstance(value, str) else value
        if isinstance(parts, list):
            granted.update(part for part in parts if isinstance(part, str))
    return granted


def _invalid(message: str) -> RefusedCallerError:
    return RefusedCallerError("unauthenticated", message, challenge='Bearer error="invalid_token"')


def _sentence(error: wrong.PyJWTError) -> str:
    said = (sentence for kind, sentence in _SENTENCES if isinstance(error, kind))
    return next(said, "The token is not a JWT that can be read: a part of it is malformed, or not supported.")
