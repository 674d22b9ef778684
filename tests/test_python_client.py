"""clients/python from the command line, as a smoke test after a deployment; and OpenAI's own Python library."""

import array
import asyncio
import base64
import contextlib
import re
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clients.python.__main__ import main
from tests.conftest import Endpoint, secrets_in
from tests.hosting import ROOT
from tests.simulated import SimulatedAzure

RATE = 24000
README = (ROOT / "clients/README.md").read_text("utf-8")


def tone(seconds: float, rate: int = RATE) -> bytes:
    """Return sound that the simulated resource takes for speech."""
    half = array.array("h", [8000] * (rate // 600) + [-8000] * (rate // 600)).tobytes()
    return (half * int(seconds * 300 + 1))[: int(seconds * rate) * 2]


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """`write_wav(sound, rate=..., width=...)`: a wav file with one channel."""

    def write(sound: bytes, rate: int = RATE, width: int = 2) -> Path:
        file = tmp_path / "hello.wav"
        with wave.open(str(file), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(width)
            wav.setframerate(rate)
            wav.writeframes(sound)
        return file

    return write


@pytest.fixture
def hello(write_wav: Callable[..., Path]) -> Path:
    """A greeting of 0.4 s, which makes one turn."""
    return write_wav(tone(0.4))


class Said(NamedTuple):
    """What the command left behind."""

    stdout: str
    stderr: str
    returncode: int


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`say(file, url, *options)`: the command, in this process, which spares an import of aiortc each time."""

    def run(file: Path, url: str, *options: str) -> Said:
        code = main(["--token-url", url, "--wav", str(file), *options])
        return Said(*capsys.readouterr(), code)

    return run


def test_it_is_a_command(hello: Path, endpoint: Endpoint) -> None:
    """The transcript alone is on stdout, nothing on stderr, and the exit code is 0."""
    command = [sys.executable, "-m", "clients.python", "--token-url", endpoint.url, "--wav", str(hello)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stderr, done.returncode) == ("", 0)
    assert re.fullmatch(r"simulated transcript of \d+ ms of audio\n", done.stdout)


@pytest.mark.parametrize("rate", [8000, 24000, 44100])
def test_a_wav_of_any_rate_becomes_text(
    say: Callable[..., Said], rate: int, write_wav: Callable[..., Path], endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """Telephone, realtime or music: what the microphone's rate is does not matter."""
    azure.set(defect="all-fails")

    done = say(write_wav(tone(0.4, rate), rate), endpoint.url)

    assert (done.stderr, done.returncode) == ("", 0)
    assert re.fullmatch(r"simulated transcript of \d+ ms of audio\n", done.stdout)


def test_it_works_the_same_on_the_day_of_the_fix(
    say: Callable[..., Said], hello: Path, mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """Minted with transcription: the same command, and nothing is sent before the speech."""
    azure.set(defect="fixed")

    done = say(hello, mint_time_endpoint.url, "--events")

    assert done.returncode == 0
    assert "simulated transcript" in done.stdout
    assert not re.findall("^sent", done.stderr, re.MULTILINE)
    assert secrets_in(done.stderr.replace("You are a helpful voice assistant.", "")) == []


def test_every_turn_is_waited_for(
    say: Callable[..., Said], write_wav: Callable[..., Path], endpoint: Endpoint
) -> None:
    """Two sentences with a pause between them are two lines."""
    done = say(write_wav(tone(0.4) + bytes(RATE * 2) + tone(0.4)), endpoint.url)

    assert len(done.stdout.splitlines()) == 2


def test_keys_and_tokens_are_sent(say: Callable[..., Said], hello: Path, start_endpoint: Any) -> None:
    """Without the key the platform's bare 401 is a sentence; with it the transcript comes."""
    endpoint: Endpoint = start_endpoint("--keys", "a-function-key")

    without = say(hello, endpoint.url)
    with_key = say(hello, endpoint.url, "--function-key", "a-function-key", "--bearer-token", "ignored")

    assert (
        without.stderr == "No transcript. The token endpoint answered 401: the credential is missing or wrong.\n"
    )
    assert (with_key.stderr, with_key.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"update_ack": "error"}, "refused to turn transcription on: The server had an error"),
        ({"update_ack": "lost"}, "did not say in time that transcription is on"),
        ({"update_ack": "close"}, "ended the connection"),
        ({"transcription_result": "failed"}, "could not transcribe: Input transcription failed"),
        ({"transcription_result": "close"}, "ended the connection"),
        ({"fault": "404-deployment"}, "The token endpoint answered 502: "),
    ],
)
def test_each_failure_is_a_sentence_and_an_exit_code(
    say: Callable[..., Said],
    switches: dict[str, Any],
    words: str,
    hello: Path,
    endpoint: Endpoint,
    azure: SimulatedAzure,
) -> None:
    """A deployment script can stop on it, and a person can read why."""
    azure.set(**switches)

    done = say(hello, endpoint.url, "--timeout", "3")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("No transcript. ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_silence_is_no_transcript(
    say: Callable[..., Said], write_wav: Callable[..., Path], endpoint: Endpoint
) -> None:
    """A file in which the service hears nobody ends in time, and not with success."""
    done = say(write_wav(bytes(RATE)), endpoint.url, "--timeout", "1")

    assert (done.stderr, done.returncode) == ("No transcript. No transcript came in time of what was said.\n", 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.wav", "cannot be read as a wav file"), ("README.md", "cannot be read as a wav file")],
)
def test_what_is_no_wav_is_said_before_a_secret_is_minted(
    say: Callable[..., Said], name: str, words: str, endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """A typing error costs no mint."""
    done = say(ROOT / name, endpoint.url)

    assert words in done.stderr
    assert done.returncode == 1
    assert azure.mints() == []


def test_a_wav_that_is_not_16_bit_is_refused(
    say: Callable[..., Said], write_wav: Callable[..., Path], endpoint: Endpoint
) -> None:
    """8-bit samples sent as 16-bit ones would be noise, and noise has a transcript too."""
    done = say(write_wav(bytes(RATE), width=1), endpoint.url)

    assert "is not 16-bit PCM in one or two channels" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api/realtime/client_secrets", "not a url"])
def test_an_endpoint_that_cannot_be_reached_is_a_sentence(say: Callable[..., Said], url: str, hello: Path) -> None:
    """The address is in the message: it is what is most often wrong."""
    done = say(hello, url)

    assert done.stderr.startswith(f"No transcript. The token endpoint cannot be reached at {url}: ")
    assert done.returncode == 1


@pytest.mark.parametrize("mode", ["post_connect", "mint_time"])
def test_openais_own_library_is_transcribed(
    mode: str, endpoint: Endpoint, mint_time_endpoint: Endpoint, azure: SimulatedAzure
) -> None:
    """The lines of clients/README.md, over WebSocket, with the minted secret as the key."""
    azure.set(defect="all-fails" if mode == "post_connect" else "fixed")
    secret = (endpoint if mode == "post_connect" else mint_time_endpoint).mint().json()
    recipe: dict[str, Any] = {}
    exec(README.partition("```python openai\n")[2].partition("```")[0], recipe)  # noqa: S102 - our own file

    async def words() -> str:
        sound = base64.b64encode(tone(0.4) + bytes(RATE * 2)).decode()
        async with asyncio.timeout(20), contextlib.aclosing(recipe["talk"](secret)) as talk:
            async for connection, event in talk:
                if event.type == ("session.updated" if mode == "post_connect" else "session.created"):
                    await connection.send({"type": "input_audio_buffer.append", "audio": sound})
                if event.type == "conversation.item.input_audio_transcription.completed":
                    return str(event.transcript)
        raise AssertionError("the server hung up")

    assert asyncio.run(words()).startswith("simulated transcript")
