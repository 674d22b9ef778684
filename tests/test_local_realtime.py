"""The simulated realtime session over WebSocket and over WebRTC, with real audio on the way in.

A transcript comes only where transcription is configured and audio has arrived, so that these tests can fail.
"""

import abc
import array
import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import requests
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from local import webrtc
from local.client_secrets import ClientSecrets
from tests.simulated import MINT, SimulatedAzure

KEY = "simulated-api-key"
BLOCK = {"model": "gpt-4o-transcribe", "language": "en"}
PLAIN = {"type": "realtime", "model": "gpt-realtime"}
NESTED = {**PLAIN, "audio": {"input": {"transcription": BLOCK}}}
CONFIGURE = {"type": "realtime", "audio": {"input": {"transcription": BLOCK}}}
TRANSCRIPTION = "conversation.item.input_audio_transcription"
REALTIME = "/openai/v1/realtime"
CALLS = "/openai/v1/realtime/calls"
WAIT_S = 15

type Event = dict[str, Any]


def run[Result](scenario: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(scenario)


def mint(azure: SimulatedAzure, session: Event = PLAIN) -> str:
    response = requests.post(f"{azure.url}{MINT}", json={"session": session}, headers={"api-key": KEY}, timeout=10)
    assert response.status_code == 200, response.text
    return str(response.json()["value"])


def sine(samples: int, rate: int) -> bytes:
    wave = (int(12000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(samples))
    return array.array("h", wave).tobytes()


def tone(milliseconds: int) -> bytes:
    return sine(24 * milliseconds, 24000)


def silence(milliseconds: int) -> bytes:
    return bytes(48 * milliseconds)


class Client(abc.ABC):
    """The client's half of a session: sends events, keeps what arrives, and waits for what it names."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.closed = asyncio.Event()
        self._arrived = asyncio.Condition()

    @abc.abstractmethod
    async def send(self, event: Event) -> None:
        """Send it the way that this kind of client has."""

    async def arrive(self, event: Event) -> None:
        async with self._arrived:
            self.seen.append(event)
            self._arrived.notify_all()

    async def wait_for(self, kind: str, count: int = 1) -> Event:
        """Return the `count`th event of that type, once it is there."""

        def found() -> list[Event]:
            return [event for event in self.seen if event["type"] == kind]

        try:
            async with asyncio.timeout(WAIT_S), self._arrived:
                await self._arrived.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            raise AssertionError(f"no {kind} number {count}; there were {self.types()}") from None
        return found()[count - 1]

    async def update(self, session: Event, event_id: str = "evt_1") -> None:
        await self.send({"type": "session.update", "event_id": event_id, "session": session})

    async def speak(self, pcm: bytes) -> None:
        await self.send({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})

    async def settled(self) -> list[str]:
        """Return the types seen up to now: what the server says to this event comes after all it said before."""
        await self.send({"type": "conversation.item.retrieve", "event_id": "settled", "item_id": "none"})

        def answered() -> bool:
            return bool(self.seen) and self.seen[-1].get("error", {}).get("event_id") == "settled"

        async with asyncio.timeout(WAIT_S), self._arrived:
            await self._arrived.wait_for(answered)
        return self.types()[:-1]

    def types(self) -> list[str]:
        return [event["type"] for event in self.seen]


class SocketClient(Client):
    """A session over WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__()
        self.socket = socket

    async def send(self, event: Event) -> None:
        await self.socket.send_json(event)

    async def read(self) -> None:
        async for message in self.socket:
            await self.arrive(json.loads(message.data))
        self.closed.set()


@asynccontextmanager
async def websocket(
    azure: SimulatedAzure, secret: str | None = None, query: str = "", **options: Any
) -> AsyncIterator[SocketClient]:
    """Connect with a secret as a server does, or as `options` say."""
    if secret:
        options["headers"] = {"Authorization": f"Bearer {secret}"}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{azure.url}{REALTIME}{query}", **options) as socket,
    ):
        client = SocketClient(socket)
        reader = asyncio.create_task(client.read())
        try:
            yield client
        finally:
            await socket.close()
            await reader


def test_a_session_starts_with_what_was_minted(azure: SimulatedAzure) -> None:
    """The first event is session.created, with the session that the secret is bound to."""

    async def scenario() -> Event:
        async with websocket(azure, mint(azure, {**NESTED, "instructions": "Be brief."})) as client:
            return await client.wait_for("session.created")

    created = run(scenario())

    assert created["event_id"]
    assert created["session"]["id"].startswith("sess_")
    assert created["session"]["instructions"] == "Be brief."
    assert created["session"]["audio"]["input"]["transcription"] == BLOCK


def test_one_secret_opens_several_sessions(azure: SimulatedAzure) -> None:
    """Until it expires a secret can be used again, each time for a session of its own."""

    async def scenario() -> set[str]:
        secret = mint(azure)
        async with websocket(azure, secret) as one, websocket(azure, secret) as other:
            created = [await client.wait_for("session.created") for client in (one, other)]
            return {event["session"]["id"] for event in created}

    assert len(run(scenario())) == 2


def test_an_update_changes_only_what_it_names(azure: SimulatedAzure) -> None:
    """session.updated has the whole session, changed where the update says and nowhere else."""

    async def scenario() -> Event:
        async with websocket(azure, mint(azure, {**PLAIN, "instructions": "Be brief."})) as client:
            await client.update(CONFIGURE)
            return (await client.wait_for("session.updated"))["session"]

    session = run(scenario())

    assert session["audio"]["input"]["transcription"] == BLOCK
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["audio"]["output"]["voice"] == "alloy"
    assert session["instructions"] == "Be brief."


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        (
            {**CONFIGURE, "instructions": "changed", "input_audio_transcription": BLOCK},
            "unknown_parameter",
            "session.input_audio_transcription",
        ),
        ({"instructions": "changed"}, "missing_required_parameter", "session.type"),
        ({"type": "transcription", "audio": {}}, "invalid_parameter", "session.type"),
        ({"type": "realtime", "instructions": "changed", "model": "other"}, "invalid_parameter", "session.model"),
        ({"type": "realtime", "instructions": "changed", "audio": 1}, "invalid_type", "session.audio"),
        ({"type": "realtime", "temperature": 1}, "unknown_parameter", "session.temperature"),
        ([], "missing_required_parameter", "session"),
    ],
)
def test_a_refused_update_changes_nothing(azure: SimulatedAzure, session: Event, code: str, param: str) -> None:
    """One wrong field and the whole update is discarded, with an error that names the field and the event."""

    async def scenario() -> tuple[Event, Event, Event]:
        async with websocket(azure, mint(azure)) as client:
            created = await client.wait_for("session.created")
            await client.update(session, "evt_bad")
            error = await client.wait_for("error")
            await client.update({"type": "realtime"})
            return created["session"], error["error"], (await client.wait_for("session.updated"))["session"]

    before, error, after = run(scenario())

    assert (error["code"], error["param"], error["event_id"]) == (code, param, "evt_bad")
    assert error["type"] == "invalid_request_error"
    assert after == before


