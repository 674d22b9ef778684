"""The catalogue of ways in which minting or the identity endpoint can go wrong, by name.

Bodies are as public sources captured them; where none did (500 to 504), they are inference.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from local import ga_session
from local.answers import (
    KEYS_DISABLED,
    NO_SUCH_DEPLOYMENT,
    NOT_REALTIME,
    PARSED_BODY,
    WRONG_SESSION_TYPE,
    audience_refused,
    azure_headers,
    error_answer,
    error_body,
    internal_error,
    json_answer,
    resource_not_found,
    unknown_parameter,
)

if TYPE_CHECKING:
    from local.azure import State

type Fault = Callable[[web.Request, "State"], Awaitable[web.StreamResponse]]

_DRIP_S = 0.1
_HUGE = 1_100_000  # bytes; just over the 1 MiB that a client may be expected to read


def _plain(make: Callable[[], web.Response]) -> Fault:
    async def answer(_request: web.Request, _state: "State") -> web.StreamResponse:
        return make()

    return answer


def _error(
    status: int, code: str | None, message: str, kind: str | None = None, param: str | None = None
) -> Fault:
    return _plain(lambda: error_answer(status, code, message, kind, param))


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Fault:
    return _plain(lambda: json_answer(body, status, headers))


def _text(text: str, status: int = 200, content_type: str = "text/html") -> Fault:
    return _plain(
        lambda: web.Response(status=status, text=text, content_type=content_type, headers=azure_headers())
    )


def _throttled(**headers: str) -> Fault:
    message = (
        "Requests to the Realtime Operation under Azure OpenAI API have exceeded call rate limit of your "
        "current OpenAI S0 pricing tier. Please retry after 7 seconds."
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _json(error_body("429", message), 429, named)


def _throttled_until() -> web.Response:
    headers = {"Retry-After": formatdate(time.time() + 9, usegmt=True)}
    return json_answer(error_body("429", "Too many requests."), 429, headers)


def _grant(request: web.Request, state: "State") -> tuple[str, int, ga_session.Session]:
    """Issue a secret that really opens a session, for answers that are odd only in their shape."""
    body = request[PARSED_BODY]
    asked = body.get("session") if isinstance(body, dict) else None
    well_formed = isinstance(asked, dict) and ga_session.first_misshapen(asked) is None
    issued = state.secrets.issue(ga_session.effective(asked if well_formed and asked else {}))
    return issued.value, issued.expires_at, issued.session


async def _expires_string(request: web.Request, state: "State") -> web.StreamResponse:
    value, expires_at, session = _grant(request, state)
    return json_answer({"value": value, "expires_at": str(expires_at), "session": session})


async def _bad_expires(request: web.Request, state: "State") -> web.StreamResponse:
    value, _, session = _grant(request, state)
    return json_answer({"value": value, "expires_at": "in ten minutes", "session": session})


async def _preview_shape(request: web.Request, state: "State") -> web.StreamResponse:
    value, expires_at, session = _grant(request, state)
    return json_answer({**session, "client_secret": {"value": value, "expires_at": expires_at}})


async def _no_value(request: web.Request, state: "State") -> web.StreamResponse:
    _, expires_at, session = _grant(request, state)
    return json_answer({"expires_at": expires_at, "session": session})


async def _null_value(request: web.Request, state: "State") -> web.StreamResponse:
    _, expires_at, session = _grant(request, state)
    return json_answer({"value": None, "expires_at": expires_at, "session": session})


async def _huge(request: web.Request, state: "State") -> web.StreamResponse:
    value, expires_at, session = _grant(request, state)
    padded = {**session, "instructions": "x" * _HUGE}
    return json_answer({"value": value, "expires_at": expires_at, "session": padded})


async def _huge_chunked(request: web.Request, state: "State") -> web.StreamResponse:
    value, expires_at, session = _grant(request, state)
    text = json.dumps({"value": value, "expires_at": expires_at, "session": session, "padding": "x" * _HUGE})
    response = web.StreamResponse(headers={**azure_headers(), "Content-Type": "application/json"})
    response.enable_chunked_encoding()
    with contextlib.suppress(ConnectionError):  # a client that has read enough may leave
        await response.prepare(request)
        for start in range(0, len(text), 65536):
            await response.write(text[start : start + 65536].encode())
        await response.write_eof()
    return response


def _head(status_line: str, *lines: str) -> bytes:
    fixed = [
        "Content-Type: application/json",
        *(f"{name}: {value}" for name, value in azure_headers().items()),
    ]
    return "\r\n".join([f"HTTP/1.1 {status_line}", *fixed, *lines, "", ""]).encode()


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("The client has gone.")
    return request.transport


async def _until_gone(transport: asyncio.Transport) -> web.StreamResponse:
    """Wait for the client to go; aiohttp then cancels this very task (handler_cancellation)."""
    transport.close()
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _abort(transport: asyncio.Transport) -> None:
    # SO_LINGER with a time of 0 makes the kernel send RST in place of FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _reset(request: web.Request, _state: "State") -> web.StreamResponse:
    transport = _transport(request)
    _abort(transport)
    return await _until_gone(transport)


async def _reset_mid_body(request: web.Request, _state: "State") -> web.StreamResponse:
    transport = _transport(request)
    transport.write(_head("200 OK", "Content-Length: 500") + b'{"value": "ek_')
    await asyncio.sleep(0.05)  # or the reset would overtake what was written
    _abort(transport)
    return await _until_gone(transport)


async def _close(request: web.Request, _state: "State") -> web.StreamResponse:
    return await _until_gone(_transport(request))


def _raw(content: Callable[[], bytes]) -> Fault:
    async def answer(request: web.Request, _state: "State") -> web.StreamResponse:
        transport = _transport(request)
        transport.write(content())
        return await _until_gone(transport)

    return answer


async def _hang(request: web.Request, state: "State") -> web.StreamResponse:
    await state.changed()
    return await _until_gone(_transport(request))


def _dripping(start: Callable[[], bytes], drop: bytes) -> Fault:
    async def answer(request: web.Request, state: "State") -> web.StreamResponse:
        transport = _transport(request)
        transport.write(start())
        changed = asyncio.ensure_future(state.changed())
        try:
            while not changed.done():
                transport.write(drop)
                await asyncio.wait([changed], timeout=_DRIP_S)
        finally:
            changed.cancel()
        return await _until_gone(transport)

    return answer


_LACKS_ACTION = (
    "The principal `22222222-2222-2222-2222-222222222222` lacks the required data action "
    "`Microsoft.CognitiveServices/accounts/OpenAI/realtime/action` to perform "
    "`POST /openai/v1/realtime/client_secrets` operation."
)
_FIREWALL = "Access denied due to Virtual Network/Firewall rules."
_BLOCKED = "Your resource has been temporarily blocked because we detected behavior that may violate our policy."
_HTML = "<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_PUBLIC = "Public access is disabled. Please configure private endpoint."
_BUSY = "The service is temporarily unable to process your request. Please try again later."
_LATE = "The request timed out. Please try again later."

CATALOGUE: dict[str, Fault] = {
    "401-audience": _plain(audience_refused),
    "401-permission-denied": _error(401, "PermissionDenied", _LACKS_ACTION),
    "403-public-access": _error(403, "AccessDenied", _PUBLIC),
    "403-firewall": _error(403, "AccessDenied", _FIREWALL),
    "403-key-disabled": _error(403, "AuthenticationTypeDisabled", KEYS_DISABLED),
    "403-blocked": _error(403, "Forbidden", _BLOCKED),
    "404-deployment": _error(404, "DeploymentNotFound", NO_SUCH_DEPLOYMENT),
    "400-deployment": _error(400, "DeploymentNotFound", NO_SUCH_DEPLOYMENT),
    "404-resource": _plain(resource_not_found),
    "400-opperation": _error(400, "OpperationNotSupported", NOT_REALTIME),
    "400-operation": _error(400, "OperationNotSupported", NOT_REALTIME),
    "400-session-type": _error(
        400, "InvalidSessionType", WRONG_SESSION_TYPE, "invalid_request_error", "session.type"
    ),
    "400-unknown-parameter": _plain(lambda: unknown_parameter("session.audio.output.speed")),
    "400-transcription": _plain(lambda: unknown_parameter("session.audio.input.transcription")),
    "400-string-error": _json({"error": "some string"}, 400),
    "429-retry-after": _throttled(Retry_After="7"),
    "429-retry-after-ms": _throttled(retry_after_ms="1500"),
    "429-bare": _throttled(),
    "429-date": _plain(_throttled_until),
    "500": _plain(internal_error),
    "500-bare": _plain(lambda: web.Response(status=500, headers=azure_headers())),
    "502-html": _text(_HTML, 502),
    "503": _error(503, "ServiceUnavailable", _BUSY),
    "504": _error(504, "Timeout", _LATE),
    "200-not-json": _text("value=ek_0123456789", content_type="text/plain"),
    "200-empty": _plain(lambda: web.Response(content_type="application/json", headers=azure_headers())),
    "200-truncated": _raw(lambda: _head("200 OK", "Content-Length: 500") + b'{"value": "ek_'),
    "200-huge": _huge,
    "200-huge-chunked": _huge_chunked,
    "200-no-value": _no_value,
    "200-null-value": _null_value,
    "200-expires-string": _expires_string,
    "200-preview-shape": _preview_shape,
    "200-array": _json([]),
    "200-bad-expires": _bad_expires,
    "302-redirect": _json({}, 302, {"Location": "/openai/v1/elsewhere"}),
    "reset": _reset,
    "reset-mid-body": _reset_mid_body,
    "close": _close,
    "hang": _hang,
    "slow-headers": _dripping(lambda: b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "slow-body": _dripping(lambda: _head("200 OK", "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
    "bad-status-line": _raw(lambda: b"HELLO\r\n\r\n"),
}

_NO_IDENTITY = (
    "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
)
IDENTITY_CATALOGUE: dict[str, Fault] = {
    "500": _json({"statusCode": 500, "message": "An internal error occurred."}, 500),
    "400-not-found": _json({"statusCode": 400, "message": _NO_IDENTITY}, 400),
    "hang": _hang,
    "reset": _reset,
    "not-json": _text("<html><body>Service unavailable</body></html>"),
    "403": _json({"statusCode": 403, "message": "Forbidden"}, 403),
}
