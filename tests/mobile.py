"""`python -m tests.mobile`: rewrites the captured blocks of docs/mobile.md from a run of the endpoint.

The simulated resource stands in for Azure. Addresses become those of a deployment, and long parts are left out.
"""

import array
import asyncio
import json
import re
import tempfile
import wave
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import requests
from aiortc import AudioStreamTrack, RTCPeerConnection

from clients.python.speech import Speech
from clients.python.talk import TalkError, transcript_of
from tests.hosting import ROOT, Host
from tests.simulated import SimulatedAzure

DOCUMENT = ROOT / "docs/mobile.md"
_BLOCK = re.compile(r"(<!-- captured: (\S+) -->\n+```\w*\n).*?(\n```)", re.DOTALL)
_SHOWN_HEADERS = ("Content-Type", "Cache-Control", "Retry-After", "Location", "apim-request-id", "x-request-id")
_SHOWN_SDP = re.compile(r"v=|o=|s=|t=|m=|a=mid|a=sctp-port|a=setup|a=sendrecv|a=rtpmap:\d+ opus", re.IGNORECASE)
_KEY = "FUNCTION-KEY"
_NORMAL = (
    (r"\b(ek|sess|evt|event|item|rtc)_[0-9a-z]+", r"\1_"),
    (r"\b[0-9a-f]{32}\b", "HEX"),
    (r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "UUID"),
    (r'("expires_at": )\d+', r"\g<1>0"),
    (r'("audio_(?:start|end)_ms": )\d+', r"\g<1>0"),
    (r"\d+ ms of audio", "N ms of audio"),
    (r'("seconds": )[\d.]+', r"\g<1>0"),
    (r"o=\S+ \d+ \d+", "o="),
    (r"m=(audio|application) \d+ [^\n]*", r"m=\1"),
    (r"rtpmap:\d+", "rtpmap:N"),
)


def normalised(text: str) -> str:
    """Return the text with what differs from run to run made equal."""
    for pattern, replacement in _NORMAL:
        text = re.sub(pattern, replacement, text)
    return text


def rewritten(document: str, captured: Mapping[str, str]) -> str:
    """Return the document with its captured blocks filled; a block without a capture is a KeyError."""
    return _BLOCK.sub(lambda block: f"{block[1]}{captured[block[2]]}{block[3]}", document)


def blocks(document: str) -> list[str]:
    """Return the names of the captured blocks."""
    return [name for _, name, _ in _BLOCK.findall(document)]


# HTTP


def _exchange(method: str, url: str, headers: dict[str, str], body: str | None = None) -> tuple[str, str]:
    """Make a request, and return it and its reply as text."""
    with requests.Session() as http:
        http.trust_env = False
        reply = http.request(method, url, headers=headers, data=body, timeout=20)
    host, _, path = url.removeprefix("http://").partition("/")
    asked = [f"{method} /{path} HTTP/1.1", f"Host: {host}", *(f"{name}: {text}" for name, text in headers.items())]
    said = [f"HTTP/1.1 {reply.status_code} {reply.reason}"]
    said += [f"{name}: {reply.headers[name]}" for name in _SHOWN_HEADERS if name in reply.headers]
    sdp = "application/sdp" in (headers.get("Content-Type"), reply.headers.get("Content-Type"))
    return "\n".join([*asked, *_content(body or "", sdp=sdp)]), "\n".join([*said, *_content(reply.text, sdp=sdp)])


def _content(body: str, *, sdp: bool) -> list[str]:
    if not body:
        return []
    if sdp and not body.startswith("{"):
        return ["", *(line for line in body.splitlines() if _SHOWN_SDP.match(line))]
    return ["", json.dumps(json.loads(body), indent=2)]


async def _offer() -> str:
    """Return an offer as a client makes it: the data channel first, then the microphone."""
    peer = RTCPeerConnection()
    peer.createDataChannel("oai-events")
    peer.addTrack(AudioStreamTrack())
    await peer.setLocalDescription(await peer.createOffer())
    sdp = str(peer.localDescription.sdp)
    await peer.close()
    return sdp


# Events