def test_the_flat_field_can_be_made_to_work(azure: SimulatedAzure) -> None:
    """With the switch, a flat update configures transcription."""
    azure.set(flat_update="accepted")

    async def scenario() -> Event:
        async with websocket(azure, mint(azure)) as client:
            await client.update({"type": "realtime", "input_audio_transcription": BLOCK})
            updated = await client.wait_for("session.updated")
            await client.speak(tone(700))
            await client.wait_for(f"{TRANSCRIPTION}.completed")
            return updated

    assert run(scenario())["session"]["input_audio_transcription"] == BLOCK


def test_speech_becomes_a_turn_with_a_transcript(azure: SimulatedAzure) -> None:
    """600 ms of sound are a turn, told in Azure's order; more sound is another turn."""

    async def scenario() -> SocketClient:
        async with websocket(azure, mint(azure, NESTED)) as client:
            await client.speak(tone(1200))
            await client.wait_for(f"{TRANSCRIPTION}.completed", 2)
            return client

    client = run(scenario())
    turn = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{TRANSCRIPTION}.delta",
        f"{TRANSCRIPTION}.completed",
    ]
    completed = client.seen[-1]

    assert client.types() == ["session.created", *turn, *turn]
    assert completed["transcript"] == "simulated transcript of 600 ms of audio"
    assert completed["usage"] == {"type": "duration", "seconds": 0.6}
    assert completed["content_index"] == 0
    assert len({event["item_id"] for event in client.seen[8:] if "item_id" in event}) == 1


