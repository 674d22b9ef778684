"""Asks an OIDC issuer for the keys that it signs with: discovery, then the key set.

Everything it answers is bounded in size and time, and no redirect is followed: what is read here decides who may
mint.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import requests
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError
from urllib3.exceptions import HTTPError

from mint.parse import safe_url
from mint.settings import Settings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""The signatures that are accepted. All asymmetric: a shared secret, or a public key taken for one, fits none."""
MAX_BYTES = 1 << 18


class IssuerError(Exception):
    """The issuer gave no usable keys; the text says why, for our log."""


def fetch_keys(
    settings: Settings, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, PyJWK]:
    """Return the issuer's signing keys by their id, within `seconds`; raises `IssuerError`."""
    ends_at = clock() + seconds
    with requests.Session() as http:
        url = settings.jwt_jwks_url or _discover(http, settings, ends_at, clock)
        document = _get(http, url, ends_at, clock)
    try:
        offered = PyJWKSet.from_dict(document).keys
    except (PyJWTError, TypeError, ValueError, AttributeError) as error:
        raise IssuerError(f"{url} is not a set of usable keys") from error
    keys = {key.key_id: key for key in offered if isinstance(key.key_id, str) and _signs(key)}
    if not keys:
        raise IssuerError(f"{url} has no signing key with a kid and one of the algorithms {', '.join(ALGORITHMS)}")
    return keys


def _signs(key: PyJWK) -> bool:
    return (
        key.public_key_use in {"sig", None}
        and key.algorithm_name in ALGORITHMS
        and hasattr(key.key, "verify")  # a private key that was published by mistake has none
        and not key.Algorithm.check_key_length(key.key)  # RSA below 2048 bits
    )


def _discover(http: requests.Session, settings: Settings, ends_at: float, clock: Callable[[], float]) -> str:
    """Return the `jwks_uri` of the issuer's own document (OpenID Connect Discovery 1.0, section 4)."""
    url = f"{(settings.jwt_issuer or '').rstrip('/')}/.well-known/openid-configuration"
    document = _get(http, url, ends_at, clock)
    if document.get("issuer") != settings.jwt_issuer:
        raise IssuerError(f"{url} states another issuer than JWT_ISSUER; a slash at the end counts")
    try:
        return safe_url(document["jwks_uri"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IssuerError(f"{url} has no jwks_uri that is an https URL") from error


def _get(http: requests.Session, url: str, ends_at: float, clock: Callable[[], float]) -> dict[str, Any]:
    try:
        with http.get(
            url,
            headers={"Accept": "application/json"},
            timeout=max(ends_at - clock(), 0.001),
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != 200:
                raise IssuerError(f"{url} answered {response.status_code}")
            document = json.loads(_read(response, ends_at, clock))
    except (requests.RequestException, HTTPError, OSError) as error:
        raise IssuerError(f"{url} cannot be reached: {type(error).__name__}") from error
    except (ValueError, RecursionError) as error:
        raise IssuerError(f"{url} is not JSON") from error
    if not isinstance(document, dict):
        raise IssuerError(f"{url} is not a JSON object")
    return document


def _read(response: requests.Response, ends_at: float, clock: Callable[[], float]) -> bytes:
    """Read to the end; requests' timeout is for each read of the socket, so that `ends_at` needs watching too."""
    body = bytearray()
    while chunk := response.raw.read1(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_BYTES:
            raise IssuerError(f"{response.url} is larger than {MAX_BYTES} bytes")
        if clock() > ends_at:
            raise IssuerError(f"{response.url} takes too long")
    return bytes(body)
