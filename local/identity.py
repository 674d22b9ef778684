"""The identity endpoint of App Service: issues access tokens for the managed identity, and knows them again.

Every call gives a new token, where App Service would repeat a cached one.
"""

import asyncio
import base64
import json
import time
import uuid
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from local import faults

if TYPE_CHECKING:
    from local.azure import State

_TENANT = "11111111-1111-1111-1111-111111111111"
_PRINCIPAL = "22222222-2222-2222-2222-222222222222"
_SYSTEM_ASSIGNED = "33333333-3333-3333-3333-333333333333"
_MOST_TOKENS = 16384


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


class Tokens:
    """The access tokens issued so far: bounded, the oldest forgotten first."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def issue(self, audience: str, client_id: str, lifetime_s: int) -> tuple[str, int]:
        """Return a new token, in the shape of a JWT, and when it expires."""
        now = int(time.time())
        expires_on = now + lifetime_s
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{_TENANT}/",
            "iat": now,
            "nbf": now,
            "exp": expires_on,
            "appid": client_id,
            "oid": _PRINCIPAL,
            "sub": _PRINCIPAL,
            "tid": _TENANT,
            "idtyp": "app",
            "uti": uuid.uuid4().hex,
        }
        # Unsigned: this resource recognises its own tokens by having issued them.
        token = f"{_part({'typ': 'JWT', 'alg': 'none'})}.{_part(claims)}.{_part('simulated')}"
        self._issued[token] = (audience, expires_on)
        while len(self._issued) > _MOST_TOKENS:
            self._issued.popitem(last=False)
        return token, expires_on

    def accepts(self, token: str, audiences: set[str], *, foreign: bool = False) -> bool:
        """Say whether the token was issued here for one of the audiences and has not expired.

        `foreign` takes the word of a token that another simulated resource issued: Entra's are good at all.
        """
        audience, expires_on = self._issued.get(token) or (_claims(token) if foreign else ("", 0))
        return audience in audiences and time.time() < expires_on

    def revoke(self) -> None:
        """Forget every token issued so far."""
        self._issued.clear()


def _claims(token: str) -> tuple[str, int]:
    """Return audience and expiry as the token says them; `("", 0)` if it is not one of ours."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return str(claims["aud"]), int(claims["exp"])
    except (ValueError, LookupError, TypeError):
        return "", 0


def routes(state: "State") -> list[web.RouteDef]:
    """Return the identity endpoint's one route."""

    async def token(request: web.Request) -> web.StreamResponse:
        return await _token(request, state)

    return [web.get("/msi/token", token)]


async def _token(request: web.Request, state: "State") -> web.StreamResponse:
    """Answer as MS Learn, "How to use managed identities for App Service", has it under "REST protocol"."""
    switches = state.switches
    if switches.identity_latency_ms:
        await asyncio.sleep(switches.identity_latency_ms / 1000)
    if switches.identity_fault is not None:
        return await faults.IDENTITY_CATALOGUE[switches.identity_fault](request, state)
    # Which statuses App Service gives to these two is inference.
    if request.headers.get("X-IDENTITY-HEADER") != switches.identity_header:
        return _refusal(HTTPStatus.UNAUTHORIZED, "The X-IDENTITY-HEADER header is missing or wrong.")
    if request.query.get("api-version") != "2019-08-01":
        return _refusal(HTTPStatus.BAD_REQUEST, "The api-version query parameter must be 2019-08-01.")
    resource = request.query.get("resource")
    if not resource:
        return _refusal(HTTPStatus.BAD_REQUEST, "The resource query parameter is missing.")
    client_id = request.query.get("client_id") or _SYSTEM_ASSIGNED
    token, expires_on = state.tokens.issue(resource.rstrip("/"), client_id, switches.token_lifetime_s)
    return web.json_response(
        {
            "access_token": token,
            "client_id": client_id,
            "expires_on": str(expires_on),
            "resource": resource,
            "token_type": "Bearer",
        }
    )


def _refusal(status: HTTPStatus, message: str) -> web.Response:
    return web.json_response({"statusCode": int(status), "message": message}, status=status)
