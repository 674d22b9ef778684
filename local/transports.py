"""How clients reach a session: WebSocket at `/openai/v1/realtime`, WebRTC at `/openai/v1/realtime/calls`.

No sideband: `?call_id=` is not served. A client secret in a subprotocol is OpenAI's way, unproven on Azure.
"""

import asyncio
import importlib
import secrets
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, WSMsgType, web

from local import ga_session
from local.answers import azure_headers, error_answer
from local.client_secrets import credential_refusal, deployment_refusal
from local.realtime import RealtimeSession

if TYPE_CHECKING:
    from local.azure import State
    from local.ga_session import Session
    from local.realtime import Event
    from local.webrtc import Call

WEBSOCKET_PATH = "/openai/v1/realtime"
CALLS_PATH = "/openai/v1/realtime/calls"
_KEY_PROTOCOL = "openai-insecure-api-key."
_MOST_MESSAGE = 16 * 1024 * 1024
_ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}


class Transports:
    """The running WebSockets and calls, so that none outlives the server."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._sockets: set[web.WebSocketResponse] = set()
        self._calls: dict[asyncio.Task[None], Call] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of both transports."""
        return [
            web.get(WEBSOCKET_PATH, self._websocket),
            web.post(CALLS_PATH, self._call),
            web.options(CALLS_PATH, _preflight),
        ]

    async def close(self) -> None:
        """End every session."""
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY)
        for call in self._calls.values():
            call.hang_up()
        await asyncio.gather(*self._calls, return_exceptions=True)

    # WebSocket

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        session = self._admitted(request)
        if isinstance(session, web.Response):
            return session
        offered = _subprotocols(request)
        socket = web.WebSocketResponse(
            protocols=["realtime"] if "realtime" in offered else (), max_msg_size=_MOST_MESSAGE
        )
        if not socket.can_prepare(request):
            return error_answer(400, "BadRequest", "A WebSocket upgrade is expected here.")  # inference
        socket.headers.update(azure_headers())
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await _converse(socket, RealtimeSession(session, self._state))
        except ConnectionError:
            pass  # the client left while it was being talked to
        finally:
            self._sockets.discard(socket)
        return socket

    def _admitted(self, request: web.Request) -> "Session | web.Response":
        if "api-version" in request.query:  # MS Learn, the migration guide: the GA path takes none
            return error_answer(401, "401", "The api-version query parameter is not supported on this path.")
        credential = _credential(request)
        issued = self._state.secrets.find(credential)
        if issued is not None:
            return issued.session
        if credential.startswith("ek_"):
            return error_answer(401, "Unauthorized", "The ephemeral client secret is unknown or has expired.")
        asked: Session = {"type": "realtime", "model": request.query.get("model")}
        refusal = credential_refusal(request, self._state) or deployment_refusal(asked, self._state)
        return refusal or ga_session.effective(asked)

    # WebRTC

    async def _call(self, request: web.Request) -> web.Response:
        response = await self._answered(request)
        response.headers.update(_ANY_ORIGIN)
        return response

    async def _answered(self, request: web.Request) -> web.Response:
        issued = self._state.secrets.find(_bearer(request))
        if issued is None:
            return error_answer(401, "Unauthorized", "Realtime session ephemeral token is required.")
        if request.content_type != "application/sdp":  # form data is refused too; status and wording are inference
            return error_answer(400, "BadRequest", "The Content-Type must be application/sdp.")
        await asyncio.to_thread(importlib.import_module, "aiortc")  # half a second, the first time
        from local import webrtc  # noqa: PLC0415  only those who call should wait for aiortc

        filtered = request.query.get("webrtcfilter") == "on"
        call = webrtc.Call(RealtimeSession(issued.session, self._state), filtered=filtered)
        try:
            answer = await call.answer(await request.text())
        except ValueError as error:
            return error_answer(400, "BadRequest", str(error))
        task = asyncio.create_task(call.run())
        self._calls[task] = call
        task.add_done_callback(self._calls.pop)
        headers = {**azure_headers(), "Location": f"/v1/realtime/calls/rtc_{secrets.token_hex(12)}"}
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)


async def _converse(socket: web.WebSocketResponse, session: RealtimeSession) -> None:
    await _send(socket, session.open())
    async for message in socket:
        if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
            continue
        text = message.data if message.type == WSMsgType.TEXT else message.data.decode("utf-8", "replace")
        await _send(socket, session.receive(text))
        if session.closed:
            await socket.close(code=WSCloseCode.INTERNAL_ERROR)


async def _send(socket: web.WebSocketResponse, events: "list[Event]") -> None:
    for event in events:
        await socket.send_json(event)


async def _preflight(request: web.Request) -> web.Response:
    asked = request.headers.get("Access-Control-Request-Headers", "")
    names = ["authorization", "content-type", *(name.strip().lower() for name in asked.split(",") if name.strip())]
    allowed = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": ",".join(dict.fromkeys(names)),
    }
    return web.Response(status=200, headers={**_ANY_ORIGIN, **allowed})


def _bearer(request: web.Request) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _subprotocols(request: web.Request) -> list[str]:
    return [one.strip() for one in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]


def _credential(request: web.Request) -> str:
    """Return the first thing that may be a client secret."""
    in_protocol = next((one for one in _subprotocols(request) if one.startswith(_KEY_PROTOCOL)), "")
    return _bearer(request) or request.headers.get("api-key", "") or in_protocol.removeprefix(_KEY_PROTOCOL)
