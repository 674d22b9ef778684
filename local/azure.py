"""The simulated Azure OpenAI resource and identity endpoint: `python -m local.azure`. Never deployed.

One process, all state in memory; `/_simulator` is its own and has no counterpart in Azure.
"""

import argparse
import asyncio
import json
import random
import ssl
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from local import client_secrets, identity
from local.answers import NOT_JSON, PARSED_BODY, resource_not_found
from local.serving import serve
from local.switches import Switches, UnknownSwitchError, patched, shown
from local.transports import Transports

_MOST_RECORDS = 20_000
_MOST_BODY = 16 * 1024 * 1024
_CONTROL = "/_simulator"
_RECORD: web.RequestKey[dict[str, Any]] = web.RequestKey("record", dict)


class State:
    """What the resource knows: its switches, what it has issued, and who called."""

    def __init__(self, defaults: Switches) -> None:
        self._defaults = defaults
        self._changed = asyncio.Event()
        self._connections: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        self._connection_count = 0
        self.switches = patched(defaults, {})
        self.random = random.Random(defaults.seed)  # noqa: S311  a repeatable fault, not a secret
        self.records: deque[dict[str, Any]] = deque(maxlen=_MOST_RECORDS)
        self.secrets = client_secrets.ClientSecrets()
        self.tokens = identity.Tokens()

    def patch(self, changes: dict[str, Any]) -> None:
        """Apply a patch to the switches, or raise UnknownSwitchError and change nothing."""
        self.switches = patched(self.switches, changes)
        if "seed" in changes or "defect" in changes:
            self.random = random.Random(self.switches.seed)  # noqa: S311  a repeatable fault, not a secret
        if "revoke_tokens" in changes:
            self.tokens.revoke()
        self.wake()

    def reset(self) -> None:
        """Go back to the switches of the start and forget what was recorded; what was issued stays valid."""
        self.switches = patched(self._defaults, {})
        self.random = random.Random(self.switches.seed)  # noqa: S311  a repeatable fault, not a secret
        self.records.clear()
        self.wake()

    def wake(self) -> None:
        """End whatever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until a switch is set."""
        await self._changed.wait()

    def next_fault(self, *, with_transcription: bool) -> str | None:
        """Return the fault that this mint meets and count it; one left out by fault_when is not counted."""
        switches = self.switches
        if switches.fault_when == ("without-transcription" if with_transcription else "with-transcription"):
            return None
        if switches.faults:
            name, *rest = switches.faults
            self.switches = patched(switches, {"faults": rest})
            return None if name == "ok" else name
        if switches.fault is not None and switches.fault_times is not None:
            self.switches = patched(
                switches,
                {"fault_times": switches.fault_times - 1} if switches.fault_times > 1 else {"fault": None},
            )
        return switches.fault

    def connection_of(self, request: web.Request) -> int | None:
        """Return the number of the TCP connection that the request came on, counted from 1."""
        if request.transport is None:
            return None
        if request.transport not in self._connections:
            self._connection_count += 1
            self._connections[request.transport] = self._connection_count
        return self._connections[request.transport]


def application(state: State) -> web.Application:
    """Assemble the resource."""

    @web.middleware
    async def record(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        text = (await request.read()).decode("utf-8", "replace")
        request[PARSED_BODY] = _parsed(text)
        if not state.switches.record or request.path.startswith(_CONTROL):
            return await handler(request)
        request[_RECORD] = _entry(request, text, state)
        state.records.append(request[_RECORD])
        return await handler(request)

    async def complete(request: web.Request, response: web.StreamResponse) -> None:
        if _RECORD in request:
            request[_RECORD]["status"] = response.status
            request[_RECORD]["apim_request_id"] = response.headers.get("apim-request-id")

    async def not_found(_request: web.Request) -> web.StreamResponse:
        return resource_not_found()

    app = web.Application(middlewares=[record], client_max_size=_MOST_BODY)
    app.add_routes(_control_routes(state))
    app.add_routes(client_secrets.routes(state))
    app.add_routes(identity.routes(state))
    transports = Transports(state)
    app.add_routes(transports.routes())
    app.router.add_route("*", "/{path:.*}", not_found)
    app.on_response_prepare.append(complete)

    async def end(_app: web.Application) -> None:
        state.wake()
        await transports.close()

    app.on_shutdown.append(end)
    return app


def _parsed(text: str) -> object:
    try:
        return json.loads(text) if text else NOT_JSON
    except ValueError:
        return NOT_JSON


def _entry(request: web.Request, text: str, state: State) -> dict[str, Any]:
    body = request[PARSED_BODY]
    return {
        "time": datetime.now(UTC).isoformat(),
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": text if body is NOT_JSON else body,
        "status": None,  # stays so where no well-formed answer was given
        "connection": state.connection_of(request),
        "apim_request_id": None,
    }


def _control_routes(state: State) -> list[web.RouteDef]:
    async def show(_request: web.Request) -> web.Response:
        return web.json_response(shown(state.switches))

    async def patch(request: web.Request) -> web.Response:
        changes = request[PARSED_BODY]
        if not isinstance(changes, dict):
            return web.json_response({"error": "The body must be a JSON object of switches."}, status=400)
        try:
            state.patch(changes)
        except UnknownSwitchError as error:
            return web.json_response({"error": str(error)}, status=400)
        return await show(request)

    async def requests(_request: web.Request) -> web.Response:
        return web.json_response(list(state.records))

    async def clear(_request: web.Request) -> web.Response:
        state.records.clear()
        return web.Response(status=204)

    async def reset(request: web.Request) -> web.Response:
        state.reset()
        return await show(request)

    return [
        web.get(_CONTROL, show),
        web.patch(_CONTROL, patch),
        web.get(f"{_CONTROL}/requests", requests),
        web.delete(f"{_CONTROL}/requests", clear),
        web.post(f"{_CONTROL}/reset", reset),
    ]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.azure", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=9900, help="0 picks a free one (default %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="default %(default)s")
    parser.add_argument("--defect", choices=client_secrets.DEFECTS, default="flat-fails")
    parser.add_argument("--latency-ms", type=float, default=0, help="added to every mint")
    parser.add_argument("--tls-cert", type=Path, help="serve https with this certificate")
    parser.add_argument("--tls-key", type=Path, help="its private key, unless it is in the same file")
    return parser


def main() -> int:
    """Run the simulated resource from the command line."""
    parser = _arguments()
    asked = parser.parse_args()
    tls = None
    if asked.tls_cert or asked.tls_key:
        if not asked.tls_cert:
            parser.error("--tls-key needs --tls-cert")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(asked.tls_cert, asked.tls_key)
    try:
        defaults = patched(Switches(), {"defect": asked.defect, "latency_ms": asked.latency_ms})
    except UnknownSwitchError as error:
        parser.error(str(error))
    return asyncio.run(_serve(defaults, asked, tls))


async def _serve(defaults: Switches, asked: argparse.Namespace, tls: ssl.SSLContext | None) -> int:
    app = application(State(defaults))
    return await serve(app, asked.address, asked.port, "Simulated Azure OpenAI listening on {}".format, tls)


if __name__ == "__main__":
    sys.exit(main())
