"""A wav file as a microphone: silence until told to speak, then the file at its own pace, then silence again.

16-bit PCM in one or two channels, at any rate; what else a wav may hold is refused.
"""

import asyncio
import time
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from aiortc import AudioStreamTrack
from av import AudioFrame

_FRAMES_A_SECOND = 50
_TAIL_S = 1  # of silence, after which the service has noticed the end of the last turn


class NotSpeechError(Exception):
    """The file cannot be played; says why."""


class Speech(AudioStreamTrack):
    """The microphone."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        try:
            with wave.open(str(file)) as wav:
                channels, width, self._rate = wav.getnchannels(), wav.getsampwidth(), wav.getframerate()
                self._sound: bytes = wav.readframes(wav.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            raise NotSpeechError(f"{file} cannot be read as a wav file: {error}") from error
        if width != 2 or channels not in {1, 2}:
            raise NotSpeechError(f"{file} is not 16-bit PCM in one or two channels.")
        self._layout = "mono" if channels == 1 else "stereo"
        self._samples = self._rate // _FRAMES_A_SECOND
        self._frame_bytes: int = self._samples * channels * width
        self._sent = 0  # samples, since the track began
        self._position: int | None = None  # in the sound; None until told to speak
        self._end: int = len(self._sound) + _TAIL_S * _FRAMES_A_SECOND * self._frame_bytes
        self._began = 0.0
        self._spoken: Callable[[], None] | None = None

    @property
    def seconds(self) -> float:
        """How long it takes to speak."""
        return self._end / self._frame_bytes / _FRAMES_A_SECOND

    def speak(self, spoken: Callable[[], None]) -> None:
        """Play the file from now on; call `spoken` when it and a second of silence have been sent."""
        self._position, self._spoken = 0, spoken

    async def recv(self) -> AudioFrame:
        """Return the next 20 ms, when their time has come."""
        if not self._sent:
            self._began = time.monotonic()
        await asyncio.sleep(self._began + self._sent / self._rate - time.monotonic())
        frame = AudioFrame(format="s16", layout=self._layout, samples=self._samples)
        frame.planes[0].update(self._next().ljust(self._frame_bytes, b"\0"))
        frame.sample_rate = self._rate
        frame.pts = self._sent
        frame.time_base = Fraction(1, self._rate)
        self._sent += self._samples
        return frame

    def _next(self) -> bytes:
        if self._position is None:
            return b""
        start = self._position
        self._position += self._frame_bytes
        if self._position >= self._end and self._spoken:
            self._spoken()
            self._spoken = None
        return self._sound[start : self._position]