def test_silence_ends_a_turn(azure: SimulatedAzure) -> None:
    """A turn ends after the configured silence, and its length is told honestly."""

    async def scenario() -> Event:
        turns = {"type": "server_vad", "silence_duration_ms": 100}
        asked = {**PLAIN, "audio": {"input": {"transcription": BLOCK, "turn_detection": turns}}}
        async with websocket(azure, mint(azure, asked)) as client:
            await client.speak(tone(300) + silence(200))
            return await client.wait_for(f"{TRANSCRIPTION}.completed")

    assert run(scenario())["transcript"] == "simulated transcript of 400 ms of audio"


def test_no_transcript_without_configuration(azure: SimulatedAzure) -> None:
    """Without transcription a turn is told but never transcribed, and nothing says that it is off."""

    async def scenario() -> list[str]:
        async with websocket(azure, mint(azure)) as client:
            await client.speak(tone(1200))
            return await client.settled()

    types = run(scenario())

    assert types.count("input_audio_buffer.committed") == 2
    assert "error" not in types
    assert not [kind for kind in types if kind.startswith(TRANSCRIPTION)]


@pytest.mark.parametrize("pcm", [b"", silence(3000), tone(100) + silence(3000)])
def test_no_transcript_without_speech(azure: SimulatedAzure, pcm: bytes) -> None:
    """Silence, and a sound of less than 200 ms, are no turn."""

    async def scenario() -> list[str]:
        async with websocket(azure, mint(azure, NESTED)) as client:
            await client.speak(pcm)
            return await client.settled()

    assert run(scenario()) == ["session.created"]


def test_a_dropped_block_leaves_transcription_off(azure: SimulatedAzure) -> None:
    """Where the mint dropped the block in silence, the session has none."""
    azure.set(defect="silent-drop")

    async def scenario() -> list[str]:
        async with websocket(azure, mint(azure, NESTED)) as client:
            await client.speak(tone(700))
            return await client.settled()

    assert not [kind for kind in run(scenario()) if kind.startswith(TRANSCRIPTION)]


def test_a_flat_block_works_once_mended(azure: SimulatedAzure) -> None:
    """Where flat is mended at mint, it configures the session too."""
    azure.set(defect="fixed")

    async def scenario() -> Event:
        async with websocket(azure, mint(azure, {**PLAIN, "input_audio_transcription": BLOCK})) as client:
            await client.speak(tone(700))
            return await client.wait_for(f"{TRANSCRIPTION}.completed")

    assert run(scenario())["transcript"]


@pytest.mark.parametrize(
    ("deployment", "switches", "code"),
    [
        ("whisper-1", {}, "DeploymentNotFound"),
        ("gpt-realtime", {}, "DeploymentNotFound"),
        ("gpt-4o-transcribe", {"transcription_result": "failed"}, None),
    ],
)
def test_transcription_fails_late(
    azure: SimulatedAzure, deployment: str, switches: Event, code: str | None
) -> None:
    """A wrong deployment is accepted at mint and by an update, and fails only once there is speech."""
    azure.set(**switches)

    async def scenario() -> tuple[SocketClient, Event]:
        block = {"model": deployment}
        async with websocket(
            azure, mint(azure, {**PLAIN, "audio": {"input": {"transcription": block}}})
        ) as client:
            await client.update({"type": "realtime", "audio": {"input": {"transcription": block}}})
            await client.wait_for("session.updated")
            await client.speak(tone(700))
            return client, await client.wait_for(f"{TRANSCRIPTION}.failed")

    client, failed = run(scenario())

    assert failed["error"]["type"] == "server_error"
    assert failed["error"]["code"] == code
    assert failed["item_id"] in failed["error"]["message"]
    assert f"{TRANSCRIPTION}.completed" not in client.types()


def test_transcription_can_cost_the_connection(azure: SimulatedAzure) -> None:
    """The service may hang up where it should transcribe."""
    azure.set(transcription_result="close")

    async def scenario() -> None:
        async with websocket(azure, mint(azure, NESTED)) as client:
            await client.speak(tone(700))
            await asyncio.wait_for(client.closed.wait(), WAIT_S)

    run(scenario())


