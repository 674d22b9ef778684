"""Who is asking: turns a request's headers into a `Caller`, as CALLER_AUTH says.

With `function_key` the platform has checked the key before we are called, and the key says nothing about who
holds it; what tells callers apart is then their address.
"""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mint.body import Json
from mint.errors import RefusedCallerError
from mint.settings import Settings

_ID_CLAIMS = (
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier",
    "sub",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who may mint. `key` tells callers apart and is personal data; `hash` stands for it in logs."""

    key: str = field(repr=False)
    hash: str


class Callers:
    """Authenticates each request in the one way that CALLER_AUTH names."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        # Random, a caller's hash means nothing outside one process's log.
        self._hash_key = (settings.caller_hash_key or secrets.token_hex(32)).encode()
        self._tokens = None
        self._notices: list[Json] = []
        if settings.caller_auth == "jwt":
            from mint.bearer import BearerTokens  # noqa: PLC0415 - 50 ms of cryptography, for this mode alone

            self._tokens = BearerTokens(settings, clock)
        if settings.caller_auth == "anonymous":
            self._notices = [
                {
                    "event": "anyone_may_mint",
                    "advice": "CALLER_AUTH is anonymous: WHOEVER REACHES THIS PORT CAN MINT. For a laptop only.",
                }
            ]

    def authenticate(self, headers: Mapping[str, str], wait_seconds: float) -> Caller:
        """Return the caller, waiting at most `wait_seconds` for what is needed to check a token.

        Raises `RefusedCallerError`, or `MintError` `keys_unavailable`.
        """
        if self._tokens:
            identity = ["jwt", *self._tokens.subject(headers, wait_seconds)]
        elif self._settings.caller_auth == "easy_auth":
            identity = ["easy_auth", *_principal(headers)]
        else:
            identity = ["address", _address(headers, self._settings)]
        key = json.dumps(identity)
        return Caller(key, hmac.digest(self._hash_key, key.encode(), "sha256").hex()[:32])

    def take_notices(self) -> list[Json]:
        """Return the log events that wait to be written, each once."""
        notices, self._notices = self._notices, []
        return notices


def _principal(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return identity provider and id of the principal that App Service authentication has put into the headers.

    The settings are refused unless it is on, since without it these headers are the caller's own words.
    """
    encoded = headers.get("x-ms-client-principal", "")
    if not encoded:
        raise RefusedCallerError(
            "unauthenticated", "You are not signed in. Sign in at /.auth/login, or send a token of its provider."
        )
    try:
        principal = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error
    if not isinstance(principal, dict):
        raise _unreadable()
    provider = headers.get("x-ms-client-principal-idp") or principal.get("auth_typ")
    name = headers.get("x-ms-client-principal-id") or _claimed_id(principal.get("claims"))
    if not isinstance(provider, str) or not provider or not name:
        raise _unreadable()
    return provider, name


def _claimed_id(claims: object) -> str | None:
    """Return the principal's id from its claims, for providers that App Service states no id of."""
    found = {
        claim.get("typ"): claim.get("val")
        for claim in (claims if isinstance(claims, list) else ())
        if isinstance(claim, dict) and isinstance(claim.get("typ"), str) and isinstance(claim.get("val"), str)
    }
    return next((found[name] for name in _ID_CLAIMS if found.get(name)), None)


def _unreadable() -> RefusedCallerError:
    return RefusedCallerError(
        "unauthenticated",
        "App Service authentication passed on a principal that cannot be read, or one without a provider and an "
        "id. Sign in again.",
        challenge='Bearer error="invalid_token"',
    )


def _address(headers: Mapping[str, str], settings: Settings) -> str:
    """Return the client's address: the last hop, which the platform appended itself, less its port.

    Anything before it is the client's own claim. Off Azure nobody appends it, so that nobody can be believed.
    """
    if not settings.on_azure:
        return "local"
    hop = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if hop.startswith("["):  # [2001:db8::1]:443
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
