"""The protocol, step by step: mint, call, send session_update, wait for the acknowledgement, speak, read.

It hears nothing: the service's voice is received and dropped.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from clients.python.speech import Speech

type Event = dict[str, Any]


class TalkError(Exception):
    """Why there is no transcript, for a person."""


async def transcript_of(
    speech: Speech,
    token_url: str,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    watch: Callable[[str, Event], None],
) -> list[str]:
    """Say the speech to the service and return what it wrote down, turn by turn.

    `watch` is told every event, with "sent" or "received". Each step has `timeout_s`; what goes wrong is a
    TalkError.
    """
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # or aiortc asks a public STUN server
    channel = Channel(peer.createDataChannel("oai-events"), watch)  # before the offer, or it has no room for it
    peer.addTrack(speech)
    try:
        with _in_time("The token endpoint or Azure did not answer in time."):
            async with asyncio.timeout(timeout_s), aiohttp.ClientSession(trust_env=True) as http:
                secret = await _connect(http, peer, token_url, headers)
        with _in_time("Azure answered, but the connection did not open. A firewall may block UDP."):
            await asyncio.wait_for(channel.opened.wait(), timeout_s)
        if secret["session_update"]:
            channel.send(secret["session_update"])
        if secret["transcription"]["configured"] == "off":
            raise TalkError("The endpoint's profile or its settings have no transcription.")
        with _in_time("The server did not say in time that transcription is on."):
            session = await asyncio.wait_for(_acknowledged(channel, secret["session_update"]), timeout_s)
        with _in_time("No transcript came in time of what was said."):
            return await asyncio.wait_for(_spoken(channel, session, speech), timeout_s + speech.seconds)
    finally:
        await peer.close()


@contextmanager
def _in_time(otherwise: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TalkError(otherwise) from error


# The secret and the call


async def _connect(
    http: aiohttp.ClientSession, peer: RTCPeerConnection, token_url: str, headers: Mapping[str, str]
) -> Event:
    """Mint, and offer the call to Azure; a secret that has expired on the way is minted anew, once."""
    await peer.setLocalDescription(await peer.createOffer())
    secret = await _mint(http, token_url, headers)
    answer = await _call(http, secret, peer.localDescription.sdp)
    if answer is None:
        secret = await _mint(http, token_url, headers)
        answer = await _call(http, secret, peer.localDescription.sdp)
    if answer is None:
        raise TalkError("Azure refused two fresh client secrets.")
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return secret


async def _mint(http: aiohttp.ClientSession, token_url: str, headers: Mapping[str, str]) -> Event:
    status, body = await _post(http, "The token endpoint", token_url, headers, None)
    reply = _object(body)
    if status != 200:
        raise TalkError(f"The token endpoint answered {status}: {_reason(reply, status)}")
    if not isinstance(reply.get("value"), str) or "webrtc_url" not in reply:
        raise TalkError("The token endpoint's answer is no client secret. Is --token-url right?")
    return reply


async def _call(http: aiohttp.ClientSession, secret: Event, offer: str) -> str | None:
    """Return the SDP answer, or None where the secret is refused."""
    headers = {"Authorization": f"Bearer {secret['value']}", "Content-Type": "application/sdp"}
    status, body = await _post(http, "Azure", secret["webrtc_url"], headers, offer)
    if status == 401:
        return None
    if status != 201:
        raise TalkError(f"Azure answered the call with {status}: {_reason(_object(body), status)}")
    return body


async def _post(
    http: aiohttp.ClientSession, who: str, url: str, headers: Mapping[str, str], body: str | None
) -> tuple[int, str]:
    try:
        async with http.post(url, headers=headers, data=body) as response:
            return response.status, await response.text()
    except (aiohttp.ClientError, ValueError) as error:
        raise TalkError(f"{who} cannot be reached at {url}: {error}") from error


def _object(text: str) -> Event:
    try:
        reply = json.loads(text)
    except ValueError:
        return {}  # an error page, or the platform's bare 401
    return reply if isinstance(reply, dict) else {}


def _reason(reply: Event, status: int) -> str:
    error = reply.get("error")
    if isinstance(error, dict) and error.get("message"):
        identifier = error.get("upstream_request_id")
        return f"{error['message']}" + (f" (Azure's request id: {identifier})" if identifier else "")
    return "the credential is missing or wrong." if status in {401, 403} else "it gave no reason."


# The session


class Channel:
    """The data channel: events in both directions. Its end is a TalkError for whoever waits for an event."""

    def __init__(self, channel: Any, watch: Callable[[str, Event], None]) -> None:  # noqa: ANN401  aiortc is untyped
        self._channel = channel
        self._watch = watch
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.opened = asyncio.Event()
        channel.on("open", self.opened.set)
        channel.on("message", self._received)
        channel.on("close", lambda: self._events.put_nowait(None))

    def _received(self, text: str) -> None:
        event = _object(text)
        self._watch("received", event)
        self._events.put_nowait(event)

    def send(self, event: Event) -> None:
        """Send one event."""
        self._watch("sent", event)
        self._channel.send(json.dumps(event))

    def note(self, event: Event) -> None:
        """Put an event of our own among the server's."""
        self._events.put_nowait(event)

    async def next(self) -> Event:
        """Return the next event."""
        event = await self._events.get()
        if event is None:
            raise TalkError("The server ended the connection.")
        return event


async def _acknowledged(channel: Channel, update: Event | None) -> Event:
    """Return the session as the server describes it, once it says that transcription is on."""
    awaited = "session.updated" if update else "session.created"
    while True:
        event = await channel.next()
        if event.get("type") == awaited:
            session: Event = event["session"]
            if _input(session).get("transcription") or session.get("input_audio_transcription"):
                return session
            raise TalkError("The server describes a session without transcription.")
        if update and event.get("type") == "error" and event["error"].get("event_id") == update["event_id"]:
            raise TalkError(f"The server refused to turn transcription on: {event['error']['message']}")


async def _spoken(channel: Channel, session: Event, speech: Speech) -> list[str]:
    """Speak, and return the transcripts once every turn has one."""
    speech.speak(lambda: channel.note({"type": "spoken"}))
    turns: dict[str, str | None] = {}
    speaking = True
    while speaking or not turns or None in turns.values():
        event = await channel.next()
        match event.get("type"):
            case "spoken":
                speaking = False
                if _input(session).get("turn_detection") is None:  # push to talk: the turn ends when we say so
                    channel.send({"type": "input_audio_buffer.commit"})
            case "input_audio_buffer.speech_started" | "input_audio_buffer.committed":
                turns.setdefault(event["item_id"], None)
            case "conversation.item.input_audio_transcription.completed":
                turns[event["item_id"]] = event["transcript"]
            case "conversation.item.input_audio_transcription.failed":
                raise TalkError(f"The server could not transcribe: {event['error']['message']}")
            case "error":
                raise TalkError(f"The server reported an error: {event['error']['message']}")
    return [text for text in turns.values() if text]


def _input(session: Event) -> Event:
    return dict(session.get("audio", {}).get("input", {}))