def test_a_lost_acknowledgement_still_applies(azure: SimulatedAzure) -> None:
    """An update whose session.updated is lost takes effect all the same."""
    azure.set(update_ack="lost")

    async def scenario() -> SocketClient:
        async with websocket(azure, mint(azure)) as client:
            await client.update(CONFIGURE)
            await client.speak(tone(700))
            await client.wait_for(f"{TRANSCRIPTION}.completed")
            return client

    assert "session.updated" not in run(scenario()).types()


def test_an_update_can_be_refused_by_the_service(azure: SimulatedAzure) -> None:
    """The service may refuse a good update; the error names the event, and nothing changes."""
    azure.set(update_ack="error")

    async def scenario() -> tuple[Event, list[str]]:
        async with websocket(azure, mint(azure)) as client:
            await client.update(CONFIGURE, "evt_tx")
            error = await client.wait_for("error")
            await client.speak(tone(700))
            return error["error"], await client.settled()

    error, types = run(scenario())

    assert (error["type"], error["event_id"]) == ("server_error", "evt_tx")
    assert not [kind for kind in types if kind.startswith(TRANSCRIPTION)]


def test_an_update_can_cost_the_connection(azure: SimulatedAzure) -> None:
    """The service may hang up on an update."""
    azure.set(update_ack="close")

    async def scenario() -> None:
        async with websocket(azure, mint(azure)) as client:
            await client.update(CONFIGURE)
            await asyncio.wait_for(client.closed.wait(), WAIT_S)

    run(scenario())


def test_without_turn_detection_a_commit_makes_the_turn(azure: SimulatedAzure) -> None:
    """With turn_detection null nothing happens until a commit; an empty buffer cannot be committed."""

    async def scenario() -> tuple[list[str], Event, Event]:
        asked = {**PLAIN, "audio": {"input": {"transcription": BLOCK, "turn_detection": None}}}
        async with websocket(azure, mint(azure, asked)) as client:
            await client.speak(tone(300))
            await client.send({"type": "input_audio_buffer.clear"})
            await client.wait_for("input_audio_buffer.cleared")
            await client.send({"type": "input_audio_buffer.commit"})
            empty = await client.wait_for("error")
            await client.speak(tone(1000))
            before = await client.settled()
            await client.send({"type": "input_audio_buffer.commit"})
            return before, empty, await client.wait_for(f"{TRANSCRIPTION}.completed")

    before, empty, completed = run(scenario())

    assert before == ["session.created", "input_audio_buffer.cleared", "error"]
    assert empty["error"]["code"] == "input_audio_buffer_commit_empty"
    assert completed["transcript"] == "simulated transcript of 1000 ms of audio"


@pytest.mark.parametrize(("modality", "kind"), [("audio", "output_audio_transcript"), ("text", "output_text")])
def test_a_response_is_given_when_asked_for(azure: SimulatedAzure, modality: str, kind: str) -> None:
    """response.create brings an answer, as the transcript of audio or as text."""

    async def scenario() -> SocketClient:
        async with websocket(azure, mint(azure, {**PLAIN, "output_modalities": [modality]})) as client:
            await client.send({"type": "response.create"})
            await client.wait_for("response.done")
            return client

    client = run(scenario())

    assert client.types()[1:] == [
        "response.created",
        f"response.{kind}.delta",
        f"response.{kind}.done",
        "response.done",
    ]
    assert client.seen[2]["delta"] == "This is a simulated answer."
    assert client.seen[-1]["response"]["status"] == "completed"


