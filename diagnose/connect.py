"""Connects with a minted client secret and sends one `session.update`: to learn which form Azure takes.

Over WebSocket, as the shortest way to see `session.updated` and `error`; that Azure lets a client secret open
one is not documented, so a refused connection is a thing not learnt and never a fault.
"""

import asyncio
import contextlib
import json
import re
from typing import Any
from urllib.parse import quote

import aiohttp
from requests.utils import get_environ_proxies, select_proxy

from diagnose.calls import has_block
from diagnose.records import Ack, Update
from mint.body import Json
from mint.session import with_block

_EVENT_ID = "evt_diagnose"


def update(endpoint: str, deployment: str, secret: str, field: str, block: Json, seconds: float) -> Update:
    """Connect, turn transcription on at `field`, and return what was answered within `seconds`."""
    url = f"{endpoint}/openai/v1/realtime?model={quote(deployment)}"
    event = {
        "type": "session.update",
        "event_id": _EVENT_ID,
        "session": with_block({"type": "realtime"}, field, block),
    }
    return deliver(url, secret, field, event, seconds)


def deliver(url: str, secret: str, field: str, event: Json | None, seconds: float) -> Update:
    """Connect, send `event`, and return what was answered within `seconds`; without one, what was configured."""
    return asyncio.run(_deliver(url, secret, field, event, seconds))


async def _deliver(url: str, secret: str, field: str, event: Json | None, seconds: float) -> Update:
    connected = False
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as client,
            client.ws_connect(url, proxy=_proxy(url)) as socket,
        ):
            connected = True
            return await _talk(socket, field, event)
    except aiohttp.WSServerHandshakeError as error:
        return Update(field, Ack.NOT_CONNECTED, status=error.status)
    except TimeoutError:
        return Update(field, Ack.NO_ANSWER if connected else Ack.NOT_CONNECTED)
    except (aiohttp.ClientError, OSError):
        return Update(field, Ack.CLOSED if connected else Ack.NOT_CONNECTED)


async def _talk(socket: aiohttp.ClientWebSocketResponse, field: str, event: Json | None) -> Update:
    async for message in socket:
        said = _event(message)
        kind = said.get("type")
        if kind == "session.created" and event:
            await socket.send_json(event)
        elif kind == ("session.updated" if event else "session.created"):
            session = said.get("session")
            configured = isinstance(session, dict) and has_block(session)
            return Update(field, Ack.UPDATED if configured else Ack.IGNORED)
        elif kind == "error":
            error = said.get("error")
            error = error if isinstance(error, dict) else {}
            return Update(field, Ack.ERROR, code=_path(error.get("code")), param=_path(error.get("param")))
    return Update(field, Ack.CLOSED)


def _proxy(url: str) -> str | None:
    """Return the environment's proxy. aiohttp's trust_env would also read ~/.netrc, and clash with our header."""
    return select_proxy(url, get_environ_proxies(url))


def _event(message: aiohttp.WSMessage) -> dict[str, Any]:
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    with contextlib.suppress(ValueError):
        event = json.loads(message.data)
        return event if isinstance(event, dict) else {}
    return {}


def _path(value: object) -> str | None:
    """Return a code or a path of fields; anything else that a server writes may repeat what was sent."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,99}", value) else None
