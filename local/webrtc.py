"""The WebRTC side of a realtime session: answers an SDP offer with aiortc and runs the call until it ends.

Audio is heard from when the client's data channel opens; what goes back is silence.
"""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError
from av import AudioResampler

from local.listening import RATE

if TYPE_CHECKING:
    from local.realtime import Event, RealtimeSession

_CONNECT_S = 30

# MS Learn, realtime-audio-webrtc: all that `?webrtcfilter=on` lets through to the browser.
_UNFILTERED = {
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.added",
    "conversation.item.created",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
}


def _with_loopback(addresses: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Add what aioice leaves out: on a machine without a network, 127.0.0.1 is the only way to a browser."""

    def all_addresses(*, use_ipv4: bool, use_ipv6: bool) -> list[str]:
        found = addresses(use_ipv4=use_ipv4, use_ipv6=use_ipv6)
        return [*found, "127.0.0.1"] if use_ipv4 else found

    return all_addresses


aioice.ice.get_host_addresses = _with_loopback(aioice.ice.get_host_addresses)


def _without_hidden_names(offer: str) -> str:
    """Drop candidates that are mDNS names: the browser's own checks reach us, and there may be no multicast."""
    lines = offer.replace("\r\n", "\n").split("\n")
    return "\r\n".join(line for line in lines if not (line.startswith("a=candidate:") and ".local " in line))


class Call:
    """One peer connection with its session. `run` ends when the client, the service or `hang_up` ends it."""

    def __init__(self, session: "RealtimeSession", *, filtered: bool) -> None:
        self._session = session
        self._filtered = filtered
        self._channel: Any = None  # aiortc's RTCDataChannel; the library is untyped
        self._over = asyncio.Event()
        self._connected = asyncio.Event()
        self._listening: set[asyncio.Task[None]] = set()
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # or aiortc asks a public STUN server
        self._peer.on("datachannel", self._opened)
        self._peer.on("track", self._heard)
        self._peer.on("connectionstatechange", self._moved)

    async def answer(self, offer: str) -> str:
        """Return the SDP answer; an offer that cannot be read is a ValueError."""
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(_without_hidden_names(offer), "offer"))
            if not self._peer.getTransceivers() and self._peer.sctp is None:
                raise ValueError("no media")  # noqa: TRY301  reported as the rest is, just below
            for transceiver in self._peer.getTransceivers():
                if transceiver.kind == "audio":
                    transceiver.sender.replaceTrack(AudioStreamTrack())
                    transceiver.direction = "sendrecv"
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:
            await self._close()
            raise ValueError("The SDP offer could not be read.") from error
        return str(self._peer.localDescription.sdp)

    async def run(self) -> None:
        """Keep the call until it is over, then free all that belongs to it."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._connected.wait()
            await self._over.wait()
        except TimeoutError:
            pass  # a client that never came
        finally:
            await self._close()

    def hang_up(self) -> None:
        """End the call."""
        self._connected.set()
        self._over.set()

    async def _close(self) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self._peer.close()

    def _moved(self) -> None:
        if self._peer.connectionState in {"failed", "closed"}:
            self.hang_up()
        elif self._peer.connectionState == "connected":
            self._connected.set()

    def _opened(self, channel: Any) -> None:  # noqa: ANN401  aiortc is untyped
        if self._channel is not None:  # a session has one channel, whatever its label
            return
        self._channel = channel
        channel.on("message", self._told)
        channel.on("close", self.hang_up)
        self._say(self._session.open())

    def _told(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode("utf-8", "replace")
        self._say(self._session.receive(text))

    def _heard(self, track: Any) -> None:  # noqa: ANN401  aiortc is untyped
        if track.kind == "audio":
            self._listening.add(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: Any) -> None:  # noqa: ANN401  aiortc is untyped
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        while not self._over.is_set():
            try:
                frame = await track.recv()
            except MediaStreamError:
                return  # the client stopped its track; the session goes on
            if self._channel is None:
                continue
            for part in resampler.resample(frame):
                self._say(self._session.hear(bytes(part.planes[0])[: part.samples * 2]))

    def _say(self, events: "list[Event]") -> None:
        for event in events:
            if self._channel.readyState == "open" and (not self._filtered or event["type"] in _UNFILTERED):
                self._channel.send(json.dumps(event))
        if self._session.closed:
            self.hang_up()