def test_items_can_be_created_and_retrieved(azure: SimulatedAzure) -> None:
    """A created item is added to the conversation; a spoken one can be had back with its transcript."""

    async def scenario() -> tuple[Event, Event]:
        async with websocket(azure, mint(azure, NESTED)) as client:
            content = [{"type": "input_text", "text": "Hello"}]
            item = {"type": "message", "role": "user", "content": content}
            await client.send({"type": "conversation.item.create", "item": item})
            added = await client.wait_for("conversation.item.added")
            await client.speak(tone(700))
            completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
            await client.send({"type": "conversation.item.retrieve", "item_id": completed["item_id"]})
            return added["item"], (await client.wait_for("conversation.item.retrieved"))["item"]

    added, spoken = run(scenario())

    assert added["content"] == [{"type": "input_text", "text": "Hello"}]
    assert added["id"]
    assert spoken["content"][0]["transcript"].startswith("simulated transcript")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "session.delete"}, "invalid_value"),
        ({}, "invalid_event"),
        ({"type": "input_audio_buffer.append", "audio": "not base64!"}, "invalid_value"),
        ({"type": "conversation.item.retrieve", "item_id": "item_0"}, "item_retrieve_invalid_item_id"),
        ({"type": "conversation.item.create"}, "missing_required_parameter"),
    ],
)
def test_a_wrong_event_is_an_error_event(azure: SimulatedAzure, event: Event, code: str) -> None:
    """What the session does not understand is refused by event, and the session goes on."""

    async def scenario() -> tuple[Event, list[str]]:
        async with websocket(azure, mint(azure)) as client:
            await client.send({**event, "event_id": "evt_odd"})
            return (await client.wait_for("error"))["error"], await client.settled()

    error, types = run(scenario())

    assert (error["code"], error["event_id"]) == (code, "evt_odd")
    assert types == ["session.created", "error"]


def entra_token(azure: SimulatedAzure) -> str:
    response = requests.get(
        azure.identity_env["IDENTITY_ENDPOINT"],
        params={"resource": "https://cognitiveservices.azure.com", "api-version": "2019-08-01"},
        headers={"X-IDENTITY-HEADER": azure.identity_env["IDENTITY_HEADER"]},
        timeout=10,
    )
    return str(response.json()["access_token"])


@pytest.mark.parametrize(
    "how", ["api-key header", "Bearer key", "Entra token", "secret as api-key", "subprotocol"]
)
def test_the_ways_in_over_websocket(azure: SimulatedAzure, how: str) -> None:
    """A server may use a key, an Entra token or a secret; a browser puts the secret in a subprotocol."""
    options: dict[str, Any] = {
        "api-key header": lambda: {"headers": {"api-key": KEY}},
        "Bearer key": lambda: {"headers": {"Authorization": f"Bearer {KEY}"}},
        "Entra token": lambda: {"headers": {"Authorization": f"Bearer {entra_token(azure)}"}},
        "secret as api-key": lambda: {"headers": {"api-key": mint(azure)}},
        "subprotocol": lambda: {"protocols": ["realtime", f"openai-insecure-api-key.{mint(azure)}"]},
    }[how]()

    async def scenario() -> tuple[str | None, Event]:
        async with websocket(azure, query="?model=gpt-realtime", **options) as client:
            return client.socket.protocol, await client.wait_for("session.created")

    protocol, created = run(scenario())

    assert protocol == ("realtime" if how == "subprotocol" else None)
    assert created["session"]["model"] == "gpt-realtime"
    assert azure.requests(REALTIME)[0]["status"] == 101


