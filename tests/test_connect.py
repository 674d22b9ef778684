"""A client with the minted secret: it connects, does its one duty, speaks, and reads what it said.

The same client code in every mode and over both transports; nothing in it knows of the flag.
"""

import array
import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription

from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure

Event = dict[str, Any]
Connection = tuple[Callable[[Event], Awaitable[None]], "asyncio.Queue[Event]"]
TONE = array.array("h", [8000] * 40 + [-8000] * 40).tobytes()


@asynccontextmanager
async def websocket(secret: dict[str, Any]) -> AsyncIterator[Connection]:
    """Connect over WebSocket, and send sound as a server would."""
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(secret["websocket_url"], headers={"Authorization": f"Bearer {secret['value']}"}) as socket,
    ):

        async def listen() -> None:
            async for message in socket:
                events.put_nowait(message.json())

        async def speak() -> None:
            sound = {"type": "input_audio_buffer.append", "audio": base64.b64encode(TONE * 60).decode()}
            while True:  # 200 ms of sound, as often
                await socket.send_json(sound)
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(listen()), tasks.create_task(speak())]
            yield socket.send_json, events
            for task in running:
                task.cancel()


class Tone(AudioStreamTrack):
    """A microphone that hums."""

    async def recv(self) -> Any:
        frame = await super().recv()
        plane = frame.planes[0]
        plane.update((TONE * (plane.buffer_size // len(TONE) + 1))[: plane.buffer_size])
        return frame


@asynccontextmanager
async def webrtc(secret: dict[str, Any]) -> AsyncIterator[Connection]:
    """Connect over WebRTC, as a browser does: the data channel first, then the offer."""
    events: asyncio.Queue[Event] = asyncio.Queue()
    peer = RTCPeerConnection()
    channel = peer.createDataChannel("oai-events")
    channel.on("message", lambda message: events.put_nowait(json.loads(message)))
    peer.addTrack(Tone())
    await peer.setLocalDescription(await peer.createOffer())
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            secret["webrtc_url"],
            data=peer.localDescription.sdp,
            headers={"Authorization": f"Bearer {secret['value']}", "Content-Type": "application/sdp"},
        ) as response,
    ):
        assert response.status == 201, await response.text()
        await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))

    async def send(event: Event) -> None:
        channel.send(json.dumps(event))

    try:
        yield send, events
    finally:
        await peer.close()


async def converse(secret: dict[str, Any], connect: Any) -> list[Event]:
    """Do what a client does; return every event up to the transcript, or up to 40 events without one."""
    seen: list[Event] = []
    async with asyncio.timeout(30), connect(secret) as (send, events):
        while len(seen) < 40:
            event = await events.get()
            seen.append(event)
            if event["type"] == "session.created" and secret["session_update"]:
                await send(secret["session_update"])
            if event["type"] == "conversation.item.input_audio_transcription.completed":
                break
    return seen


BOTH = pytest.mark.parametrize("connect", [websocket, webrtc], ids=["websocket", "webrtc"])


@pytest.mark.workaround
@BOTH
def test_a_deferred_update_gets_the_caller_transcribed(
    connect: Any, endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """With Azure refusing the block at mint time, the client sends session_update and reads its own words."""
    azure.set(defect="all-fails")
    secret = endpoint.mint().json()

    events = asyncio.run(converse(secret, connect))

    types = [event["type"] for event in events]
    updated = next(event for event in events if event["type"] == "session.updated")
    assert secret["transcription"]["configured"] == "post_connect"
    assert types[0] == "session.created"
    assert updated["session"]["audio"]["input"]["transcription"] == secret["transcription"]["config"]
    assert events[-1]["transcript"]
    assert "error" not in types


@BOTH
def test_flipping_the_flag_changes_nothing_for_the_client(
    connect: Any, mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """With Azure mended and mint_time set, the same client reads its words and has nothing to send."""
    azure.set(defect="fixed")
    secret = mint_time_endpoint.mint().json()

    events = asyncio.run(converse(secret, connect))

    assert secret["session_update"] is None
    assert "session.updated" not in [event["type"] for event in events]
    assert events[-1]["transcript"]


@pytest.mark.workaround
def test_a_client_that_neglects_its_duty_is_not_transcribed(endpoint: Endpoint) -> None:
    """The proof that the two tests above can fail: without the update no transcript ever comes."""
    secret = endpoint.mint().json() | {"session_update": None}

    events = asyncio.run(converse(secret, websocket))

    assert [event["type"] for event in events if "transcription" in event["type"]] == []
    assert "input_audio_buffer.committed" in [event["type"] for event in events]
