"""An OIDC issuer for the laptop: `python -m local.issuer`. Gives a token to whoever asks. Never deployed.

Discovery and keys are as OpenID Connect Discovery 1.0 has them; `POST /token` and `/_issuer` are its own.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from local.serving import serve

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
DEFAULTS: dict[str, Any] = {
    "fault": None,  # one of FAULTS, on discovery and keys alike
    "slow_ms": 0,  # before each answer of discovery and keys
    "path": "",  # of the issuer, after host and port
    "also_publish": [],  # keys besides its own
}
FAULTS = {
    "down": "503",
    "hang": "no answer",
    "drip": "a byte of the body every 100 ms, without end",
    "drip-headers": "a byte of a header every 100 ms, without end",
    "huge": "a document of 1 MiB",
    "garbage": "200 with HTML",
    "empty": "200 with {}",
    "redirect": "302 to the same document elsewhere",
    "other-issuer": "discovery states another issuer",
    "plain-http": "discovery names keys over http on another host",
}


class _Generation:
    """One set of signing keys: an RSA key, which like Entra's has no `alg`, and one on P-256."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.name = uuid.uuid4().hex[:12]

    def signer(self, alg: str) -> tuple[str, Any]:
        return (f"{self.name}-ec", self.ec) if alg.startswith("ES") else (f"{self.name}-rsa", self.rsa)

    def published(self) -> list[dict[str, Any]]:
        return [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": f"{self.name}-rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": f"{self.name}-ec", "alg": "ES256"},
        ]


class Issuer:
    """The issuer's keys, its switches, and how often it was asked."""

    def __init__(self) -> None:
        self.base = ""  # known once it listens
        self.generations = [_Generation()]
        self.switches = dict(DEFAULTS)
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """What `iss` says."""
        return f"{self.base}{self.switches['path']}"

    def token(self, asked: Mapping[str, Any]) -> str:
        """Return a token for `sub`, `aud`, `scope`, `lifetime_s`, `alg`; `claims` and `header` win over all.

        A claim that is null is left out.
        """
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": asked.get("sub", "a-caller"),
            "aud": asked.get("aud", "api://realtime-token-endpoint"),
            "iat": now,
            "nbf": now,
            "exp": now + int(asked.get("lifetime_s", 3600)),
        }
        claims |= {"scope": asked["scope"]} if "scope" in asked else {}
        claims |= asked.get("claims", {})
        alg = asked.get("alg", "RS256")
        key_id, key = self.generations[-1].signer(alg)
        content = json.dumps({name: value for name, value in claims.items() if value is not None})
        # Not jwt.encode, which has an opinion on the claims.
        return jwt.PyJWS().encode(content.encode(), key, alg, headers={"kid": key_id, **asked.get("header", {})})

    async def discovery(self, request: web.Request) -> web.StreamResponse:
        """Answer with the issuer's own document."""
        fault = self.switches["fault"]
        document = {
            "issuer": "https://other.example" if fault == "other-issuer" else self.url,
            "jwks_uri": "http://keys.example/keys" if fault == "plain-http" else f"{self.base}{KEYS}",
            "token_endpoint": f"{self.base}/token",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        }
        return await self._answer(request, DISCOVERY, document)

    async def keys(self, request: web.Request) -> web.StreamResponse:
        """Answer with the public keys of all generations that were not withdrawn."""
        published = [key for generation in self.generations for key in generation.published()]
        return await self._answer(request, KEYS, {"keys": published + self.switches["also_publish"]})

    async def _answer(self, request: web.Request, path: str, document: object) -> web.StreamResponse:
        self.asked[path] += 1
        await asyncio.sleep(self.switches["slow_ms"] / 1000)
        match self.switches["fault"]:
            case "down":
                return web.Response(status=503)
            case "hang":
                await asyncio.Event().wait()
            case "drip":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b" ")
                    await asyncio.sleep(0.1)
            case "drip-headers" if request.transport:
                request.transport.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
                while not request.transport.is_closing():
                    request.transport.write(b"x")
                    await asyncio.sleep(0.1)
            case "huge":
                return web.json_response(
                    {"padding": "x" * (1 << 20), **(document if isinstance(document, dict) else {})}
                )
            case "garbage":
                return web.Response(text="<html>Sign in</html>", content_type="text/html")
            case "empty":
                return web.json_response({})
            case "redirect" if "moved" not in request.query:
                raise web.HTTPFound(f"{request.path}?moved")
        return web.json_response(document)

    async def issue(self, request: web.Request) -> web.Response:
        """POST /token, with a form or JSON."""
        text = await request.text()
        asked = json.loads(text) if text.lstrip().startswith("{") else dict(await request.post())
        try:
            token = self.token(asked)
        # An alg that PyJWT does not know is NotImplementedError; claims, a header or a lifetime of the wrong kind
        # are one of the last two.
        except (jwt.PyJWTError, NotImplementedError, ValueError, TypeError) as error:
            return web.json_response({"error": "invalid_request", "error_description": str(error)}, status=400)
        return web.json_response({"access_token": token, "token_type": "Bearer"})

    async def control(self, request: web.Request) -> web.Response:
        """GET shows switches and counts; PATCH sets switches."""
        changes = await request.json() if request.method == "PATCH" else {}
        if unknown := set(changes) - set(DEFAULTS):
            return web.json_response({"error": f"no switch {sorted(unknown)}; {sorted(DEFAULTS)}"}, status=400)
        if (fault := changes.get("fault")) not in {None, *FAULTS}:
            return web.json_response({"error": f"no fault {fault!r}; {FAULTS}"}, status=400)
        self.switches |= changes
        return web.json_response({**self.switches, "issuer": self.url, "asked": dict(self.asked)})

    async def rotate(self, request: web.Request) -> web.Response:
        """Sign with new keys from now on; the old ones are withdrawn unless `?keep` is given."""
        generation = await asyncio.to_thread(_Generation)
        self.generations = [*self.generations, generation] if "keep" in request.query else [generation]
        return await self.control(request)

    async def reset(self, request: web.Request) -> web.Response:
        """Put the switches back and the counts to nothing; the keys stay."""
        self.switches = dict(DEFAULTS)
        self.asked.clear()
        return await self.control(request)


def application(issuer: Issuer) -> web.Application:
    """Assemble the issuer."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/{path:.*}" + DISCOVERY[1:], issuer.discovery),
            web.get(KEYS, issuer.keys),
            web.post("/token", issuer.issue),
            web.get("/_issuer", issuer.control),
            web.patch("/_issuer", issuer.control),
            web.post("/_issuer/rotate", issuer.rotate),
            web.post("/_issuer/reset", issuer.reset),
        ]
    )
    return app


def main() -> int:
    """Run the issuer from the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.issuer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=9901, help="0 picks a free one (default %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="default %(default)s")
    asked = parser.parse_args()
    issuer = Issuer()

    def listening(url: str) -> str:
        issuer.base = url
        return f"OIDC issuer listening on {url}"

    return asyncio.run(serve(application(issuer), asked.address, asked.port, listening))


if __name__ == "__main__":
    sys.exit(main())