@pytest.mark.parametrize(
    ("query", "options", "status", "code"),
    [
        ("", {"headers": {"Authorization": "Bearer ek_unknown"}}, 401, "Unauthorized"),
        ("", {"protocols": ["realtime", "openai-insecure-api-key.ek_unknown"]}, 401, "Unauthorized"),
        ("?model=gpt-realtime", {"protocols": ["realtime", f"openai-insecure-api-key.{KEY}"]}, 401, None),
        ("?model=gpt-realtime", {}, 401, None),
        ("?model=gpt-realtime&api-version=v1", {"headers": {"api-key": KEY}}, 401, "401"),
        ("?model=other", {"headers": {"api-key": KEY}}, 404, "DeploymentNotFound"),
        ("", {"headers": {"api-key": KEY}}, 404, "DeploymentNotFound"),
        ("?model=gpt-4o", {"headers": {"api-key": KEY}}, 400, "OpperationNotSupported"),
    ],
)
def test_a_websocket_is_refused_before_the_upgrade(
    azure: SimulatedAzure, query: str, options: dict[str, Any], status: int, code: str | None
) -> None:
    """A wrong credential, an api-version or a wrong deployment is refused by plain HTTP with a JSON body."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Protocol": ", ".join(options.get("protocols", [])),
        **options.get("headers", {}),
    }
    response = requests.get(f"{azure.url}{REALTIME}{query}", headers=headers, timeout=10)

    assert response.status_code == status
    assert response.json().get("error", {}).get("code") == code


def test_an_expired_secret_opens_nothing() -> None:
    """A secret past its time is as good as unknown."""
    secrets = ClientSecrets()
    expired, valid = secrets.issue({}, 0), secrets.issue({}, 10)

    assert secrets.find(expired.value) is None
    assert secrets.find(valid.value) == valid


class Microphone(AudioStreamTrack):
    """A track in real time: a tone, or silence."""

    def __init__(self, *, loud: bool = True) -> None:
        super().__init__()
        self._loud = loud

    async def recv(self) -> Any:
        frame = await super().recv()
        if self._loud:
            frame.planes[0].update(sine(frame.samples, frame.sample_rate))
        return frame


class CallClient(Client):
    """A session over WebRTC."""

    def __init__(self, peer: RTCPeerConnection, channel: Any) -> None:
        super().__init__()
        self.peer = peer
        self.channel = channel
        self.location = ""
        self.played = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        channel.on("message", lambda text: self._keep(self.arrive(json.loads(text))))
        channel.on("close", self.closed.set)
        peer.on("track", lambda track: self._keep(self._play(track)))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, track: Any) -> None:
        await track.recv()
        self.played.set()

    async def send(self, event: Event) -> None:
        self.channel.send(json.dumps(event))


@asynccontextmanager
async def call(
    azure: SimulatedAzure, secret: str, *, loud: bool = True, query: str = "", label: str = "oai-events"
) -> AsyncIterator[CallClient]:
    """Connect as a browser does: the channel before the offer, the offer by POST."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    client = CallClient(peer, peer.createDataChannel(label))
    peer.addTrack(Microphone(loud=loud))
    try:
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/sdp"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{azure.url}{CALLS}{query}", data=peer.localDescription.sdp, headers=headers) as response,
        ):
            assert response.status == 201
            assert response.content_type == "application/sdp"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            client.location = response.headers["Location"]
            await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
        yield client
    finally:
        await peer.close()


def test_a_call_from_offer_to_transcript(azure: SimulatedAzure) -> None:
    """Over WebRTC: created, an update, updated, and only then a transcript of the sound that was sent."""

    async def scenario() -> CallClient:
        async with call(azure, mint(azure), label="any-name") as client:
            await client.wait_for("session.created")
            await client.wait_for("input_audio_buffer.committed")
            await client.update(CONFIGURE)
            await client.wait_for("session.updated")
            await client.wait_for(f"{TRANSCRIPTION}.completed")
            await asyncio.wait_for(client.played.wait(), WAIT_S)
            return client

    client = run(scenario())
    types = client.types()

    assert client.location.startswith("/v1/realtime/calls/rtc_")
    assert types[0] == "session.created"
    assert types.index("session.updated") < types.index(f"{TRANSCRIPTION}.completed")
    assert client.seen[types.index(f"{TRANSCRIPTION}.completed")]["transcript"].endswith(" ms of audio")


def test_a_call_of_silence_has_no_turn(azure: SimulatedAzure) -> None:
    """A silent microphone gives neither turn nor transcript, however well all is configured."""

    async def scenario() -> list[str]:
        async with call(azure, mint(azure, NESTED), loud=False) as client:
            await client.wait_for("session.created")
            await asyncio.wait_for(client.played.wait(), WAIT_S)
            return await client.settled()

    assert run(scenario()) == ["session.created"]


def test_a_flat_update_in_a_call_is_refused_whole(azure: SimulatedAzure) -> None:
    """Sending flat and nested to be safe configures neither."""

    async def scenario() -> tuple[Event, list[str]]:
        async with call(azure, mint(azure)) as client:
            await client.wait_for("session.created")
            await client.update({**CONFIGURE, "input_audio_transcription": BLOCK})
            error = await client.wait_for("error")
            await client.wait_for("input_audio_buffer.committed", 2)
            return error["error"], client.types()

    error, types = run(scenario())

    assert error["message"] == "Unknown parameter: 'session.input_audio_transcription'."
    assert error["event_id"] == "evt_1"
    assert not [kind for kind in types if kind.startswith(TRANSCRIPTION)]


