"""Voice activity in 16-bit mono audio of 24 kHz: when speech starts, when it stops, how long it was.

Loudness alone counts as speech, and a turn is cut after 600 ms so that endless sound still gives turns.
"""

import secrets
from array import array
from dataclasses import dataclass
from typing import Any, Literal

RATE = 24000
_WINDOW_MS = 20
_WINDOW_BYTES = RATE * _WINDOW_MS // 1000 * 2
_LOUD = 300  # of 32768
_START_MS = 200
_LONGEST_MS = 600
# Chromium's fake microphone beeps for 20 ms twice a second: such gaps do not break off what may become speech.
_GAP_MS = 1000


@dataclass(frozen=True)
class Turn:
    """A moment of a turn: its start, or its end with the duration."""

    kind: Literal["started", "stopped"]
    item_id: str
    at_ms: int
    duration_ms: int = 0


class Listener:
    """The input audio buffer with its voice activity detection."""

    def __init__(self) -> None:
        self._rest = b""
        self._now_ms = 0  # since the session began
        self._buffered_ms = 0
        self._clear_sound()

    def _clear_sound(self) -> None:
        self._first_loud_ms: int | None = None
        self._last_loud_ms = 0
        self._item_id: str | None = None  # set while in speech

    def clear(self) -> None:
        """Forget what has not been committed."""
        self._rest = b""
        self._buffered_ms = 0
        self._clear_sound()

    def hear(self, pcm: bytes, turn_detection: dict[str, Any] | None) -> list[Turn]:
        """Take audio and return the starts and stops in it; without turn detection, only keep it."""
        data = self._rest + pcm
        whole = len(data) - len(data) % _WINDOW_BYTES
        self._rest = data[whole:]
        moments = []
        for start in range(0, whole, _WINDOW_BYTES):
            self._now_ms += _WINDOW_MS
            self._buffered_ms += _WINDOW_MS
            if turn_detection is not None:
                window = array("h", data[start : start + _WINDOW_BYTES])
                loud = max(window) > _LOUD or min(window) < -_LOUD
                moment = self._step(turn_detection.get("silence_duration_ms") or 500, loud=loud)
                if moment:
                    moments.append(moment)
        return moments

    def _step(self, silence_ms: int, *, loud: bool) -> Turn | None:
        if loud:
            if self._first_loud_ms is None:
                self._first_loud_ms = self._now_ms - _WINDOW_MS
            self._last_loud_ms = self._now_ms
        if self._first_loud_ms is None:
            return None
        length = self._now_ms - self._first_loud_ms
        quiet = self._now_ms - self._last_loud_ms
        if self._item_id is None:
            if self._last_loud_ms - self._first_loud_ms >= _START_MS:
                self._item_id = f"item_{secrets.token_hex(10)}"
                return Turn("started", self._item_id, self._first_loud_ms)
            if quiet > _GAP_MS:
                self._clear_sound()
            return None
        if quiet < silence_ms and length < _LONGEST_MS:
            return None
        turn = Turn("stopped", self._item_id, self._now_ms, length)
        self._buffered_ms = 0
        self._clear_sound()
        return turn

    def commit(self) -> Turn | None:
        """End the turn by hand; None where there is no audio to commit."""
        if not self._buffered_ms:
            return None
        item_id = self._item_id or f"item_{secrets.token_hex(10)}"
        turn = Turn("stopped", item_id, self._now_ms, self._buffered_ms)
        self.clear()
        return turn