def _events(speech: Path, url: str) -> dict[str, str]:
    """Have a conversation, and return what passed, by the type of the event."""
    seen: dict[str, str] = {}

    def watch(_way: str, event: dict[str, Any]) -> None:
        seen.setdefault(event["type"], json.dumps(_shortened(event), indent=2))

    async def talk() -> None:
        with suppress(TalkError):  # what the server refuses is in the events
            headers = {"x-functions-key": _KEY}
            await transcript_of(Speech(speech), url, headers, timeout_s=20, watch=watch)

    asyncio.run(talk())
    return seen


def _shortened(event: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a session what this document is not about."""
    if event["type"] not in {"session.created", "session.updated"}:
        return event
    session = event["session"]
    heard = session["audio"]["input"]
    kept = {name: heard[name] for name in ("transcription", "turn_detection")}
    return {**event, "session": {"type": session["type"], "id": session["id"], "audio": {"input": kept}}}


def _hello(directory: Path) -> Path:
    tone = array.array("h", ([8000] * 40 + [-8000] * 40) * 120)  # 0.4 s, which is one turn
    file = directory / "hello.wav"
    with wave.open(str(file), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(24000)
        wav.writeframes(tone.tobytes())
    return file


# All of it


def capture() -> dict[str, str]:
    """Run through everything that the document tells, and return its blocks by name."""
    with ExitStack() as running:
        azure = SimulatedAzure("--defect", "all-fails")
        running.callback(azure.stop)
        mint_time_env = azure.app_env | {"TRANSCRIPTION_MODE": "mint_time"}
        host = running.enter_context(Host(azure.app_env, "--keys", _KEY))
        mint_time = running.enter_context(Host(mint_time_env, "--keys", _KEY))
        hello = _hello(Path(running.enter_context(tempfile.TemporaryDirectory())))
        url, mint_time_url = (f"{one.url}/api/realtime/client_secrets" for one in (host, mint_time))
        key = {"x-functions-key": _KEY}

        mint_request, mint_reply = _exchange("POST", url, key)
        secret = json.loads(mint_reply.partition("\n\n")[2])
        _, no_key = _exchange("POST", url, {})
        bearer = {"Authorization": f"Bearer {secret['value']}", "Content-Type": "application/sdp"}
        call_request, call_reply = _exchange("POST", secret["webrtc_url"], bearer, asyncio.run(_offer()))
        expired = {**bearer, "Authorization": "Bearer ek_expired"}
        _, call_expired = _exchange("POST", secret["webrtc_url"], expired, "v=0")
        talk = _events(hello, url)
        azure.set(transcription_result="failed")
        late = _events(hello, url)
        azure.set(transcription_result="completed", update_ack="error")
        refused = _events(hello, url)
        azure.set(update_ack="normal", fault="429-retry-after")
        _, throttled = _exchange("POST", url, key)
        azure.set(fault=None, defect="fixed")
        fixed = json.loads(_exchange("POST", mint_time_url, key)[1].partition("\n\n")[2])
        difference = {name: fixed[name] for name in ("transcription", "session_update")}

        spoken = "conversation.item.input_audio_transcription"
        captured = {
            "mint-request": mint_request,
            "mint-reply": mint_reply,
            "mint-reply-fixed": json.dumps(difference, indent=2),
            "no-key": no_key,
            "throttled": throttled,
            "call-request": call_request,
            "call-reply": call_reply,
            "call-expired": call_expired,
            "session.created": talk["session.created"],
            "session.update": talk["session.update"],
            "session.updated": talk["session.updated"],
            "update-refused": refused["error"],
            "speech_started": talk["input_audio_buffer.speech_started"],
            "committed": talk["input_audio_buffer.committed"],
            "completed": talk[f"{spoken}.completed"],
            "failed": late[f"{spoken}.failed"],
        }
    names = {host.url: "APP.azurewebsites.net", azure.url: "RESOURCE.openai.azure.com"}
    return {name: _deployed(text, names) for name, text in captured.items()}


def _deployed(text: str, names: Mapping[str, str]) -> str:
    for local, deployed in names.items():
        bare = local.removeprefix("http://")
        text = text.replace(local, f"https://{deployed}").replace(f"ws://{bare}", f"wss://{deployed}")
        text = text.replace(bare, deployed)
    return text


if __name__ == "__main__":
    before = DOCUMENT.read_text("utf-8")
    after = rewritten(before, capture())
    if normalised(after) != normalised(before):  # new ids alone are no news
        DOCUMENT.write_text(after, "utf-8")