def test_the_filter_withholds_all_but_its_list(azure: SimulatedAzure) -> None:
    """With webrtcfilter=on an update works blind: no created, no updated, no delta, but the transcript."""

    async def scenario() -> list[str]:
        async with call(azure, mint(azure), query="?webrtcfilter=on") as client:
            await client.wait_for("conversation.item.added")
            await client.update(CONFIGURE)
            await client.update({"type": "realtime", "temperature": 1})
            await client.wait_for(f"{TRANSCRIPTION}.completed", 2)
            return client.types()

    assert set(run(scenario())) == {
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "conversation.item.added",
        f"{TRANSCRIPTION}.completed",
    }


def test_the_service_can_hang_up_a_call(azure: SimulatedAzure) -> None:
    """Where the service closes the connection, the client's channel closes."""
    azure.set(update_ack="close")

    async def scenario() -> None:
        async with call(azure, mint(azure), loud=False) as client:
            await client.wait_for("session.created")
            await client.update(CONFIGURE)
            await asyncio.wait_for(client.closed.wait(), WAIT_S)

    run(scenario())


@pytest.mark.parametrize(
    ("secret", "content_type", "sdp", "status", "said"),
    [
        (KEY, "application/sdp", "v=0", 401, "Realtime session ephemeral token is required."),
        ("ek_unknown", "application/sdp", "v=0", 401, "Realtime session ephemeral token is required."),
        (None, "multipart/form-data", "v=0", 400, "application/sdp"),
        (None, "application/sdp", "hello", 400, "SDP"),
    ],
)
def test_a_bad_call_is_refused(
    azure: SimulatedAzure, secret: str | None, content_type: str, sdp: str, status: int, said: str
) -> None:
    """A call needs a client secret and a raw SDP offer; a browser may read why it was refused."""
    headers = {"Authorization": f"Bearer {secret or mint(azure)}", "Content-Type": content_type}
    response = requests.post(f"{azure.url}{CALLS}", data=sdp, headers=headers, timeout=10)

    assert response.status_code == status
    assert said in response.json()["error"]["message"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_an_entra_token_cannot_call(azure: SimulatedAzure) -> None:
    """What may mint may not call: a call takes nothing but a client secret."""
    headers = {"Authorization": f"Bearer {entra_token(azure)}", "Content-Type": "application/sdp"}
    response = requests.post(f"{azure.url}{CALLS}", data="v=0", headers=headers, timeout=10)

    assert response.status_code == 401
    assert response.json()["error"]["message"] == "Realtime session ephemeral token is required."


def test_the_preflight_allows_what_it_is_asked(azure: SimulatedAzure) -> None:
    """A browser may send the two headers that it needs, and those that its SDK adds."""
    headers = {
        "Origin": "http://localhost",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-openai-agents-sdk",
    }
    response = requests.options(f"{azure.url}{CALLS}", headers=headers, timeout=10)

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type,x-openai-agents-sdk"


def test_sessions_under_way_end_with_the_process_and_without_noise() -> None:
    """SIGTERM ends calls and WebSockets, and nothing is left to complain about."""
    own = SimulatedAzure()

    async def scenario() -> int:
        async with websocket(own, mint(own, NESTED)) as socket, call(own, mint(own, NESTED)) as caller:
            await socket.wait_for("session.created")
            await caller.wait_for(f"{TRANSCRIPTION}.completed")
            code = await asyncio.to_thread(own.stop)
            await asyncio.wait_for(socket.closed.wait(), WAIT_S)
            await asyncio.wait_for(caller.closed.wait(), WAIT_S)
            return code

    assert run(scenario()) == 0
    assert own.errors() == ""


def test_calls_that_ended_leave_no_noise() -> None:
    """A client that hangs up, and one that never comes, cost nothing at the end."""
    own = SimulatedAzure()

    async def scenario() -> None:
        for _ in range(2):
            async with call(own, mint(own, NESTED)) as client:
                await client.wait_for("input_audio_buffer.speech_started")
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.createDataChannel("never-connected")
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Authorization": f"Bearer {mint(own)}", "Content-Type": "application/sdp"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{own.url}{CALLS}", data=peer.localDescription.sdp, headers=headers) as response,
        ):
            assert response.status == 201
        await peer.close()

    run(scenario())

    assert own.stop() == 0
    assert own.errors() == ""


def test_aioice_offers_loopback() -> None:
    """On a machine without a network, this address is what lets a call connect."""
    assert "127.0.0.1" in webrtc.aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
